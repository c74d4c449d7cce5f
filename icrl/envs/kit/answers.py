"""What a batched environment answers is checked here, before anything is made of it."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.base import BatchedEnv
from icrl.errors import FamilyError
from icrl.narrowing import ACTIONS, Narrowing
from icrl.spaces import WrongValue, gate, in_short, named, split, value_dtype
from icrl.tasks import Task, TaskFamily

BOOL = np.dtype(bool)


class Answer(NamedTuple):
    """What all lanes were answered to one step."""

    observations: NDArray
    """Of the space's type."""
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    info: dict[str, Any]
    done: NDArray[np.bool_]
    """Either of the two."""
    ended: bool
    """Whether any lane is done."""
    successors: NDArray
    """What truly followed: the last observation where an episode ended."""


class Answers:
    """The observations, rewards and flags of N lanes: of their space, of the right shape, numbers and booleans.

    Rewards are rounded to float32, as which they are stored.

    Raises:
        FamilyError: with the family, the task, the step and the value.
    """

    def __init__(self, family: TaskFamily, tasks: Sequence[Task]) -> None:
        self._family, self._tasks, self._shape = family, list(tasks), (len(tasks),)
        self._gate, self._narrowed = gate(family.observation_space), Narrowing(ACTIONS)
        seen = {path: value_dtype(leaf) for path, leaf in named("", family.observation_space).items()}
        self._seen = {path: Narrowing() for path, dtype in seen.items() if dtype == np.float32}
        self._steps = 0

    def first(self, observations: NDArray) -> NDArray:
        """What `reset` showed, as the space's type."""
        return self._observations(observations)

    @staticmethod
    def as_given(answer: tuple[Any, ...]) -> Answer:
        """What `step` of a class that is vouched for gave."""
        observations, rewards, terminated, truncated, info = answer
        done = terminated | truncated
        successors = observations
        if ended := bool(done.any()):
            where = done.reshape(done.shape + (1,) * (observations.ndim - 1))
            successors = np.where(where, info["final_obs"], observations)
        return Answer(observations, rewards, terminated, truncated, info, done, ended, successors)

    def step(self, answer: tuple[Any, ...]) -> Answer:
        """What `step` gave, checked."""
        observations, rewards, terminated, truncated, info = answer
        self._steps += 1
        observations = self._observations(observations)
        rewards = np.asarray(rewards)
        if rewards.shape != self._shape or rewards.dtype.kind not in "fiub":
            given = f"the rewards are of type {rewards.dtype} and shape {rewards.shape}"
            self._refuse(0, f"{given}: expected one number for each lane")
        rewards = self._finite(rewards)
        terminated, truncated = self._flags("terminated", terminated), self._flags("truncated", truncated)
        done = terminated | truncated
        if not (ended := np.count_nonzero(done) > 0):
            return Answer(observations, rewards, terminated, truncated, info, done, ended, observations)
        lanes = np.flatnonzero(done)
        if (both := terminated & truncated).any():
            self._refuse(int(np.argmax(both)), "an episode is both terminated and truncated: expected one of them")
        if "final_obs" not in info:
            self._refuse(int(lanes[0]), "an episode ended, and info has no final_obs: leave `step` to BatchedEnv")
        successors = np.array(observations)
        final = np.asarray(info["final_obs"])
        if final.shape[:1] != self._shape:
            self._refuse(int(lanes[0]), f"final_obs is {in_short(final)}: expected an observation for each lane")
        successors[lanes] = self._observations(final[lanes], lanes)
        return Answer(observations, rewards, terminated, truncated, info, done, ended, successors)

    def keep(self, lanes: NDArray[np.int64]) -> None:
        """From now on the batch is of these of its lanes."""
        self._tasks = [self._tasks[lane] for lane in lanes]
        self._shape = (len(self._tasks),)
        for narrowing in (self._narrowed, *self._seen.values()):
            narrowing.keep(lanes)

    def refuse_actions(self, actor: Any, error: ValueError) -> NoReturn:
        """Says whose actions `error` is about."""
        name = getattr(actor, "name", None) or type(actor).__name__
        raise FamilyError(f"{self._family.name}, as {name} plays it: {error}") from None

    def check_differences(self, env: BatchedEnv) -> None:
        """Refuses, in the end, what is stored of `env` where it has lost what the values differ in."""
        kept = "are kept as float32, which does not hold the differences"
        if found := self._narrowed.lost():
            values = f"between {found[1]!r} and {found[2]!r}"
            raise FamilyError(f"{self._family.name}: rewards {kept} {values}: subtract what they share, or scale them")
        lost = env.lost_differences()
        for path, seen in self._seen.items() if lost is None else ():
            if found := seen.lost():
                where = f"of {path[1:]} in each" if path else "of each"
                lost = f"between {found[1]!r} and {found[2]!r} in number {found[0]} {where}"
        if lost:
            remedy = "state a Box of float64, or subtract what they share"
            raise FamilyError(f"{self._family.name}: observations {kept} {lost}: {remedy}")

    def _finite(self, rewards: NDArray) -> NDArray[np.float32]:
        narrow = self._narrowed(rewards)
        if np.count_nonzero(np.isfinite(narrow)) != len(narrow):
            lane = int(np.argmin(np.isfinite(narrow)))
            self._refuse(lane, f"the reward {in_short(rewards[lane])} is not finite in float32: expected a number")
        return narrow

    def _observations(self, values: NDArray, lanes: NDArray | None = None) -> NDArray:
        values = np.asarray(values)
        if values.shape[:1] != (self._shape if lanes is None else lanes.shape):
            self._refuse(0, f"the observations are of shape {values.shape}: expected one for each lane")
        try:
            taken = self._gate(values)
            if lanes is None and self._seen:
                self._see(values)
            return taken
        except WrongValue as error:
            self._refuse(error.row if lanes is None else int(lanes[error.row]), f"the observation {error}")

    def _see(self, values: NDArray) -> None:
        for path, part in split("", values).items():
            if path in self._seen and part.dtype.kind in "fiu":
                self._seen[path](part)

    def _flags(self, name: str, values: NDArray) -> NDArray[np.bool_]:
        values = np.asarray(values)
        if values.shape == self._shape:
            if values.dtype == BOOL:
                return values
            if values.dtype.kind in "iu" and np.isin(values, (0, 1)).all():
                return values.astype(bool)
        self._refuse(0, f"{name} is {in_short(values)}: expected a boolean for each lane")

    def _refuse(self, lane: int, what: str) -> NoReturn:
        raise FamilyError(f"{place(self._family, self._tasks[lane])}, step {self._steps}: {what}")


def place(family: TaskFamily, task: Task) -> str:
    """`walk, task 3 {"goal": 5.0}`: where something went wrong."""
    params = json.dumps(task.params, default=str)
    return f"{family.name}, task {task.id}{f' {params}' if len(params) <= 60 else ''}"
