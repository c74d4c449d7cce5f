"""Task distributions: a `TaskFamily` owns its task space, its sampling by seed, its splits and its anchors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import gymnasium as gym
    from matplotlib.axes import Axes

    from icrl.envs.base import BatchedEnv
    from icrl.history import LearningHistory

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Task:
    """One task of a family: a number, and the parameters that it stands for."""

    id: int
    """Its number within the family; the same number is the same task under the same options and split seed."""
    params: dict[str, Any]
    """JSON-able values, named by the family: `{"goal": [3, 7]}`."""


@dataclass(frozen=True)
class Split:
    """Disjoint tasks to train on, to select on, and to report on.

    Raises:
        ValueError: where two of the three share a task, by number or by parameters.
    """

    seed: int
    train: tuple[Task, ...]
    validation: tuple[Task, ...]
    test: tuple[Task, ...]

    def __post_init__(self) -> None:
        for key in (lambda task: task.id, lambda task: repr(task.params)):
            seen: dict[Any, str] = {}
            for name in SPLIT_NAMES:
                for task in getattr(self, name):
                    if seen.setdefault(key(task), name) != name:
                        raise ValueError(f"task {task.id} {task.params} is in both {seen[key(task)]} and {name}")

    def named(self, name: str) -> tuple[Task, ...]:
        """The tasks of "train", "validation" or "test"."""
        if name not in SPLIT_NAMES:
            hint = did_you_mean(name, SPLIT_NAMES)
            raise UsageError(f"unknown split {name!r}{hint}; choose from {', '.join(SPLIT_NAMES)}")
        return getattr(self, name)


@dataclass(frozen=True)
class Anchors:
    """What a return is measured against, per task: expected undiscounted return of one episode."""

    random: NDArray[np.float64]
    """Shape `(N,)`: the uniform random policy."""
    optimum: NDArray[np.float64]
    """Shape `(N,)`: the best policy that knows the task. It ignores the cost of finding the task out."""


class ReferencePolicy(Protocol):
    """A policy that does not learn, batched over lanes: the optimum of a known task, for instance."""

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        """Actions `(N,)` for observations `(N, *observation_shape)`."""

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """The environment's answer to the last `act`, each `(N,)`; a policy with hidden state (a key that was
        picked up) updates it here and clears it where an episode ended."""


class TaskFamily(ABC):
    """A distribution over tasks that share one observation space, one action space and one horizon.

    A family is built from its registered name and keyword options, so that name + options, both JSON-able, name it
    in datasets, models and reports: `make_family("dark-room", size=9)`.
    """

    name: str
    """Registered name, such as "dark-room"."""
    version: int
    """Raised whenever the definition changes; datasets of another version are refused."""
    source: str
    """Where the definition comes from: authors, year."""
    options: dict[str, Any]
    """The constructor's arguments, all of them resolved."""
    horizon: int
    """An episode has at most this many steps; it is truncated there unless it terminated."""
    observation_space: "gym.Space"
    action_space: "gym.Space"
    num_tasks: dict[str, int]
    """Tasks of each split: keys "train", "validation", "test"."""
    axes: ClassVar[tuple[str, ...]] = ("reward",)
    """What differs between tasks: any of "reward", "dynamics", "observation", "start"."""

    @abstractmethod
    def split(self, seed: int) -> Split:
        """The family's train, validation and test tasks: a function of the seed, disjoint."""

    @abstractmethod
    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "BatchedEnv":
        """A batched environment with one lane per entry of `tasks` (a task may stand in several lanes).

        Args:
            tasks: N tasks.
            seed: of the environment's randomness (rewards, starts), not of the tasks.
            index: N stream numbers, default 0 … N-1: lane i draws from the stream (seed, "environment", index[i]),
                so it behaves the same in any batch that gives it that number.
        """

    @abstractmethod
    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """Exact anchors of each task."""

    @abstractmethod
    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        """The policy of that kind ("optimal") with one lane per task; raises UsageError for an unknown kind.

        The uniform random policy needs no task and is not a family's to give.
        """

    @abstractmethod
    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        """Draws a history of one or several episodes as one small picture on matplotlib axes.

        The picture carries no title: the caller knows which episodes it shows.
        """

    def episode_groups(self, num_episodes: int, pictures: int = 6) -> list[slice]:
        """Which episodes, counted from 0, make the pictures that tell a history from first to last.

        One group is what one call of `draw` shows well: a single episode, evenly spaced over the history, unless a
        family says otherwise. `history.take_episodes(group)` cuts the group out.
        """
        chosen = np.unique(np.linspace(0, num_episodes - 1, min(pictures, num_episodes)).round().astype(int))
        return [slice(int(k), int(k) + 1) for k in chosen]

    def check_policy_kind(self, kind: str) -> None:
        """Raises UsageError unless `kind` is "optimal", the one reference policy that every family has."""
        if kind != "optimal":
            raise UsageError(f"{self.name} has no reference policy {kind!r}; choose from optimal")

    @property
    def label(self) -> str:
        """Name and version: "dark-room@1"."""
        return f"{self.name}@{self.version}"


def check_count(name: str, value: int, at_least: int) -> None:
    """Raises UsageError where the option `name` is below `at_least`."""
    if value < at_least:
        raise UsageError(f"{name}={value} is too small: expected at least {at_least}")


def split_numbers(
    order: NDArray[np.int64], sizes: Mapping[str, int], task_of: Callable[[int], Task], seed: int
) -> Split:
    """Cuts task numbers into the splits: the first for testing, the next for validation, then those to train on.

    More or fewer validation tasks therefore leave the test tasks as they are.

    Args:
        order: task numbers in the order they are dealt out; at least as many as `sizes` adds up to.
        sizes: tasks of each split.
        task_of: the task of a number.
        seed: of the split.
    """
    ends = np.cumsum([sizes["test"], sizes["validation"], sizes["train"]])
    test, validation, train, _ = np.split(np.asarray(order), ends)
    return Split(seed, *(tuple(task_of(int(number)) for number in part) for part in (train, validation, test)))
