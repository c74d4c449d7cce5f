"""Reads datasets of learning histories: windows are views of the memory-mapped Arrow shards, with nothing copied."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icrl.errors import DatasetError, UsageError
from icrl.extras import extra_spaces
from icrl.folders import MIXED_FILE, STATE_FILE, check_source
from icrl.history import LearningHistory
from icrl.provenance import read_provenance, read_split
from icrl.recordings import datasets_in
from icrl.schema import Fault
from icrl.spaces import join, named, space_from_dict, storage_dtype
from icrl.store_files import PER_HISTORY, check_files, map_shards, read_columns, read_listing
from icrl.success import SUCCESS
from icrl.transitions import NEXT_OBSERVATIONS, RETURN_TO_GO, returns_to_go, successors

_TYPES: dict[str, Any] = {
    **dict.fromkeys(PER_HISTORY, np.int64),
    **dict.fromkeys(("terminated", "truncated"), np.uint8),
    **dict.fromkeys(("episode", "step_in_episode"), np.int32),
    "rewards": np.float32,
}


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
        listing: of its shards.
        columns: by name, each per history; where values are trees each leaf has one, named in `leaves`.
        lengths: transitions of each history, shape `(num_histories,)`.
        num_final: finished episodes of each history, shape `(num_histories,)`.
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
        check_source(path, "dataset")
        if (path / MIXED_FILE).is_file():
            names = ", ".join(of.name for of in datasets_in(path))
            raise UsageError(f"{path} holds several datasets: open one of {names} in it, or all with open_stores")
        self.path = path
        self.provenance = provenance = read_provenance(path)
        observation, action = map(space_from_dict, (provenance.observation_space, provenance.action_space))
        self._spaces = {"observations": observation, "actions": action, "final_observations": observation}
        self._extras = extra_spaces(provenance.extras, action)
        self._spaces |= self._extras
        self.leaves = {name: named(name, space) for name, space in self._spaces.items()}
        # Of a tree each leaf has a column: "observations.position".
        of_spaces = {path: leaf for part in self.leaves.values() for path, leaf in part.items()}
        types = _TYPES | {path: storage_dtype(leaf) for path, leaf in of_spaces.items()}
        if SUCCESS in (provenance.extras or ()):
            types[SUCCESS] = np.dtype(np.uint8)
        try:
            self.listing = read_listing(path)
            check_files(path, self.listing)
            self.split = read_split(path)
            self.columns = read_columns(map_shards(path, self.listing.shards), types)
            self.task_ids, self.learner_seeds = (self.columns.pop(name) for name in PER_HISTORY)
            for name, leaf in of_spaces.items():
                self.columns[name] = replace(self.columns[name], shape=leaf.shape)
            self._window = [(name, self.columns.get(name)) for name in Window._fields]
            self.lengths = self.columns["rewards"].counts
            self._check_counts()
        except FileNotFoundError:
            raise DatasetError(
                f"{path} has no {STATE_FILE}: its recording has not finished; go on with `icrl generate --resume`"
            ) from None
        except Fault as fault:
            raise DatasetError(f"{path} is damaged ({fault}): restore it, or generate the data again") from None
        self._finals_at: dict[int, NDArray[np.int64]] = {}
        self.num_transitions = int(self.lengths.sum())
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
        stop = start + length
        return Window._make(
            [
                self._rows(name, history, start, stop) if column is None else column.rows(history, start, stop)
                for name, column in self._window
            ]
        )

    def extra(self, name: str, history: int, start: int, length: int) -> NDArray:
        """A column that only some methods read, of `length` transitions from `start` on: shape `(length, …)`.

        Args:
            name: "next_observations" or "return_to_go" (`icrl.transitions`), or one of `extras`.

        Raises:
            DatasetError: where the dataset does not hold it.
        """
        total = int(self.lengths[history])
        if name == RETURN_TO_GO:
            # To the end of the episode that the last of them is in, at most.
            window = self.window(history, start, min(length + self.provenance.horizon, total - start))
            return returns_to_go(window.rewards, window.terminated | window.truncated)[:length]
        if name == NEXT_OBSERVATIONS:
            window = self.window(history, start, min(length + 1, total - start))
            dones = (window.terminated | window.truncated)[:length]
            finals = self.finals(history, start, length)[1]
            return successors(window.observations, dones, finals)
        if name in self._extras:
            return self._rows(name, history, start, start + length)
        raise DatasetError(
            f"{self.path} has no column {name}: record it, see `icrl generate --help`, or take a method without it"
        )

    def history(self, index: int) -> LearningHistory:
        """A whole history, checked; its arrays are views."""
        window = self.window(index, 0, int(self.lengths[index]))
        finished = int(self.num_final[index])
        success = self._rows(SUCCESS, index, 0, finished) if SUCCESS in self.columns else None
        task_id = int(self.task_ids[index])
        return LearningHistory(
            **window._asdict(),
            final_observations=self._rows("final_observations", index, 0, finished),
            task_id=task_id,
            task_params=self._params[task_id],
            learner=self.provenance.learner,
            learner_seed=int(self.learner_seeds[index]),
            success=success,
            extras={name: self.extra(name, index, 0, len(window.rewards)) for name in self._extras},
        )

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the columns of a step that not every dataset has: `icrl.extras.PER_STEP`."""
        return tuple(self._extras)

    def finals_at(self, history: int) -> NDArray[np.int64]:
        """The rows of a history that its final observations follow, rising: shape `(E,)`."""
        if history not in self._finals_at:
            flags = (self._rows(flag, history, 0, int(self.lengths[history])) for flag in ("terminated", "truncated"))
            self._finals_at[history] = np.flatnonzero(np.logical_or(*flags))
        return self._finals_at[history]

    def finals(self, history: int, start: int, length: int) -> tuple[NDArray[np.int64], NDArray]:
        """The episodes that end within `length` transitions from `start` on: the rows of the window at which they do,
        `(E,)`, and what was seen last, `(E, *observation_shape)`."""
        at = self.finals_at(history)
        first, last = map(int, np.searchsorted(at, (start, start + length)))
        return at[first:last] - start, self._rows("final_observations", history, first, last)

    def _rows(self, name: str, history: int, start: int, stop: int) -> NDArray:
        """Rows `start` to `stop` of one history: views, or where the values are trees their columns put together."""
        if name in self.columns:
            return self.columns[name].rows(history, start, stop)
        parts = {path: self.columns[path].rows(history, start, stop) for path in self.leaves[name]}
        return join(name, parts, self._spaces[name])

    def _check_counts(self) -> None:
        """Raises Fault where the columns contradict each other, the tasks or the provenance."""
        provenance = self.provenance
        for name in [path for field in (*Window._fields, *self._extras) for path in self.leaves.get(field, (field,))]:
            if not np.array_equal(self.columns[name].counts, self.lengths * self.columns[name].width):
                raise Fault(f"column {name} has other transitions than its space and column rewards say")
        episodes = -(-provenance.episodes // provenance.keep_every)
        if (self.lengths > episodes * provenance.horizon).any():
            raise Fault(f"a history has more transitions than {episodes:,} episodes of {provenance.horizon:,} steps")
        of_finals = [
            (self.columns[path].counts, max(1, self.columns[path].width)) for path in self.leaves["final_observations"]
        ]
        self.num_final = of_finals[0][0] // of_finals[0][1]
        if (self.num_final > episodes).any() or any((self.num_final * w != counts).any() for counts, w in of_finals):
            raise Fault(f"column final_observations has more than {episodes:,} episodes of a history")
        if SUCCESS in self.columns and not np.array_equal(self.columns[SUCCESS].counts, self.num_final):
            raise Fault(f"column {SUCCESS} has other episodes than column final_observations")
        tasks = {task.id for task in self.split.named(provenance.recorded_split)}
        known, counts = np.unique(self.task_ids, return_counts=True)
        if strangers := set(known.tolist()) - tasks:
            raise Fault(f"histories of task {min(strangers)}, which is not in its {provenance.recorded_split} split")
        if len(known) != len(tasks) or (counts != provenance.histories_per_task).any():
            raise Fault(
                f"{len(self.lengths):,} histories of {len(known):,} tasks: {provenance.histories_per_task:,} of each "
                f"of {len(tasks):,} tasks were recorded"
            )
        if len(np.unique(self.learner_seeds)) != len(self.learner_seeds):
            raise Fault("two histories have one learner_seed")


def open_stores(paths: Sequence[str | Path]) -> list[HistoryStore]:
    """Opens datasets: of each folder that several were mixed into (`icrl mix`) all of them, in their order.

    Raises:
        UsageError, DatasetError: as `HistoryStore.open`.
    """
    return [HistoryStore.open(path) for given in paths for path in datasets_in(Path(given))]
