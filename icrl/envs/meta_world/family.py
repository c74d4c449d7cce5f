"""Meta-World: a simulated arm that presses, pushes, opens and picks up; 50 environments, 50 goals of each.

The ML families hide the goal, as the benchmark's meta-learning protocols do; the MT families show it. Tasks are the
benchmark's own, taken from its classes.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.measured import measured_return
from icrl.envs.kit.simple_policies import UniformActions, ZeroAction
from icrl.envs.meta_world.benchmark import (
    ENVIRONMENTS,
    GOALS,
    NEW_ENVIRONMENTS,
    NOT_WIDER,
    Goal,
    benchmark_goals,
    make_environments,
    new_environment_goals,
    set_goal,
    target_positions,
    wider_goals,
)
from icrl.envs.meta_world.expert import ScriptedExpert
from icrl.errors import UsageError, did_you_mean
from icrl.tasks import Anchors, Axis, ReferencePolicy, Split, Task, TaskFamily, check_count, ood_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

HORIZON = 500
OOD_GOALS = 10
"""Of each environment, in the out-of-distribution sets of families with several environments."""
GOAL = slice(36, 39)
"""Of the observation: the target's position, or zeros."""


class MetaWorldFamily(TaskFamily):
    """A benchmark of Meta-World. A task is an environment and the vector that places its goal and its objects.

    A task starts every episode alike, and nothing is random. Which goals there are depends on the split's seed s: they
    are those of the benchmark built with seed 2s (ML1 draws its test goals with 2s + 1, so consecutive seeds of a
    benchmark share goals; those of a split do not).

    Args:
        horizon: steps of an episode, at most 500; it is always truncated there.
        validation: goals of each training environment that are kept to select models on.
        test: goals of each environment that is tested on.
        hold: only empty: the benchmark fixes its tasks.
    """

    picture_shows = (
        "The hand's way from dark to bright, with its shadow on the table; the squares are where the object "
        "begins and ends, the star is the goal."
    )
    version = 1
    source = "Yu et al. 2019 (Meta-World), Meta-World+ of McLean et al. 2025"
    axes: tuple[Axis, ...] = ("reward", "dynamics")
    fixed_axes = axes
    policy_kinds = ("expert",)
    lanes_at_once = 10
    """A lane holds a model of about 20 MB."""
    anchor_tasks = 50
    benchmark: str
    """Name of the benchmark's class in the package."""
    goal_observed = False
    new_environments: tuple[str, ...] = ()
    """Those of the out-of-distribution set "new-environment"."""

    def __init__(
        self, *, horizon: int = HORIZON, validation: int = 5, test: int = GOALS, hold: Sequence[str] = ()
    ) -> None:
        for axis in [hold] if isinstance(hold, str) else hold:
            raise UsageError(
                f"{self.name} cannot hold {axis!r}: the benchmark fixes its tasks; metaworld-ml1 varies the goals of "
                "one environment"
            )
        self._set_up(horizon, validation, test)

    def _set_up(self, horizon: int, validation: int, test: int) -> None:
        check_count("horizon", horizon, at_least=1)
        if horizon > HORIZON:
            raise UsageError(f"horizon={horizon}: Meta-World's environments stop after {HORIZON} steps")
        check_count("validation", validation, at_least=0)
        check_count("test", test, at_least=1)
        self.horizon, self._validation, self._test = horizon, validation, test
        kept_out = validation if self.test_environments else validation + test
        if test > GOALS or kept_out >= GOALS:
            raise UsageError(
                f"validation={validation} and test={test} do not fit: each environment has {GOALS} goals, "
                "of which one or more must be left to train on"
            )
        number = len(self.train_environments)
        self.num_tasks = {
            "train": number * (GOALS - kept_out),
            "validation": number * validation,
            "test": (len(self.test_environments) or number) * test,
        }
        self.observation_space = _observation_space()
        self.action_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.ood_sets = {}
        if self.new_environments:
            self.ood_sets["new-environment"] = "environments never trained on: " + ", ".join(self.new_environments)
        if self.wider_environments:
            self.ood_sets["extrapolation"] = (
                "goals of training environments from outside their box, up to half as far again"
            )

    @property
    def train_environments(self) -> tuple[str, ...]:
        """Names of the environments that are trained on."""
        return tuple(_environments(self.benchmark)[0])

    @property
    def test_environments(self) -> tuple[str, ...]:
        """Names of the environments that the benchmark tests on, empty where it has no test tasks of its own."""
        return tuple(_environments(self.benchmark)[1])

    @property
    def wider_environments(self) -> tuple[str, ...]:
        """Training environments whose goals may lie outside their box."""
        return tuple(name for name in self.train_environments if name not in NOT_WIDER)

    def split(self, seed: int) -> Split:
        seed_of_benchmark = 2 * seed % 2**32
        train, test = self._goals(seed_of_benchmark)
        numbers = {"train": range(self._validation, GOALS), "validation": range(self._validation)}
        if test:
            held_out = _tasks(test, range(self._test), first=len(train))
        else:
            numbers = {
                "train": range(self._test + self._validation, GOALS),
                "validation": range(self._test, self._test + self._validation),
            }
            held_out = _tasks(train, range(self._test))
        ood = {
            name: _tasks(goals, range(per), per, first=int(ood_numbers(position, 1)[0]))
            for position, name in enumerate(self.ood_sets)
            for goals, per in [self._ood_goals(name, seed_of_benchmark)]
        }
        return Split(
            seed, _tasks(train, numbers["train"]), _tasks(train, numbers["validation"]), held_out, ood
        )  # fmt: skip

    def _goals(self, seed: int) -> tuple[tuple[Goal, ...], tuple[Goal, ...]]:
        return benchmark_goals(self.benchmark, seed)

    def _ood_goals(self, name: str, seed: int) -> tuple[tuple[Goal, ...], int]:
        """Goals of an out-of-distribution set, and how many there are of each environment."""
        if name == "new-environment":
            goals = new_environment_goals(self.new_environments, seed)
            return tuple(goal for i, goal in enumerate(goals) if i % GOALS < OOD_GOALS), OOD_GOALS
        per = GOALS if len(self.wider_environments) == 1 else OOD_GOALS
        return sum((wider_goals(name, seed, per) for name in self.wider_environments), ()), per

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "MetaWorldBatch":
        return MetaWorldBatch(self, tasks, seed, index)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """Measured in one episode of each task and policy. That is exact for the expert, which stands for the optimum,
        and for the action zero: nothing else is random. About half a second a task."""
        random, expert, zero = (
            measured_return(self, tasks, policy, episodes=1)
            for policy in (
                partial(UniformActions, self),
                lambda lanes, streams: self.reference_policy("expert", lanes),
                partial(ZeroAction, self),
            )
        )
        return Anchors(random, expert, zero, measured=True)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        goals = list(map(goal_of, tasks))
        return ScriptedExpert([name for name, _ in goals], target_positions(goals))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.meta_world.drawing import draw_arm

        draw_arm(axes, task.params["env"], target_positions([goal_of(task)])[0], history)


