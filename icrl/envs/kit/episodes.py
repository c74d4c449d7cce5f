"""Some episodes of a policy on one task, as a history, for pictures and checks; `icrl.data_gen` records data."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from icrl.envs.kit.answers import Answers
from icrl.envs.kit.simple_policies import UniformActions
from icrl.envs.kit.stepping import Watching, lived
from icrl.history import LearningHistory
from icrl.seeding import Streams, stream_keys
from icrl.tape import Tape, histories
from icrl.tasks import ReferencePolicy, Task, TaskFamily, lane_numbers


def uniform_policy(family: TaskFamily, tasks: Sequence[Task], seed: int) -> UniformActions:
    """Uniformly random actions, one lane per task."""
    numbers = lane_numbers(np.arange(len(tasks)), tasks)
    return UniformActions(family, tasks, Streams(stream_keys(seed, "uniform policy", numbers)))


def policy_history(
    family: TaskFamily, task: Task, policy: ReferencePolicy, episodes: int, seed: int, learner: str
) -> LearningHistory:
    """The history of a policy with one lane on one task."""
    tape = Tape(family, np.arange(1))
    # A lane is the task's own: pictures of several tasks do not repeat one random episode.
    with closing(family.make([task], seed, index=[task.id])) as env:
        for step in lived(env, Watching(policy), episodes, Answers(family, [task])):
            tape.write(step, step.live)
    columns = tape.columns(np.array([task.id], np.int64), np.array([seed], np.int64))
    return next(histories(columns, [task], learner))
