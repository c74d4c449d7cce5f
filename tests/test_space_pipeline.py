"""Each kind of space from an environment to an evaluation, as small as can be; and that what is learned is learned."""

import json
from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
import torch

import icrl
from icrl.data_gen.config import GenerateConfig
from icrl.envs import make_family
from icrl.envs.kit.pool import PooledEnv
from icrl.models.agent import InContextAgent, load_agent
from icrl.models.methods import METHODS
from icrl.models.spec import Spec
from icrl.ranges import measure
from icrl.store import HistoryStore
from tests.drawn_spaces import batch, same, samples
from tests.small_models import make_model, method_of

FAMILY = '''
import gymnasium as gym
import numpy as np

from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter

S = gym.spaces
SPACES = {
    "start": (S.Discrete(5, start=-2), S.Discrete(3, start=4)),
    "factors": (S.MultiDiscrete([3, 4], start=[1, 0]), S.MultiDiscrete([[2, 3]], start=[[0, -1]])),
    "bits": (S.MultiBinary(3), S.MultiBinary([2, 2])),
    "half": (S.Box(0, np.inf, (2,)), S.Box(-2, 2, (2,), np.float64)),
    "whole": (S.Box(-9, 9, (), np.int16), S.Box(-3, 3, (2,), np.int32)),
    "image": (S.Box(0, 255, (5, 5, 3), np.uint8), S.Discrete(2)),
    "frames": (S.Box(0, 255, (2, 12, 9), np.uint8), S.Discrete(2)),
    "dict": (
        S.Dict(
            {"at": S.Box(-1, 1, (2,)), "see": S.Box(0, 255, (6, 6), np.uint8), "in": S.Dict({"it": S.Discrete(3)})}
        ),
        S.Dict({"move": S.Box(-1, 1, (2,)), "grip": S.MultiBinary(1), "tool": S.Discrete(3, start=1)}),
    ),
    "tuple": (S.Tuple([S.Discrete(3), S.MultiBinary(2)]), S.Tuple([S.Discrete(2), S.MultiDiscrete([2, 3])])),
}


class Env(gym.Env):
    """Shows values of its space that gymnasium draws, and takes nothing but values of its space."""

    def __init__(self, kind):
        self.observation_space, self.action_space = SPACES[kind]
        self.gain = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), (action, self.action_space)
        return self.observation_space.sample(), self.gain, False, False, {}


class Kinds(GymnasiumFamily):
    name, source, horizon, kind = "kinds", "a test", 4, ""
    parameters = {"gain": Parameter("reward", 0.5, 2.0, default=1.0)}
    anchor_episodes = 1

    def make_env(self):
        import copy

        env = Env(self.kind)
        env.observation_space, env.action_space = copy.deepcopy(SPACES[self.kind])
        return env

    def apply(self, env, params):
        env.gain = params["gain"]
'''
KINDS = ("start", "factors", "bits", "half", "whole", "image", "frames", "dict", "tuple")
TINY = {
    "model.n_layer": 1, "model.width": 16, "model.context_length": 12, "train.steps": 3, "train.batch_size": 4,
    "train.evaluate_every": 0, "train.checkpoint_every": 0,
}  # fmt: skip
S = gym.spaces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["ad"])
def test_a_kind_goes_the_whole_way(kind, method, tmp_path, monkeypatch):
    """Kills: a stage that does not know a kind; an observation that is another one on the disk; an action that the
    environment does not take."""
    file = tmp_path / "kinds.py"
    file.write_text(FAMILY + f"\n\nclass Kind(Kinds):\n    kind = {kind!r}\n")
    place = f"{file}:Kind"
    options = {"train": 6, "validation": 1, "test": 3}
    config = GenerateConfig(
        family=place, family_options=options, learner="random", episodes=3, histories_per_shard=3, workers=1
    )
    data = icrl.generate(config, tmp_path / "data")
    store = HistoryStore.open(data)
    _check_values(store, kind, place)
    run = icrl.train("ad-small", data, tmp_path / "run", **TINY)
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(metrics[-1]["loss"])
    summary = icrl.evaluate(tmp_path / "run", episodes=1, seeds=1, tasks=2, bootstrap=100, pictures=1, trust_code=True)
    assert np.isfinite(summary["raw"]["last5"]["mean"])
    assert load_agent(tmp_path / "run").act is not None
    assert run is not None


