"""Rolls an agent out on tasks: every seed of every task is a lane of one batched environment.

Suffixes: S seeds, N tasks, K episodes, L = S × N lanes (lane = s × N + n).
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icrl.envs.base import BatchedEnv
from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.seeding import derive_seed
from icrl.spaces import storage_dtype
from icrl.tasks import Task, TaskFamily, lane_numbers

Lane = tuple[int, int]
"""(seed, task), both counted from 0."""


class Agent(Protocol):
    """What a rollout needs of an agent; `icrl.models.agent.InContextAgent` is one."""

    def reset(
        self,
        num_envs: int,
        seed: int = 0,
        index: ArrayLike | None = None,
        prompts: Sequence[LearningHistory | None] | None = None,
    ) -> None:
        """Forgets everything; lane i draws from the streams of (seed, index[i]) and begins with prompts[i]."""

    def act(self, observations: NDArray) -> NDArray:
        """Actions `(L, *action_shape)`, within the bounds of a Box, for the observations `(L, *observation_shape)`."""

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """The environments' answer to the last `act`, each `(L,)`."""


@dataclass(frozen=True)
class Rollout:
    """What came of it."""

    returns: NDArray[np.float64]
    """Undiscounted return of each episode, shape `(S, N, K)`."""
    env_steps: int
    """Steps taken in all lanes together, those of lanes that had already finished included."""
    seconds: float
    """Wall time of acting and stepping, prompts included."""
    histories: Mapping[Lane, LearningHistory]
    """The K episodes of the lanes that were to be recorded."""


def rollout(
    family: TaskFamily,
    tasks: Sequence[Task],
    agent: Agent,
    *,
    episodes: int,
    seeds: int,
    seed: int,
    prompts: Sequence[LearningHistory | None] | None = None,
    record: Iterable[Lane] = (),
    make: Callable[..., BatchedEnv] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Rollout:
    """Lets the agent live through `episodes` episodes of every task, `seeds` times over.

    A lane's random numbers are a function of `seed`, its seed's number and its task's id alone, so what happens in it
    does not depend on the other lanes. Lanes that finish early keep stepping, so that the batch stays whole, but what
    they do then is not counted.

    Args:
        tasks: N tasks of `family`.
        episodes: K, completed by every lane.
        seeds: S.
        seed: of the environments and of the agent's draws; neither shares a stream with recorded data.
        prompts: per lane a history to begin with, or None: S × N of them, seed by seed.
        record: lanes whose transitions are kept.
        make: makes the environment of (tasks, seed, index), by default `family.make`; it is closed afterwards.
        advance: called with the number of episodes completed since the last call.
    """
    if not tasks:
        raise UsageError("there is no task to roll out on: expected at least one")
    if episodes < 1 or seeds < 1:
        raise UsageError(f"episodes={episodes}, seeds={seeds}: expected at least one of each")
    lanes_task = list(tasks) * seeds
    num_lanes = len(lanes_task)
    # What a lane is, rather than where it stands: that makes it independent of the batch.
    index_L = lane_numbers(np.repeat(np.arange(seeds), len(tasks)), lanes_task)
    base = derive_seed(seed, "evaluation")
    tape = _Tape(family, [s * len(tasks) + n for s, n in record])

    start = time.perf_counter()
    with closing((make or family.make)(lanes_task, base, index_L)) as env:
        agent.reset(num_lanes, seed=base, index=index_L, prompts=prompts)
        observations, _ = env.reset()
        return_LK = np.zeros((num_lanes, episodes))
        running_L = np.zeros(num_lanes)
        count_L = np.zeros(num_lanes, np.int64)
        steps, unfinished = 0, num_lanes
        while unfinished:
            action_L = agent.act(observations)
            following, reward_L, terminated_L, truncated_L, info = env.step(action_L)
            agent.observe(reward_L, terminated_L, truncated_L)
            tape.write(observations, action_L, reward_L, terminated_L, truncated_L, info.get("final_obs"))
            observations = following
            running_L += reward_L
            steps += 1
            done_L = terminated_L | truncated_L
            if done_L.any():
                counted = np.flatnonzero(done_L & (count_L < episodes))
                return_LK[counted, count_L[counted]] = running_L[counted]
                count_L[counted] += 1
                running_L[done_L] = 0.0
                unfinished = int(np.count_nonzero(count_L < episodes))
                if advance is not None and len(counted):
                    advance(len(counted))
    seconds = time.perf_counter() - start

    histories = {
        divmod(lane, len(tasks)): tape.history(row, lanes_task[lane], lane // len(tasks), episodes)
        for row, lane in enumerate(tape.lanes)
    }
    return Rollout(return_LK.reshape(seeds, len(tasks), episodes), steps * num_lanes, seconds, histories)


class _Tape:
    """The transitions of a few lanes, as they come."""

    def __init__(self, family: TaskFamily, lanes: list[int]) -> None:
        self.lanes = np.array(lanes, np.int64)
        self._dtype = storage_dtype(family.observation_space)
        self._columns: list[list[NDArray]] = [[] for _ in range(6)]

    def write(self, observations, actions, rewards, terminated, truncated, final_observations) -> None:
        """One step of all lanes; `final_observations` is None where no episode ended."""
        if not len(self.lanes):
            return
        final = observations if final_observations is None else final_observations
        for column, values in zip(
            self._columns, (observations, actions, rewards, terminated, truncated, final), strict=True
        ):
            column.append(values[self.lanes])

    def history(self, row: int, task: Task, learner_seed: int, episodes: int) -> LearningHistory:
        """The first `episodes` episodes of the `row`-th recorded lane."""
        observations, actions, rewards, terminated, truncated, final = (
            np.stack([values[row] for values in column]) for column in self._columns
        )
        ends = np.flatnonzero(terminated | truncated)[:episodes]
        rows = slice(0, ends[-1] + 1)
        starts = np.concatenate(([0], ends[:-1] + 1))
        lengths = ends + 1 - starts
        episode = np.repeat(np.arange(episodes, dtype=np.int32), lengths)
        return LearningHistory(
            observations=observations[rows].astype(self._dtype),
            actions=actions[rows],
            rewards=rewards[rows].astype(np.float32),
            terminated=terminated[rows],
            truncated=truncated[rows],
            episode=episode,
            step_in_episode=(np.arange(len(episode)) - starts[episode]).astype(np.int32),
            final_observations=final[ends].astype(self._dtype),
            task_id=task.id,
            task_params=task.params,
            learner="in-context",
            learner_seed=learner_seed,
        )
