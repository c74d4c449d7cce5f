"""Task distributions: a `TaskFamily` owns its task space, its sampling by seed, its splits and its anchors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
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
    def draw(self, axes: "Axes", task: Task, episode: "LearningHistory") -> None:
        """Draws one episode on a matplotlib axes: the path through the grid, the arm pulled."""

    @property
    def label(self) -> str:
        """Name and version: "dark-room@1"."""
        return f"{self.name}@{self.version}"
