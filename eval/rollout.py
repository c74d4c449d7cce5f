"""Rolls an agent out on tasks: every seed of every task is a lane of one batched environment.

Suffixes: S seeds, N tasks, K episodes, L = S × N lanes (lane = s × N + n).
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from einops import rearrange
from numpy.typing import ArrayLike, NDArray

from icrl.envs.kit.answers import Answers
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.stepping import Step, Watching, lived
from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.seeding import derive_seed
from icrl.tape import Tape, histories
from icrl.tasks import Task, TaskFamily, lane_numbers

Lane = tuple[int, int]
"""(seed, task), both counted from 0."""


class Agent(Protocol):
    """What a rollout needs of an agent; `icrl.models.agent.InContextAgent` is one.

    It may define `keep(lanes)`, which lets go of all lanes but these: then lanes that are done leave the batch.
    """

    def reset(
        self,
        num_envs: int,
        seed: int = 0,
        index: ArrayLike | None = None,
        prompts: Sequence[LearningHistory | None] | None = None,
        targets: ArrayLike | None = None,
    ) -> None:
        """Forgets everything; lane i draws from the streams of (seed, index[i]), begins with prompts[i] and acts
        towards the return targets[i], which only an agent that takes one is given."""

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
    """Steps taken in all lanes together, those of lanes included that were done and had not left yet."""
    seconds: float
    """Wall time of acting and stepping, prompts included."""
    success: NDArray[np.bool_] | None
    """Whether each episode succeeded, shape `(S, N, K)`; None where the environments do not tell."""
    histories: Mapping[Lane, LearningHistory]
    """The K episodes of the lanes that were to be recorded."""


class Scores:
    """What each episode of each lane came to, `(L, K)`, as a batch is lived through.

    Attributes:
        returns: undiscounted.
        success: whether it succeeded; None until the environments say anything of that.
    """

    def __init__(self, num_lanes: int, episodes: int) -> None:
        self.returns = np.zeros((num_lanes, episodes))
        self.success: NDArray[np.bool_] | None = None
        self._running_L = np.zeros(num_lanes)

    def write(self, step: Step) -> int:
        """Adds a step up; gives the number of episodes that it ended and that count."""
        self._running_L[step.lanes] += step.rewards
        if not step.ended:
            return 0
        counted = np.flatnonzero(step.done & step.live)
        place = step.lanes[counted], step.episode[counted]
        self.returns[place] = self._running_L[place[0]]
        self._running_L[step.lanes[step.done]] = 0.0
        if step.succeeded is not None:
            if self.success is None:
                self.success = np.zeros(self.returns.shape, bool)
            self.success[place] = step.succeeded[counted]
        return len(counted)


def rollout(
    family: TaskFamily,
    tasks: Sequence[Task],
    agent: Agent,
    *,
    episodes: int,
    seeds: int,
    seed: int,
    prompts: Sequence[LearningHistory | None] | None = None,
    targets: ArrayLike | None = None,
    record: Iterable[Lane] = (),
    make: Callable[..., BatchedEnv] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Rollout:
    """Lets the agent live through `episodes` episodes of every task, `seeds` times over.

    A lane's random numbers are a function of `seed`, its seed's number and its task's id alone, so what happens in it
    does not depend on the other lanes. Lanes that are done leave the batch, if the agent can `keep` the others; else
    they step along, and what they do then is not counted.

    Args:
        tasks: N tasks of `family`.
        episodes: K, completed by every lane.
        seeds: S.
        seed: of the environments and of the agent's draws; neither shares a stream with recorded data.
        prompts: per lane a history to begin with, or None: S × N of them, seed by seed.
        targets: per task the return that each episode is to come to, `(N,)`, for an agent that takes one.
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
    tape = Tape(family, np.unique([s * len(tasks) + n for s, n in record]).astype(np.int64))

    start = time.perf_counter()
    with closing((make or family.make)(lanes_task, base, index_L)) as env:
        asked = {} if targets is None else {"targets": np.tile(targets, seeds)}
        agent.reset(num_lanes, seed=base, index=index_L, prompts=prompts, **asked)
        scores, env_steps = Scores(num_lanes, episodes), 0
        for step in lived(env, Watching(agent), episodes, Answers(family, lanes_task)):
            env_steps += step.stepped
            tape.write(step, step.live)
            if (counted := scores.write(step)) and advance is not None:
                advance(counted)
    seconds = time.perf_counter() - start

    found = {}
    if len(tape.lanes):
        recorded = [lanes_task[lane] for lane in tape.lanes]
        columns = tape.columns(np.array([task.id for task in recorded], np.int64), tape.lanes // len(tasks))
        every = histories(columns, recorded, "in-context")
        found = {divmod(int(lane), len(tasks)): history for lane, history in zip(tape.lanes, every, strict=True)}
    per_seed = "(s n) k -> s n k"
    success = None if scores.success is None else rearrange(scores.success, per_seed, s=seeds)
    return Rollout(rearrange(scores.returns, per_seed, s=seeds), env_steps, seconds, success, found)
