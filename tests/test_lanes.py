"""Lanes that are done leave the batch, and what is recorded of each is what it would be alone."""

from math import inf
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from lanes_alone import check_equal, check_goes_on, learned_alone, rolled_out_alone
from test_learners import LEARNS

from icrl.data_gen.learners import LEARNERS, make_learner, misfit
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.data_gen.record import record_histories
from icrl.envs import FAMILIES, make_family
from icrl.envs.grids.dark_room import DarkRoom, DarkRoomEnv
from icrl.envs.kit.base import BatchedEnv, ShownLanes
from icrl.envs.kit.conformance.checks import Subject, lanes_may_leave
from icrl.envs.kit.episodes import uniform_policy
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.measured import measured_returns
from icrl.envs.kit.parametric import Parameter
from icrl.envs.kit.pool import PooledEnv
from icrl.envs.kit.simple_policies import UniformActions
from icrl.errors import UsageError
from icrl.eval.rollout import rollout
from icrl.lanes import PerLane, lets_go
from icrl.seeding import Streams

NAMES = [name for name in FAMILIES if not FAMILIES.extra(name)]
UNEVEN = ["cartpole", "mountain-car", "key-to-door-ad-eps", "dark-room-macro", "watermaze"]
LANES = 13
"""No size of anything else: an axis of 13 is one of lanes."""


def some_tasks(family, count):
    tasks = family.split(0).train
    return [tasks[n % len(tasks)] for n in range(count)]