class MetaWorldMl1(MetaWorldFamily):
    """One environment, goals hidden: 50 to train on (10 of them for validation) and 50 others to test on.

    Args:
        env: the environment's name, one of 50.
        horizon, validation, test: as of `MetaWorldFamily`.
    """

    name = "metaworld-ml1"
    benchmark = "ML1"
    axes = ("reward",)

    def __init__(
        self, *, env: str = "reach-v3", horizon: int = HORIZON, validation: int = 10, test: int = GOALS
    ) -> None:
        if env not in ENVIRONMENTS:
            raise UsageError(
                f"{self.name}: unknown env {env!r}{did_you_mean(env, ENVIRONMENTS)}; "
                f"choose from {', '.join(ENVIRONMENTS)}"
            )
        self.env = env
        self.new_environments = tuple(name for name in NEW_ENVIRONMENTS if name != env)
        self._set_up(horizon, validation, test)

    @property
    def train_environments(self) -> tuple[str, ...]:
        return (self.env,)

    @property
    def test_environments(self) -> tuple[str, ...]:
        return (self.env,)

    def _goals(self, seed: int) -> tuple[tuple[Goal, ...], tuple[Goal, ...]]:
        return benchmark_goals("ML1", seed, self.env)


class MetaWorldMl10(MetaWorldFamily):
    """Ten environments to train on and five others to test on, goals hidden."""

    name = "metaworld-ml10"
    benchmark = "ML10"
    new_environments = NEW_ENVIRONMENTS


class MetaWorldMl45(MetaWorldFamily):
    """45 environments to train on and the other five to test on, goals hidden."""

    name = "metaworld-ml45"
    benchmark = "ML45"


