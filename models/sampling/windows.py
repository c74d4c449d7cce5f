"""Windows of consecutive transitions, which start anywhere in a history; and their batches.

All windows of W transitions are numbered 0 … N-1.

Shape suffixes: B windows, T transitions of a window, H histories.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icrl.errors import DatasetError
from icrl.models.parts import to_torch
from icrl.ranges import Scales
from icrl.seeding import permutation
from icrl.spaces import empty, space_from_dict
from icrl.store import HistoryStore
from icrl.transitions import Before, Transitions


class WindowIndex:
    """Numbers all windows of some histories.

    Args:
        lengths: transitions of each history, `(H,)`.
        length: W. A history shorter than that is one window.
    """

    def __init__(self, lengths: ArrayLike, length: int) -> None:
        self._ends = np.cumsum(np.maximum(np.asarray(lengths, np.int64) - length + 1, 1))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def locate(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(history, start) of each window number, both of the shape of `numbers`."""
        history = np.searchsorted(self._ends, numbers, side="right")
        return history, numbers - np.where(history > 0, self._ends[history - 1], 0)


class WindowReader:
    """Reads windows of a store as batches.

    Args:
        store: the dataset.
        histories: which of its histories are read; window numbers count over these.
        length: W, the number of columns of a batch; fewer where no history of the store has so many transitions.
        scales: of the model that reads the batches; by default it is one without scales.
        extras: columns that are read besides (`icrl.transitions`).
        one_episode: windows end where the episode that they start in does.
        shuffle: windows hold whole episodes of their history in an order that is drawn from (shuffle, the window's
            number), rather than a stretch of it; None leaves episodes where they are.
        group: that the batches are of.
    """

    def __init__(
        self,
        store: HistoryStore,
        histories: Sequence[int] | NDArray[np.int64],
        length: int,
        scales: Scales | None = None,
        extras: Sequence[str] = (),
        one_episode: bool = False,
        shuffle: int | None = None,
        group: str = "0",
    ) -> None:
        self.store, self.length = store, min(length, int(store.lengths.max(initial=1)))
        self.histories = np.asarray(histories, np.int64)
        # Within one episode, where a window may be short, every transition starts one.
        self._index = WindowIndex(store.lengths[self.histories], 1 if one_episode else self.length)
        if not len(self._index):
            raise DatasetError(f"{store.path} has no histories to read: generate some with `icrl generate`")
        spaces = (store.provenance.observation_space, store.provenance.action_space)
        self._scales = scales or Scales.none(*spaces)
        self._observation_space, self._action_space = map(space_from_dict, spaces)
        self._extras, self._one_episode, self._group = tuple(extras), one_episode, group
        self._shuffle = shuffle

    def __len__(self) -> int:
        return len(self._index)

    def batch(self, numbers: NDArray[np.int64]) -> Transitions:
        """The windows of these numbers `(B,)`, padded at their ends where a history is shorter than W."""
        shape = (len(numbers), self.length)
        observations, actions = empty(self._observation_space, shape), empty(self._action_space, shape)
        steps, lengths = np.zeros(shape, np.int64), np.zeros(len(numbers), np.int64)
        rewards, terminated, truncated = np.zeros(shape), np.zeros(shape, bool), np.zeros(shape, bool)
        before = Before(
            np.repeat(self._scales.no_action(self._action_space)[None], len(numbers), axis=0),
            np.full(len(numbers), self._scales.rewards.centre),
            np.ones(len(numbers), bool),
            np.zeros(len(numbers), bool),
        )
        extras: dict[str, NDArray] = {}
        places, starts = self._index.locate(numbers)
        for row, (number, place, start) in enumerate(zip(numbers, places, starts, strict=True)):
            history = int(self.histories[place])
            # One transition more where there is one: the first token of a window holds the transition before it.
            one = min(int(start), 1) if self._shuffle is None else 0
            for first, n in self._pieces(history, int(start), int(number)):
                here = slice(lengths[row], lengths[row] + n)
                window = self.store.window(history, first - one, n + one)
                observations[row, here] = window.observations[one:]
                actions[row, here] = window.actions[one:]
                rewards[row, here] = window.rewards[one:]
                terminated[row, here], truncated[row, here] = window.terminated[one:], window.truncated[one:]
                steps[row, here] = window.step_in_episode[one:]
                lengths[row] += n
                if one:
                    before.actions[row], before.rewards[row] = window.actions[0], window.rewards[0]
                    before.terminated[row], before.truncated[row] = window.terminated[0], window.truncated[0]
                for name in self._extras:
                    values = self.store.extra(name, history, first, n)
                    if name not in extras:
                        # Padding is of some value of the space.
                        extras[name] = np.empty(shape + values.shape[1:], values.dtype)
                        extras[name][...] = values[0]
                    extras[name][row, here] = values
        columns = Transitions(
            observations, actions, rewards, terminated, truncated, steps, before, lengths, extras, self._group
        )
        return self._scales.of(columns).map(to_torch)

    def _pieces(self, history: int, start: int, number: int) -> Iterator[tuple[int, int]]:
        """What a window is made of: (first transition, how many), in order."""
        if self._shuffle is None:
            n = min(self.length, int(self.store.lengths[history]) - start)
            if self._one_episode:
                ends = self.store.finals_at(history)
                n = min([n, *(ends[np.searchsorted(ends, start) :][:1] - start + 1).tolist()])
            yield start, n
            return
        ends = self.store.finals_at(history)
        left = self.length
        for episode in permutation(self._shuffle, f"episodes of window {number}", len(ends)).tolist():
            first = int(ends[episode - 1]) + 1 if episode else 0
            n = min(int(ends[episode]) + 1 - first, left)
            yield first, n
            if not (left := left - n):
                return