def forgotten(thing) -> list[str]:
    """Attributes of a thing that let go of some of 13 lanes, and of what it holds, that have a row for each still."""
    found = []
    for name, value in vars(thing).items():
        if isinstance(value, PerLane | Streams):
            found += [f"{name}.{inner}" for inner in forgotten(value)]
        elif LANES in getattr(value, "shape", (len(value),) if hasattr(value, "__len__") else ()):
            found.append(name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_everything_with_a_row_per_lane_is_stated(name):
    """Kills: an attribute added to an environment or a policy, and forgotten where lanes leave."""
    family = make_family(name)
    tasks = some_tasks(family, LANES)
    things = [family.make(tasks, 0), *(family.reference_policy(kind, tasks) for kind in family.policy_kinds)]
    for thing in things:
        assert lets_go(thing), thing
        assert forgotten(thing), "lanes are counted otherwise than here"
        thing.keep(np.array([0, 3, 12]))
        assert forgotten(thing) == [], thing


@pytest.mark.parametrize("name", list(LEARNERS))
def test_learners_and_policies_go_on_with_the_lanes_that_are_left(name):
    """Kills: a learner that goes on with another lane's table, counts or random numbers."""
    family = make_family(LEARNS.get(name, "key-to-door-ad-eps"))
    tasks, rng = some_tasks(family, LANES), np.random.default_rng(0)
    setting = LearnerSetting(family, tasks, 12, 5, np.arange(LANES))
    whole, fewer = make_learner(name, {}, setting), make_learner(name, {}, setting)
    check_goes_on(family.make(tasks, 3), whole, fewer, rng)
    assert forgotten(fewer) == []


LEARNED = [
    (name, learner)
    for name in UNEVEN
    for learner in ("random", "noise-distillation", "q-learning")
    if not misfit(learner, make_family(name))
]


@pytest.mark.parametrize(("name", "learner"), LEARNED)
def test_recorded_histories_are_those_of_a_lane_alone(name, learner):
    """Kills: rows of a lane that left put among another's; an episode that is lost, or kept twice, as others leave."""
    family = make_family(name)
    tasks, numbers = some_tasks(family, 9), [4, 0, 17, 3, 5, 12, 30, 2, 1]
    found = record_histories(family, tasks, learner, {}, episodes=5, keep_every=2, seed=7, index=numbers)
    for history, task, number in zip(found, tasks, numbers, strict=True):
        check_equal(history, learned_alone(family, task, learner, {}, 5, 7, number), keep_every=2)


STEPS = {"taken": 0, "open": 0}


class Lives(gym.Env):
    """An episode lasts 2 steps, or 60, by the task; what it shows is drawn."""

    observation_space = gym.spaces.Discrete(50)
    action_space = gym.spaces.Discrete(3)
    long = False

    def __init__(self):
        STEPS["open"] += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return int(self.np_random.integers(50)), {}

    def step(self, action):
        STEPS["taken"] += 1
        self.t += 1
        return int(self.np_random.integers(50)), action / 3, self.t >= (60 if self.long else 2), False, {}

    def close(self):
        STEPS["open"] -= 1


class Uneven(GymnasiumFamily):
    name, source, horizon = "uneven-lives", "this test", 60
    parameters: ClassVar = {"u": Parameter("dynamics", low=0.0, high=1.0, default=0.0)}

    def make_env(self):
        return Lives()

    def apply(self, env, params):
        env.long = params["u"] > 0.9


@pytest.mark.parametrize("learner", ["random", "q-learning"])
def test_a_users_environment_is_stepped_once_for_each_transition(learner):
    """Kills: a batch that waits for its slowest lane; an environment of a lane that left and is never closed."""
    family = Uneven(train=40, validation=0, test=1)
    tasks = family.split(0).train
    STEPS.update(taken=0, open=0)
    found = record_histories(family, tasks, learner, {}, episodes=6, seed=1)
    assert {"taken": sum(map(len, found)), "open": 0} == STEPS
    assert {len(history) for history in found} == {12, 360}
    for lane in (0, 7, *(n for n, task in enumerate(tasks) if task.params["u"] > 0.9)):
        check_equal(found[lane], learned_alone(family, tasks[lane], learner, {}, 6, 1, lane))


class Random:
    """An agent that draws its actions, and can let go of lanes."""

    def __init__(self, family):
        self.family = family

    def reset(self, num_envs, seed=0, index=None, prompts=None):
        tasks = [self.family.split(0).test[0]] * num_envs
        self.policy = UniformActions(self.family, tasks, Streams(np.asarray(index, np.uint64)))
        self.act, self.observe, self.keep = self.policy.act, self.policy.observe, self.policy.keep


def test_a_rollout_steps_a_users_environment_once_for_each_transition():
    """Kills: an evaluation that waits for its slowest lane; `env_steps` that counts lanes which are gone."""
    family = Uneven(train=1, validation=0, test=30)
    tasks = family.split(0).test
    lanes = [(s, n) for s in range(2) for n in range(30)]
    STEPS.update(taken=0, open=0)
    result = rollout(family, tasks, Random(family), episodes=4, seeds=2, seed=1, record=lanes)
    assert {"taken": result.env_steps, "open": 0} == STEPS
    assert result.env_steps == sum(map(len, result.histories.values()))
    agent = Random(family)
    for s, n in ((0, 0), (1, 3), (1, 29)):
        alone = rolled_out_alone(family, tasks[n], agent, 4, 1, s)
        check_equal(result.histories[s, n], alone)
        np.testing.assert_allclose(result.histories[s, n].episode_returns(), result.returns[s, n])


def test_anchors_are_measured_without_the_lanes_that_are_done():
    """Kills: an anchor that changes with the tasks beside it; every lane stepped until the longest has ended."""
    family = Uneven(train=1, validation=0, test=20)
    tasks = family.split(0).test

    def policy(tasks, streams):
        return UniformActions(family, tasks, streams)

    STEPS.update(taken=0)
    together = measured_returns(family, tasks, policy, episodes=3)
    assert STEPS["taken"] == 3 * sum(60 if task.params["u"] > 0.9 else 2 for task in tasks)
    np.testing.assert_array_equal(measured_returns(family, tasks[5:6], policy, episodes=3), together[5:6])


def env_that_states(per_lane):
    """A room that pays by a factor of the lane's own; None leaves `per_lane` out."""

    class Env(DarkRoomEnv):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self._factor_N = self.index.astype(np.float32) + 1

        def _advance(self, actions):
            rewards, terminated = super()._advance(actions)
            return rewards * self._factor_N, terminated

    if per_lane is not None:
        Env.per_lane = per_lane
    return Env


@pytest.mark.parametrize(("per_lane", "lets"), [(None, False), (("_factor_N",), True), ((), True)])
def test_an_environment_that_states_nothing_is_stepped_whole(per_lane, lets):
    """Kills: a user's environment that goes on with another lane's numbers; a wrong statement that no check finds."""

    env_class = env_that_states(per_lane)

    class Room(DarkRoom):
        name = f"room-that-states-{per_lane}"

        def make(self, tasks, seed, index=None):
            return env_class(self, tasks, seed, index)

    FAMILIES.add(Room.name, Room)
    subject = Subject(Room.name, {"size": 6}, seconds=inf)
    env = subject.family.make(subject.lanes(7), 0)
    assert env.lets_go is lets
    fewer = env.keep([1, 5])
    assert isinstance(fewer, ShownLanes) is not lets
    assert fewer.num_envs == 2
    assert fewer.lanes_stepped == (2 if lets else 7)
    if per_lane == ():
        with pytest.raises(Exception, match=r"per_lane|broadcast"):
            lanes_may_leave(subject)
    else:
        lanes_may_leave(subject)


def test_a_learner_that_cannot_let_go_keeps_all_lanes():
    """Kills: a user's learner, without `keep`, that is asked about fewer lanes than it has."""

    class Mine:
        def __init__(self, setting):
            self.policy = uniform_policy(setting.family, setting.tasks, 3)
            self.seen = set()

        def act(self, observations):
            self.seen.add(len(observations))
            return self.policy.act(observations)

        def learn(self, *transition):
            assert {len(values) for values in transition} == {8}

    LEARNERS.add("mine-of-test-lanes", Mine)
    family = Uneven(train=8, validation=0, test=1)
    tasks = family.split(0).train
    found = record_histories(family, tasks, "mine-of-test-lanes", {}, episodes=3, seed=0)
    assert {len(history) for history in found} <= {6, 180}
    assert [int(history.episode[-1]) for history in found] == [2] * 8


@pytest.mark.parametrize("wrong", [[], [2, 1], [1, 1], [-1, 0], [0, 4], [0.0], [[0]], [True, False]])
def test_wrong_lanes_are_refused(wrong):
    """Kills: lanes in another order, or twice, for which rows and random numbers would no longer belong together."""
    family = make_family("dark-room")
    env = family.make(some_tasks(family, 4), 0)
    with pytest.raises(UsageError, match="lanes to keep"):
        env.keep(wrong)
    assert env.num_envs == 4


def test_arrays_keep_their_order_in_memory():
    """Kills: rows copied into another order of memory, in which sums are rounded otherwise: another last bit."""
    rng = np.random.default_rng(0)

    class Holder(PerLane):
        per_lane = (("values", 0),)

    for _ in range(50):
        shape = (LANES, *rng.integers(2, 9, size=rng.integers(1, 4)).tolist())
        order = rng.permutation(len(shape))
        holder = Holder()
        laid = rng.standard_normal([shape[d] for d in order]).transpose(np.argsort(order))
        holder.values = laid
        stay = np.sort(rng.choice(LANES, rng.integers(1, LANES), replace=False))
        holder.keep(stay)
        np.testing.assert_array_equal(holder.values, laid[stay])
        assert np.argsort(-np.array(holder.values.strides), kind="stable").tolist() == order.tolist() or 1 in (
            holder.values.shape
        )
        axis = int(rng.integers(1, len(shape)))
        np.testing.assert_array_equal(holder.values.sum(axis=axis), laid.sum(axis=axis)[stay])


def test_a_pool_lets_go_of_lanes_of_every_process():
    """Kills: rows of shared memory taken for another lane's once a process has fewer; a process left without lanes."""
    family = make_family("cartpole")
    tasks, rng = some_tasks(family, 7), np.random.default_rng(1)
    one, pool = family.make(tasks, 0), PooledEnv(family, tasks, 0, None, 2)
    one.reset(), pool.reset()
    for stay in ([0, 2, 3, 5, 6], [2, 3, 4], [1, 2], [1]):
        one, pool = one.keep(stay), pool.keep(stay)
        assert pool.num_envs == pool.lanes_stepped == len(stay)
        for _ in range(25):
            actions = rng.integers(2, size=len(stay))
            for ours, theirs in zip(one.step(actions)[:4], pool.step(actions)[:4], strict=True):
                np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(one.reset(seed=4)[0], pool.reset(seed=4)[0])
    pool.close()


def test_what_is_shown_of_an_environment_has_its_answers():
    """Kills: `final_obs` of a lane that is not shown, or a flag that another lane's end raises."""
    family = make_family("cartpole")
    tasks = some_tasks(family, 6)

    class Whole(type(family.make(tasks, 0))):
        """States nothing."""

    whole, shown = family.make(tasks, 0), Whole(family, tasks, 0).keep([1, 4, 5]).keep([0, 2])
    assert isinstance(shown, BatchedEnv)
    assert shown.num_envs == 2
    np.testing.assert_array_equal(whole.reset()[0][[1, 5]], shown.reset()[0])
    rng = np.random.default_rng(0)
    for _ in range(80):
        actions = rng.integers(2, size=6)
        answer, ours = whole.step(actions), shown.step(actions[[1, 5]])
        for expected, found in zip(answer[:4], ours[:4], strict=True):
            np.testing.assert_array_equal(expected[[1, 5]], found)
        done = (answer[2] | answer[3])[[1, 5]]
        assert ("final_obs" in ours[4]) == bool(done.any())
        if done.any():
            np.testing.assert_array_equal(ours[4]["_final_obs"], done)
            np.testing.assert_array_equal(ours[4]["final_obs"][done], answer[4]["final_obs"][[1, 5]][done])
