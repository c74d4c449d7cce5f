"""Locomotion on gymnasium's v5 bodies: published anchors, rewards against the package's own, bodies that differ."""

import time
from functools import partial

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("imageio")  # gymnasium's bodies import it

from icrl.envs import FAMILIES, make_family
from icrl.envs.kit.measured import measured_returns
from icrl.envs.kit.simple_policies import UniformActions, ZeroAction
from icrl.envs.locomotion.family import BothWays, Radius
from icrl.envs.locomotion.rand_params import BASES, COLUMNS
from icrl.errors import UsageError

IDS = {
    "half-cheetah-vel": "HalfCheetah-v5",
    "half-cheetah-vel-maml": "HalfCheetah-v5",
    "half-cheetah-dir": "HalfCheetah-v5",
    "ant-dir": "Ant-v5",
    "ant-goal": "Ant-v5",
    "humanoid-dir": "Humanoid-v5",
    "hopper-rand-params": "Hopper-v5",
    "walker-rand-params": "Walker2d-v5",
}


def defined_reward(name: str, params: dict, action: np.ndarray, reward: float, info: dict) -> float:
    """The reward as docs/families/ states it, from what gymnasium's own environment says of a step."""
    effort = (action.astype(float) ** 2).sum()
    if name.startswith("half-cheetah-vel"):
        return -abs(info["x_velocity"] - params["velocity"]) - 0.05 * effort
    if name == "half-cheetah-dir":
        return params["direction"] * info["x_velocity"] - 0.05 * effort
    if name == "ant-goal":
        x, y = params["radius"] * np.cos(params["angle"]), params["radius"] * np.sin(params["angle"])
        away = abs(info["x_position"] - x) + abs(info["y_position"] - y)
        return -away - 0.1 * effort + info["reward_contact"]
    if name in ("ant-dir", "humanoid-dir"):
        forward = {"ant-dir": 1.0, "humanoid-dir": 1.25}[name] * info["x_velocity"]
        sideways = {"ant-dir": 1.0, "humanoid-dir": 1.25}[name] * info["y_velocity"]
        along = forward * np.cos(params["angle"]) + sideways * np.sin(params["angle"])
        return reward - forward + along
    return reward


def test_every_family_is_tested_here():
    """Kills: a family that is registered and of which nothing is compared with the package."""
    assert {name for name in FAMILIES if FAMILIES.extra(name) == "mujoco"} == set(IDS)


@pytest.mark.parametrize("name", IDS)
def test_a_step_is_that_of_the_packages_environment(name):
    """Kills: a body, an observation, an end or a start that is not v5's; a reward other than the definition's."""
    family = make_family(name)
    task = family.split(0).test[3]
    env = family.make([task], seed=1)
    peer = gym.make(IDS[name], disable_env_checker=True, **family.body_options).unwrapped
    family.apply(peer, task.params)
    seen, _ = peer.reset(seed=int(env.streams.keys[0] >> np.uint64(33)))
    observations, _ = env.reset()
    np.testing.assert_array_equal(observations[0], seen.astype(np.float32))
    ends = 0
    space = family.action_space
    for action in np.random.default_rng(0).uniform(space.low, space.high, (230, *space.shape)).astype(np.float32):
        observations, rewards, terminated, truncated, info = env.step(action[None])
        seen, reward, ended, _, told = peer.step(action)
        assert rewards[0] == pytest.approx(defined_reward(name, task.params, action, reward, told), abs=1e-5)
        assert terminated[0] == ended
        if terminated[0] or truncated[0]:
            np.testing.assert_array_equal(info["final_obs"][0], seen.astype(np.float32))
            seen, _ = peer.reset()
            ends += 1
        np.testing.assert_array_equal(observations[0], seen.astype(np.float32))
    assert ends >= 1


@pytest.mark.parametrize(
    ("name", "zero", "random"), [("half-cheetah-vel", -314, -333), ("half-cheetah-vel-maml", -214, -245)]
)
def test_the_published_anchors_of_200_steps(name, zero, random):
    """Kills: a speed drawn from another range, a missing control cost, a reward per second.

    A body that stands earns −200 |g|, over speeds from 0 to h therefore −100 h. The published figures are means over
    some drawn tasks: they must lie within two standard errors of 20 tasks of the mean over all speeds.
    """
    family = make_family(name)
    assert family.horizon == 200
    tasks = family.split(0).train[:60]
    speed, high = family.values("velocity", tasks), family.parameters["velocity"].high
    for policy, published in ((ZeroAction, zero), (UniformActions, random)):
        returns = measured_returns(family, tasks, partial(policy, family), 1)[:, 0]
        line = np.polynomial.Polynomial.fit(speed, returns, 2)
        mean = (line.integ()(high) - line.integ()(0.0)) / high
        if policy is ZeroAction:
            assert returns == pytest.approx(-200 * speed, abs=4)
            assert mean == pytest.approx(-100 * high, abs=1.5)
        spread = np.std(line(np.linspace(0, high, 101))) + np.std(returns - line(speed))
        assert abs(mean - published) < 2 * spread / np.sqrt(20)


