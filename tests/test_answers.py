"""What a `BatchedEnv` of a user's own answers, and what his policies play: taken as it is, or one line."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from icrl.data_gen.record import record_histories
from icrl.envs import make_family
from icrl.envs.kit.base import BatchedEnv
from icrl.errors import FamilyError

S = gym.spaces
WIDE = S.Box(-np.inf, np.inf, (1,))


class Told(BatchedEnv):
    """Shows and tells what functions of the step and the number of lanes give."""

    def __init__(self, family, tasks, seed, index, answers):
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self.t, self.told = (
            0,
            {"seen": lambda t, n: np.zeros((n, 1)), "ends": lambda t, n: np.zeros(n, bool)} | answers,
        )

    def _start(self, lanes):
        pass

    def _advance(self, actions):
        self.t += 1
        return np.ones(self.num_envs), self.told["ends"](self.t, self.num_envs)

    def _observe(self):
        return self.told["seen"](self.t, self.num_envs)

    def step(self, actions):
        *arrays, info = super().step(actions)
        if "final" in self.told and "final_obs" in info:
            info = info | {"final_obs": self.told["final"](self.t, self.num_envs)}
        return *arrays, info


def recorded(space=WIDE, actions=None, learner="random", plays=None, **answers):
    """Histories of four tasks; a reference policy plays what `plays(t, n)` gives."""
    family = make_family("dark-room")
    family.observation_space, family.horizon, steps = space, 6, iter(range(99))
    family.action_space = actions or family.action_space
    family.make = lambda tasks, seed, index=None: Told(family, tasks, seed, index, answers)
    policy = SimpleNamespace(act=lambda seen: plays(next(steps), len(seen)), observe=lambda *answer: None)
    family.reference_policy = lambda kind, tasks: policy
    return record_histories(family, family.split(0).train[:4], learner, {}, episodes=2)


@pytest.mark.parametrize("ends", [0.0, np.nan, 2, "False", None, 1j], ids=repr)
def test_the_end_of_an_episode_is_a_boolean(ends):
    """Kills: flags of floats or strings that end in NumPy's TypeError."""
    with pytest.raises(FamilyError, match=r"Told gives terminated = \[.*: expected a boolean for each lane"):
        recorded(ends=lambda t, n: np.array([ends] * n))
    whole = recorded(ends=lambda t, n: [t % 3 == 0] * n)
    assert [history.terminated.tolist() for history in whole] == [[False, False, True] * 2] * 4
    assert (recorded(ends=lambda t, n: np.full(n, int(t == 2)))[0].terminated == [0, 1, 0, 0, 0, 0, 0, 0]).all()


@pytest.mark.parametrize("final", [None, 0.0, np.zeros((3, 1)), np.full((4, 1), np.nan), np.full((4, 2), 0.0)])
def test_a_last_observation_is_one_for_each_lane(final):
    """Kills: an IndexError; a last observation that training reads as that of another lane."""
    with pytest.raises(FamilyError, match=r"dark-room, task \d+ .*, step 6: (final_obs|the observation) .*expected"):
        recorded(final=lambda t, n: final)


def test_differences_that_a_box_of_float32_loses_are_kept_or_refused():
    """Kills: a clock in doubles that stands still where an environment of one's own shows it."""
    rng = np.random.default_rng(3)
    for _ in range(12):
        offset, step = 10.0 ** rng.uniform(8, 10), 10.0 ** rng.uniform(-1, 0)
        clock = {"seen": lambda t, n, a=offset, b=step: np.full((n, 1), a + b * t)}
        with pytest.raises(FamilyError, match="observations are kept as float32, which does not hold the differences"):
            recorded(**clock)
        kept = recorded(S.Box(-np.inf, np.inf, (1,), np.float64), **clock)[0].observations[:6, 0]
        assert kept.tolist() == (offset + step * np.arange(6)).tolist()
        small = recorded(seen=lambda t, n, b=step: np.full((n, 1), b * t))[0].observations[:6, 0]
        assert np.allclose(small, step * np.arange(6))


@pytest.mark.parametrize(
    "space", [S.Discrete(5), S.Box(-1, 1, (2,)), S.Box(-3, 3, (2,), np.int16)], ids=["Discrete", "Box", "integers"]
)
def test_what_a_policy_plays_is_an_action_or_one_line(space):
    """Kills: an expert's NaN, text or list as a traceback, in the middle of a recording."""
    rng, shape = np.random.default_rng(5), space.shape
    wrong = ["1", 1j, None, *([7, -1, 0.5] if isinstance(space, S.Discrete) else [np.nan, np.inf])]
    for value in wrong:
        late = int(rng.integers(0, 7))

        def plays(t, n, late=late, value=value):
            return np.full((n, *shape), value if t >= late else 0)

        with pytest.raises(FamilyError, match=r"dark-room, as NoiseDistillation plays it: .*(expected|is not in)"):
            recorded(actions=space, learner="noise-distillation", plays=plays)
    whole = recorded(
        actions=space, learner="noise-distillation", plays=lambda t, n: np.ones((n, *shape), int).tolist()
    )
    assert all(space.contains(action) for action in whole[0].actions.astype(space.dtype))
