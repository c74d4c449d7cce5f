"""A roll shows what tasks do: the environment's own answers, the same every time."""

import numpy as np
import pytest

from icrl.behaviour import roll
from icrl.envs import make_family


@pytest.mark.parametrize("name", ["dark-room", "cartpole", "point-robot", "bernoulli-bandit"])
def test_a_roll_is_what_the_environment_says(name):
    """Kills: a roll that is not seeded, or that takes the first observation after an end for the last before it."""
    family = make_family(name)
    tasks = [*family.split(0).train[:2], *family.split(0).test[:2], family.split(0).train[0]]
    steps = min(2 * family.horizon + 3, 60)
    found, again = (roll(family, tasks, steps, seed=3) for _ in range(2))
    env = family.make(tasks, 3, index=[task.id + 2**32 * (place == 4) for place, task in enumerate(tasks)])
    seen, _ = env.reset()
    for t in range(steps):
        np.testing.assert_array_equal(found.observations[t], seen)
        seen, reward, terminated, truncated, info = env.step(found.actions[t])
        np.testing.assert_array_equal(found.rewards[t], reward)
        np.testing.assert_array_equal(found.terminated[t], terminated)
        np.testing.assert_array_equal(found.truncated[t], truncated)
        done = terminated | truncated
        expected = np.where(done.reshape(-1, *[1] * (seen.ndim - 1)), info.get("final_obs", seen), seen)
        np.testing.assert_array_equal(found.reached[t], expected)
    np.testing.assert_array_equal(found.observations[-1], seen)
    np.testing.assert_array_equal(found.actions, again.actions)
    np.testing.assert_array_equal(found.rewards, again.rewards)
    assert len(found.infos) == steps


def test_alike_lanes_differ_by_their_tasks_only():
    """Kills: lanes of one task that part, or lanes of two tasks that part by chance."""
    family = make_family("cartpole")
    one, other = family.split(0).test[:2]
    found = roll(family, [one, one, other], 20, alike=True)
    np.testing.assert_array_equal(found.reached[:, 0], found.reached[:, 1])
    np.testing.assert_array_equal(found.actions[:, 0], found.actions[:, 2])
    assert not np.array_equal(found.reached[:, 0], found.reached[:, 2])


def test_a_roll_that_takes_long_is_cut():
    """Kills: a slow simulator that is stepped for minutes where a few steps are enough."""
    family = make_family("dark-room")
    assert 1 <= len(roll(family, family.split(0).test[:2], 500, seconds=0.0).rewards) < 500
