"""Runs source learners over tasks and records their histories: `record` for a store, `record_histories` for memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import numpy as np

from icrl.data_gen.learners import LEARNERS, has_own_loop, make_learner
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.data_gen.learners.reference_policies import STATE_ONE
from icrl.envs.kit.answers import Answers
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.stepping import Life, Step, lived
from icrl.envs.kit.taped import EnoughEpisodes, TapedEnv
from icrl.errors import UsageError
from icrl.extras import EXPERT_ACTIONS
from icrl.history import LearningHistory
from icrl.seeding import derive_seed
from icrl.spill import Spill
from icrl.store_writer import HistoryColumns
from icrl.tape import Tape, histories
from icrl.tasks import ReferencePolicy, Task, TaskFamily


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
    tape = Tape(family, np.arange(len(tasks)), success, extras=extras, spill=spill, tasks=tasks)
    live(
        LearnerSetting(family, tasks, episodes, seed, index),
        learner,
        learner_options,
        lambda step: tape.write(step, step.live & (step.episode % keep_every == 0)),
        with_expert=EXPERT_ACTIONS in extras,
    )
    return tape.columns(np.array([task.id for task in tasks], np.int64), index)


def live(
    setting: LearnerSetting,
    learner: str,
    learner_options: dict[str, Any],
    write: Callable[[Step], None],
    *,
    with_expert: bool = False,
) -> None:
    """Has a learner live through its episodes, one lane per task of the setting.

    Args:
        write: called with every step: of the lanes that are left, or lane by lane where the learner has a loop of its
            own.
        with_expert: asks the family's best reference policy beside it, in every step.
    """
    if not has_own_loop(LEARNERS[learner]):
        actor = make_learner(learner, learner_options, setting)
        with _living(setting, with_expert) as (env, answers, beside):
            for step in lived(env, actor, setting.episodes, answers, beside):
                write(step)
        return
    for number in range(len(setting.tasks)):
        lane = setting.lane(number)
        actor = make_learner(learner, learner_options, lane)
        with _living(lane, with_expert) as (env, answers, beside):
            life = Life(env, lane.episodes, answers, beside=beside, lanes=np.array([number]))
            seed = derive_seed(lane.seed, "own loop", int(lane.index[0]))
            with suppress(EnoughEpisodes):
                actor.run(TapedEnv(life, write, actor), lane.episodes, seed)
            if not life.over:
                raise UsageError(f"{learner} ended its run before {lane.episodes:,} episodes were over")


@contextmanager
def _living(
    setting: LearnerSetting, with_expert: bool
) -> Iterator[tuple[BatchedEnv, Answers, ReferencePolicy | None]]:
    """The environment of a setting's lanes, with what checks its answers, also once all is over; and the expert."""
    family, tasks = setting.family, setting.tasks
    answers = Answers(family, tasks)
    beside = family.reference_policy(best_kind(family), tasks) if with_expert else None
    with closing(family.make(tasks, setting.seed, setting.index)) as env:
        yield env, answers, beside
        answers.check_differences(env)


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
