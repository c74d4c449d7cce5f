"""How a batch of environments is lived through, by learners, agents and reference policies: `lived` is the loop, and
`Life` a step of it, for whoever has a loop of their own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.answers import Answers
from icrl.envs.kit.base import BatchedEnv
from icrl.extras import VALID_ACTIONS, valid_actions
from icrl.lanes import lets_go
from icrl.spaces import choices
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
    given: tuple[Any, ...]
    """What `step` of the environment gave, as it gave it."""


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


class Life:
    """A batch of environments as it is lived through: what is seen now, and then one step after the other.

    Args:
        env: N lanes, not reset yet.
        episodes: that each lane is to live through.
        answers: checks what `env` shows, unless its class is vouched for.
        beside: a policy that is asked in every step what it would play, and observes what followed; it does not play.
        lanes: numbers of the lanes, rising; 0 … N - 1 by default.
        checked: checks it also where its class is vouched for.

    Attributes:
        env: of the lanes that are left, M of them.
        observations: what they see now, `(M, *observation_shape)`.
        valid: which actions were said to be valid there, `(M, A)`; None where nothing was said.
        over: whether all lanes have lived through their episodes.
    """

    def __init__(
        self,
        env: BatchedEnv,
        episodes: float,
        answers: Answers,
        *,
        beside: ReferencePolicy | None = None,
        lanes: NDArray[np.int64] | None = None,
        checked: bool = False,
    ) -> None:
        self.env, self._episodes, self._answers, self._beside = env, episodes, answers, beside
        is_vouched = vars(type(env)).get("vouched", False) and not checked
        self._step_env = _stepper(env)
        self._read = answers.as_given if is_vouched else answers.step
        first, info = env.reset()
        self.observations, self.valid = answers.first(first), _valid(info, env)
        self.over = False
        self._lanes = np.arange(env.num_envs) if lanes is None else lanes
        self._live = np.ones(env.num_envs, bool)
        self._episode, self._step = np.zeros(env.num_envs, np.int32), np.zeros(env.num_envs, np.int32)
        self._succeeded: NDArray[np.bool_] | None = None

    def step(self, asked: NDArray, actor: Any) -> Step:
        """One step of the lanes that are left.

        Args:
            asked: actions `(M, *action_shape)`. actor: who asked for them, for a message.
        """
        observations, valid = self.observations, self.valid
        actions = self._played(asked, actor)
        others = None if self._beside is None else self._played(self._beside.act(observations), self._beside)
        given = self._step_env(actions)
        following, rewards, terminated, truncated, info, done, ended, successors = self._read(given)
        if SUCCESS in info:
            said = successes(info[SUCCESS], done.shape)
            self._succeeded = said if self._succeeded is None else self._succeeded | said
        if self._beside is not None:
            self._beside.observe(rewards, terminated, truncated)
        step = Step(
            self._lanes, self._live, observations, actions, rewards, terminated, truncated, done, ended, successors,
            self._episode, self._step, self._succeeded, self.env.lanes_stepped, valid, others, given,
        )  # fmt: skip
        self.observations, self.valid = following, _valid(info, self.env)
        if not ended:
            self._step = self._step + 1
            return step
        self._succeeded = None if self._succeeded is None else self._succeeded & ~done
        self._episode = self._episode + done
        self._step = np.where(done, 0, self._step + 1).astype(np.int32)
        self._live = self._episode < self._episodes
        self.over = not self._live.any()
        return step

    def leave(self) -> NDArray[np.int64] | None:
        """Lets go of the lanes that have lived through their episodes, if that pays; gives the places of those that
        stay, None where all do."""
        over = len(self._live) - np.count_nonzero(self._live)
        if not over or over < self.env.worth_leaving * len(self._live):
            return None
        stay = np.flatnonzero(self._live)
        self.env = self.env.keep(stay)
        self._step_env = _stepper(self.env)
        if self._beside is not None:
            self._beside.keep(stay)
        self._answers.keep(stay)
        for name in ("_lanes", "_live", "observations", "_episode", "_step", "_succeeded", "valid"):
            values = getattr(self, name)
            setattr(self, name, None if values is None else values[stay])
        return stay

    def _played(self, asked: NDArray, actor: Any) -> NDArray:
        try:
            return self.env.played(asked)
        except ValueError as error:
            self._answers.refuse_actions(actor, error)


def lived(
    env: BatchedEnv,
    actor: Any,
    episodes: float,
    answers: Answers,
    beside: ReferencePolicy | None = None,
    checked: bool = False,
) -> Iterator[Step]:
    """Every step until all lanes have lived through `episodes` episodes.

    Lanes that have leave the batch as soon as that pays, if all that act can let go of lanes; else they step along.

    Args:
        actor: a `Learner` with a lane for each of `env`, or a `Watching` one.
        answers, beside, checked: as of `Life`.
    """
    may_leave = lets_go(actor) and (beside is None or lets_go(beside))
    life = Life(env, episodes, answers, beside=beside, checked=checked)
    while not life.over:
        step = life.step(actor.act(life.observations), actor)
        actor.learn(step.observations, step.actions, step.rewards, step.terminated, step.truncated, step.successors)
        yield step
        if step.ended and may_leave and not life.over and (stay := life.leave()) is not None:
            actor.keep(stay)


def _stepper(env: BatchedEnv) -> Callable[[NDArray], tuple[Any, ...]]:
    """What steps it with actions that it plays, which are not looked at again; unless its class has its own `step`."""
    return env.step_played if type(env).step is BatchedEnv.step else env.step


def _valid(info: dict[str, Any], env: BatchedEnv) -> NDArray[np.bool_] | None:
    if VALID_ACTIONS not in info or (actions := choices(env.single_action_space)) is None:
        return None
    return valid_actions(info[VALID_ACTIONS], (env.num_envs, len(actions)))
