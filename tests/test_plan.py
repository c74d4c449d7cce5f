"""What a recording will be is decided before its first step, and a dry run says so."""

import shutil
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from icrl.config import load_config
from icrl.data_gen.config import GenerateConfig
from icrl.data_gen.generate import generate
from icrl.data_gen.plan import make_plan
from icrl.envs import FAMILIES
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter
from icrl.envs.kit.simple_policies import ZeroAction
from icrl.errors import DatasetError, FamilyError, UsageError
from icrl.store import HistoryStore
from icrl.tasks import Split, Task


class Pictures(GymnasiumFamily):
    """A family whose shapes a test draws."""

    name, source, version = "pictures", "a test", 1
    horizon = 7
    parameters = {"k": Parameter("reward", low=0.0, high=5.0, default=0.0)}  # noqa: RUF012
    shape = (2, 3)
    actions = gym.spaces.Discrete(3)

    def make_env(self):
        family = self

        class Env(gym.Env):
            observation_space = gym.spaces.Box(-1.0, 1.0, family.shape, np.float32)
            action_space = family.actions
            k = 0.0

            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                return self.np_random.uniform(-1, 1, family.shape).astype(np.float32), {}

            def step(self, action):
                return self.np_random.uniform(-1, 1, family.shape).astype(np.float32), self.k, False, False, {}

        return Env()

    def apply(self, env, params):
        env.k = params["k"]


@pytest.fixture
def pictures(monkeypatch):
    monkeypatch.setitem(FAMILIES._entries, "pictures", Pictures)
    for slow in ("take", "about"):  # What is written down of the family besides is no part of these tests.
        monkeypatch.setattr(f"icrl.data_gen.plan.{slow}", lambda *of: None)
    return Pictures