class MetaWorldMt10(MetaWorldFamily):
    """Ten environments with the goal in the observation. The benchmark tests where it trains; here ten goals of each
    environment are kept to test on."""

    name = "metaworld-mt10"
    benchmark = "MT10"
    goal_observed = True
    new_environments = NEW_ENVIRONMENTS

    def __init__(
        self, *, horizon: int = HORIZON, validation: int = 5, test: int = 10, hold: Sequence[str] = ()
    ) -> None:
        super().__init__(horizon=horizon, validation=validation, test=test, hold=hold)


class MetaWorldMt50(MetaWorldMt10):
    """All 50 environments with the goal in the observation, ten goals of each kept to test on."""

    name = "metaworld-mt50"
    benchmark = "MT50"
    new_environments = ()


class MetaWorldBatch(BatchedEnv):
    """One environment of the package per lane, stepped one after the other.

    Where episodes end, `info["success"]`, shape `(N,)`, says of those that ended whether any of their steps was a
    success by the environment's own measure. Rewards are the package's, from 0 to 10 a step.
    """

    per_lane = ("envs", "_seen_NO", "_success_N", "_ended_with_success_N")
    worth_leaving = 0.0

    def __init__(self, family: MetaWorldFamily, tasks: Sequence[Task], seed: int, index: Sequence[int] | None) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._goal_observed = family.goal_observed
        self.envs = make_environments([task.params["env"] for task in tasks])
        for env, task in zip(self.envs, tasks, strict=True):
            set_goal(env, goal_of(task), family.goal_observed)
        self._seen_NO = np.zeros((len(tasks), *family.observation_space.shape), np.float32)
        self._success_N = np.zeros(len(tasks), bool)
        self._ended_with_success_N = np.zeros(len(tasks), bool)

    def step(self, actions: NDArray):
        *answer, info = super().step(actions)
        if info:
            info["success"] = self._ended_with_success_N & info["_final_obs"]
        return (*answer, info)

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._ended_with_success_N[lanes] = self._success_N[lanes]
        self._success_N[lanes] = False
        for lane in lanes:
            self._see(lane, self.envs[lane].reset()[0])

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        rewards = np.zeros(self.num_envs, np.float32)
        for lane, env in enumerate(self.envs):
            observation, rewards[lane], _, _, info = env.step(actions[lane])
            self._success_N[lane] |= info["success"] > 0
            self._see(lane, observation)
        return rewards, np.zeros(self.num_envs, bool)

    def _see(self, lane: int, observation: NDArray[np.float64]) -> None:
        self._seen_NO[lane] = observation
        if self._goal_observed:
            # The package clips the goal to its box, where every goal of the benchmark lies; those of the
            # out-of-distribution set do not.
            self._seen_NO[lane, GOAL] = self.envs[lane]._target_pos

    def _observe(self) -> NDArray[np.float32]:
        return self._seen_NO.copy()

    def _leave(self, lanes: NDArray[np.int64]) -> None:
        for lane in lanes:
            self.envs[lane].close()

    def close_extras(self, **kwargs: Any) -> None:
        for env in self.envs:
            env.close()


def goal_of(task: Task) -> Goal:
    """Environment and vector of a task."""
    return task.params["env"], tuple(task.params["vector"])


def _tasks(goals: Sequence[Goal], which: range, per: int = GOALS, first: int = 0) -> tuple[Task, ...]:
    """Tasks of those goals of each environment, the environments taking turns.

    Args:
        goals: `per` of one environment after the other.
        which: goals of each environment, counted from 0.
        first: number of the first goal's task.
    """
    numbers = [start + number for number in which for start in range(0, len(goals), per)]
    return tuple(Task(first + n, {"env": goals[n][0], "vector": list(goals[n][1])}) for n in numbers)


def _environments(benchmark: str) -> tuple[list[str], list[str]]:
    """Names of a benchmark's train and test environments."""
    from metaworld import env_dict

    table = getattr(env_dict, f"{benchmark}_V3")
    return (list(table["train"]), list(table["test"])) if benchmark.startswith("ML") else (list(table), [])


def _observation_space() -> gym.spaces.Box:
    """Hand and gripper of this step and of the last are bounded; objects and goal are not."""
    low, high = np.full(39, -np.inf, np.float32), np.full(39, np.inf, np.float32)
    for start in (0, 18):
        low[start : start + 4] = (-0.525, 0.348, -0.0525, -1.0)
        high[start : start + 4] = (0.525, 1.025, 0.7, 1.0)
    return gym.spaces.Box(low, high, dtype=np.float32)