def test_the_random_anchor_is_that_of_the_packages_environment():
    """Kills: random actions from another range or another distribution than the space's own samples."""
    env = gym.make("HalfCheetah-v5", disable_env_checker=True).unwrapped
    env.action_space.seed(0)
    speed = np.linspace(0.0, 3.0, 31)
    returns = np.zeros((25, 31))
    for episode in range(25):
        env.reset(seed=episode)
        for _ in range(200):
            action = env.action_space.sample()
            velocity = env.step(action)[-1]["x_velocity"]
            returns[episode] -= np.abs(velocity - speed) + 0.05 * (action.astype(float) ** 2).sum()
    family = make_family("half-cheetah-vel")
    tasks = family.split(0).train[:50]
    ours = measured_returns(family, tasks, partial(UniformActions, family), 1)[:, 0]
    difference = ours - np.interp(family.values("velocity", tasks), speed, returns.mean(axis=0))
    error = np.hypot(difference.std() / np.sqrt(50), returns.mean(axis=1).std() / np.sqrt(25))
    assert abs(difference.mean()) < 4 * error


def test_anchors_are_measured_and_claim_no_optimum():
    """Kills: the reward's upper bound 0 passed off as an optimum, which a body that has to speed up cannot reach."""
    family = make_family("half-cheetah-vel", horizon=20)
    tasks = family.split(0).test[:2]
    anchors = family.anchors(tasks)
    assert anchors.measured
    assert not anchors.known
    assert (anchors.zero_action > anchors.random).all()
    assert np.array_equal(anchors.random, family.anchors(tasks).random)


@pytest.mark.parametrize("name", ["hopper-rand-params", "walker-rand-params"])
def test_bodies_differ_as_their_parameters_say(name):
    """Kills: parameters that reach the model not at all, all at once, or twice; one task's body left to the next."""
    family = make_family(name)
    one, two = family.split(0).test[:2]
    original = gym.make(IDS[name], disable_env_checker=True).unwrapped.model
    env = family.make_env()
    for task in (two, one):
        family.apply(env, task.params)
    for key, column in COLUMNS.items():
        base, found = getattr(original, column), getattr(env.model, column)
        assert np.array_equal(found, base * BASES[key] ** np.reshape(one.params[key], base.shape))
        assert len(set(np.ravel(one.params[key]))) == base.size
        assert 2.9 < np.max([np.abs(task.params[key]).max() for task in family.split(0).train]) <= 3
    # What MuJoCo derives from the masses follows them.
    assert env.model.body_subtreemass[0] == pytest.approx(env.model.body_mass.sum())
    beyond = family.split(0).ood["extrapolation"][0].params
    for exponents in beyond.values():
        assert (np.abs(exponents) >= 3).all()
        assert (np.abs(exponents) <= 4).all()
    assert min(map(min, beyond.values())) < 0 < max(map(max, beyond.values()))


@pytest.mark.parametrize("name", ["hopper-rand-params", "ant-dir"])
def test_the_default_body_is_v5s_bit_for_bit(name):
    """Kills: a body that comes back from a task with other last bits, or other derived numbers, than it had."""
    family = make_family(name)
    original = gym.make(IDS[name], disable_env_checker=True).unwrapped.model
    env = family.make_env()
    family.apply(env, (family.split(0).ood.get("extrapolation") or family.split(0).ood["heavier"])[0].params)
    assert not np.array_equal(env.model.body_mass, original.body_mass)
    held = {key: np.zeros(getattr(original, column).size).tolist() for key, column in COLUMNS.items()}
    family.apply(env, held if name == "hopper-rand-params" else {"angle": 1.0})
    for column in dir(original):
        if isinstance(value := getattr(original, column), np.ndarray):
            assert np.array_equal(getattr(env.model, column), value, equal_nan=value.dtype.kind == "f"), column


