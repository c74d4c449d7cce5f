"""Runs source learners over tasks and records their histories: `record` for a store, `record_histories` for memory."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np

from icrl.data_gen.learners import make_learner
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.envs.kit.answers import Answers, place
from icrl.envs.kit.stepping import lived
from icrl.errors import FamilyError
from icrl.history import LearningHistory
from icrl.spaces import WrongValue, gate
from icrl.store_writer import HistoryColumns
from icrl.tape import Tape, histories
from icrl.tasks import Task, TaskFamily

_ROWS_AT_ONCE = 1 << 14
"""Rows that are checked at once: few enough for a core's cache."""


def record(
    family: TaskFamily,
    tasks: Sequence[Task],
    learner: str,
    learner_options: dict[str, Any],
    *,
    episodes: int,
    keep_every: int,
    seed: int,
    index: Sequence[int],
    success: bool = False,
) -> HistoryColumns:
    """One history per lane: lane i learns `tasks[i]` from scratch, for `episodes` episodes.

    Args:
        keep_every: episodes 0, k, 2k, … are recorded; the learner lives through all of them.
        seed, index: history number `index[i]` fixes every random number of lane i, of the learner and of the
            environment: the other lanes, and how many there are, do not matter.
        success: also whether each episode succeeded.
    """
    index = np.asarray(index, np.int64)
    actor = make_learner(learner, learner_options, LearnerSetting(family, tasks, episodes, seed, index))
    tape = Tape(family, np.arange(len(tasks)), success)
    answers = Answers(family, tasks)
    with closing(family.make(tasks, seed, index)) as env:
        for step in lived(env, actor, episodes, answers):
            tape.write(step, step.live & (step.episode % keep_every == 0))
        answers.check_differences(env)
    columns = tape.columns(np.array([task.id for task in tasks], np.int64), index)
    _check(family, tasks, columns)
    return columns


def _check(family: TaskFamily, tasks: Sequence[Task], columns: HistoryColumns) -> None:
    """Raises FamilyError for a value that is none, once for all: classes that are vouched for are not looked at while
    they are stepped."""
    take = gate(family.observation_space)
    for values, lengths in ((columns.observations, columns.lengths), (columns.final_observations, columns.num_final)):
        for first in range(0, len(values), _ROWS_AT_ONCE):
            try:
                take(values[first : first + _ROWS_AT_ONCE])
            except WrongValue as error:
                lane = int(np.searchsorted(np.cumsum(lengths), first + error.row, side="right"))
                raise FamilyError(f"{place(family, tasks[lane])}: the observation {error}") from None
    if not (finite := np.isfinite(columns.rewards)).all():
        lane = int(np.searchsorted(np.cumsum(columns.lengths), np.argmin(finite), side="right"))
        raise FamilyError(f"{place(family, tasks[lane])}: a reward is not finite: expected numbers")


def record_histories(
    family: TaskFamily,
    tasks: Sequence[Task],
    learner: str,
    learner_options: dict[str, Any],
    *,
    episodes: int,
    keep_every: int = 1,
    seed: int = 0,
    index: Sequence[int] | None = None,
    success: bool = False,
) -> list[LearningHistory]:
    """The same in memory, as one checked `LearningHistory` per lane; `index` defaults to 0 … N-1."""
    columns = record(
        family,
        tasks,
        learner,
        learner_options,
        episodes=episodes,
        keep_every=keep_every,
        seed=seed,
        index=range(len(tasks)) if index is None else index,
        success=success,
    )
    return list(histories(columns, tasks, learner))
