"""Task distributions: a `TaskFamily` owns its task space, its sampling by seed, its splits and its anchors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icrl.errors import UsageError, did_you_mean
from icrl.family_options import keeping_options

if TYPE_CHECKING:
    import gymnasium as gym

    from icrl.envs.kit.base import BatchedEnv

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")

Axis = Literal["reward", "dynamics", "observation", "start"]
AXES: tuple[Axis, ...] = ("reward", "dynamics", "observation", "start")
"""What may differ between the tasks of a family; "start" also where every episode draws its start state afresh."""

OOD_FIRST_ID = 1 << 24
"""Task numbers from here on are out of distribution: set j has the numbers from (j + 1) · OOD_FIRST_ID on."""


@dataclass(frozen=True)
class Task:
    """One task of a family: a number, and the parameters that it stands for."""

    id: int
    """Its number within the family; the same number is the same task under the same options and split seed."""
    params: dict[str, Any]
    """JSON-able values, named by the family: `{"goal": [3, 7]}`."""


@dataclass(frozen=True)
class Split:
    """Disjoint tasks to train on, to select on, and to report on; and sets from outside their distribution.

    Raises:
        ValueError: where two of the sets share a task, by number or by parameters.
    """

    seed: int
    train: tuple[Task, ...]
    validation: tuple[Task, ...]
    test: tuple[Task, ...]
    ood: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    """The family's out-of-distribution sets by name, such as "extrapolation"."""

    def __post_init__(self) -> None:
        for key in (lambda task: task.id, lambda task: repr(task.params)):
            seen: dict[Any, str] = {}
            for name in self.names:
                for task in self.named(name):
                    if seen.setdefault(key(task), name) != name:
                        raise ValueError(f"task {task.id} {task.params} is in both {seen[key(task)]} and {name}")

    @property
    def names(self) -> tuple[str, ...]:
        """Of all sets: "train", "validation", "test", then the out-of-distribution ones."""
        return (*SPLIT_NAMES, *self.ood)

    def named(self, name: str) -> tuple[Task, ...]:
        """The tasks of one set; raises UsageError where there is none of that name."""
        if name not in self.names:
            hint = did_you_mean(name, self.names)
            raise UsageError(f"unknown split {name!r}{hint}; choose from {', '.join(self.names)}")
        return self.ood[name] if name in self.ood else getattr(self, name)


@dataclass(frozen=True)
class Anchors:
    """What a return is measured against, per task: expected undiscounted return of one episode."""

    random: NDArray[np.float64]
    """Shape `(N,)`: the uniform random policy."""
    optimum: NDArray[np.float64]
    """Shape `(N,)`: the best policy that knows the task, NaN where nobody knows it. It ignores the cost of finding
    the task out."""
    zero_action: NDArray[np.float64] | None = None
    """Shape `(N,)`: the action 0 throughout, where actions are continuous: often better than random."""
    measured: bool = False
    """Averages over episodes of the environment rather than exact values."""

    @property
    def known(self) -> bool:
        """Whether the optimum is: without it returns cannot be normalised."""
        return bool(np.isfinite(self.optimum).all())


class ReferencePolicy(Protocol):
    """A policy that does not learn, batched over lanes: the optimum of a known task, for instance.

    It may define `keep(lanes)`, or derive from `icrl.lanes.PerLane`: then lanes that are done leave the batch.
    """

    def act(self, observations: NDArray) -> NDArray:
        """Actions `(N, *action_shape)` for observations `(N, *observation_shape)`."""

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """The environment's answer to the last `act`, each `(N,)`; a policy with hidden state (a key that was
        picked up) updates it here and clears it where an episode ended."""


