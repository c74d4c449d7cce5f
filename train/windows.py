"""Which windows a step reads, as a function of (seed, step, rank); and their batches.

Windows of W transitions start anywhere in a history. All of them are numbered 0 … N-1; sample g of a run is window
`permute(g mod N)` of epoch `g // N`. The samples of a step are shared out over accumulation and processes, so every
number of processes and of reading workers sees the same windows in a step, and a resumed run reads on where it was.

Shape suffixes: B windows of one forward pass, T transitions of a window, H histories.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from icrl.errors import DatasetError, UsageError
from icrl.models.tokens import WindowBatch
from icrl.ranges import Scales
from icrl.seeding import stream_keys
from icrl.spaces import memory_dtype, space_from_dict
from icrl.store import HistoryStore
from icrl.train.permutation import permute


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


def windows_of_samples(samples: NDArray[np.int64], num_windows: int, seed: int) -> NDArray[np.int64]:
    """Window numbers of the samples `(M,)`: every epoch of `num_windows` samples visits each window once."""
    epochs, places = np.divmod(samples, num_windows)
    numbers = np.empty_like(places)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        numbers[here] = permute(places[here], num_windows, seed, f"window order/{epoch}")
    return numbers


@dataclass(frozen=True)
class Share:
    """What part of each step's samples one process reads.

    Raises:
        UsageError: where the batch does not divide evenly.
    """

    batch_size: int
    """Samples of one step, over all processes and accumulation."""
    accumulation: int = 1
    rank: int = 0
    """This process's number among all processes of all machines."""
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % (self.accumulation * self.world_size):
            raise UsageError(
                f"train.batch_size {self.batch_size} does not divide over {self.world_size} processes × "
                f"{self.accumulation} accumulation: it counts all windows of a step, so make it a multiple of "
                f"{self.accumulation * self.world_size}"
            )

    @property
    def per_pass(self) -> int:
        """Windows of one forward pass of one process."""
        return self.batch_size // (self.accumulation * self.world_size)

    def samples(self, step: int, part: int = 0) -> NDArray[np.int64]:
        """Sample numbers of the forward pass `part` of `step`, in this process."""
        first = step * self.batch_size + (part * self.world_size + self.rank) * self.per_pass
        return np.arange(first, first + self.per_pass)


def split_histories(num_histories: int, validation_fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Histories to train on and whole histories to validate on, both in ascending order.

    Which ones is a hash of their number alone, so runs of any seed validate on the same ones. With a fraction above 0
    at least one is held out, and at least one is left to train on.
    """
    count = min(int(np.ceil(validation_fraction * num_histories)), num_histories - 1)
    order = np.argsort(stream_keys(0, "validation histories", np.arange(num_histories)), kind="stable")
    return np.sort(order[count:]), np.sort(order[:count])


class WindowReader:
    """Reads windows of a store as batches.

    Args:
        store: the dataset.
        histories: which of its histories are read; window numbers count over these.
        length: W, the number of columns of a batch; fewer where no history of the store has so many transitions.
        scales: of the model that reads the batches; by default it is one without scales.
    """

    def __init__(
        self,
        store: HistoryStore,
        histories: Sequence[int] | NDArray[np.int64],
        length: int,
        scales: Scales | None = None,
    ) -> None:
        self.store, self.length = store, min(length, int(store.lengths.max(initial=1)))
        self.histories = np.asarray(histories, np.int64)
        self.index = WindowIndex(store.lengths[self.histories], self.length)
        if not len(self.index):
            raise DatasetError(f"{store.path} has no histories to read: generate some with `icrl generate`")
        spaces = (store.provenance.observation_space, store.provenance.action_space)
        self._scales = scales or Scales.none(*spaces)
        self._observation_space, self._action_space = map(space_from_dict, spaces)

    def batch(self, numbers: NDArray[np.int64]) -> WindowBatch:
        """The windows of these numbers `(B,)`, padded at their ends where a history is shorter than W."""
        shape = (len(numbers), self.length)
        observations, actions = (
            np.zeros(shape + space.shape, memory_dtype(space))
            for space in (self._observation_space, self._action_space)
        )
        steps = np.zeros(shape, np.int64)
        rewards, dones = np.zeros(shape), np.zeros(shape, bool)
        before_actions = np.repeat(self._scales.no_action(self._action_space)[None], len(numbers), axis=0)
        before_rewards = np.full(len(numbers), self._scales.rewards.centre)
        before_dones = np.ones(len(numbers), bool)
        lengths = np.zeros(len(numbers), np.int64)
        for row, (place, start) in enumerate(zip(*self.index.locate(numbers), strict=True)):
            history, start = int(self.histories[place]), int(start)
            # One transition more where there is one: the first token of a window holds the transition before it.
            before = min(start, 1)
            n = min(self.length, int(self.store.lengths[history]) - start)
            window = self.store.window(history, start - before, n + before)
            done = window.terminated | window.truncated
            observations[row, :n] = window.observations[before:]
            actions[row, :n] = window.actions[before:]
            rewards[row, :n] = window.rewards[before:]
            dones[row, :n] = done[before:]
            steps[row, :n] = window.step_in_episode[before:]
            lengths[row] = n
            if before:
                before_actions[row], before_rewards[row] = window.actions[0], window.rewards[0]
                before_dones[row] = done[0]
        columns = self._scales.columns(
            observations, actions, rewards, dones, steps, before_actions, before_rewards, before_dones
        )
        return WindowBatch(*map(torch.from_numpy, (*columns, lengths)))


class TrainingWindows(torch.utils.data.Dataset):
    """Item `step · accumulation + part` is the whole batch of that forward pass of this process."""

    def __init__(self, reader: WindowReader, share: Share, seed: int) -> None:
        self.reader, self.share, self.seed = reader, share, seed

    def __getitem__(self, item: int) -> WindowBatch:
        samples = self.share.samples(*divmod(item, self.share.accumulation))
        return self.reader.batch(windows_of_samples(samples, len(self.reader.index), self.seed))
