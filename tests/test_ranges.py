"""Scales: from the numbers of a dataset to those that a model sees."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_models import SPACES, config_of, make_model, nothing_before, random_transitions

from icrl.errors import UsageError
from icrl.models.agent import InContextAgent
from icrl.models.config import InContextConfig
from icrl.models.methods.ad import TokenEmbedding
from icrl.models.model import InContextModel
from icrl.models.parts.encoders import BoxEncoder, squash
from icrl.models.sampling.windows import WindowReader
from icrl.models.spec import Spec
from icrl.ranges import Scales, centre_and_unit, measure, sample
from icrl.store import Window

LARGEST = float(np.finfo(np.float32).max)
DISCRETE = {"kind": "discrete", "n": 2}
TINY = {"n_layer": 1, "n_head": 2, "width": 16, "context_length": 12}


def box(*shape: int, bound: float | None = None, **options) -> dict:
    count = int(np.prod(shape))
    low = 0 if options.get("dtype") == "uint8" else None if bound is None else -bound
    bounds = {"low": [low] * count, "high": [bound] * count}
    return {"kind": "box", "shape": list(shape), **bounds, **options}


class Store:
    """Histories `(H, T, …)` in memory, read like a dataset."""

    def __init__(self, observation_space, action_space, observations, actions, rewards) -> None:
        self.provenance = SimpleNamespace(observation_space=observation_space, action_space=action_space)
        self.columns, self.path = (observations, actions, rewards), "memory"
        self.lengths = np.full(len(rewards), rewards.shape[1])

    def __len__(self) -> int:
        return len(self.lengths)

    def window(self, history: int, start: int, length: int) -> Window:
        rows = slice(start, start + length)
        no, steps = np.zeros(length, bool), np.arange(start, start + length) % 5
        return Window(*(column[history, rows] for column in self.columns), no, steps == 4, steps, steps)


def test_centre_and_unit_typed_in():
    """Kills: a mean where a median is meant, a few huge values or a sentinel that hide the rest, zeros of a sparse
    reward that count as its size, a centre that float32 has to round, rounding taken for a signal."""
    expect = {
        "observations": [
            ([0, 1, 2, 3, 4, 5, 6, 7, 8], (4.0, 3.0)),  # |x - 4| are 1 1 2 2 3 3 4 4: their upper quartile is 3
            ([0, 1, 2, 3, 4, 5, 6, 7, 1e9], (4.0, 3.0)),
            ([7.0] * 5, (7.0, 7.0)),
            ([0.0] * 5, (0.0, 1.0)),
            ([0.0] * 99 + [50.0], (0.0, 50.0)),
            ([1.7e9, 1.7e9 + 1, 1.7e9 + 2], (1.7e9 + 1, 1.0)),
            ([1e9] * 6 + [1, 2, 3, 4], (2.0, 2.0)),  # "nothing there" is 10⁹, more often than not
            ([-1e9] * 3 + [1, 2, 3, 4], (1.0, 8.0)),  # … or less: 4 times the lower quartile of 1 2 3 and 3 of 10⁹
            ([0.3, 0.1 + 0.2, 0.3], (0.3, 0.3)),
            ([np.nan, np.inf, 2.0, 2.0], (2.0, 2.0)),
            ([np.nan], (0.0, 1.0)),
        ],
        "rewards": [
            ([0, 1, 1, 1], (0.0, 1.0)),
            ([0, 0, 0, 1], (0.0, 1.0)),
            ([0, 0, 0, 1e-3], (0.0, 1e-3)),
            ([-1, -1, -1, 0], (0.0, 1.0)),
            ([0] * 90 + [1] * 9 + [1e6], (0.0, 1.0)),
            ([1e8, 1e8 + 3, 1e8, 1e8 + 3], (1e8, 3.0)),
        ],
        "actions": [
            ([-1, 1, -1, 1], (0.0, 2.0)),
            ([5, 6, 7, 8, 9], (7.0, 2.0)),
            ([0, 1e-6, 1, -1, -1e-6, 1, -1], (0.0, 1.0)),
        ],
    }  # fmt: skip
    for name, cases in expect.items():
        for values, pair in cases:
            assert centre_and_unit(np.array(values, np.float64), name) == pair, (name, values)
    whole = np.array([1e7, 1e7 + 1], np.float32)
    assert centre_and_unit(whole) == (1e7, 1.0)
    third = np.float32(1 / 3)
    assert centre_and_unit(np.array([third, np.nextafter(third, np.float32(1)), third])) == (third, third)
    assert centre_and_unit(np.array([-LARGEST, LARGEST, LARGEST], np.float32)) == (LARGEST, 2 * LARGEST)
    assert centre_and_unit(np.array([2**62, 2**62 + 2**20], np.int64)) == (2.0**62, 2.0**20)


def test_what_a_model_sees_does_not_depend_on_units_or_bounds():
    """Kills: a number that is invisible because its unit is small, large, or far from 0, or its bounds are wide; an
    overflow on the way."""
    generator = np.random.default_rng(0)
    draws = {
        "normal": lambda shape: generator.normal(size=shape),
        "uniform": lambda shape: generator.uniform(-1, 1, shape),
        "heavy": lambda shape: generator.standard_cauchy(shape),
        "sparse": lambda shape: generator.uniform(1, 2, shape) * (generator.random(shape) < 0.1),
        "two values": lambda shape: generator.integers(0, 2, shape).astype(float),
        "sentinel": lambda shape: np.where(generator.random(shape) < 0.6, 1e9, generator.normal(size=shape)),
    }
    for trial in range(60):
        kind = list(draws)[trial % len(draws)]
        factor = 10.0 ** generator.uniform(-6, 25)
        offset = factor * generator.choice([0.0, 1.0, 1e3, 1e6]) * (kind != "sentinel")
        dtype = generator.choice(["float64", "float32"]) if offset == 0.0 else "float64"
        bound = generator.choice([None, 1e36, LARGEST])
        x = draws[kind]((6, 40, 3))
        rewards = draws[kind]((6, 40))
        actions = np.zeros((6, 40), np.int64)
        seen = []
        for values, paid in ((x, rewards), ((factor * x + offset).astype(dtype), factor * rewards)):
            store = Store(box(3, bound=bound, dtype=dtype), DISCRETE, values, actions, paid)
            spec = Spec(
                store.provenance.observation_space, DISCRETE, horizon=5,
                scales=json.loads(json.dumps(measure(store, range(6)))),
            )  # fmt: skip
            torch.manual_seed(0)
            embedding = TokenEmbedding(spec, 16)
            batch = WindowReader(store, range(6), 12, spec.maps).batch(np.arange(0, 150, 7))
            with torch.no_grad():
                seen.append(embedding(batch))
        assert torch.isfinite(seen[0]).all()
        torch.testing.assert_close(seen[1], seen[0], rtol=1e-4, atol=1e-5, msg=f"{kind} ×{factor} +{offset} {dtype}")
        # And it is a signal, also where a sentinel is taken away.
        u = squash(batch.observations)
        assert u[u.abs() < 5].std() > 0.2


def test_rewards_of_0_and_1_are_what_they_were():
    """Kills: a bit of difference to models of before there were scales, where rewards are 0 and 1."""
    rewards = {"rewards": {"centre": [0.0], "unit": [1.0]}}
    before, now = (
        TokenEmbedding(Spec(**SPACES, scales=scales), 16).requires_grad_(False) for scales in (None, rewards)
    )
    now.load_state_dict(before.state_dict())
    batch = replace(random_transitions(3, 12), before=nothing_before(3))
    rounded = replace(batch, rewards=batch.rewards.round())
    assert torch.equal(before(rounded), now(rounded))
    assert not torch.equal(before(batch), before(rounded))


def test_squash_typed_in():
    """Kills: a kink or a sign lost at 1, numbers that overflow."""
    u = torch.tensor([0.0, -0.5, 1.0, -1.0, torch.e, -torch.e, 1e30])
    torch.testing.assert_close(squash(u), torch.tensor([0.0, -0.5, 1.0, -1.0, 2.0, -2.0, 70.0776]))
    x = torch.tensor([0.999, 1.001, -0.999, -1.001], requires_grad=True)
    squash(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(4), rtol=2e-3, atol=0)


@pytest.mark.parametrize(("offset", "unit"), [(0.0, 1.0), (1e6, 1.0), (-3e8, 1e4)])
def test_training_and_acting_see_the_same_and_nothing_before_the_first_is_0(offset, unit):
    """Kills: "no reward" that is -10⁸ to the model, an agent whose numbers are scaled otherwise than its training's,
    actions that come out in the model's units."""
    generator = np.random.default_rng(1)
    observations, actions = offset + unit * generator.normal(size=(2, 5, 12, 2))
    rewards = offset + unit * generator.normal(size=(5, 12))
    spaces = {
        "observation_space": box(2, dtype="float64"),
        "action_space": box(2, bound=1e12, dtype="float64"),
    }
    store = Store(*spaces.values(), observations, actions, rewards)
    spec = Spec(**spaces, horizon=5, scales=measure(store, range(5)))
    torch.manual_seed(0)
    model = InContextModel(config_of(spec, **TINY))
    batch = WindowReader(store, [3], 12, spec.maps).batch(np.array([0]))
    assert not batch.before.actions.any()
    assert not batch.before.rewards.any()
    assert batch.rewards.abs().median() > 0.1
    assert {t.dtype for t in (batch.observations, batch.actions, batch.rewards, batch.before.rewards)} == {
        torch.float32
    }
    with torch.no_grad():
        mean = model(batch)[0, -1, 0].numpy()
    agent = InContextAgent(model, greedy=True)
    agent.reset(1)
    for t in range(12):
        window = store.window(3, t, 1)
        action = agent.act(window.observations)
        agent._actions = window.actions.copy()
        agent.observe(window.rewards, window.terminated, window.truncated)
    centre, scale = (np.array(spec.scales["actions"][part]) for part in ("centre", "unit"))
    np.testing.assert_allclose((action[0] - centre) / scale, mean, rtol=1e-3, atol=1e-4)


