"""Anchors that are measured: the mean return of a policy over episodes, where no formula gives it."""

from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.answers import Answers
from icrl.envs.kit.stepping import Watching, lived
from icrl.errors import FamilyError, IcrlError
from icrl.own_code import in_one_line, own_code_fails_in_one_line
from icrl.seeding import Streams, stream_keys
from icrl.tasks import ReferencePolicy, Task, TaskFamily, lane_numbers

ANCHOR_SEED = 0
"""Of the environments and of the random actions that measure an anchor: it is the same number every time."""


def measured_return(
    family: TaskFamily,
    tasks: Sequence[Task],
    policy: Callable[[Sequence[Task], Streams], ReferencePolicy],
    episodes: int,
) -> NDArray[np.float64]:
    """Mean undiscounted return of a policy over some first episodes of each task, shape `(N,)`."""
    return measured_returns(family, tasks, policy, episodes).mean(axis=1)


def measured_returns(
    family: TaskFamily,
    tasks: Sequence[Task],
    policy: Callable[[Sequence[Task], Streams], ReferencePolicy],
    episodes: int,
) -> NDArray[np.float64]:
    """Undiscounted returns of a policy, each of the first episode of a lane of its own: shape `(N, episodes)`.

    Args:
        policy: called with the tasks of some lanes and their streams of random numbers; it gives their policy.
        episodes: of each task.
    """
    return_L = np.zeros(len(tasks) * episodes)
    task_L, episode_L = np.divmod(np.arange(len(return_L)), episodes)
    for first in range(0, len(return_L), family.lanes_at_once):
        part = slice(first, first + family.lanes_at_once)
        lanes = [tasks[n] for n in task_L[part]]
        # What a lane is, rather than where it stands: a task's anchor does not depend on the others.
        index = lane_numbers(episode_L[part], lanes)
        return_L[part] = _returns(family, lanes, policy, index)
    return return_L.reshape(len(tasks), episodes)


def _returns(family, tasks, policy, index) -> NDArray[np.float64]:
    """Return of one episode per lane."""
    with closing(family.make(tasks, ANCHOR_SEED, index)) as env:
        actor = policy(tasks, Streams(stream_keys(ANCHOR_SEED, "anchor", index)))
        return_N = np.zeros(len(tasks))
        for step in lived(env, Watching(actor), 1, Answers(family, tasks)):
            return_N[step.lanes] += np.where(step.live, step.rewards, 0.0)
    return return_N


def check_anchors(family: TaskFamily, task: Task) -> None:
    """Whether returns on the task can be measured against anything, for the price of an episode.

    Args:
        family: of no further use: what it measures is of a single episode from now on.

    Raises:
        IcrlError: where they cannot: FamilyError where that is the family's fault.
    """
    if hasattr(family, "anchor_episodes"):
        family.anchor_episodes = 1
    try:
        with own_code_fails_in_one_line():
            family.anchors([task])
    except IcrlError:
        raise
    except Exception as error:
        raise FamilyError(f"{family.name}: anchors of task {task.id} fail: {in_one_line(error)}") from error
