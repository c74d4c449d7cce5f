"""The one loop in which a batch of environments is lived through: by learners, by agents, by reference policies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.answers import Answers
from icrl.envs.kit.base import BatchedEnv
from icrl.lanes import lets_go
from icrl.success import SUCCESS, successes


@dataclass(slots=True)
class Step:
    """One step of the lanes that are left, M of them."""

    lanes: NDArray[np.int64]
    """Which they are of the N at first, shape `(M,)`, rising; the same array until lanes leave."""
    live: NDArray[np.bool_]
    """Shape `(M,)`: false for a lane that has lived through its episodes and steps along."""
    observations: NDArray
    """What was seen, shape `(M, *observation_shape)`."""
    actions: NDArray
    """What was played, which is not always what was asked for; shape `(M, *action_shape)`."""
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    done: NDArray[np.bool_]
    """Either of the two."""
    ended: bool
    """Whether any lane is done."""
    successors: NDArray
    """What truly followed: the last observation where an episode ended."""
    episode: NDArray[np.int32]
    """Which episode each lane is in, from 0; shape `(M,)`."""
    step: NDArray[np.int32]
    """Which step of it, from 0; shape `(M,)`."""
    succeeded: NDArray[np.bool_] | None
    """Whether any step of each lane's episode, up to this one, was said to be a success; None where that was never
    said of any lane."""
    stepped: int
    """How many lanes the environment computed for this."""


class Watching:
    """An agent or a reference policy, which observes answers rather than whole transitions, in a learner's place."""

    def __init__(self, policy: Any) -> None:
        self._policy, self.name = policy, type(policy).__name__
        self.act = policy.act

    @property
    def lets_go(self) -> bool:
        return lets_go(self._policy)

    def keep(self, lanes: NDArray[np.int64]) -> None:
        self._policy.keep(lanes)

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        self._policy.observe(rewards, terminated, truncated)


def lived(env: BatchedEnv, actor: Any, episodes: int, answers: Answers) -> Iterator[Step]:
    """Every step until all lanes have lived through `episodes` episodes.

    Lanes that have leave the batch as soon as that pays, if the actor can let go of lanes; else they step along.

    Args:
        actor: a `Learner` with a lane for each of `env`, or a `Watching` one.
        answers: checks what `env` shows, unless its class is vouched for.
    """
    may_leave = lets_go(actor)
    read = answers.as_given if vars(type(env)).get("vouched", False) else answers.step
    observations = answers.first(env.reset()[0])
    lanes = np.arange(env.num_envs)
    live = np.ones(len(lanes), bool)
    episode, step = np.zeros(len(lanes), np.int32), np.zeros(len(lanes), np.int32)
    succeeded: NDArray[np.bool_] | None = None
    while True:
        asked = actor.act(observations)
        try:
            actions = env.played(asked)
        except ValueError as error:
            answers.refuse_actions(actor, error)
        following, rewards, terminated, truncated, info, done, ended, successors = read(env.step(actions))
        if SUCCESS in info:
            said = successes(info[SUCCESS], done.shape)
            succeeded = said if succeeded is None else succeeded | said
        actor.learn(observations, actions, rewards, terminated, truncated, successors)
        yield Step(
            lanes, live, observations, actions, rewards, terminated, truncated, done, ended, successors, episode, step,
            succeeded, env.lanes_stepped,
        )  # fmt: skip
        observations = following
        if not ended:
            step = step + 1
            continue
        succeeded = None if succeeded is None else succeeded & ~done
        episode = episode + done
        step = np.where(done, 0, step + 1).astype(np.int32)
        live = episode < episodes
        over = len(live) - np.count_nonzero(live)
        if over == len(live):
            return
        if may_leave and over and over >= env.worth_leaving * len(live):
            stay = np.flatnonzero(live)
            env = env.keep(stay)
            actor.keep(stay)
            answers.keep(stay)
            lanes, live, observations, episode, step = (x[stay] for x in (lanes, live, observations, episode, step))
            succeeded = None if succeeded is None else succeeded[stay]
