"""What tasks do, seen from outside: some seeded steps of uniform actions, and all that comes back."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icrl.envs.kit.answers import Answers
from icrl.envs.kit.episodes import uniform_policy
from icrl.envs.kit.stepping import Life
from icrl.seeding import Streams, stream_keys
from icrl.spaces import bounded, drawer, num_uniforms
from icrl.tasks import Task, TaskFamily, lane_numbers


@dataclass(frozen=True)
class Roll:
    """T steps in N lanes."""

    observations: NDArray
    """Shape `(T + 1, N, *observation_shape)`: what each step was taken from, and what the last one led to."""
    reached: NDArray
    """Shape `(T, N, *observation_shape)`: what each step led to, the last observation where an episode ended."""
    actions: NDArray
    """Shape `(T, N, *action_shape)`."""
    rewards: NDArray[np.float64]
    """Shape `(T, N)`, as are the next two."""
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    infos: list[dict[str, Any]]
    """What `step` said besides, T times."""


def roll(
    family: TaskFamily,
    tasks: Sequence[Task],
    steps: int,
    *,
    seed: int = 0,
    index: Sequence[int] | None = None,
    alike: bool = False,
    seconds: float = float("inf"),
    keep: Callable[[NDArray], NDArray] = np.array,
) -> Roll:
    """Steps one lane per task with seeded uniform actions; episodes follow one another.

    Args:
        tasks: N tasks.
        steps: T.
        seed: of the environments and of the actions; a lane's numbers depend on its task and on how often that stood
            before it.
        index: stream numbers of the lanes instead.
        alike: every lane plays the same actions and draws the same numbers, so that only their tasks tell them apart.
        seconds: of processor time after the first step, after which no further step is taken; ten times as much of
            the clock's, for environments that live in another process.
        keep: what is kept of a batch of observations `(N, *observation_shape)`, for those that are large.

    Raises:
        FamilyError: where an answer is outside its space, or no number.
    """
    tasks = list(tasks)
    if index is None:
        index = [0] * len(tasks) if alike else _numbers(tasks)
    rewards, terminated, truncated, actions, infos = [], [], [], [], []
    with closing(family.make(tasks, seed, index)) as env:
        life = Life(env, float("inf"), Answers(family, tasks), checked=True)
        observations, reached = [keep(life.observations)], []
        policy = _Actions(family, tasks, seed, index, alike)
        for _ in range(steps):
            step = life.step(policy.act(life.observations), policy)
            actions.append(step.actions)
            # Rewards as they were given: what is recorded of them is rounded.
            for rows, row in (
                (rewards, step.given[1]), (terminated, step.terminated), (truncated, step.truncated),
            ):  # fmt: skip
                rows.append(np.array(row))
            observations.append(keep(life.observations))
            reached.append(keep(step.successors) if step.ended else observations[-1])
            infos.append(step.given[4])
            if len(rewards) == 1:  # The first step may compile what the others take.
                began, at = time.process_time(), time.perf_counter()
            elif time.process_time() - began > seconds or time.perf_counter() - at > 10 * seconds:
                break
    return Roll(
        np.array(observations), np.array(reached), np.array(actions), np.array(rewards, np.float64),
        np.array(terminated, bool), np.array(truncated, bool), infos,
    )  # fmt: skip


def _numbers(tasks: Sequence[Task]) -> NDArray[np.int64]:
    """Stream numbers of lanes: a second lane on a task has another than the first."""
    met: dict[int, int] = {}
    repeat = [met.update({task.id: met.get(task.id, -1) + 1}) or met[task.id] for task in tasks]
    return lane_numbers(repeat, tasks)


class _Actions:
    """Uniform actions; of a side of a Box that has no bound, between -1 and 1."""

    def __init__(self, family: TaskFamily, tasks: Sequence[Task], seed: int, index: ArrayLike, alike: bool) -> None:
        space = family.action_space
        self._alike, self._space, self._uniform = alike, space, None
        if bounded(space):
            self._uniform = uniform_policy(family, tasks, seed)
        self._streams = Streams(stream_keys(seed, "behaviour", np.asarray(index)))

    def act(self, seen: NDArray) -> NDArray:
        if self._uniform is not None:
            actions = self._uniform.act(seen)
        else:
            actions = drawer(self._space)(self._streams.uniform_block(num_uniforms(self._space)).T)
        return np.repeat(actions[:1], len(actions), axis=0) if self._alike else actions