def test_learning_does_not_depend_on_the_unit_of_rewards_and_observations():
    """Kills: rewards ×10⁶ or bounds of ±10³⁰ that never learn, ×10⁻³ that learn slowly."""
    generator = np.random.default_rng(2)
    cue = generator.choice([-1.0, 1.0], (64, 12, 1)) * generator.uniform(0.5, 1, (64, 12, 1))
    flip, right = generator.integers(0, 2, (64, 1)), generator.random((64, 12)) < 0.5
    best = (cue[..., 0] > 0) ^ (flip > 0)
    # The source explores for four steps, and then does what the rewards said.
    right |= np.arange(12) >= 4
    actions = np.where(right, best, ~best).astype(np.int64)

    def losses(scales: bool, pay: float, unit: float, bound: float | None) -> list[float]:
        store = Store(box(1, bound=bound, dtype="float64"), DISCRETE, unit * cue, actions, pay * right)
        spec = Spec(
            store.provenance.observation_space, DISCRETE, horizon=5,
            scales=measure(store, range(64)) if scales else None,
        )  # fmt: skip
        torch.manual_seed(0)
        model = InContextModel(config_of(spec, n_layer=2, n_head=2, width=32, context_length=12))
        optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
        reader, out = WindowReader(store, range(64), 12, spec.maps), []
        for _ in range(60):
            loss, metrics = model.method.loss(model, reader.batch(np.arange(64)))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            out.append(metrics["loss"].item())
        return out

    expected = losses(True, 1.0, 1.0, None)
    assert expected[-1] < 0.6 * expected[0]
    for pay, unit, bound in ((1e-3, 1e-4, 1e30), (1e6, 1e5, LARGEST)):
        assert losses(True, pay, unit, bound)[-1] == pytest.approx(expected[-1], abs=0.05)
    assert losses(False, 1e6, 1.0, 1e30)[-1] > expected[-1] + 0.1


