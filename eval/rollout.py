"""Batched in-context rollouts: frozen weights, one lane per (evaluation seed, task), all lanes in one batch.

Shape suffixes: S evaluation seeds, N tasks, K episodes, L lanes of one batch.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.seeding import derive_seed
from icrl.tasks import Task, TaskFamily

LEARNER = "in-context"
"""What a recorded lane's history names as its learner."""

Prompts = Sequence[Sequence[LearningHistory | None]]
"""What each lane's context begins with: S rows of N."""


class Agent(Protocol):
    """Anything that acts in a batch of lanes and remembers what happened; a lane's lasting memory is its context."""

    def reset(
        self,
        num_envs: int,
        seed: int = 0,
        index: ArrayLike | None = None,
        prompts: Sequence[LearningHistory | None] | None = None,
    ) -> None:
        """Forgets everything; lane i draws its random numbers from the stream (seed, purpose, index[i])."""

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        """Actions `(L,)` for observations `(L, *observation_shape)`."""

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """The environments' answer to the last `act`, each `(L,)`. The end of an episode forgets nothing."""


@dataclass(frozen=True, eq=False)
class Rollout:
    """What an agent earned, and what it did in the lanes that were recorded."""

    returns: NDArray[np.float64]
    """Shape `(S, N, K)`: undiscounted return of each episode, in order."""
    env_steps: int
    """Environment steps taken, over all lanes."""
    seconds: float
    """Wall time of those steps, the agent's part included."""
    histories: dict[tuple[int, int], LearningHistory] = field(default_factory=dict)
    """By (seed, position of the task): the K episodes of each recorded lane."""

    @property
    def env_steps_per_second(self) -> float:
        return self.env_steps / max(self.seconds, 1e-9)


def rollout(
    family: TaskFamily,
    tasks: Sequence[Task],
    agent: Agent,
    *,
    episodes: int,
    seeds: int = 1,
    seed: int = 0,
    prompts: Prompts | None = None,
    record_seeds: int = 0,
    max_lanes: int = 1024,
    advance: Callable[[int], None] | None = None,
) -> Rollout:
    """Lets the agent live through `episodes` episodes of every task, `seeds` times over.

    Every lane completes the same number of episodes: one that is done early steps on and is not counted, so that
    tasks with short episodes do not count more. What a lane does is a function of (seed, evaluation seed, task)
    and not of the batch it is in.

    Args:
        tasks: N different tasks of `family`.
        agent: reset here, once for every batch.
        episodes: K.
        seeds: S: how often each task is played, each time with random numbers of its own.
        prompts: what the contexts begin with; None for nothing.
        record_seeds: all transitions of the first that many evaluation seeds are kept.
        max_lanes: lanes in one batch at most; it bounds the memory that contexts take.
        advance: called with the number of counted episodes that a step completed, `S * N * K` in all.

    Raises:
        UsageError: where a count is below 1, or a task stands in `tasks` twice.
    """
    tasks = list(tasks)
    for name, value in (("episodes", episodes), ("seeds", seeds), ("tasks", len(tasks)), ("max_lanes", max_lanes)):
        if value < 1:
            raise UsageError(f"{name} is {value}: expected at least 1")
    if len({task.id for task in tasks}) < len(tasks):
        raise UsageError("a task stands in the list twice: raise `seeds` to play a task more than once")
    seed = derive_seed(seed, "evaluation")
    lanes = [(s, n) for s in range(seeds) for n in range(len(tasks))]
    returns_SNK = np.zeros((seeds, len(tasks), episodes))
    histories: dict[tuple[int, int], LearningHistory] = {}
    env_steps = 0
    start = time.perf_counter()
    for first in range(0, len(lanes), max_lanes):
        batch = lanes[first : first + max_lanes]
        # A lane is known by what it is, not by its place: evaluation seed in the high half, task in the low half.
        index_L = np.array([(s << 32) + tasks[n].id for s, n in batch])
        env = family.make([tasks[n] for _, n in batch], seed, index_L)
        agent.reset(len(batch), seed, index_L, None if prompts is None else [prompts[s][n] for s, n in batch])
        recorded = sum(s < record_seeds for s, _ in batch)
        returns_LK, steps, columns = _play(env, agent, episodes, recorded, advance)
        env_steps += steps * len(batch)
        for lane, (s, n) in enumerate(batch):
            returns_SNK[s, n] = returns_LK[lane]
        for lane, (s, n) in enumerate(batch[:recorded]):
            histories[s, n] = _lane_history(columns, lane, episodes, tasks[n], s)
    return Rollout(returns_SNK, env_steps, time.perf_counter() - start, histories)


def _play(
    env, agent: Agent, episodes: int, recorded: int, advance: Callable[[int], None] | None
) -> tuple[NDArray[np.float64], int, list[NDArray]]:
    """Steps until every lane has completed `episodes` episodes.

    Returns:
        returns `(L, K)`; the number of steps; and of the first `recorded` lanes the columns observations, actions,
        rewards, terminated, truncated, next observations, each `(steps, recorded, ...)`.
    """
    returns_LK = np.zeros((env.num_envs, episodes))
    earned_L = np.zeros(env.num_envs)
    episode_L = np.zeros(env.num_envs, np.int64)
    rows: list[tuple] = []
    steps, least = 0, 0
    observations, _ = env.reset()
    while least < episodes:
        actions = agent.act(observations)
        following, rewards, terminated, truncated, info = env.step(actions)
        agent.observe(rewards, terminated, truncated)
        if recorded:
            row = (observations, actions, rewards, terminated, truncated, info.get("final_obs", following))
            rows.append(tuple(column[:recorded] for column in row))
        observations = following
        earned_L += rewards
        steps += 1
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            counted = ended[episode_L[ended] < episodes]
            returns_LK[counted, episode_L[counted]] = earned_L[counted]
            earned_L[ended] = 0.0
            episode_L[ended] += 1
            least = episode_L.min()
            if advance is not None and len(counted):
                advance(len(counted))
    return returns_LK, steps, [np.stack(column) for column in zip(*rows, strict=True)]


def _lane_history(
    columns: list[NDArray], lane: int, episodes: int, task: Task, evaluation_seed: int
) -> LearningHistory:
    """The counted episodes of one recorded lane."""
    observations, actions, rewards, terminated, truncated, following = (column[:, lane] for column in columns)
    ends = np.flatnonzero(terminated | truncated)[:episodes]
    rows = slice(0, int(ends[-1]) + 1)
    episode = np.searchsorted(ends, np.arange(rows.stop))
    starts = np.concatenate(([0], ends[:-1] + 1))
    return LearningHistory(
        observations=observations[rows],
        actions=actions[rows],
        rewards=rewards[rows].astype(np.float32),
        terminated=terminated[rows],
        truncated=truncated[rows],
        episode=episode.astype(np.int32),
        step_in_episode=(np.arange(rows.stop) - starts[episode]).astype(np.int32),
        final_observations=following[ends],
        task_id=task.id,
        task_params=task.params,
        learner=LEARNER,
        learner_seed=evaluation_seed,
    )
