"""Each kind of space from an environment to an evaluation, as small as can be; and that what is learned is learned."""

import json

import gymnasium as gym
import numpy as np
import pytest

import icrl
from icrl.data_gen.config import GenerateConfig
from icrl.models.agent import load_agent
from icrl.store import HistoryStore
from tests.drawn_spaces import batch, same, samples

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
            {"at": S.Box(-1, 1, (2,)), "see": S.Box(0, 255, (6, 6), np.uint8), "in": S.Dict({"hand": S.Discrete(3)})}
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
    from icrl.envs import make_family

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