def test_shards_hold_what_a_shard_can(pictures, monkeypatch, tmp_path):
    """Kills: hours of recording that no shard can hold, or that no memory does; a history in two shards or in none."""
    monkeypatch.setattr(pictures, "anchors", lambda self, tasks: None)
    monkeypatch.setattr("icrl.data_gen.plan._told", lambda *of: [])
    monkeypatch.setattr("icrl.data_gen.plan.about", lambda family, tasks: {})
    monkeypatch.setattr("icrl.data_gen.plan.take", lambda family, split: {})
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        shape = tuple(rng.integers(1, 50, rng.integers(0, 4)).tolist())
        monkeypatch.setattr(pictures, "shape", shape)
        monkeypatch.setattr(pictures, "horizon", int(10 ** rng.uniform(0, 4)))
        episodes = int(rng.integers(2, 400))
        config = GenerateConfig(
            family="pictures",
            family_options={"train": 200},
            learner="random",
            episodes=episodes,
            keep_every=int(rng.integers(1, min(episodes, 9))),
            histories_per_task=int(rng.integers(1, 6)),
            histories_per_shard=int(rng.integers(1, 1000)),
        )
        steps = -(-episodes // config.keep_every) * pictures.horizon
        if steps * np.prod(shape) >= 2**31:
            refused += 1
            with pytest.raises(UsageError, match="lower episodes or raise keep_every"):
                make_plan(config, tmp_path / "data")
            continue
        shards = make_plan(config, tmp_path / "data").shards
        in_order = [history for shard in range(len(shards)) for history in shards.histories(shard)]
        assert in_order == list(range(200 * config.histories_per_task))
        assert 1 <= shards.per_shard <= config.histories_per_shard
        assert shards.per_shard * steps * np.prod(shape, dtype=int) < 2**31
        # Four bytes a number, and 15 for the action, the reward, two flags and two counts.
        bytes_each = steps * (4 * int(np.prod(shape)) + 15)
        assert shards.per_shard == 1 or shards.per_shard * bytes_each <= 2**30
        if shards.per_shard < config.histories_per_shard:
            assert (shards.per_shard + 2) * bytes_each * 2 > 2**30, "smaller than it need be"
    assert refused


@pytest.mark.parametrize(
    ("preset", "options", "per_shard"),
    [
        ("dark-room-q-learning", {"size": 4, "horizon": 2, "validation": 3, "test": 4}, 4),
        ("bandit-thompson", {"train": 9}, 1),
    ],
)
def test_shards_are_no_larger_than_planned(preset, options, per_shard, tmp_path):
    """Kills: "at most" of the numbers alone, which short histories and small shards exceed."""
    sizes = {"episodes": 2, "keep_every": 1, "histories_per_shard": per_shard}
    config = load_config(GenerateConfig, preset, {"family_options": options, **sizes})
    most = make_plan(config, tmp_path / "data").bytes_at_most
    made = sum(path.stat().st_size for path in generate(config, tmp_path / "data", workers=1).glob("*.arrow"))
    assert 0.2 * most < made <= most


def test_small_shards_hold_the_same_histories(pictures, monkeypatch, tmp_path, capsys):
    """Kills: histories that depend on the size of their shard; a plan that the recording does not keep to."""
    values = {"family": "pictures", "learner": "random", "episodes": 3, "family_options": {"train": 5}, "workers": 1}
    whole = HistoryStore.open(generate(GenerateConfig(**values), tmp_path / "whole"))
    monkeypatch.setattr("icrl.data_gen.plan.LARGEST_LIST", 2 * 3 * 7 * 6)
    capsys.readouterr()
    generate(GenerateConfig(**values), tmp_path / "parts", dry_run=True)
    assert "in 3 shards of 2 histories\n             rather than 500" in capsys.readouterr().out
    parts = HistoryStore.open(generate(GenerateConfig(**values), tmp_path / "parts"))
    assert len(list((tmp_path / "parts").glob("data-*.arrow"))) == 3
    for index in range(5):
        assert np.array_equal(whole.history(index).observations, parts.history(index).observations)
    (tmp_path / "parts" / "state.json").unlink()
    monkeypatch.undo()
    monkeypatch.setitem(FAMILIES._entries, "pictures", Pictures)
    with pytest.raises(UsageError, match="was recorded by another release"):
        generate(GenerateConfig(**values), tmp_path / "parts", resume=True)


def test_a_dry_run_refuses_what_the_recording_would(pictures, monkeypatch, tmp_path):
    """Kills: a dry run that promises what the real one refuses; a refusal that leaves a folder behind."""
    base = {"family": "pictures", "learner": "random", "episodes": 3, "family_options": {"train": 5}, "workers": 1}

    def unmeasured(self, tasks):
        raise NotImplementedError

    def full(path):
        return SimpleNamespace(free=1000)

    faults = [
        ({"learner": "optimal"}, None, UsageError),
        ({"learner": "q-learning"}, None, UsageError),
        ({"split": "tset"}, None, UsageError),
        ({"family_options": {"train": 5, "validation": 0}, "split": "validation"}, None, UsageError),
        ({"episodes": 10**9}, None, UsageError),
        ({"histories_per_task": 10**9}, None, DatasetError),
        ({}, (Pictures, "anchors", unmeasured), FamilyError),
        ({}, (Pictures, "horizon", 10**12), FamilyError),
        ({"episodes": 10**10, "keep_every": 10**9}, None, FamilyError),
        ({}, (Pictures, "version", "1.0"), FamilyError),
        (
            {},
            (Pictures, "split", lambda self, seed: Split(seed, (Task(-1, {}),), (), (Task(1, {"k": 1.0}),))),
            FamilyError,
        ),
        ({}, (Pictures, "split", lambda self, seed: Split(seed, (Task(0, {"k": {1, 2}}),), (), ())), FamilyError),
        ({}, (Pictures, "split", lambda self, seed: Split(seed, (Task(0, {"k": np.nan}),), (), ())), FamilyError),
        ({}, (Pictures, "split", lambda self, seed: Split(seed, (Task(0, {}), Task(0, {})), (), ())), FamilyError),
        ({}, (shutil, "disk_usage", full), DatasetError),
    ]
    for values, patch, error in faults:
        told = []
        for dry_run in (True, False):
            with monkeypatch.context() as patched:
                if patch:
                    patched.setattr(*patch)
                with pytest.raises(error) as caught:
                    generate(GenerateConfig(**{**base, **values}), tmp_path / "data", dry_run=dry_run)
            told.append(str(caught.value))
            assert not (tmp_path / "data").exists()
        assert told[0] == told[1]
        assert "\n" not in told[0]


def test_advice_is_of_learners_that_can_learn_the_family(pictures, monkeypatch, tmp_path):
    """Kills: `ucb1` on continuous actions that advises q-learning, which refuses; unbounded actions that are recorded
    and can never be evaluated."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(pictures, "reference_policy", lambda self, kind, tasks: ZeroAction(self, tasks), raising=False)
    for _ in range(12):
        high = float(rng.choice([1.0, np.inf]))
        kinds = (("expert",), ())[rng.integers(2)]
        box = gym.spaces.Box(-high, high, (int(rng.integers(1, 4)),), np.float32)
        discrete = rng.random() < 0.4
        monkeypatch.setattr(pictures, "actions", gym.spaces.Discrete(int(rng.integers(1, 9))) if discrete else box)
        monkeypatch.setattr(pictures, "policy_kinds", () if discrete else kinds)

        def told(learner: str) -> str:
            config = GenerateConfig(family="pictures", learner=learner, episodes=3, family_options={"train": 5})
            try:
                generate(config, tmp_path / "data", dry_run=True)
            except UsageError as error:
                return str(error)
            return ""

        for learner in ("ucb1", "q-learning", "noise-distillation", "expert", "optimal", "zero-action", "random"):
            message = told(learner)
            if np.isinf(high) and not discrete:
                assert message, "there is nothing to measure its returns against"
            elif ": choose " in message:
                advice = message.rpartition(": choose ")[2].split(" or ")
                assert not any(told(name) for name in advice)
                assert learner not in advice
            else:
                assert not message
        if not kinds and (discrete or np.isfinite(high)):
            assert "policy_kinds" in told("noise-distillation")
            assert "reference_policy" in told("noise-distillation")
