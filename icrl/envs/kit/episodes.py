"""Some episodes of a policy on one task, as a history, for pictures and checks; `icrl.data_gen` records data."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.simple_policies import UniformActions
from icrl.history import LearningHistory
from icrl.seeding import Streams, stream_keys
from icrl.tasks import ReferencePolicy, Task, TaskFamily, lane_numbers


def uniform_policy(family: TaskFamily, tasks: Sequence[Task], seed: int) -> UniformActions:
    """Uniformly random actions, one lane per task."""
    numbers = lane_numbers(np.arange(len(tasks)), tasks)
    return UniformActions(family, tasks, Streams(stream_keys(seed, "uniform policy", numbers)))


def policy_history(
    family: TaskFamily, task: Task, policy: ReferencePolicy, episodes: int, seed: int, learner: str
) -> LearningHistory:
    """The history of a policy with one lane on one task."""
    # A lane is the task's own: pictures of several tasks do not repeat one random episode.
    with closing(family.make([task], seed, index=[task.id])) as env:
        observation, _ = env.reset()
        columns: dict[str, list] = {
            name: [] for name in ("observations", "actions", "rewards", "terminated", "truncated")
        }
        finals: list[NDArray] = []
        while len(finals) < episodes:
            action = policy.act(observation)
            following, reward, terminated, truncated, info = env.step(action)
            policy.observe(reward, terminated, truncated)
            for column, value in zip(
                columns.values(), (observation, action, reward, terminated, truncated), strict=True
            ):
                column.append(value[0])
            if terminated[0] or truncated[0]:
                finals.append(info["final_obs"][0])
            observation = following
    arrays = {name: np.array(column) for name, column in columns.items()}
    done = arrays["terminated"] | arrays["truncated"]
    starts = np.flatnonzero(np.concatenate(([True], done[:-1])))
    episode = np.cumsum(np.concatenate(([0], done[:-1])))
    return LearningHistory(
        **arrays,
        episode=episode.astype(np.int32),
        step_in_episode=(np.arange(len(done)) - starts[episode]).astype(np.int32),
        final_observations=np.array(finals),
        task_id=task.id,
        task_params=task.params,
        learner=learner,
        learner_seed=seed,
    )
