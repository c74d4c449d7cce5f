"""What a task family may do besides: be drawn, say what can be earned without knowing the task, and what a pull costs.

Each ability is a small protocol: a family has it by defining its methods, and derives from nothing. Whoever needs one
asks the function beside it, which answers None where the family has not got it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from icrl.tasks import Task, TaskFamily

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory


@runtime_checkable
class Drawable(Protocol):
    """A family that draws. It may also state `picture_shows`, what the marks in its pictures mean, in a sentence, and
    define `episode_groups(num_episodes, pictures)`, as the function of that name."""

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        """Draws a history of one or several episodes as one small picture on matplotlib axes.

        The picture carries no title: the caller knows which episodes it shows.
        """


@dataclass(frozen=True)
class Pictures:
    """How a family draws."""

    draw: Callable[["Axes", Task, "LearningHistory"], None]
    """As `Drawable.draw`."""
    shows: str
    """What the marks mean; empty where they need no words."""
    groups: Callable[..., list[slice]]
    """Which episodes make the pictures of a history, as `episode_groups`."""


def pictures_of(family: TaskFamily) -> Pictures | None:
    """How the family draws; None where it does not."""
    if not isinstance(family, Drawable):
        return None
    groups = getattr(family, "episode_groups", episode_groups)
    return Pictures(family.draw, getattr(family, "picture_shows", ""), groups)


def episode_groups(num_episodes: int, pictures: int = 6) -> list[slice]:
    """Which episodes, counted from 0, make the pictures that tell a history from first to last: single ones, evenly
    spaced.

    `history.take_episodes(group)` cuts a group out. A family whose pictures show several episodes defines its own.
    """
    chosen = np.unique(np.linspace(0, num_episodes - 1, min(pictures, num_episodes)).round().astype(int))
    return [slice(int(k), int(k) + 1) for k in chosen]


@runtime_checkable
class BayesKnown(Protocol):
    """A family whose Bayes-optimal agent is known. It may also state `trial`, the episodes of a usual trial, and
    define `bayes_rule(episodes)`, the name of the rule that `bayes_optimal` gives where that is not the optimum."""

    def bayes_optimal(self, episodes: int, tasks: Sequence[Task] | None = None) -> NDArray[np.float64] | None:
        """Expected return of each of the first `episodes` episodes, shape `(episodes,)`, of the agent that gets the
        most out of all of them together without knowing the task; of a rule known to come near it where `bayes_rule`
        names one.

        The agent knows the family's prior. Its return is the mean over that prior, or over `tasks`, which are drawn
        from it: only that one compares with what another agent earned on them.

        None where it cannot be computed for so many episodes.
        """


@dataclass(frozen=True)
class BayesPlay:
    """What the best agent earns that must find the task out."""

    rule: str
    """"Bayes-optimal", or the name of a rule that comes near it."""
    returns: NDArray[np.float64]
    """Shape `(episodes,)`: expected return of each episode."""


def bayes_play(
    family: TaskFamily, episodes: int | None = None, tasks: Sequence[Task] | None = None
) -> BayesPlay | None:
    """What can be earned without knowing the task; None where nobody has computed it.

    Args:
        episodes: of the trial; by default those of the family's usual one, where it states one.
        tasks: those to average over; by default all that the family could draw.
    """
    episodes = getattr(family, "trial", 0) if episodes is None else episodes
    if not episodes or not isinstance(family, BayesKnown):
        return None
    if (returns := family.bayes_optimal(episodes, tasks)) is None:
        return None
    rule = family.bayes_rule(episodes) if hasattr(family, "bayes_rule") else "Bayes-optimal"
    return BayesPlay(rule or "", returns)


@runtime_checkable
class PullsKnown(Protocol):
    """A bandit that knows what its arms pay on average."""

    def expected_regret(self, task: Task, history: "LearningHistory") -> NDArray[np.float64] | None:
        """What the best arm pays on average beyond the arm that was pulled, shape `(T,)`, one for each pull."""


def expected_regret(family: TaskFamily, task: Task, history: "LearningHistory") -> NDArray[np.float64] | None:
    """As `PullsKnown.expected_regret`; None where the family does not know what its arms pay."""
    return family.expected_regret(task, history) if isinstance(family, PullsKnown) else None
