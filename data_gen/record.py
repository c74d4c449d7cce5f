"""Runs source learners over tasks and records their histories: `record` for a store, `record_histories` for memory."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np

from icrl.data_gen.learners import make_learner
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.data_gen.learners.reference_policies import STATE_ONE
from icrl.envs.kit.answers import Answers
from icrl.envs.kit.stepping import lived
from icrl.errors import UsageError
from icrl.extras import EXPERT_ACTIONS
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
    extras: Sequence[str] = (),
    spill: Spill | None = None,
) -> HistoryColumns:
    """One history per lane: lane i learns `tasks[i]` from scratch, for `episodes` episodes.

    Args:
        keep_every: episodes 0, k, 2k, … are recorded; the learner lives through all of them.
        seed, index: history number `index[i]` fixes every random number of lane i, of the learner and of the
            environment: the other lanes, and how many there are, do not matter.
        success: also whether each episode succeeded.
        extras: of `icrl.extras.PER_STEP`, the columns to record as well.
        spill: where transitions go when they are more than memory is to hold. What is returned reads from it.
    """
    index = np.asarray(index, np.int64)
    actor = make_learner(learner, learner_options, LearnerSetting(family, tasks, episodes, seed, index))
    beside = family.reference_policy(best_kind(family), tasks) if EXPERT_ACTIONS in extras else None
    tape = Tape(family, np.arange(len(tasks)), success, extras=extras, spill=spill, tasks=tasks)
    answers = Answers(family, tasks)
    with closing(family.make(tasks, seed, index)) as env:
        for step in lived(env, actor, episodes, answers, beside):
            tape.write(step, step.live & (step.episode % keep_every == 0))
        answers.check_differences(env)
    return tape.columns(np.array([task.id for task in tasks], np.int64), index)


def best_kind(family: TaskFamily) -> str:
    """The kind of the family's best reference policy.

    Raises:
        UsageError: where it has none.
    """
    if not family.policy_kinds:
        raise UsageError(f"--expert-actions records a reference policy, and {family.name} has none ({STATE_ONE})")
    return family.policy_kinds[0]


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
    extras: Sequence[str] = (),
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
        extras=extras,
    )
    return list(histories(columns, tasks, learner))
