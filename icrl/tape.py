"""The tape that runs along while a batch is lived through; it gives the histories lane by lane.

Legend: N lanes, M transitions of all lanes, E finished episodes of all.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.answers import place
from icrl.envs.kit.stepping import Step
from icrl.errors import FamilyError
from icrl.extras import EXPERT_ACTIONS, VALID_ACTIONS, kinds_of
from icrl.history import LearningHistory
from icrl.rows import Rows
from icrl.spaces import WrongValue, gate, leaves, row_shape, storage_dtype
from icrl.spill import Spill
from icrl.store_writer import HistoryColumns
from icrl.tasks import Task, TaskFamily

_ROWS_AT_ONCE = 1 << 14
"""Rows that are checked at once: few enough for a core's cache."""

_OBSERVATIONS, _REWARDS = 0, 2
"""Where they stand among the columns of a row; the final observation is the first of its own."""


class Tape:
    """Transitions of some lanes, as they come.

    Args:
        family: gives the types that observations and actions are stored in.
        lanes: which lanes of the batch, N of them, rising.
        success: also whether each episode succeeded; false where nothing is said of that.
        extras: of `icrl.extras.PER_STEP`, those that are kept as well.
        spill: where transitions go when they are more than memory is to hold; None keeps them in memory.
        tasks: of the lanes: what is kept is checked then, once for all, since classes that are vouched for are not
            looked at while they are stepped.

    Raises:
        FamilyError: by `write` and `columns`, for an observation outside its space, or a reward that is no number.
    """

    def __init__(
        self,
        family: TaskFamily,
        lanes: NDArray[np.int64],
        success: bool = False,
        *,
        extras: Iterable[str] = (),
        spill: Spill | None = None,
        tasks: Sequence[Task] | None = None,
    ) -> None:
        self.lanes = lanes
        self._family, self._tasks = family, tasks
        spaces = family.observation_space, family.action_space
        observation, action = ((storage_dtype(space), row_shape(space)) for space in spaces)
        self._types, self._extras = (observation[0], action[0]), kinds_of(extras, family.action_space)
        flag, number = (np.bool_, ()), (np.int32, ())
        kinds = [observation, action, (np.float32, ()), flag, flag, number, number, *self._extras.values()]
        checks = (None, None) if tasks is None else (self._check_rows, self._check_finals)
        self._rows = Rows(len(lanes), kinds, spill, checks[0])
        self._finals = Rows(len(lanes), [observation, flag][: 1 + success], spill, checks[1])
        self._take = gate(family.observation_space)
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
            *(self._extra(step, name)[some].astype(dtype) for name, (dtype, _) in self._extras.items()),
        )
        if step.ended and (last := kept & step.done[some]).any():
            finals = [step.successors[some].astype(observation_type)]
            if self._success:
                finals.append(np.zeros(len(last), bool) if step.succeeded is None else step.succeeded[some])
            self._finals.append(self._here, last, *finals)

    def _extra(self, step: Step, name: str) -> NDArray:
        values = {EXPERT_ACTIONS: step.beside, VALID_ACTIONS: step.valid}[name]
        if values is None:
            raise FamilyError(
                f"{self._family.name} told {name} before, and does not at step {step.step[0]} of episode "
                f"{step.episode[0]}: expected it of every observation, that of reset too, or of none"
            )
        return values

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
        extras = dict(zip(self._extras, columns[7:], strict=True))
        success = finals[1] if self._success else None
        return HistoryColumns(
            task_id, learner_seed, lengths, num_final, *columns[:7], finals[0], success=success, extras=extras
        )

    def _check_rows(self, number: int, lengths: NDArray[np.int64], values: NDArray) -> None:
        if number == _OBSERVATIONS:
            self._check_observations(lengths, values)
        elif number == _REWARDS and not (finite := np.isfinite(values)).all():
            self._refuse(lengths, int(np.argmin(finite)), "a reward is not finite: expected numbers")

    def _check_finals(self, number: int, lengths: NDArray[np.int64], values: NDArray) -> None:
        if number == _OBSERVATIONS:
            self._check_observations(lengths, values)

    def _check_observations(self, lengths: NDArray[np.int64], values: NDArray) -> None:
        for first in range(0, len(values), _ROWS_AT_ONCE):
            try:
                self._take(values[first : first + _ROWS_AT_ONCE])
            except WrongValue as error:
                self._refuse(lengths, first + error.row, f"the observation {error}")

    def _refuse(self, lengths: NDArray[np.int64], row: int, what: str) -> None:
        lane = int(np.searchsorted(np.cumsum(lengths), row, side="right"))
        raise FamilyError(f"{place(self._family, self._tasks[lane])}: {what}") from None


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
            extras={name: values[part] for name, values in columns.extras.items()},
        )


def largest_history(family: TaskFamily, episodes: int, extras: Iterable[str] = ()) -> tuple[int, int]:
    """Of a history whose episodes all last to the horizon: the numbers of its largest column, and bytes in all."""
    further = [(math.prod(row), np.dtype(dtype)) for dtype, row in kinds_of(extras, family.action_space).values()]
    observation, action = family.observation_space, family.action_space
    numbers, acting = (
        max(int(np.prod(leaf.shape)) for leaf in leaves(space).values()) for space in (observation, action)
    )
    width, acted = (int(np.prod(row_shape(space))) * storage_dtype(space).itemsize for space in (observation, action))
    # Reward 4, terminated 1, truncated 1, episode 4, step in episode 4; a final observation each episode.
    per_step = width + acted + 14 + sum(count * dtype.itemsize for count, dtype in further)
    widest = max(numbers, acting, 1, *(count for count, _ in further))
    return episodes * family.horizon * widest, episodes * (family.horizon * per_step + width)
