"""Unordered contexts of transitions, and queries beside them: what methods read that learn to act from a set.

Sample n takes a history of the dataset, draws some of its transitions as a context, and, apart from these, states of
the same history as queries, each with the number of transitions that it may read. Nothing but n and the seed decides.

Shape suffixes: B samples, N transitions of a context, Q queries, P numbers of transitions, L transitions of a history.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icrl.errors import DatasetError
from icrl.history import LearningHistory
from icrl.models.parts import to_torch
from icrl.ranges import Scales, scaled
from icrl.seeding import permutation, stream_keys
from icrl.spaces import empty, space_from_dict
from icrl.store import HistoryStore
from icrl.transitions import EXPERT_ACTIONS, NEXT_OBSERVATIONS, Before, Transitions

QUERIES, TARGETS, SEEN = "queries", "targets", "seen"
"""Extras of a batch: observations `(B, Q, …)`, the expert's actions there `(B, Q, …)`, and how many transitions of the
context each query may read, `(B, Q)` int64."""
DRAWS = 4096
"""Samples of each history in an epoch. No two draw alike."""
_HELD = 2**20
"""Transitions of histories that are held in memory, at most, beyond those of one history."""


@dataclass(frozen=True)
class Prefixes:
    """How much of its context each query reads.

    Args:
        count: P: the empty prefix, and one of each of P - 1 equal ranges of lengths; 0 stands for all, N + 1.
        queries: of each prefix.
    """

    count: int
    queries: int

    def draw(self, length: int, most: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Numbers of transitions, rising, `(Q,)`: those of one prefix side by side.

        Args:
            length: transitions of this context. Where all prefixes are due, and it has fewer than N, the N + 1 are
                spread over those that there are.
            most: N.
        """
        if not self.count:
            numbers = np.arange(most + 1) * length // most
        else:
            shares = (np.arange(self.count - 1) + random.random(self.count - 1)) / (self.count - 1)
            numbers = np.append(0, np.minimum(1 + (shares * length).astype(np.int64), length))
        return np.repeat(numbers, self.queries)

    def total(self, most: int) -> int:
        """Q."""
        return (self.count or most + 1) * self.queries


