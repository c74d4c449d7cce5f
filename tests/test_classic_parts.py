"""What classic control is made of: ranges with a gap, and the cart's regulator against Riccati's iteration."""

import numpy as np
import pytest

from icrl.envs import make_family
from icrl.envs.classic.cartpole import COSTS, PUSH_COST, SECONDS_A_STEP, _regulator
from icrl.envs.classic.family import GappedParameter
from icrl.tasks import Task


def test_a_range_with_a_gap():
    """Kills: a number from the gap, a side that is never drawn."""
    parameter = GappedParameter("reward", -2.0, 4.0, default=0.0, gap=(-1.0, 3.0))
    np.testing.assert_allclose(parameter.at(np.array([0, 0.25, 0.5, 0.75, 1.0])), [-2, -1.5, 3, 3.5, 4])


def test_the_regulator_is_the_fixed_point_of_riccatis_iteration():
    """Kills: a slip in the doubling or in the linearised cart."""
    number = np.array([[0.5, 0.1, 10.0, 9.8], [0.25, 0.5, 15.0, 7.0]])
    for (length, pole_mass, force, gravity), gain in zip(number, _regulator(*number.T), strict=True):
        family = make_family("cartpole")
        params = {"length": length, "pole_mass": pole_mass, "force": force, "gravity": gravity}
        env = family.make([Task(0, family.split(0).test[0].params | params)] * 10, seed=0)
        env.reset()
        small = 1e-6 * np.concatenate((np.eye(4), -np.eye(4), np.zeros((2, 4))))
        env._state_4N = small.T.copy()
        env._advance(np.array([0] * 8 + [0, 1]))
        moved = env._state_4N.T
        step = (moved[:4] - moved[4:8]).T / 2e-6
        push = (moved[9] - moved[8])[:, None] / 2
        cost = np.diag(COSTS)
        for _ in range(20_000):
            by = push.T @ cost @ step / (PUSH_COST + push.T @ cost @ push)
            cost = np.diag(COSTS) + step.T @ cost @ (step - push @ by)
        assert step[0, 1] == pytest.approx(SECONDS_A_STEP)
        np.testing.assert_allclose(gain, by[0], rtol=1e-4)