def test_a_sample_is_spread_over_all_histories_and_all_of_their_time():
    """Kills: the statistics of one task, or of the first episodes alone; a sample that grows with the data."""
    histories, steps = 9000, 600
    rewards = np.broadcast_to(np.arange(steps, dtype=np.float32), (histories, steps))
    tasks = np.broadcast_to(np.arange(histories)[:, None, None], (histories, steps, 1))
    store = Store(
        box(1, bound=10**6, dtype="int64"), DISCRETE, tasks, np.broadcast_to(np.uint8(0), (histories, steps)), rewards
    )
    columns = sample(store, range(histories))
    assert 200_000 < len(columns["rewards"]) <= 300_000
    assert len(np.unique(columns["observations"])) == 4096
    assert np.quantile(columns["observations"], [0.25, 0.75]) == pytest.approx([2250, 6750], rel=0.01)
    assert np.quantile(columns["rewards"], [0.25, 0.75]) == pytest.approx([150, 450], rel=0.1)
    few = sample(store, [5, 7])
    assert (len(few["rewards"]), np.unique(few["observations"]).tolist()) == (2 * steps, [5, 7])
    assert measure(store, range(histories)) == measure(store, range(histories))


def test_pixels_share_one_scale_and_coordinates_have_their_own():
    """Kills: a corner that is always black blown up to a signal; 10⁵ beside 1 in one unit."""
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 256, (4, 12, 8, 8)).astype(np.uint8)
    pixels[..., 0] = 0
    images = Store(
        box(8, 8, bound=255, dtype="uint8"), DISCRETE, pixels, np.zeros((4, 12), np.uint8), np.zeros((4, 12))
    )
    scales = measure(images, range(4))
    assert len(scales["observations"]["centre"]) == 1
    maps = Scales.read(scales, images.provenance.observation_space, DISCRETE)
    batch = WindowReader(images, range(4), 12, maps).batch(np.arange(4))
    assert batch.observations.shape == (4, 12, 8, 8)
    assert batch.observations.dtype == torch.float32
    assert 0.5 < batch.observations.abs().max() < 4
    wide = generator.normal(size=(4, 12, 2)) * [1.0, 1e5]
    store = Store(box(2), DISCRETE, wide.astype(np.float32), np.zeros((4, 12), np.uint8), np.zeros((4, 12)))
    one, other = measure(store, range(4))["observations"]["unit"]
    assert 5e4 < other / one < 2e5


