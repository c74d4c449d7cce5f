"""Classic control against gymnasium's own environments, step for step, and its experts against known returns."""

import gymnasium as gym
import numpy as np
import pytest

from icrl.envs import make_family
from icrl.envs.classic.mountain_car import VALLEY, arrived, rolled
from icrl.envs.kit.episodes import policy_history, uniform_policy
from icrl.envs.kit.measured import measured_returns
from icrl.envs.kit.simple_policies import UniformActions, ZeroAction
from icrl.tasks import Task

GYMNASIUM = {
    "cartpole": "CartPole-v1",
    "pendulum": "Pendulum-v1",
    "acrobot": "Acrobot-v1",
    "mountain-car": "MountainCar-v0",
}
NAMES = list(GYMNASIUM)


def default_task(family, **params) -> Task:
    """Gymnasium's own task, but for the parameters given."""
    return Task(0, {name: parameter.default for name, parameter in family.parameters.items()} | params)


def state_of(name: str, env, lane: int) -> np.ndarray:
    if name in ("cartpole", "acrobot"):
        return env._state_4N[:, lane].copy()
    if name == "pendulum":
        return np.array([env._angle_N[lane], env._speed_N[lane]])
    return np.array([env._position_N[lane], env._velocity_N[lane]])


def peer_of(name: str, params: dict) -> gym.Env:
    """Gymnasium's environment with its attributes set to a task's dynamics."""
    peer = gym.make(GYMNASIUM[name])
    inner = peer.unwrapped
    if name == "cartpole":
        inner.length, inner.masspole = params["length"], params["pole_mass"]
        inner.force_mag, inner.gravity = params["force"], params["gravity"]
        inner.total_mass = inner.masspole + inner.masscart
        inner.polemass_length = inner.masspole * inner.length
    elif name == "pendulum":
        inner.l, inner.m, inner.g = params["length"], params["mass"], params["gravity"]
    elif name == "mountain-car":
        inner.force, inner.gravity = params["force"], params["gravity"]
    else:
        inner.LINK_LENGTH_1, inner.LINK_LENGTH_2 = params["length_1"], params["length_2"]
        inner.LINK_COM_POS_1, inner.LINK_COM_POS_2 = params["length_1"] / 2, params["length_2"] / 2
        inner.LINK_MASS_1, inner.LINK_MASS_2, inner.LINK_MOI = params["mass_1"], params["mass_2"], params["inertia"]
    peer.reset(seed=0)
    return peer


@pytest.mark.parametrize("name", NAMES)
def test_spaces_and_horizons_are_gymnasiums(name):
    """Kills: another bound of a feature, an episode cut at another step."""
    family, peer = make_family(name), gym.make(GYMNASIUM[name])
    assert family.observation_space == peer.observation_space
    assert family.action_space == peer.action_space
    assert family.horizon == peer.spec.max_episode_steps


