"""The Bayes-optimal agent of GridNavi: an exact search over beliefs.

All goals are equally likely at first, and all that an agent learns before it finds the goal is where the goal is not.
So the belief is the set of goals not yet stood on, and until the goal is found the agent might as well follow a fixed
route. Once it is found, the best is to stay, and in later episodes to go straight there. What is left to choose is
the order in which to try the goals, episode by episode: between two that are tried one after the other, the agent
takes a shortest path, and where that leads over a third, trying that one first is better still.

With H steps an episode, E episodes, and goal g found at step t of episode e (both from 1), the steps spent at the goal
are H + 1 − t, and H + 1 − d_g in each of the E − e episodes that follow, where d_g is its distance from the start.
The search maximises their sum over all goals, best first with a bound that is never too low: it is exact.
"""

from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count

import numpy as np
from numpy.typing import NDArray

MOST_NODES = 60_000
"""Beliefs that are looked at before the search is given up."""

Cell = tuple[int, int]
_Order = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Search:
    """When to try which goal: never better than another order over all goals together."""

    horizon: int
    episodes: int
    distance: tuple[int, ...]
    """Steps from the start to each goal."""
    order: _Order
    """(goal's number, episode, step) in the order they are tried, both from 1; a goal may never be."""

    def steps_at_goal(self) -> NDArray[np.int64]:
        """How many steps of each episode end at the goal, shape `(E, G)`."""
        steps_EG = np.zeros((self.episodes, len(self.distance)), np.int64)
        for goal, episode, step in self.order:
            steps_EG[episode - 1, goal] = self.horizon + 1 - step
            steps_EG[episode:, goal] = self.horizon + 1 - self.distance[goal]
        return steps_EG


def best_search(size: int, goals: list[Cell], horizon: int, episodes: int, start: Cell = (0, 0)) -> Search | None:
    """The search that gets the most out of all episodes together, or None where `MOST_NODES` do not settle it.

    Args:
        size: cells along a side of the room; without inner walls it does not matter.
        goals: equally likely; not the start.
        horizon: steps of an episode.
        episodes: of the trial, at least 1.
        start: where every episode begins.
    """
    return _best_search(tuple(goals), horizon, episodes, start)


@lru_cache(maxsize=32)
def _best_search(goals: tuple[Cell, ...], horizon: int, episodes: int, start: Cell) -> Search | None:
    places = (*goals, start)
    steps = [[abs(row - r) + abs(column - c) for r, c in goals] for row, column in places]
    distance = steps[-1]
    value = [max(0, horizon + 1 - d) for d in distance]

    def bound(episode: int, step: int, place: int, left: int) -> int:
        """The most that the goals in `left` can still be worth.

        At best each is known in all later episodes, and those that can be reached are found in this one, each at the
        earliest step that no other takes.
        """
        total, earliest = 0, step
        for away, goal in sorted((steps[place][goal], goal) for goal in _members(left)):
            total += (episodes - episode) * value[goal]
            earliest = max(earliest + 1, step + away)
            total += max(0, horizon + 1 - earliest)
        return total

    everything = (1 << len(goals)) - 1
    ticket = count()
    # (minus the bound, goals left, ticket, score, episode, step, place, left, order): the deepest of equals first.
    heap = [(-bound(1, 0, -1, everything), len(goals), 0, 0, 1, 0, -1, everything, ())]
    known: dict[tuple[int, int, int, int], int] = {}
    for _ in range(MOST_NODES):
        _, _, _, score, episode, step, place, left, order = heappop(heap)
        if not left or episode > episodes:
            return Search(horizon, episodes, tuple(distance), order)
        if known.get((episode, step, place, left), -1) >= score:
            continue
        known[episode, step, place, left] = score
        reached = [goal for goal in _members(left) if step + steps[place][goal] <= horizon]
        # A goal within reach is better found now than later, so an episode is given up only where there is none.
        following = [
            (
                score + horizon + 1 - (at := step + steps[place][goal]) + (episodes - episode) * value[goal],
                episode,
                at,
                goal,
                left & ~(1 << goal),
                (*order, (goal, episode, at)),
            )
            for goal in reached
        ] or [(score, episode + 1, 0, -1, left, order)]
        for score_, episode_, step_, place_, left_, order_ in following:
            ahead = bound(episode_, step_, place_, left_) if episode_ <= episodes else 0
            entry = (score_, episode_, step_, place_, left_, order_)
            heappush(heap, (-score_ - ahead, left_.bit_count(), next(ticket), *entry))
    return None


def _members(goals: int) -> list[int]:
    """The numbers of the bits that are set."""
    return [number for number in range(goals.bit_length()) if goals >> number & 1]