def test_the_heavier_body_is_heavier_and_the_same_otherwise():
    """Kills: an out-of-distribution set that is the distribution, or that changes the reward as well."""
    family = make_family("half-cheetah-vel")
    split = family.split(0)
    usual, heavy = family.make([split.test[0], split.ood["heavier"][0]], seed=0).envs
    assert np.array_equal(heavy.model.body_mass, 1.5 * usual.model.body_mass)
    assert np.array_equal(heavy.model.body_inertia, 1.5 * usual.model.body_inertia)
    assert np.array_equal(heavy.model.geom_friction, usual.model.geom_friction)
    assert all(0 <= task.params["velocity"] <= 3 for task in split.ood["heavier"])
    assert all(3 <= task.params["velocity"] <= 4 for task in split.ood["extrapolation"])


def test_the_ants_two_papers_tasks_are_opposite():
    """Kills: directions 1 and -1 that are taken for radians, as in released code: a right angle and a bit apart."""
    family = make_family("ant-dir")
    ahead, back = (task.params for task in family.split(0).ood["forward-back"])
    told = {name: np.zeros(1) for name in family.told} | {"x_velocity": np.ones(1), "y_velocity": np.zeros(1)}
    along = [family.rewards({"angle": np.array([p["angle"]])}, np.zeros((1, 8)), told)[0] for p in (ahead, back)]
    assert along == pytest.approx([1.0, -1.0])


def test_directions_of_the_cheetah():
    """Kills: a split that trains on the tasks it tests on; one direction drawn more often; a weight near 0."""
    family = make_family("half-cheetah-dir", train=2000)
    split = family.split(0)
    weight = family.values("direction", split.train)
    assert abs((weight > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(2000)
    assert np.abs(weight).min() >= 0.5
    assert np.abs(weight).max() <= 1.5
    assert [task.params for task in split.ood["forward-back"]] == [{"direction": 1.0}, {"direction": -1.0}]
    beyond = family.values("direction", split.ood["extrapolation"])
    assert (np.abs(beyond) >= 1.5).all()
    assert set(np.sign(beyond)) == {-1.0, 1.0}


def test_how_parameters_are_drawn():
    """Kills: goals that crowd in the middle of the disc; a size that depends on the sign."""
    u = (np.arange(10_000) + 0.5) / 10_000
    radius = Radius("reward", 0.0, 3.0, default=0.0, beyond=(3.0, 4.0))
    assert np.mean(radius.at(u) < 1.5) == pytest.approx(0.25, abs=1e-3)
    assert np.mean(radius.beyond_at(u) ** 2 < 12.5) == pytest.approx(0.5, abs=1e-3)
    both = BothWays("reward", 0.5, 1.5, default=1.0, beyond=(1.5, 2.5)).at(u)
    assert np.mean(both) == pytest.approx(0.0, abs=1e-9)
    assert np.mean(np.abs(both)) == pytest.approx(1.0, abs=1e-3)


def test_a_hole_of_directions():
    """Kills: an unseen angle that was trained on."""
    family = make_family("ant-dir", hole=0.25, train=50)
    split = family.split(0)
    away = {name: np.abs(family.values("angle", split.named(name)) - np.pi) for name in ("train", "test", "hole")}
    assert min(away["train"].min(), away["test"].min()) > np.pi / 4 >= away["hole"].max()


@pytest.mark.parametrize("name", IDS)
def test_the_start_can_be_held(name):
    """Kills: `hold` that changes nothing, or that changes the tasks as well."""
    free, held = make_family(name), make_family(name, hold=["start"])
    tasks = held.split(0).test[:3]
    assert tasks == free.split(0).test[:3]
    observations, _ = held.make(tasks, seed=0).reset()
    assert (observations == observations[0]).all()
    observations, _ = free.make(tasks, seed=0).reset()
    assert (observations[0] != observations[1]).any()


def test_wrong_options_are_refused():
    """Kills: a family of one task; a hole that no task is in; an episode without steps."""
    with pytest.raises(UsageError, match="leaves one task"):
        make_family("hopper-rand-params", hold=["dynamics"])
    with pytest.raises(UsageError, match="leaves one task"):
        make_family("ant-goal", hold="reward")
    with pytest.raises(UsageError, match="no hole"):
        make_family("walker-rand-params", hole=0.2)
    with pytest.raises(UsageError, match="horizon=0"):
        make_family("ant-dir", horizon=0)


def test_two_hundred_lanes_come_up_in_seconds():
    """Kills: a body that is compiled at length for every lane."""
    family = make_family("humanoid-dir", test=200)
    tasks = family.split(0).test
    start = time.process_time()
    family.make(tasks, seed=0).reset()
    assert time.process_time() - start < 10
