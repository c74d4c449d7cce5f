"""Locomotion on gymnasium's v5 bodies: published anchors, rewards against the body's own, bodies that differ."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("mujoco")

from icrl.envs import make_family
from icrl.envs.measured import measured_returns
from icrl.envs.simple_policies import UniformActions, ZeroAction
from icrl.errors import UsageError


@pytest.mark.parametrize(
    ("name", "zero", "random"), [("half-cheetah-vel", -314, -333), ("half-cheetah-vel-maml", -214, -245)]
)
def test_anchors_of_200_steps_are_the_published_ones(name, zero, random):
    """Kills: a speed drawn from another range, a missing control cost, a reward per second.

    A body that stands earns −200 |g|, so its mean over speeds from 0 to h is −100 h. The published figures are means
    over a few tasks: they lie within two standard errors of 20 tasks of it.
    """
    family = make_family(name, horizon=200)
    tasks = family.split(0).train[:60]
    speed, high = family.values("velocity", tasks), family.parameters["velocity"].high
    for policy, published, exact in ((ZeroAction, zero, -100 * high), (UniformActions, random, None)):
        returns = measured_returns(family, tasks, lambda lanes, streams: policy(family, lanes, streams), 1)[:, 0]  # noqa: B023
        line = np.polyfit(speed, returns, 1)
        mean = np.polyval(line, high / 2)
        spread = abs(line[0]) * high / np.sqrt(12)
        if exact is not None:
            assert mean == pytest.approx(exact, abs=2)
        assert mean == pytest.approx(published, abs=2 * spread / np.sqrt(20))


def test_rewards_are_those_of_the_definition():
    """Kills: the velocity of another axis, a cost that is subtracted twice, v5's forward reward left in."""
    for name, body in (("half-cheetah-vel", "HalfCheetah-v5"), ("ant-dir", "Ant-v5"), ("ant-goal", "Ant-v5")):
        family = make_family(name)
        task = family.split(0).test[0]
        env = family.make([task], seed=1)
        env.reset()
        peer = gym.make(body, disable_env_checker=True, **family.body_options).unwrapped
        peer.reset(seed=int(env.streams.keys[0] >> np.uint64(33)))
        for action in np.random.default_rng(0).uniform(-1, 1, (20, *family.action_space.shape)).astype(np.float32):
            observation, reward, *_ = env.step(action[None])
            seen, _, ended, _, info = peer.step(action)
            if ended:
                break
            np.testing.assert_array_equal(observation[0], seen.astype(np.float32))
            if name == "half-cheetah-vel":
                expected = (
                    -abs(info["x_velocity"] - task.params["velocity"]) - 0.05 * (action.astype(float) ** 2).sum()
                )
            elif name == "ant-dir":
                angle = task.params["angle"]
                along = info["x_velocity"] * np.cos(angle) + info["y_velocity"] * np.sin(angle)
                expected = along + info["reward_survive"] + info["reward_ctrl"] + info["reward_contact"]
            else:
                x, y = family.goal(task.params)
                away = abs(info["x_position"] - x) + abs(info["y_position"] - y)
                expected = -away - 0.1 * (action.astype(float) ** 2).sum() + info["reward_contact"]
            assert reward[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["hopper-rand-params", "walker-rand-params"])
def test_bodies_differ_as_their_parameters_say(name):
    """Kills: parameters that reach the model not at all, all at once, or twice; a held body that is not v5's."""
    family = make_family(name)
    one, two = family.split(0).test[:2]
    original = gym.make(family.body, disable_env_checker=True).unwrapped.model
    first, second = (env.unwrapped.model for env in family.make([one, two], seed=0).envs)
    for key, column in family.columns.items():
        base = getattr(original, column)
        factors = family.bases[key] ** np.reshape(one.params[key], base.shape)
        np.testing.assert_allclose(getattr(first, column), base * factors, rtol=1e-12)
        assert not np.allclose(getattr(first, column), getattr(second, column))
        assert np.abs(one.params[key]).max() <= 3
    beyond = np.abs(family.split(0).ood["extrapolation"][0].params["mass"])
    assert (beyond >= 3).all()
    assert (beyond <= 4).all()
    with pytest.raises(UsageError, match="one"):
        make_family(name, hold=["dynamics"])
    with pytest.raises(UsageError, match="no hole"):
        make_family(name, hole=0.2)


def test_start_can_be_held_and_the_heavier_body_is():
    """Kills: `hold` that changes nothing; an out-of-distribution set that is the distribution."""
    family = make_family("half-cheetah-vel", hold=["start"])
    observations, _ = family.make(family.split(0).test[:3], seed=0).reset()
    assert (observations == observations[0]).all()
    free = make_family("half-cheetah-vel")
    observations, _ = free.make(free.split(0).test[:3], seed=0).reset()
    assert (observations[0] != observations[1]).any()
    split = free.split(0)
    usual, heavy = free.make([split.test[0], split.ood["heavier"][0]], seed=0).envs
    np.testing.assert_allclose(heavy.unwrapped.model.body_mass, 1.5 * usual.unwrapped.model.body_mass)