@pytest.mark.parametrize("drawn", [False, True], ids=["defaults", "drawn dynamics"])
@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_gymnasiums(name, drawn):
    """Kills: another integrator, a parameter wired to the wrong term, a reward of the wrong side of a step, a missed
    end, a final observation of the next episode. Thousands of steps from the same states under the same actions."""
    family = make_family(name, hold=["reward", "observation", "start"])
    tasks = family.split(0).test[:4] if drawn else [default_task(family)] * 4
    # With other links, gymnasium measures the height as if they were of length 1.
    ends_alike = not (drawn and name == "acrobot")
    env, policy = family.make(tasks, seed=3), uniform_policy(family, tasks, 1)
    peers = [peer_of(name, task.params) for task in tasks]
    env.reset()
    for lane, peer in enumerate(peers):
        peer.unwrapped.state = state_of(name, env, lane)
    ended = 0
    for step in range(1000):
        actions = policy.act(None)
        if step % 20 >= 10 and name in ("acrobot", "mountain-car"):
            actions[:] = 2 * ((step // 20) % 2)
        observations, rewards, terminated, truncated, info = env.step(actions)
        for lane, peer in enumerate(peers):
            action = actions[lane] if name == "pendulum" else int(actions[lane])
            seen, reward, over, cut, _ = peer.step(action)
            done = terminated[lane] or truncated[lane]
            found = info["final_obs"][lane] if done else observations[lane]
            np.testing.assert_allclose(found, seen, rtol=1e-6, atol=1e-6)
            assert truncated[lane] == cut or not ends_alike
            assert terminated[lane] == over or not ends_alike
            assert rewards[lane] == pytest.approx(reward, rel=1e-6, abs=1e-7) or not ends_alike
            ended += done
            if done or over or cut:
                peer.reset()
            # Acrobot is chaotic: a last bit would grow. The others are left to run.
            if done or over or cut or name == "acrobot":
                peer.unwrapped.state = state_of(name, env, lane)
    assert ended >= 4


def test_acrobot_runs_beside_gymnasiums_for_a_while():
    """Kills: an error of every step that setting the state anew would hide."""
    family = make_family("acrobot")
    task = default_task(family)
    env, policy, peer = family.make([task], seed=5), uniform_policy(family, [task], 2), gym.make("Acrobot-v1")
    env.reset()
    peer.reset(seed=0)
    peer.unwrapped.state = state_of("acrobot", env, 0)
    for _ in range(150):
        action = policy.act(None)
        np.testing.assert_allclose(env.step(action)[0][0], peer.step(int(action[0]))[0], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_starts_are_drawn_as_in_gymnasium_and_moved_by_the_start_axis(name):
    """Kills: another distribution of starts, one start for all episodes, a shift of the wrong number."""
    family = make_family(name, hold=["reward", "dynamics", "observation"])
    lanes, peer = 2000, gym.make(GYMNASIUM[name])
    starts = family.make([default_task(family)] * lanes, seed=0).reset()[0]
    expected = np.array([peer.reset(seed=seed)[0] for seed in range(lanes)])
    assert (family.observation_space.low <= starts).all()
    spread = expected.std(axis=0)
    np.testing.assert_allclose(starts.mean(axis=0), expected.mean(axis=0), atol=0.1 * spread.max())
    np.testing.assert_allclose(starts.std(axis=0), spread, rtol=0.06, atol=2e-4)
    np.testing.assert_allclose(starts.min(axis=0), expected.min(axis=0), atol=0.05 * spread.max())
    moved = {
        "cartpole": ({"start_position": 0.7, "start_angle": 0.03}, [0.7, 0.0, 0.03, 0.0], 0.05),
        "pendulum": ({"start_angle": 1.0, "start_spread": 0.1}, [np.cos(1.0), np.sin(1.0), 0.0], 1.0),
        "acrobot": ({"start_angle_1": 0.4, "start_angle_2": -0.3},
                    [np.cos(0.4), np.sin(0.4), np.cos(-0.3), np.sin(-0.3), 0, 0], 0.11),
        "mountain-car": ({"start_shift": -0.2}, [-0.7, 0.0], 0.1),
    }  # fmt: skip
    params, centre, half = moved[name]
    starts = family.make([default_task(family, **params)] * lanes, seed=0).reset()[0]
    assert (np.abs(starts - centre) <= half + 1e-6).all()


def test_the_plain_family_varies_dynamics_and_reward():
    """Kills: gains or moved starts that nobody asked for; an axis that cannot be freed or held."""
    for name in NAMES:
        plain, all_four = make_family(name), make_family(name, hold=[])
        assert plain.axes == ("reward", "dynamics")
        assert all_four.axes == ("reward", "dynamics", "observation", "start")
        for parameter, value in plain.split(0).test[0].params.items():
            held = plain.parameters[parameter].axis not in plain.axes
            assert (value == plain.parameters[parameter].default) == held, parameter
        assert "extrapolation" in plain.ood_sets
        holed = make_family(name, hole=0.2)
        changed = sum(a != b for a, b in zip(holed.split(0).train, plain.split(0).train, strict=True))
        assert changed / plain.num_tasks["train"] == pytest.approx(0.2, abs=0.02)
        assert len(holed.split(0).ood["hole"]) == plain.num_tasks["test"]
        held = make_family(name, hold=["dynamics", "observation", "start"])
        assert {plain.parameters[key].axis for key in held.varied} == {"reward"}


@pytest.mark.parametrize("name", NAMES)
def test_gains_are_on_what_is_seen_only(name):
    """Kills: a gain that feeds back into the state, on the wrong feature, or of one sign for all tasks."""
    shown, plain = make_family(name, hold=["start"]), make_family(name)
    tasks, same = shown.split(0).test[:50], plain.split(0).test[:50]
    gain_NF = shown.gains(tasks)
    assert (np.abs(gain_NF) >= 0.5).all()
    assert (np.abs(gain_NF) <= 1.5).all()
    assert (gain_NF > 0).mean() == pytest.approx(0.5, abs=0.15)
    env, peer, policy = shown.make(tasks, seed=1), plain.make(same, seed=1), uniform_policy(plain, same, 0)
    np.testing.assert_allclose(env.reset()[0], peer.reset()[0] * gain_NF, rtol=1e-6)
    for _ in range(30):
        action = policy.act(None)
        (found, *rest, _), (expected, *others, _) = env.step(action), peer.step(action)
        np.testing.assert_allclose(found, expected * gain_NF, rtol=1e-6)
        for one, other in zip(rest, others, strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_expert_knows_the_gains_and_its_anchor_the_task_only(name):
    """Kills: an expert blind to a flipped feature; gains or anchors of a lane that depend on its neighbours."""
    shown, plain = make_family(name, hold=["start"]), make_family(name)
    tasks = shown.split(0).test[:40]
    anchors = shown.anchors(tasks)
    # Rounding to float32 after the gain sends a chaotic swing another way: alike on average, not one by one.
    reference = plain.anchors(plain.split(0).test[:40]).optimum
    assert anchors.optimum.mean() == pytest.approx(reference.mean(), rel=0.03)
    few = shown.anchors(tasks[5:7])
    assert np.array_equal(few.optimum, anchors.optimum[5:7])
    assert np.array_equal(few.random, anchors.random[5:7])
    assert (anchors.optimum >= anchors.random).all()
    assert anchors.measured


def test_a_place_on_the_rail_pays_best():
    """Kills: a reward for where the cart was before the step, a negative one, a target that moves the default."""
    family = make_family("cartpole")
    tasks = [default_task(family, target=t, slope=s) for t, s in ((0.5, 0.8), (-1.5, 1.0), (0.5, 0.0))]
    env = family.make(tasks, seed=0)
    env.reset()
    observations, rewards, *_ = env.step(np.array([1, 1, 1]))
    expected = [1 - 0.8 * abs(observations[0, 0] - 0.5), 0.0, 1.0]
    np.testing.assert_allclose(rewards, expected, atol=1e-6)


def test_another_angle_costs_nothing():
    """Kills: a target turned the wrong way round, an error that is not wrapped."""
    family = make_family("pendulum")
    params = {"start_angle": 3.0, "start_spread": 0.0}
    env = family.make([default_task(family, target=t, **params) for t in (3.0, -3.0, 0.0)], seed=0)
    observations, _ = env.reset()
    rewards = env.step(np.zeros((3, 1)))[1]
    speed = observations[:, 2].astype(np.float64)
    np.testing.assert_allclose(-rewards - 0.1 * speed**2, [0.0, (2 * np.pi - 6) ** 2, 9.0], atol=1e-5)


def test_a_goal_on_the_left_hill_ends_the_episode_there():
    """Kills: a goal on the left that is reached from the start, or on the way back."""
    position, velocity = np.array([-0.9, -1.05, -1.05, 0.4]), np.array([-0.01, -0.01, 0.01, 0.05])
    assert arrived(position, velocity, -1.0, -1.0).tolist() == [False, True, False, False]
    assert arrived(position, velocity, 0.35, 1.0).tolist() == [False, False, False, True]
    goals = make_family("mountain-car").values("goal", make_family("mountain-car").split(0).train)
    assert (goals < VALLEY).mean() == pytest.approx(0.5, abs=0.02)
    assert (((goals >= -1.15) & (goals <= -1.0)) | ((goals >= 0.3) & (goals <= 0.55))).all()


def test_the_height_is_that_of_the_tip():
    """Kills: a height that ignores the links' lengths. Hanging links of 0.75 and 1.25 are 2 below the pivot."""
    family = make_family("acrobot")
    still = {"start_angle_1": 0.0, "start_angle_2": 0.0}
    task = default_task(family, length_1=0.75, length_2=1.25, **still)
    for height, over in ((-1.99, False), (-2.01, True)):
        env = family.make([Task(0, task.params | {"height": height})], seed=0)
        env.reset()
        env._state_4N[:] = 0.0
        _, rewards, terminated, *_ = env.step(np.array([1]))
        assert (terminated[0], rewards[0]) == (over, 0.0 if over else -1.0)


def mean_return(name: str, policy, episodes: int = 400, **params) -> float:
    family = make_family(name)
    return float(measured_returns(family, [default_task(family, **params)], policy(family), episodes).mean())


def expert(family):
    return lambda lanes, streams: family.reference_policy("expert", lanes)


def at_random(family):
    return lambda lanes, streams: UniformActions(family, lanes, streams)


@pytest.mark.parametrize(
    ("name", "random", "best", "error"),
    [
        ("cartpole", 22.3, 500.0, 1.6),
        ("pendulum", -1235.0, -151.3, 45.0),
        ("acrobot", -498.7, -84.6, 4.0),
        ("mountain-car", -200.0, -107.9, 4.0),
    ],
)
def test_returns_on_gymnasiums_own_tasks(name, random, best, error):
    """Kills: an expert that has got worse, another distribution of starts. 2,000 episodes gave these numbers."""
    assert mean_return(name, at_random) == pytest.approx(random, abs=error)
    assert mean_return(name, expert) == pytest.approx(best, abs=min(error, 20.0))


@pytest.mark.parametrize("split", ["test", "extrapolation"])
def test_a_pole_never_falls_from_the_expert(split):
    """Kills: a regulator that is right for one pole only. 500 is the most that CartPole's own reward pays."""
    family = make_family("cartpole", hold=["reward", "observation"])
    returns = measured_returns(family, family.split(0).named(split), expert(family), 5)
    assert (returns == 500.0).all()


def test_the_zero_action_of_a_pendulum():
    """Kills: an anchor that is missing where actions are continuous. 2,000 episodes gave -1219 on gymnasium's own."""
    family = make_family("pendulum")
    anchors = family.anchors(family.split(0).test[:40])
    assert anchors.zero_action.shape == (40,)
    assert mean_return("pendulum", lambda f: lambda lanes, streams: ZeroAction(f, lanes)) == pytest.approx(
        -1219, abs=50
    )
    assert make_family("acrobot").anchors(make_family("acrobot").split(0).test[:1]).zero_action is None


@pytest.mark.parametrize("name", NAMES)
def test_pictures_show_the_state_without_the_gains(name):
    """Kills: a picture of the flipped features, or of an earlier episode than the last."""
    family, plain = make_family(name, hold=["start"]), make_family(name)
    task, same = family.split(0).test[1], plain.split(0).test[1]
    one, other = (
        policy_history(f, t, uniform_policy(plain, [same], 0), 2, 0, "random")
        for f, t in ((family, task), (plain, same))
    )
    features, rewards = family.shown_features(task, one)
    first = int(np.flatnonzero(other.dones)[0]) + 1
    assert np.array_equal(rewards, other.rewards[first:])
    np.testing.assert_allclose(features[:-1], other.observations[first:], rtol=1e-5)
    np.testing.assert_allclose(features[-1], other.final_observations[-1], rtol=1e-5)


def bilinear(value, i, j) -> np.ndarray:
    """The table's value at fractional rows and columns within it."""
    row, column = np.minimum(i.astype(int), len(value) - 2), np.minimum(j.astype(int), value.shape[1] - 2)
    a, b = i - row, j - column
    top = (1 - b) * value[row, column] + b * value[row, column + 1]
    return (1 - a) * top + a * ((1 - b) * value[row + 1, column] + b * value[row + 1, column + 1])


@pytest.mark.slow
def test_how_near_the_mountain_cars_expert_is_to_the_optimum():
    """Kills: an expert called near the optimum that is not. Value iteration on a fine grid needs 97.8 steps."""
    position, velocity = np.meshgrid(np.linspace(-1.2, 0.6, 361), np.linspace(-0.07, 0.07, 281), indexing="ij")

    def values(value, position, velocity):
        """Steps to the goal after each push, shape `(3, …)`."""
        after = [rolled(position, velocity, push, 0.001, 0.0025) for push in (-1, 0, 1)]
        return np.stack(
            [
                1 + np.where(arrived(x, v, 0.5, 1.0), 0, bilinear(value, (x + 1.2) * 200, (v + 0.07) * 2000))
                for x, v in after
            ]
        )

    value = np.full(position.shape, 200.0)
    for _ in range(250):
        value = values(value, position, velocity).min(axis=0)
    x, v = np.linspace(-0.6, -0.4, 200), np.zeros(200)
    steps, running = np.zeros(200), np.ones(200, bool)
    for _ in range(200):
        x, v = rolled(x, v, values(value, x, v).argmin(axis=0) - 1, 0.001, 0.0025)
        steps += running
        running &= ~arrived(x, v, 0.5, 1.0)
    assert steps.mean() == pytest.approx(97.8, abs=0.5)
    assert -steps.mean() > mean_return("mountain-car", expert) > -1.15 * steps.mean()


@pytest.mark.slow
def test_how_near_the_pendulums_expert_is_to_the_optimum():
    """Kills: an expert called near the optimum that is not. The greedy policy of a fine grid is compared with it from
    the same 400 starts; the grid's own policy is a little below the true optimum."""
    angles, speeds, torques, horizon = 240, 193, np.linspace(-2, 2, 13), 200
    angle, speed = np.meshgrid(np.linspace(-np.pi, np.pi, angles + 1), np.linspace(-8, 8, speeds), indexing="ij")

    def after(angle, speed, torque):
        faster = np.clip(speed + (15 * np.sin(angle) + 3 * torque) * 0.05, -8, 8)
        return (angle + faster * 0.05 + np.pi) % (2 * np.pi) - np.pi, faster

    def costs(value, angle, speed):
        """Cost to go of each torque but for the cost of the state, shape `(13, …)`."""
        rows = []
        for torque in torques:
            x, v = after(angle, speed, torque)
            rows.append(
                0.001 * torque**2 + bilinear(value, (x + np.pi) / (2 * np.pi) * angles, (v + 8) * (speeds - 1) / 16)
            )
        return np.stack(rows)

    to_go = [np.zeros(angle.shape)]
    here = ((angle + np.pi) % (2 * np.pi) - np.pi) ** 2 + 0.1 * speed**2
    for _ in range(horizon - 1):
        to_go.append(here + costs(to_go[-1], angle, speed).min(axis=0))
    family = make_family("pendulum")
    tasks = [default_task(family)] * 400
    returns = []
    for policy in ("grid", "expert"):
        env, controller = family.make(tasks, seed=9), family.reference_policy("expert", tasks)
        observations, _ = env.reset()
        total = np.zeros(400)
        for step in range(horizon):
            action = controller.act(observations)
            if policy == "grid":
                x = np.arctan2(observations[:, 1], observations[:, 0]).astype(np.float64)
                best = costs(to_go[horizon - 1 - step], x, observations[:, 2].astype(np.float64)).argmin(axis=0)
                action = torques[best][:, None]
            observations, rewards, *_ = env.step(action)
            total += rewards
        returns.append(total.mean())
    grid, scripted = returns
    assert grid >= scripted >= 1.1 * grid
