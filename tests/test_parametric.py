"""Tasks that are numbers from ranges, and gymnasium environments as families of such tasks."""

from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest

from icrl.data_gen.record import record_histories
from icrl.envs import FAMILIES
from icrl.envs.kit.conformance.checks import CHECKS, Subject
from icrl.envs.kit.episodes import policy_history, uniform_policy
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.measured import measured_return, measured_returns
from icrl.envs.kit.parametric import Parameter, ParametricFamily
from icrl.envs.kit.pool import PooledEnv
from icrl.envs.kit.simple_policies import UniformActions, ZeroAction
from icrl.errors import UsageError
from icrl.eval.rollout import rollout


class Numbers(ParametricFamily):
    """Only its tasks are of interest."""

    name, source, horizon = "numbers", "a test", 5
    parameters = {  # noqa: RUF012
        "gravity": Parameter("dynamics", 5.0, 15.0, default=10.0, beyond=(15.0, 20.0)),
        "length": Parameter("dynamics", 0.5, 2.0, default=1.0, log=True),
        "target": Parameter("reward", -1.0, 1.0, default=0.0),
    }
    make = anchors = reference_policy = draw = None


def numbers(tasks) -> np.ndarray:
    return np.array([list(task.params.values()) for task in tasks])


def test_numbers_fill_their_ranges():
    """Kills: a parameter that is not drawn, parameters that move together, a log range drawn on a line."""
    split = Numbers(train=4000).split(0)
    values = numbers(split.train)
    assert (values.min(axis=0) >= [5, 0.5, -1]).all()
    assert (values.max(axis=0) <= [15, 2, 1]).all()
    np.testing.assert_allclose(values.mean(axis=0)[[0, 2]], [10, 0], atol=0.2)
    assert np.log(values[:, 1]).mean() == pytest.approx(0.0, abs=0.03)
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.06


def test_more_training_tasks_leave_all_others_alone():
    """Kills: a test set that changes with the amount of training data."""
    few, many = Numbers(train=10).split(3), Numbers(train=500).split(3)
    assert few.test == many.test
    assert few.validation == many.validation
    assert few.ood == many.ood
    assert many.train[:10] == few.train
    assert Numbers(train=10).split(4).test != few.test


def test_a_held_axis_keeps_its_defaults_and_the_others_their_numbers():
    """Kills: holding one axis that redraws the other, so that an ablation compares different tasks."""
    free, held = Numbers(), Numbers(hold=["dynamics"])
    assert (free.axes, held.axes) == (("reward", "dynamics"), ("reward",))
    assert (numbers(held.split(0).test)[:, :2] == [10.0, 1.0]).all()
    assert (numbers(held.split(0).test)[:, 2] == numbers(free.split(0).test)[:, 2]).all()
    assert "extrapolation" in free.ood_sets
    assert not held.ood_sets, "no parameter that varies has a range beyond"
    with pytest.raises(UsageError, match="did you mean 'reward'"):
        Numbers(hold=["rewards"])
    with pytest.raises(UsageError, match="all of its tasks would be one"):
        Numbers(hold=["reward", "dynamics"])


