"""The one loop in which a batch of environments is lived through: by learners, by agents, by reference policies."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.answers import Answers
from icrl.envs.kit.base import BatchedEnv
from icrl.extras import VALID_ACTIONS, valid_actions
from icrl.lanes import lets_go
from icrl.success import SUCCESS, successes
from icrl.tasks import ReferencePolicy


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
    valid: NDArray[np.bool_] | None
    """Which actions were said to be valid in what was seen, shape `(M, A)`; None where nothing was said."""
    beside: NDArray | None
    """What the policy beside would have played, like `actions`; None without one."""


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


def lived(
    env: BatchedEnv, actor: Any, episodes: int, answers: Answers, beside: ReferencePolicy | None = None
) -> Iterator[Step]:
    """Every step until all lanes have lived through `episodes` episodes.

    Lanes that have leave the batch as soon as that pays, if all that act can let go of lanes; else they step along.

    Args:
        actor: a `Learner` with a lane for each of `env`, or a `Watching` one.
        answers: checks what `env` shows, unless its class is vouched for.
        beside: a policy that is asked in every step what it would play, and observes what followed; it does not play.
    """
    may_leave = lets_go(actor) and (beside is None or lets_go(beside))
    read = answers.as_given if vars(type(env)).get("vouched", False) else answers.step
    first, info = env.reset()
    observations, valid = answers.first(first), _valid(info, env)
    lanes = np.arange(env.num_envs)
    live = np.ones(len(lanes), bool)
    episode, step = np.zeros(len(lanes), np.int32), np.zeros(len(lanes), np.int32)
    succeeded: NDArray[np.bool_] | None = None
    while True:
        actions = _played(env, actor, observations, answers)
        others = None if beside is None else _played(env, beside, observations, answers)
        following, rewards, terminated, truncated, info, done, ended, successors = read(env.step(actions))
        if SUCCESS in info:
            said = successes(info[SUCCESS], done.shape)
            succeeded = said if succeeded is None else succeeded | said
        actor.learn(observations, actions, rewards, terminated, truncated, successors)
        if beside is not None:
            beside.observe(rewards, terminated, truncated)
        yield Step(
            lanes, live, observations, actions, rewards, terminated, truncated, done, ended, successors, episode, step,
            succeeded, env.lanes_stepped, valid, others,
        )  # fmt: skip
        observations, valid = following, _valid(info, env)
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
            if beside is not None:
                beside.keep(stay)
            answers.keep(stay)
            lanes, live, observations, episode, step = (x[stay] for x in (lanes, live, observations, episode, step))
            succeeded, valid = (None if told is None else told[stay] for told in (succeeded, valid))


def _played(env: BatchedEnv, actor: Any, observations: NDArray, answers: Answers) -> NDArray:
    """The actions that `env` plays where it is given those of the actor."""
    asked = actor.act(observations)
    try:
        return env.played(asked)
    except ValueError as error:
        answers.refuse_actions(actor, error)


def _valid(info: dict[str, Any], env: BatchedEnv) -> NDArray[np.bool_] | None:
    if VALID_ACTIONS not in info or not isinstance(env.single_action_space, gym.spaces.Discrete):
        return None
    return valid_actions(info[VALID_ACTIONS], (env.num_envs, int(env.single_action_space.n)))
