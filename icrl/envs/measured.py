"""Anchors that are measured: the mean return of a policy over episodes, where no formula gives it."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from icrl.seeding import Streams, stream_keys
from icrl.tasks import ReferencePolicy, Task, TaskFamily

LANES_AT_ONCE = 256
ANCHOR_SEED = 0
"""Of the environments and of the random actions that measure an anchor: it is the same number every time."""


def measured_return(
    family: TaskFamily,
    tasks: Sequence[Task],
    policy: Callable[[Sequence[Task], Streams], ReferencePolicy],
    episodes: int,
) -> NDArray[np.float64]:
    """Mean undiscounted return of a policy over the first episodes of each task, shape `(N,)`.

    Args:
        policy: called with the tasks of some lanes and their streams of random numbers; it gives their policy.
        episodes: averaged over, for each task.
    """
    total_N = np.zeros(len(tasks))
    lanes = np.repeat(np.arange(len(tasks)), episodes)
    for first in range(0, len(lanes), LANES_AT_ONCE):
        part = lanes[first : first + LANES_AT_ONCE]
        # What a lane is, rather than where it stands: a task's anchor does not depend on the others.
        index = [(first + i) % episodes * 2**32 + tasks[n].id for i, n in enumerate(part)]
        chosen = [tasks[n] for n in part]
        total_N += np.bincount(part, _returns(family, chosen, policy, index), minlength=len(tasks))
    return total_N / episodes


def _returns(family, tasks, policy, index) -> NDArray[np.float64]:
    """Return of one episode per lane."""
    env = family.make(tasks, ANCHOR_SEED, index)
    actor = policy(tasks, Streams(stream_keys(ANCHOR_SEED, "anchor", index)))
    observations, _ = env.reset()
    return_N, running_N = np.zeros(len(tasks)), np.ones(len(tasks), bool)
    while running_N.any():
        observations, rewards, terminated, truncated, _ = env.step(actor.act(observations))
        actor.observe(rewards, terminated, truncated)
        return_N += np.where(running_N, rewards, 0.0)
        running_N &= ~(terminated | truncated)
    return return_N
