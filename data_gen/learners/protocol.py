"""What a source learner is: it acts in a batch of environments, one task per lane, and learns from the answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.lanes import PerLane
from icrl.seeding import Streams, stream_keys
from icrl.tasks import Task, TaskFamily


class Learner(Protocol):
    """Learns every lane's task from scratch; lanes never learn from each other.

    A class that cannot learn every family says so in a static method `misfit(family)`: in a few words why it cannot
    learn that one, or nothing. `make_learner` asks it, and names the learners that can.

    It may define `keep(lanes)`, or derive from `icrl.lanes.PerLane`: then lanes that are done leave the batch.

    A class of which nothing that it does depends on what it has met before says so, `adaptive = False`: then the order
    of its transitions tells nothing, and methods may shuffle them.
    """

    def act(self, observations: NDArray) -> NDArray:
        """Actions `(N, *action_shape)` for observations `(N, *observation_shape)`."""

    def learn(
        self,
        observations: NDArray,
        actions: NDArray,
        rewards: NDArray,
        terminated: NDArray,
        truncated: NDArray,
        next_observations: NDArray,
    ) -> None:
        """One transition per lane. `next_observations` is what truly followed, also where the episode ended."""


class OwnLoopLearner(Protocol):
    """Learns one task in a loop of its own, as the algorithms of other libraries do.

    It is built like a `Learner`, with a setting of one task; a recording builds one for each history. It may define
    `misfit(family)` too.
    """

    def run(self, env: gym.Env, episodes: int, seed: int) -> None:
        """Lives through that many episodes, or steps until `env` raises an exception of its own to say that they are
        over: nothing of the learner's need catch it, or count.

        Args:
            env: of the task (`icrl.envs.kit.taped.TapedEnv`). It is reset only where an episode is over.
            seed: below 2³¹, of all that the learner draws; it is a function of the recording's seed and the
                history's number.
        """


@dataclass(frozen=True)
class LearnerSetting:
    """What a learner is built from, besides its options."""

    family: TaskFamily
    tasks: Sequence[Task]
    """One per lane, N in all. Only a learner made from a reference policy may look at their parameters."""
    episodes: int
    """Episodes that each lane will live through: schedules run over them."""
    seed: int
    index: NDArray[np.int64]
    """Shape `(N,)`: the histories' numbers; with the seed they fix every lane's random numbers."""

    def lane(self, number: int) -> "LearnerSetting":
        """The setting of one of its lanes."""
        return replace(self, tasks=[self.tasks[number]], index=self.index[number : number + 1])

    def streams(self, purpose: str) -> Streams:
        """One stream of random numbers per lane."""
        return Streams(stream_keys(self.seed, purpose, self.index))


class EpisodeCounter(PerLane):
    """Which episode each lane is in, from 0: `(N,)` in `episode`."""

    per_lane = ("episode",)

    def __init__(self, num_lanes: int) -> None:
        self.episode = np.zeros(num_lanes, np.int64)

    def update(self, terminated: NDArray, truncated: NDArray) -> None:
        self.episode += terminated | truncated