class SetReader:
    """Reads contexts and queries of a store as batches.

    Args:
        store: the dataset, with the column of the expert's actions.
        histories: which of its histories are read.
        length: N, at most: fewer where no history has so many transitions.
        seed: of what is drawn.
        scales: of the model that reads the batches.
        prefixes: what each query reads.
        shuffled: a context is drawn from all over a history; else it is a stretch of it in its order.
        group: that the batches are of.
    """

    def __init__(
        self,
        store: HistoryStore,
        histories: Sequence[int] | NDArray[np.int64],
        length: int,
        seed: int,
        scales: Scales,
        prefixes: Prefixes,
        shuffled: bool = True,
        group: str = "0",
    ) -> None:
        self.store, self.histories = store, np.asarray(histories, np.int64)
        if not len(self.histories):
            raise DatasetError(f"{store.path} has no histories to read: generate some with `icrl generate`")
        self.length = min(length, int(store.lengths.max(initial=1)))
        provenance = store.provenance
        self._observation_space = space_from_dict(provenance.observation_space)
        self._action_space = space_from_dict(provenance.action_space)
        self._seed, self._scales, self._prefixes = seed, scales, prefixes
        self._shuffled, self._group = shuffled, group
        self._held: OrderedDict[int, Transitions] = OrderedDict()
        self._num_held = 0

    def __len__(self) -> int:
        return len(self.histories) * DRAWS

    def batch(self, numbers: NDArray[np.int64]) -> Transitions:
        """The samples of these numbers `(B,)`; extras are the true successors, and `QUERIES`, `TARGETS`, `SEEN`."""
        B, N, Q = len(numbers), self.length, self._prefixes.total(self.length)
        observations, following, queries = (empty(self._observation_space, (B, n)) for n in (N, N, Q))
        actions, targets = (empty(self._action_space, (B, n)) for n in (N, Q))
        rewards, terminated, truncated = np.zeros((B, N)), np.zeros((B, N), bool), np.zeros((B, N), bool)
        steps, lengths, seen = np.zeros((B, N), np.int64), np.zeros(B, np.int64), np.zeros((B, Q), np.int64)
        for row, number in enumerate(numbers.tolist()):
            of = self._history(int(self.histories[number % len(self.histories)]))
            L = of.shape[1]
            n = min(N, L)
            random = np.random.default_rng(int(stream_keys(self._seed, "sets", number)))
            at = self._context(random, L, n)
            asked = random.integers(L, size=Q)
            observations[row, :n], actions[row, :n] = of.observations[0, at], of.actions[0, at]
            following[row, :n], rewards[row, :n] = of.extras[NEXT_OBSERVATIONS][0, at], of.rewards[0, at]
            terminated[row, :n], truncated[row, :n] = of.terminated[0, at], of.truncated[0, at]
            steps[row, :n], lengths[row] = of.steps[0, at], n
            queries[row], targets[row] = of.observations[0, asked], of.extras[EXPERT_ACTIONS][0, asked]
            seen[row] = self._prefixes.draw(n, N, random)
        scales = self._scales
        nothing = np.repeat(scales.no_action(self._action_space)[None], B, axis=0)
        before = Before(nothing, np.full(B, scales.rewards.centre), np.ones(B, bool), np.zeros(B, bool))
        extras = {
            NEXT_OBSERVATIONS: following,
            QUERIES: scaled(scales.observations, queries),
            TARGETS: scaled(scales.actions, targets),
            SEEN: seen,
        }
        columns = Transitions(
            observations, actions, rewards, terminated, truncated, steps, before, lengths, extras, self._group
        )
        return scales.of(columns).map(to_torch)

    def _context(self, random: np.random.Generator, total: int, count: int) -> NDArray[np.int64] | slice:
        """Which transitions of a history are in a context, in the order in which they are."""
        if self._shuffled:
            return random.permutation(total)[:count]
        start = int(random.integers(total - count + 1))
        return slice(start, start + count)

    def _history(self, history: int) -> Transitions:
        """A whole history, as one row; the latest ones are held."""
        if (found := self._held.get(history)) is not None:
            self._held.move_to_end(history)
            return found
        store, length = self.store, int(self.store.lengths[history])
        window = store.window(history, 0, length)
        extras = {name: store.extra(name, history, 0, length)[None] for name in (NEXT_OBSERVATIONS, EXPERT_ACTIONS)}
        columns = (window.observations, window.actions, window.rewards, window.terminated, window.truncated)
        found = Transitions(
            *(np.asarray(column)[None] for column in columns), window.step_in_episode[None],
            Before(None, None, None, None), np.array([length]), extras,
        )  # fmt: skip
        self._held[history], self._num_held = found, self._num_held + length
        while len(self._held) > 1 and self._num_held > _HELD:
            self._num_held -= self._held.popitem(last=False)[1].shape[1]
        return found


def spread_of(history: LearningHistory, most: int) -> NDArray[np.int64]:
    """Which transitions of a history make a set of at most that many: drawn from all over it, in a drawn order.

    Of transitions that are equal in all that they say, one comes before any second one: a set holds nothing twice.
    """
    total = len(history)
    if total <= most:
        return np.arange(total)
    columns = (
        history.observations, history.actions, history.rewards, history.terminated, history.truncated,
        history.derived(NEXT_OBSERVATIONS),
    )  # fmt: skip
    order = permutation(0, "transitions of a prompt", total)
    said = [np.ascontiguousarray(column[order]).reshape(total, -1).view(np.uint8) for column in columns]
    _, first = np.unique(np.concatenate(said, axis=1), axis=0, return_index=True)
    again = np.ones(total, bool)
    again[first] = False
    return order[np.argsort(again, kind="stable")][:most]