def test_the_hole_is_empty_in_training_and_full_out_of_distribution():
    """Kills: an interpolation test whose tasks were trained on; a hole that is nowhere; extrapolation inside."""
    family = Numbers(train=5000, test=200, hole=1 / 8)  # Half of each of three ranges.
    split = family.split(0)
    middle, half = np.array([10.0, 0.0, 0.0]), np.array([5.0, np.log(2.0), 1.0])

    def inside(tasks) -> np.ndarray:
        values = numbers(tasks)
        values[:, 1] = np.log(values[:, 1])
        return (np.abs(values - middle) <= 0.5 * half).all(axis=1)

    assert not inside((*split.train, *split.validation, *split.test)).any()
    assert inside(split.ood["hole"]).all()
    assert inside(Numbers(train=5000).split(0).train).mean() == pytest.approx(1 / 8, abs=0.02)
    beyond = numbers(split.ood["extrapolation"])
    assert (beyond[:, 0] >= 15).all()
    assert (beyond[:, 0] <= 20).all()
    with pytest.raises(UsageError, match="hole=1"):
        Numbers(hole=1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        (2.0, 1.0, False, None),
        (0.0, 1.0, True, None),
        (0.0, 1.0, False, (0.5, 2.0)),
        (0.0, 1.0, False, (2.0, 0.5)),
        (0.0, 1.0, False, (2.0, 2.0)),
        (0.0, 1.0, False, 2.0),
        (0.5, 1.0, True, (-1.0, 0.4)),
    ],
)
def test_impossible_ranges_are_refused(wrong):
    """Kills: an empty range, the logarithm of nothing, «extrapolation» that overlaps what was trained on."""
    low, high, log, beyond = wrong
    with pytest.raises(ValueError, match=r"range|expected two numbers"):
        Parameter("reward", low, high, default=0.5, log=log, beyond=beyond)


class Slope(GymnasiumFamily):
    """Pendulum with another gravity."""

    name, source, horizon = "slope", "a test", 20
    parameters = {"gravity": Parameter("dynamics", 5.0, 15.0, default=10.0, beyond=(15.0, 20.0))}  # noqa: RUF012
    anchor_episodes = 2

    def make_env(self):
        return gym.make("Pendulum-v1")

    def apply(self, env, params):
        env.unwrapped.g = params["gravity"]


def test_a_gymnasium_family_steps_as_gymnasium_does():
    """Kills: parameters that are not applied, a lane that sees its neighbour's reset, a final observation of the
    next episode."""
    family = Slope()
    tasks = family.split(0).test[:3]
    batch = family.make(tasks, seed=7, index=[5, 1, 9])
    observations, _ = batch.reset()
    peers = []
    for lane, task in enumerate(tasks):
        peer = gym.make("Pendulum-v1").unwrapped
        peer.g = task.params["gravity"]
        seed = int(batch.streams.keys[lane] >> np.uint64(33))
        assert np.array_equal(peer.reset(seed=seed)[0], observations[lane])
        peers.append(peer)
    policy = UniformActions(family, tasks, batch.streams)
    for t in range(1, 2 * family.horizon + 1):
        actions = policy.act(observations)
        observations, rewards, terminated, truncated, info = batch.step(actions)
        assert not terminated.any()
        assert (truncated == (t % family.horizon == 0)).all()
        for lane, peer in enumerate(peers):
            observation, reward, *_ = peer.step(actions[lane])
            assert rewards[lane] == float(reward)
            seen = info["final_obs"] if truncated[lane] else observations
            assert np.array_equal(seen[lane], observation)
            if truncated[lane]:
                assert np.array_equal(peer.reset()[0], observations[lane])


class Cut(gym.Env):
    """Truncates itself when its actions add up to three, and shows a Dict."""

    observation_space = gym.spaces.Dict({"at": gym.spaces.Box(-1, 1, (2,)), "turn": gym.spaces.Discrete(3)})
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = self.sum = 0
        return {"at": np.zeros(2, np.float32), "turn": 1}, {}

    def step(self, action):
        self.t, self.sum = self.t + 1, self.sum + action
        return {"at": np.full(2, 0.1 * self.t, np.float32), "turn": 2}, self.gain * action, False, self.sum == 3, {}


class CutFamily(GymnasiumFamily):
    name, source, horizon = "cut", "a test", 10
    parameters = {"gain": Parameter("reward", 1.0, 2.0, default=1.0, beyond=(2.0, 3.0))}  # noqa: RUF012

    def make_env(self):
        return Cut()

    def apply(self, env, params):
        env.gain = params["gain"]


