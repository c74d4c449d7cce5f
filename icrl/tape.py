"""The tape that runs along while a batch is lived through; it gives the histories lane by lane.

Legend: N lanes, M transitions of all lanes, E finished episodes of all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from icrl.envs.kit.stepping import Step
from icrl.history import LearningHistory
from icrl.spaces import storage_dtype
from icrl.store_writer import HistoryColumns
from icrl.tasks import Task, TaskFamily


class Tape:
    """Transitions of some lanes, as they come.

    Args:
        family: gives the types that observations and actions are stored in.
        lanes: which lanes of the batch, N of them, rising.
        success: also whether each episode succeeded; false where nothing is said of that.
    """

    def __init__(self, family: TaskFamily, lanes: NDArray[np.int64], success: bool = False) -> None:
        self.lanes = lanes
        self._types = storage_dtype(family.observation_space), storage_dtype(family.action_space)
        self._rows, self._finals = _Rows(len(lanes), 7), _Rows(len(lanes), 1 + success)
        self._success = success
        self._seen: NDArray[np.int64] | None = None

    def write(self, step: Step, kept: NDArray[np.bool_]) -> None:
        """Keeps a step of those lanes of it that are on the tape and for which `kept`, one flag a lane, is true."""
        if step.lanes is not self._seen:
            self._look_for(step.lanes)
        some = self._some
        kept = kept[some]
        if not kept.any():
            return
        observation_type, action_type = self._types
        self._rows.append(
            self._here,
            kept,
            step.observations[some].astype(observation_type),
            step.actions[some].astype(action_type),
            step.rewards[some],
            step.terminated[some],
            step.truncated[some],
            step.episode[some],
            step.step[some],
        )
        if step.ended and (last := kept & step.done[some]).any():
            finals = [step.successors[some].astype(observation_type)]
            if self._success:
                finals.append(np.zeros(len(last), bool) if step.succeeded is None else step.succeeded[some])
            self._finals.append(self._here, last, *finals)

    def _look_for(self, lanes: NDArray[np.int64]) -> None:
        """Notes which rows of a step count, and which of this tape's lanes they are."""
        on_tape = np.isin(lanes, self.lanes)
        self._seen = lanes
        self._some: slice | NDArray[np.bool_] = slice(None) if on_tape.all() else on_tape
        self._here = np.searchsorted(self.lanes, lanes[on_tape])

    def columns(self, task_id: NDArray[np.int64], learner_seed: NDArray[np.int64]) -> HistoryColumns:
        """All lanes as histories, one after the other; the tape is empty then."""
        lengths, columns = self._rows.lane_major()
        num_final, finals = self._finals.lane_major()
        return HistoryColumns(task_id, learner_seed, lengths, num_final, *columns, *finals)


def histories(columns: HistoryColumns, tasks: Sequence[Task], learner: str) -> Iterator[LearningHistory]:
    """Each of some histories by itself, checked; `tasks` are theirs."""
    ends, final_ends = np.cumsum(columns.lengths), np.cumsum(columns.num_final)
    for lane, task in enumerate(tasks):
        part = slice(ends[lane] - columns.lengths[lane], ends[lane])
        final_part = slice(final_ends[lane] - columns.num_final[lane], final_ends[lane])
        yield LearningHistory(
            observations=columns.observations[part],
            actions=columns.actions[part],
            rewards=columns.rewards[part],
            terminated=columns.terminated[part],
            truncated=columns.truncated[part],
            episode=columns.episode[part],
            step_in_episode=columns.step_in_episode[part],
            final_observations=columns.final_observations[final_part],
            task_id=task.id,
            task_params=task.params,
            learner=learner,
            learner_seed=int(columns.learner_seed[lane]),
            success=None if columns.success is None else columns.success[final_part],
        )


def largest_history(family: TaskFamily, episodes: int) -> tuple[int, int]:
    """Of a history whose episodes all last to the horizon: the numbers of its largest column, and bytes in all."""
    observation, action = family.observation_space, family.action_space
    numbers, acting = (int(np.prod(space.shape)) for space in (observation, action))
    width = numbers * storage_dtype(observation).itemsize
    # Reward 4, terminated 1, truncated 1, episode 4, step in episode 4; a final observation each episode.
    per_step = width + acting * storage_dtype(action).itemsize + 14
    return episodes * family.horizon * max(numbers, acting, 1), episodes * (family.horizon * per_step + width)


@dataclass
class _Stretch:
    """Rows in which the same lanes stood in the batch."""

    lanes: NDArray[np.int64]
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    columns: list[list[NDArray]] = field(default_factory=list)


class _Rows:
    """Rows of a batch that shrinks, `(M, …)` each, with a mask of the lanes that they count for."""

    def __init__(self, num_lanes: int, num_columns: int) -> None:
        self._num_lanes, self._num_columns = num_lanes, num_columns
        self._stretches: list[_Stretch] = []

    def append(self, lanes: NDArray[np.int64], mask: NDArray[np.bool_], *row: NDArray) -> None:
        if not self._stretches or self._stretches[-1].lanes is not lanes:
            self._stretches.append(_Stretch(lanes, columns=[[] for _ in range(self._num_columns)]))
        stretch = self._stretches[-1]
        stretch.masks.append(mask)
        for column, values in zip(stretch.columns, row, strict=True):
            column.append(values)

    def lane_major(self) -> tuple[NDArray[np.int64], list[NDArray]]:
        """How many rows each lane has, `(N,)`; and each column with the lanes one after the other, `(M, …)`.

        That is Arrow's own layout of a list per history.
        """
        masks = [np.stack(stretch.masks) for stretch in self._stretches]
        lengths = np.zeros(self._num_lanes, np.int64)
        for stretch, mask_TN in zip(self._stretches, masks, strict=True):
            lengths[stretch.lanes] += mask_TN.sum(axis=0)
        # Where all lanes have all rows, the common case, no lane is touched by itself.
        is_whole = len(masks) == 1 and masks[0].shape[1] == self._num_lanes and bool(masks[0].all())
        pieces = [] if is_whole else self._pieces(masks)
        columns = []
        for number in range(self._num_columns):
            stacks = []
            for stretch in self._stretches:
                stacks.append(np.stack(stretch.columns[number]))
                # Free the rows as they are copied: a batch of long histories is most of the memory.
                stretch.columns[number].clear()
            if is_whole:
                columns.append(rearrange(stacks[0], "t n ... -> (n t) ..."))
            else:
                columns.append(np.concatenate([stacks[which][rows, place] for which, rows, place in pieces]))
        return lengths, columns

    def _pieces(self, masks: list[NDArray[np.bool_]]) -> list[tuple[int, slice | NDArray[np.bool_], int]]:
        """What a column is made of, in order: (stretch, its rows that count for the lane, the lane's place in it)."""
        pieces, lanes = [], []
        for which, (stretch, mask_TN) in enumerate(zip(self._stretches, masks, strict=True)):
            # Rows up to some row, unless a lane counts again after it did not: a slice is copied faster.
            is_slice = not (mask_TN[1:] & ~mask_TN[:-1]).any()
            for place, count in enumerate(mask_TN.sum(axis=0).tolist()):
                pieces.append((which, slice(count) if is_slice else mask_TN[:, place], place))
            lanes.append(stretch.lanes)
        return [pieces[i] for i in np.argsort(np.concatenate(lanes), kind="stable")]