class TaskFamily(ABC):
    """A distribution over tasks that share one observation space, one action space and one horizon.

    A family is built from its registered name and keyword options, so that name + options, both JSON-able, name it
    in datasets, models and reports: `make_family("dark-room", size=9)`.

    What not every family can do is not here: pictures, Bayes-optimal play and the cost of a pull are protocols of
    `icrl.abilities`, which a family has by defining their methods.
    """

    name: str
    """Registered name, such as "dark-room"."""
    version: int
    """Raised whenever the definition changes; datasets of another version are refused."""
    source: str
    """Where the definition comes from: authors, year."""
    options: dict[str, Any]
    """The constructor's keyword arguments, defaults included: kept by themselves, and a constructor may put a resolved
    value in place of one (`self.options["largest"] = largest`)."""
    horizon: int
    """An episode has at most this many steps; it is truncated there unless it terminated."""
    observation_space: "gym.Space"
    action_space: "gym.Space"
    num_tasks: dict[str, int]
    """Tasks of each split: keys "train", "validation", "test"."""
    axes: tuple[Axis, ...] = ("reward",)
    """What differs between tasks. A class states all that can; one built with `hold` has fewer."""
    fixed_axes: tuple[Axis, ...] = ()
    """Those of them that cannot be held, because a benchmark draws its tasks as a whole."""
    ood_sets: Mapping[str, str] = MappingProxyType({})
    """The out-of-distribution sets of `split`: name, and in a few words what lies outside the training tasks."""
    of_episodes: tuple[str, ...] = ()
    """Parameters that say how episodes begin, and not what is to be learned: a task's prompt may have others."""
    policy_kinds: tuple[str, ...] = ("optimal",)
    """Kinds of `reference_policy`, the best first: "optimal", or "expert" where it is a script's; may be empty."""

    lanes_at_once: int = 4096
    """As many lanes as one batch should have where there are more to run: fewer where a lane takes much memory."""
    anchor_tasks: int = 200
    """Test tasks that a listing averages the anchors over, at most: fewer where they take long to measure."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "__init__" in vars(cls):
            cls.__init__ = keeping_options(cls.__init__)

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

    def valid_actions(self, tasks: Sequence[Task]) -> NDArray[np.int64] | None:
        """How many of the actions 0, 1, … mean something in each task, shape `(N,)`; None where all do."""
        return None

    @property
    def is_bandit(self) -> bool:
        """Whether an episode is one step: a pull of an arm."""
        return self.horizon == 1

    @property
    def unit(self) -> str:
        """What an episode is called: "pull" of a bandit, "episode" of everything else."""
        return "pull" if self.is_bandit else "episode"

    @property
    def best_policy(self) -> str:
        """What the optimum of `anchors` is, for tables and pictures: "optimum", or "scripted expert"."""
        return "scripted expert" if self.policy_kinds[:1] == ("expert",) else "optimum"

    def check_policy_kind(self, kind: str) -> None:
        """Raises UsageError for a kind of reference policy that the family does not have."""
        if kind not in self.policy_kinds:
            kinds = ", ".join(self.policy_kinds)
            choices = f"choose from {kinds}" if kinds else "it states no policy_kinds"
            raise UsageError(f"{self.name} has no reference policy {kind!r}; {choices}")

    @property
    def label(self) -> str:
        """Name and version: "dark-room@1"."""
        return f"{self.name}@{self.version}"


def varying_axes(name: str, axes: Sequence[Axis], hold: Sequence[str]) -> tuple[Axis, ...]:
    """The axes that are left to vary.

    Args:
        name: of the family, for the message.
        axes: all that the family can vary.
        hold: those to keep at their defaults.

    Raises:
        UsageError: for an axis that the family does not vary, or where none is left.
    """
    if isinstance(hold, str):
        hold = [hold]
    if not isinstance(hold, Sequence):
        raise UsageError(f"hold={hold!r}: expected a list of axes out of {', '.join(axes)}")
    for axis in hold:
        if axis not in axes:
            raise UsageError(f"{name} cannot hold {axis!r}{did_you_mean(axis, axes)}; it varies {', '.join(axes)}")
    left = tuple(axis for axis in axes if axis not in hold)
    if not left:
        raise UsageError(f"{name} varies nothing with hold={list(hold)}: all of its tasks would be one")
    return left


def check_count(name: str, value: int, at_least: int) -> None:
    """Raises UsageError where the option `name` is below `at_least`."""
    if value < at_least:
        raise UsageError(f"{name}={value} is too small: expected at least {at_least}")


def task_name(task: Task) -> str:
    """A short name: "goal 3, 7" where the parameters are few, else its number."""
    if len(task.params) <= 2:
        parts = []
        for name, value in task.params.items():
            values = value if isinstance(value, list | tuple) else [value]
            shown = ", ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values)
            parts.append(f"{name} {shown}".replace("_", " "))
        if len(text := " · ".join(parts)) <= 26:
            return text
    return f"task {task.id}"


def lane_numbers(repeat: ArrayLike, tasks: Sequence[Task]) -> NDArray[np.int64]:
    """Stream numbers of lanes, shape `(N,)`: which of the lanes on its task each lane is, and of which task.

    Args:
        repeat: a number from 0, or one for each task.
        tasks: N, whose ids are below 2³².
    """
    return np.asarray(repeat) * 2**32 + np.array([task.id for task in tasks], np.int64)


def split_sizes(train: int, validation: int, test: int) -> dict[str, int]:
    """`num_tasks` of a family; raises UsageError where a split is too small."""
    check_count("train", train, at_least=1)
    check_count("validation", validation, at_least=0)
    check_count("test", test, at_least=1)
    return {"train": train, "validation": validation, "test": test}


def ood_numbers(position: int, count: int) -> NDArray[np.int64]:
    """The task numbers of a family's out-of-distribution set at that position among its `ood_sets`."""
    return (position + 1) * OOD_FIRST_ID + np.arange(count)


def split_numbers(
    order: NDArray[np.int64],
    sizes: Mapping[str, int],
    task_of: Callable[[int], Task],
    seed: int,
    ood: Mapping[str, Sequence[Task]] | None = None,
) -> Split:
    """Cuts task numbers into the splits: the first for testing, the next for validation, then those to train on.

    More or fewer validation tasks therefore leave the test tasks as they are.

    Args:
        order: task numbers in the order they are dealt out; at least as many as `sizes` adds up to.
        sizes: tasks of each split.
        task_of: the task of a number.
        seed: of the split.
        ood: out-of-distribution sets by name.
    """
    ends = np.cumsum([sizes["test"], sizes["validation"], sizes["train"]])
    test, validation, train, _ = np.split(np.asarray(order), ends)
    parts = (tuple(task_of(int(number)) for number in part) for part in (train, validation, test))
    return Split(seed, *parts, ood={name: tuple(tasks) for name, tasks in (ood or {}).items()})