def test_an_environment_may_cut_itself_and_show_a_dict():
    """Kills: an early truncation taken for termination, or overlooked; observations that are no array."""
    family = CutFamily()
    env = family.make(family.split(0).test[:2], seed=0)
    observations, _ = env.reset()
    assert observations.dtype.names == ("at", "turn")
    assert observations["at"].tolist() == [[0, 0]] * 2
    assert observations["turn"].tolist() == [1] * 2
    for t in range(1, 7):
        *_, terminated, truncated, info = env.step(np.ones(2, int))
        assert not terminated.any()
        assert (truncated == (t % 3 == 0)).all()
    np.testing.assert_allclose(info["final_obs"]["at"], [[0.3, 0.3]] * 2, rtol=1e-6)
    assert info["final_obs"]["turn"].tolist() == [2] * 2


def test_observations_may_be_flat_as_they_once_were():
    """Kills: data of flattened observations that no family shows any more; a flat family that is nested in the
    processes of a pool."""
    family = CutFamily()
    family.flatten()
    tasks = family.split(0).test[:2]
    for env in (family.make(tasks, seed=0), PooledEnv(family, tasks, 0, workers=2, name=f"{__file__}:CutFamily")):
        with closing(env):
            assert env.reset()[0].tolist() == [[0, 0, 0, 1, 0]] * 2
            np.testing.assert_allclose(env.step(np.ones(2, int))[0], [[0.1, 0.1, 0, 0, 1]] * 2, rtol=1e-6)


@pytest.mark.parametrize("family", [Slope, CutFamily])
def test_gymnasium_families_keep_the_contract(monkeypatch, family):
    """Kills: an adapter that `icrl check-family` would refuse."""
    monkeypatch.setitem(FAMILIES._entries, family.name, family)
    subject = Subject(family.name)
    subject.steps_per_second = 20_000.0  # Not measured: the machine may be busy.
    for check in CHECKS:
        check(subject)


def test_measured_anchors_do_not_depend_on_the_other_tasks():
    """Kills: an anchor of a task that changes with the tasks it is measured beside, or from call to call."""
    family = Slope()
    tasks = family.split(0).test[:4]
    policy = lambda lanes, streams: UniformActions(family, lanes, streams)  # noqa: E731
    together = measured_returns(family, tasks, policy, 3)
    alone = measured_returns(family, tasks[2:3], policy, 3)
    assert together.shape == (4, 3)
    assert np.array_equal(together[2], alone[0])
    assert np.array_equal(together.mean(axis=1), measured_return(family, tasks, policy, 3))
    anchors = family.anchors(tasks)
    assert anchors.measured
    assert not anchors.known
    assert (anchors.zero_action < 0).all()


@pytest.mark.parametrize("space", [gym.spaces.Text(3), gym.spaces.Dict({"a": gym.spaces.Text(3)})], ids=str)
def test_actions_that_cannot_be_recorded_are_refused(monkeypatch, space):
    """Kills: an action space that is flattened, whose vectors the environment is then stepped with."""
    monkeypatch.setattr(Cut, "action_space", space)
    with pytest.raises(UsageError, match=r"space Text\(.* is not supported: expected Discrete"):
        CutFamily()


def test_environments_are_closed(monkeypatch):
    """Kills: simulators that live on after anchors, recordings and rollouts, also after an error."""
    alive = set()
    monkeypatch.setattr(Cut, "__init__", lambda self: alive.add(id(self)), raising=False)
    monkeypatch.setattr(Cut, "close", lambda self: alive.discard(id(self)))
    family = CutFamily()
    tasks = family.split(0).test[:3]
    family.anchors(tasks)
    record_histories(family, tasks, "random", {}, episodes=2)
    policy_history(family, tasks[0], uniform_policy(family, tasks[:1], 0), 1, 0, "random")
    with pytest.raises(AttributeError):
        rollout(family, tasks, None, episodes=1, seeds=1, seed=0)
    assert not alive


def test_policies_that_cannot_be_are_refused():
    """Kills: «uniform» over a space without bounds; the action zero of a Discrete space."""
    family = CutFamily()
    with pytest.raises(UsageError, match="no action zero"):
        ZeroAction(family, family.split(0).test)
    family.action_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    with pytest.raises(UsageError, match="not bounded on both sides, so that there is no uniform random policy"):
        UniformActions(family, family.split(0).test, None)