def test_a_config_without_scales_maps_by_bounds_as_before(tmp_path):
    """Kills: a model of an earlier release that acts otherwise now."""
    spaces = {
        "observation_space": {"kind": "box", "shape": [2], "low": [0.0, None], "high": [10.0, None]},
        "action_space": {"kind": "box", "shape": [1], "low": [2.0], "high": [6.0]},
        "horizon": 4,
    }
    torch.manual_seed(0)
    model = InContextModel(config_of(spaces, **TINY))
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    del saved["specs"]["0"]["scales"]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    again = InContextModel.from_pretrained(tmp_path)
    assert again.config.groups["0"].scales is None
    encoder, x = model.net.embedding["0"].observation, torch.tensor([[[7.5, 300.0]]])
    by_hand = encoder.out(torch.nn.functional.silu(encoder.hidden(torch.tensor([[[0.5, 300.0]]]))))
    assert torch.equal(encoder(x), by_hand)
    with torch.no_grad():
        model.net.head["0"].numbers.weight.zero_()
    assert model.net.head["0"](torch.zeros(1, 1, 16))[0, 0, 0].tolist() == [4.0]
    agent = InContextAgent(again, greedy=True)
    agent.reset(1)
    read, act = [], agent._actor.act
    agent._actor.act = lambda now: read.append(now) or act(now)
    agent.act(np.array([[7.5, 300.0]]))
    agent.observe(np.array([5.0]), np.array([False]), np.array([False]))
    agent.act(np.array([[7.5, 300.0]]))
    assert read[0].before.actions.tolist() == [[0.0]]
    assert read[1].observations.tolist() == [[[7.5, 300.0]]]
    assert (read[0].before.rewards.tolist(), read[1].before.rewards.tolist()) == ([0.0], [5.0])


def test_scales_survive_saving_to_the_last_bit(tmp_path):
    """Kills: scales rounded on their way to config.json, or cast to bf16 with the weights."""
    third = {"centre": [1 / 3, 1.7e9], "unit": [1e-300, 2 / 3]}
    scales = {"observations": third, "rewards": {"centre": [0.0], "unit": [1e300]}}
    spaces = {"observation_space": box(2, dtype="float64"), "action_space": DISCRETE, "horizon": 4}
    config = config_of(Spec(**spaces, scales=scales), **TINY)
    InContextModel(config).to(torch.bfloat16).save_pretrained(tmp_path)
    assert InContextModel.from_pretrained(tmp_path).config.groups["0"].scales == scales
    assert InContextConfig.from_pretrained(tmp_path).specs == config.specs


def test_scales_that_do_not_fit_are_refused():
    """Kills: a damaged config that divides by zero, or maps one coordinate by another's scale."""
    good = measure(Store(box(2), DISCRETE, np.ones((1, 3, 2)), np.zeros((1, 3), int), np.ones((1, 3))), [0])
    bad = [
        5, [], {}, {"rewards": good["rewards"]}, good | {"actions": good["rewards"]},
        *(good | {"rewards": value} for value in (None, [], {"centre": [0.0]}, {"centre": [0.0], "unit": []})),
        *(good | {"rewards": {"centre": [0.0], "unit": [unit]}} for unit in (0.0, -1.0, np.nan, np.inf, "1", True)),
        *(good | {"observations": {"centre": [0.0] * n, "unit": [1.0] * m}} for n, m in ((3, 3), (2, 1), (1, 2))),
    ]  # fmt: skip
    for scales in bad:
        with pytest.raises(UsageError, match="scales"):
            Spec(box(2), DISCRETE, horizon=4, scales=scales)
        saved = config_of(Spec(box(2), DISCRETE, horizon=4, scales=good), **TINY)
        parts = {"method": saved.method, "backbone": saved.backbone}
        with pytest.raises(UsageError, match="scales"):
            InContextConfig(**parts, specs={"0": saved.specs["0"] | {"scales": scales}})


def test_half_precision_sees_what_single_precision_sees():
    """Kills: scaling in bf16, where 1000 and 1001 are one number."""
    torch.manual_seed(0)
    encoder = BoxEncoder([None], [None], 16, scaled=True)
    u = torch.tensor([[[0.7]], [[30.0]]])
    single = encoder(u)
    with torch.autocast("cpu", torch.bfloat16):
        assert squash(u).dtype == torch.float32
        torch.testing.assert_close(encoder(u).float(), single, rtol=0.1, atol=0.02)
    assert make_model().config.groups["0"].maps.observations is None