def _check_values(store: HistoryStore, kind: str, place: str) -> None:
    """Every observation of a lane is the one that gymnasium drew there."""
    family = make_family(place, **store.provenance.family_options)
    history = store.history(2)
    env = family.make([store.split.train[2]], seed=store.provenance.seed, index=[int(store.learner_seeds[2])])
    space = env.envs[0].observation_space
    seed = int(env.streams.keys[0] >> np.uint64(33))
    # Three episodes of four steps: a reset shows one value and every step another.
    drawn = samples(space, 15, seed)
    shown = [drawn[t + t // 4] for t in range(12)]
    assert same(space, history.observations, batch(space, shown))
    assert same(space, history.final_observations, batch(space, [drawn[4], drawn[9], drawn[14]]))


@pytest.mark.parametrize("seed", range(6))
def test_drawn_trees_go_through_window_model_and_environment(seed, tmp_path):
    """Kills: a nested part that a tape, a window or a token swaps with another; a prompt that is not what was
    recorded; an action of a tree that its environment refuses."""
    file = tmp_path / "drawn.py"
    drawn = f"from tests.drawn_spaces import drawn_spaces\n\nSEEN = drawn_spaces({seed}, 1)[-{seed % 5 + 1}]\n"
    drawn += (
        "DONE = drawn_spaces(50 + "
        + str(seed)
        + ', 1, ("discrete", "multi_discrete", "multi_binary", "box"), True)[-1]\n'
        'SPACES["drawn"] = (SEEN, DONE)\n\n\nclass Drawn(Kinds):\n    kind = "drawn"\n'
    )
    file.write_text(FAMILY + "\n\n" + drawn)
    place, options = f"{file}:Drawn", {"train": 3, "validation": 1, "test": 1}
    config = GenerateConfig(family=place, family_options=options, learner="random", episodes=3, workers=1)
    store = HistoryStore.open(icrl.generate(config, tmp_path / "data"))
    _check_values(store, "drawn", place)
    description = store.provenance.observation_space, store.provenance.action_space
    family = make_family(place, **options)
    for method in ("ad", "dt"):
        spec = Spec(*description, horizon=4, scales=measure(store, [0, 1, 2], METHODS[method].needs))
        model = make_model(spec=spec, method=method_of(method))
        read = model.method.sampler(store, [0, 1, 2], 8, 0, spec.maps).batch(np.arange(4))
        assert read.observations.keys() == {*store.history(0).observations.dtype.names}
        loss, _ = model.method.loss(model, read)
        assert torch.isfinite(loss)
        agent = InContextAgent(model)
        with closing(PooledEnv(family, store.split.train, 0, workers=2, name=place)) as env:
            seen = env.reset()[0]
            agent.reset(3, prompts=[store.history(h) for h in range(3)])
            for _ in range(6):
                seen, rewards, terminated, truncated, _ = env.step(agent.act(seen))
                agent.observe(rewards, terminated, truncated)


def test_data_of_flattened_observations_are_evaluated_as_they_are(tmp_path):
    """Kills: an older run of a Dict environment whose family no longer fits, since nothing is flattened now."""
    for name, flat in (("then", True), ("now", False)):
        (tmp_path / f"{name}.py").write_text(FAMILY + f"\n\nclass Kind(Kinds):\n    kind, flat = 'dict', {flat}\n")
    options = {"train": 4, "validation": 1, "test": 3}
    config = GenerateConfig(
        family=f"{tmp_path / 'then.py'}:Kind", family_options=options, learner="random", episodes=2, workers=1
    )
    data = icrl.generate(config, tmp_path / "data")
    assert HistoryStore.open(data).history(0).observations.shape == (8, 2 + 36 + 3)
    icrl.train("ad-small", data, tmp_path / "run", **TINY)
    summary = icrl.evaluate(
        tmp_path / "run", episodes=1, seeds=1, tasks=2, bootstrap=100, pictures=1, family=f"{tmp_path / 'now.py'}:Kind"
    )
    assert "changed_family" not in summary


LEARNED = '''
import gymnasium as gym
import numpy as np

from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter
from icrl.spaces import gate

S = gym.spaces


class Env(gym.Env):
    """A square in one of four corners of an image, and two digits; the right answers are its corner and the digits."""

    observation_space = S.Dict(
        {"seen": S.Box(0, 255, (12, 12, 3), np.uint8), "digits": S.MultiDiscrete([3, 4], start=[5, 0])}
    )
    action_space = S.Dict({"corner": S.Discrete(4, start=1), "digits": S.MultiDiscrete([3, 4], start=[-1, 2])})
    gain = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.show(), {}

    def show(self):
        self.corner, self.digits = int(self.np_random.integers(4)), self.np_random.integers([3, 4])
        seen = self.np_random.integers(0, 60, (12, 12, 3), np.uint8)
        row, column = 6 * (self.corner // 2) + self.np_random.integers(0, 3), 6 * (self.corner % 2)
        seen[row : row + 3, column : column + 3, int(self.np_random.integers(3))] = 200
        return {"seen": seen, "digits": self.digits + [5, 0]}

    def step(self, action):
        right = [action["corner"] == self.corner + 1, *(action["digits"] == self.digits + [-1, 2])]
        return self.show(), self.gain * float(np.mean(right)), False, False, {}


class Answers:
    """Reads the answers off what it is shown."""

    lets_go = True

    def __init__(self, space):
        self.make = gate(space)

    def act(self, observations):
        bright = (observations["seen"] > 100).any(axis=3)
        down, right = bright[:, 6:].any(axis=(1, 2)), bright[:, :, 6:].any(axis=(1, 2))
        return self.make({"corner": 1 + 2 * down + right, "digits": observations["digits"] - [5, 0] + [-1, 2]})

    def observe(self, *answer):
        pass

    def keep(self, lanes):
        pass


class Read(GymnasiumFamily):
    name, source, horizon, policy_kinds = "read", "a test", 10, ("expert",)
    parameters = {"gain": Parameter("reward", 0.9, 1.1, default=1.0)}
    anchor_episodes = 2

    def make_env(self):
        return Env()

    def apply(self, env, params):
        env.gain = params["gain"]

    def reference_policy(self, kind, tasks):
        return Answers(self.action_space)
'''


@pytest.fixture(scope="module")
def read_data(tmp_path_factory):
    """Histories of a family whose observations hold an image and numbers, and whose actions are a tree of factors: by
    the name of the learner."""
    folder = tmp_path_factory.mktemp("read")
    (folder / "read.py").write_text(LEARNED)
    found = {}
    for learner in ("expert", "noise-distillation"):
        config = GenerateConfig(
            family=f"{folder / 'read.py'}:Read", family_options={"train": 24, "validation": 1, "test": 4},
            learner=learner, episodes=8, workers=1, expert_actions=True, histories_per_shard=8,
        )  # fmt: skip
        found[learner] = icrl.generate(config, folder / learner)
    return found


def test_noise_and_experts_of_trees_are_recorded(read_data):
    """Kills: a random part beside an expert's; expert actions of a tree that are lost or are another step's."""
    store = HistoryStore.open(read_data["noise-distillation"])
    history, expert = store.history(3), store.extra("expert_actions", 3, 0, 80)
    assert expert.dtype == history.actions.dtype
    assert np.array_equal(expert["digits"], history.observations["digits"] - [5, 0] + [-1, 2])
    alike = history.actions == expert
    late, early = alike[70:], alike[:10]
    assert late.all()
    assert early.mean() < 0.5


def test_images_and_factors_are_learned(read_data, tmp_path):
    """Kills: an image that reaches the model as noise; a head whose factors are read in another order than they are
    played; a start that is added twice."""
    settings = TINY | {
        "train.steps": 120,
        "train.batch_size": 16,
        "train.learning_rate": 3e-3,
        "model.width": 48,
        "train.warmup": 10,
    }
    icrl.train("ad-small", read_data["expert"], tmp_path / "run", **settings)
    summary = icrl.evaluate(tmp_path / "run", episodes=4, seeds=2, bootstrap=100, pictures=1, trust_code=True)
    print(summary["raw"], summary["anchors"])
    assert summary["raw"]["last5"]["mean"] > 9.0


def test_an_agent_takes_a_dict_of_arrays(read_data, tmp_path):
    """Kills: an agent that acts otherwise where parts come by themselves; a prompt of trees that is refused."""
    icrl.train("ad-small", read_data["noise-distillation"], tmp_path / "run", **TINY)
    agent, history = load_agent(tmp_path / "run"), HistoryStore.open(read_data["expert"]).history(0)
    actions = []
    for as_dict in (True, False):
        agent.reset(2, seed=1, prompts=[history, None])
        for t in range(15):
            seen = np.stack([history.observations[t], history.observations[t + 1]])
            actions.append(agent.act({name: seen[name] for name in seen.dtype.names} if as_dict else seen))
            agent.observe(np.ones(2), np.zeros(2, bool), np.full(2, t % 10 == 9))
    assert all(np.array_equal(one, other) for one, other in zip(actions[:15], actions[15:], strict=True))
    assert any(not np.array_equal(one, actions[0]) for one in actions[:15])
