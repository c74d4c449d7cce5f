"""Runs source learners over tasks and records their histories: `record` for a store, `record_histories` for memory."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np

from icrl.data_gen.learners import make_learner
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.envs.kit.answers import Answers
from icrl.envs.kit.stepping import lived
from icrl.history import LearningHistory
from icrl.spill import Spill
from icrl.store_writer import HistoryColumns
from icrl.tape import Tape, histories
from icrl.tasks import Task, TaskFamily


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
    spill: Spill | None = None,
) -> HistoryColumns:
    """One history per lane: lane i learns `tasks[i]` from scratch, for `episodes` episodes.

    Args:
        keep_every: episodes 0, k, 2k, … are recorded; the learner lives through all of them.
        seed, index: history number `index[i]` fixes every random number of lane i, of the learner and of the
            environment: the other lanes, and how many there are, do not matter.
        success: also whether each episode succeeded.
        spill: where transitions go when they are more than memory is to hold. What is returned reads from it.
    """
    index = np.asarray(index, np.int64)
    actor = make_learner(learner, learner_options, LearnerSetting(family, tasks, episodes, seed, index))
    tape = Tape(family, np.arange(len(tasks)), success, spill=spill, tasks=tasks)
    answers = Answers(family, tasks)
    with closing(family.make(tasks, seed, index)) as env:
        for step in lived(env, actor, episodes, answers):
            tape.write(step, step.live & (step.episode % keep_every == 0))
        answers.check_differences(env)
    return tape.columns(np.array([task.id for task in tasks], np.int64), index)


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
