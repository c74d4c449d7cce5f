"""Runs source learners over tasks and records their histories: `record` for a store, `record_histories` for memory.

Legend: N lanes (histories), T recorded rows of the batch, M transitions of all histories.
"""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.learner import Learner, LearnerSetting
from icrl.data_gen.learners import make_learner
from icrl.envs.base import BatchedEnv
from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.spaces import storage_dtype
from icrl.store_writer import HistoryColumns
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
) -> HistoryColumns:
    """One history per lane: lane i learns `tasks[i]` from scratch, for `episodes` episodes.

    Args:
        keep_every: episodes 0, k, 2k, … are recorded; the learner lives through all of them.
        seed, index: history number `index[i]` fixes every random number of lane i, of the learner and of the
            environment: the other lanes, and how many there are, do not matter.
    """
    index = np.asarray(index, np.int64)
    actor = make_learner(learner, learner_options, LearnerSetting(family, tasks, episodes, seed, index))
    with closing(family.make(tasks, seed, index)) as env:
        lengths, columns, num_final, final_observations = _live(family, env, actor, episodes, keep_every)
    return HistoryColumns(
        np.array([task.id for task in tasks], np.int64), index, lengths, num_final, *columns, final_observations
    )


def _live(family: TaskFamily, env: BatchedEnv, actor: Learner, episodes: int, keep_every: int) -> tuple:
    """Has all lanes learn; gives the lanes' numbers of transitions kept and their columns, and the same of the final
    observations."""
    num_lanes = env.num_envs
    observation_dtype = storage_dtype(family.observation_space)
    action_dtype = storage_dtype(family.action_space)
    episode = np.zeros(num_lanes, np.int32)
    step = np.zeros(num_lanes, np.int32)
    rows = _Rows(7)
    finals = _Rows(1)

    observations, _ = env.reset()
    while True:
        kept = (episode % keep_every == 0) & (episode < episodes)
        # What is recorded is what was played, not what was asked for.
        actions = env.played(actor.act(observations))
        following, rewards, terminated, truncated, info = env.step(actions)
        done = terminated | truncated
        ended = bool(done.any())
        successors = following
        if ended:
            # What truly followed: the last observation where an episode ended, the next one elsewhere.
            where = done.reshape(done.shape + (1,) * (following.ndim - 1))
            successors = np.where(where, info["final_obs"], following)
        actor.learn(observations, actions, rewards, terminated, truncated, successors)
        if kept.any():
            rows.append(
                kept,
                observations.astype(observation_dtype),
                actions.astype(action_dtype),
                np.asarray(rewards, np.float32),
                terminated,
                truncated,
                episode,
                step,
            )
            if ended and (last := kept & done).any():
                finals.append(last, successors.astype(observation_dtype))
        observations = following
        if ended:
            episode = episode + done
            step = np.where(done, 0, step + 1).astype(np.int32)
            if episode.min() >= episodes:
                break
        else:
            step = step + 1

    lengths, columns = rows.lane_major()
    num_final, (final_observations,) = finals.lane_major()
    for what, values in (("observation", columns[0]), ("reward", columns[2]), ("observation", final_observations)):
        if not np.isfinite(values).all():
            raise UsageError(
                f"{family.name} gave {'an' if what[0] == 'o' else 'a'} {what} that is not finite: expected numbers, "
                "since a model would learn nothing from others; `icrl check-family` finds such"
            )
    return lengths, columns, num_final, final_observations


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
    )
    ends, final_ends = np.cumsum(columns.lengths), np.cumsum(columns.num_final)
    histories = []
    for lane, task in enumerate(tasks):
        part = slice(ends[lane] - columns.lengths[lane], ends[lane])
        final_part = slice(final_ends[lane] - columns.num_final[lane], final_ends[lane])
        histories.append(
            LearningHistory(
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
            )
        )
    return histories


class _Rows:
    """Rows of a batch, `(N, …)` each, with a mask of the lanes that they count for."""

    def __init__(self, num_columns: int) -> None:
        self._masks: list[NDArray[np.bool_]] = []
        self._columns: list[list[NDArray]] = [[] for _ in range(num_columns)]

    def append(self, mask_N: NDArray[np.bool_], *row: NDArray) -> None:
        self._masks.append(mask_N)
        for column, values in zip(self._columns, row, strict=True):
            column.append(values)

    def lane_major(self) -> tuple[NDArray[np.int64], list[NDArray]]:
        """How many rows each lane has, `(N,)`; and each column with the lanes one after the other, `(M, …)`.

        That is Arrow's own layout of a list per history, so no lane is ever touched by itself.
        """
        mask_NT = np.stack(self._masks).T
        whole = bool(mask_NT.all())
        columns = []
        for column in self._columns:
            values_NT = np.stack(column).swapaxes(0, 1)
            # Free the rows as they are copied: a batch of long histories is most of the memory.
            column.clear()
            columns.append(values_NT.reshape(-1, *values_NT.shape[2:]) if whole else values_NT[mask_NT])
        return mask_NT.sum(axis=1), columns
