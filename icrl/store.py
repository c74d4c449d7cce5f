"""Reads datasets of learning histories: windows are views of the memory-mapped Arrow shards, with nothing copied."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icrl.errors import DatasetError
from icrl.folders import check_source
from icrl.history import LearningHistory
from icrl.provenance import read_provenance, read_split
from icrl.spaces import space_from_dict
from icrl.store_writer import listed_shards

_BOOLEAN = ("terminated", "truncated")
_PER_STEP = ("observations", "actions", "rewards", "terminated", "truncated", "episode", "step_in_episode")


class Window(NamedTuple):
    """A stretch of one history, as read-only views: every array has L rows."""

    observations: NDArray
    actions: NDArray
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    episode: NDArray[np.int32]
    step_in_episode: NDArray


class HistoryStore:
    """A dataset, open for reading. Made by `HistoryStore.open`.

    Attributes:
        path, provenance, split: of the dataset.
        dataset: the `datasets.Dataset`.
        lengths: transitions of each history, shape `(num_histories,)`.
        task_ids, learner_seeds: of each history, shape `(num_histories,)`.
        num_transitions: of all histories.
    """

    @classmethod
    def open(cls, path: str | Path) -> "HistoryStore":
        """Opens a dataset.

        Raises:
            UsageError: where there is no such folder, or it is one of another kind.
            DatasetError: where it is half-written or damaged.
        """
        return cls(Path(path))

    def __init__(self, path: Path) -> None:
        import datasets
        import pyarrow as pa

        check_source(path, "dataset")
        self.path = path
        self.provenance = read_provenance(path)
        self.split = read_split(path)
        names = listed_shards(path)
        if names is None:
            raise DatasetError(
                f"{path} has no state.json: its recording has not finished; go on with `icrl generate --resume`"
            )
        if missing := [name for name in names if not (path / name).is_file()]:
            raise DatasetError(
                f"{path} lists {missing[0]}, which is not there: restore it, or generate the data again"
            )
        try:
            self.dataset = datasets.load_from_disk(str(path))
            table = self.dataset.data
            self.task_ids = table.column("task_id").to_numpy()
            self.learner_seeds = table.column("learner_seed").to_numpy()
            self._views = {name: self._column(table, name) for name in (*_PER_STEP, "final_observations")}
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise DatasetError(f"{path} is damaged ({reason}): restore it, or generate the data again") from None
        self._observation_shape = space_from_dict(self.provenance.observation_space).shape
        self._action_shape = space_from_dict(self.provenance.action_space).shape
        widths = {"observations": self._observation_shape, "actions": self._action_shape}
        self._width = {name: int(np.prod(widths.get(name, ()))) for name in _PER_STEP}
        _, starts, ends = self._views["rewards"]
        self.lengths = ends - starts
        self.num_transitions = int(self.lengths.sum())
        self._check_lengths()
        self._params = {task.id: task.params for name in self.split.names for task in self.split.named(name)}

    def __len__(self) -> int:
        return len(self.lengths)

    def window(self, history: int, start: int, length: int) -> Window:
        """`length` transitions of one history from `start` on; it never crosses into another history.

        Raises:
            IndexError: where the history has no such transitions.
        """
        if not 0 <= start <= start + length <= self.lengths[history]:
            raise IndexError(
                f"history {history} has {self.lengths[history]} transitions: no window [{start}, {start + length})"
            )
        observations, actions, *others = (
            self._slice(name, history, start * self._width[name], (start + length) * self._width[name])
            for name in _PER_STEP
        )
        return Window(
            observations.reshape(length, *self._observation_shape),
            actions.reshape(length, *self._action_shape),
            *others,
        )

    def history(self, index: int) -> LearningHistory:
        """A whole history, checked; its arrays are views."""
        _, starts, ends = self._views["final_observations"]
        window = self.window(index, 0, int(self.lengths[index]))
        finals = self._slice("final_observations", index, 0, int(ends[index] - starts[index]))
        task_id = int(self.task_ids[index])
        return LearningHistory(
            **window._asdict(),
            final_observations=finals.reshape(-1, *self._observation_shape),
            task_id=task_id,
            task_params=self._params[task_id],
            learner=self.provenance.learner,
            learner_seed=int(self.learner_seeds[index]),
        )

    @staticmethod
    def _column(table, name: str) -> tuple[list[NDArray], NDArray, NDArray]:
        """A list column, per history: the flat array of its shard, where it starts there, and where it ends."""
        flat, starts, ends = [], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for chunk in table.column(name).chunks:
            values = chunk.values.to_numpy(zero_copy_only=True)
            offsets = chunk.offsets.to_numpy(zero_copy_only=True).astype(np.int64)
            if offsets[-1] > len(values):
                raise ValueError(f"column {name} ends before its last history does")
            flat += [values.view(bool) if name in _BOOLEAN else values] * len(chunk)
            starts.append(offsets[:-1])
            ends.append(offsets[1:])
        return flat, np.concatenate(starts), np.concatenate(ends)

    def _slice(self, name: str, history: int, start: int, stop: int) -> NDArray:
        flat, starts, _ = self._views[name]
        first = int(starts[history])
        return flat[history][first + start : first + stop]

    def _check_lengths(self) -> None:
        """Raises DatasetError where the columns do not hold equally many transitions."""
        for name in _PER_STEP:
            _, starts, ends = self._views[name]
            if not np.array_equal(ends - starts, self.lengths * self._width[name]):
                raise DatasetError(f"{self.path} is damaged (column {name}): restore it, or generate the data again")
