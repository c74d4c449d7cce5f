"""Any gymnasium environment as a task family: state the parameters' ranges, how to apply them, and the horizon."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.answers import place
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.measured import measured_return
from icrl.envs.kit.nested import flat_sample, flat_space
from icrl.envs.kit.parametric import ParametricFamily
from icrl.envs.kit.simple_policies import UniformActions, ZeroAction
from icrl.errors import FamilyError, IcrlError, UsageError
from icrl.extras import VALID_ACTIONS, valid_actions_of
from icrl.lanes import PerLane
from icrl.narrowing import Narrowing
from icrl.own_code import in_one_line, line_of
from icrl.spaces import (
    WrongValue,
    as_array,
    check_action_space,
    choices,
    codec_of,
    gate,
    joined,
    named,
    space_from_dict,
    space_to_dict,
    value_dtype,
    zero_action,
)
from icrl.success import success_of
from icrl.tasks import Anchors, ReferencePolicy, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory


RESET_GIVES = "(observation, info)"
STEP_GIVES = "(observation, reward, terminated, truncated, info)"


class GymnasiumFamily(ParametricFamily):
    """A family over one gymnasium environment, one instance of it per lane, stepped one after the other.

    A subclass states `name`, `source`, `horizon` and `parameters`, and defines `make_env` and `apply`. Environments
    with loops over lanes of their own should subclass `BatchedEnv` instead.
    """

    flat: bool = False
    """Whether Dict and Tuple observations are one row of numbers, as all data once had them."""

    picture_shows = "The reward as it adds up over each episode, from the first, dark, to the last, bright."
    policy_kinds: tuple[str, ...] = ()
    lanes_at_once = 100
    anchor_tasks = 10
    anchor_episodes = 20
    """Episodes of each task that its anchors are averaged over."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        env = self.make_env()
        if not isinstance(env, gym.Env):
            raise UsageError(f"{self.name}: make_env gave {env!r}, expected a gymnasium environment")
        for what in ("observation_space", "action_space"):
            if getattr(env, what, None) is None:
                raise UsageError(f"{self.name}: the environment of make_env, {env}, states no {what}")
        shown = flat_space(env.observation_space) if self.flat else env.observation_space
        self.observation_space = space_from_dict(space_to_dict(shown))
        check_action_space(self.name, env.action_space)
        self.action_space = space_from_dict(space_to_dict(env.action_space))
        env.close()

    def flatten(self) -> None:
        """Makes rows of numbers of Dict and Tuple observations from now on."""
        self.flat = True
        env = self.make_env()
        self.observation_space = space_from_dict(space_to_dict(flat_space(env.observation_space)))
        env.close()

    @abstractmethod
    def make_env(self) -> gym.Env:
        """A new environment, at the defaults of every parameter."""

    @abstractmethod
    def apply(self, env: gym.Env, params: Mapping[str, Any]) -> None:
        """Makes `env` the environment of a task, once, before its first reset; mostly `env.unwrapped.x = …`."""

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "GymnasiumBatch":
        return GymnasiumBatch(self, tasks, seed, index)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """Measured: the random policy, the action zero where there is one, and the best reference policy if any."""
        measure = partial(measured_return, self, tasks, episodes=self.anchor_episodes)
        best = np.full(len(tasks), np.nan)
        if self.policy_kinds:
            best = measure(lambda lanes, streams: self.reference_policy(self.policy_kinds[0], lanes))
        zero = measure(partial(ZeroAction, self)) if zero_action(self.action_space) is not None else None
        return Anchors(measure(partial(UniformActions, self)), best, zero, measured=True)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        raise FamilyError(f"{type(self).__name__} states policy_kinds and defines no reference_policy")

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.kit.drawing import draw_rewards

        draw_rewards(axes, history)


class GymnasiumBatch(BatchedEnv):
    """One gymnasium environment per lane, behind the batched contract.

    Its lane i seeds its own generator once, from the stream (seed, "environment", index[i]).
    """

    per_lane = ("envs", "_of", "_seen", "_seeded_N")
    worth_leaving = 0.0

    def __init__(self, family: GymnasiumFamily, tasks: Sequence[Task], seed: int, index: Sequence[int] | None) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self.envs = [family.make_env() for _ in tasks]
        for env, task in zip(self.envs, tasks, strict=True):
            family.apply(env, task.params)
        space = family.observation_space
        self._of = [place(family, task) for task in tasks]
        self._flat, self._space = family.flat, space
        self._seen = {path: SeenPart(leaf, len(tasks)) for path, leaf in named("", space).items()}
        self._choices = choices(family.action_space)
        self._sample = partial(codec_of(family.action_space).sample, family.action_space)
        self._seeded_N = np.zeros(len(tasks), bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        if seed is not None:
            self._seeded_N[:] = False
        return super().reset(seed=seed, options=options)

    def _start(self, lanes: NDArray[np.int64]) -> None:
        for lane in lanes:
            env = self.envs[lane]
            seed = None
            if not self._seeded_N[lane]:
                seed, self._seeded_N[lane] = int(self.streams.keys[lane] >> np.uint64(33)), True
            try:
                answer = env.reset(seed=seed)
            except Exception as error:
                _explain(error, f"reset of {env}", RESET_GIVES)
                raise
            if not (isinstance(answer, tuple) and len(answer) == 2):
                raise FamilyError(f"reset of {env} gave {_short(answer)}: expected {RESET_GIVES}")
            self._see(lane, answer[0])
            self._allow(lane, answer[1], begins=True)

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        rewards, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        self._told_N = None
        for lane, env in enumerate(self.envs):
            try:
                answer = env.step(self._sample(actions[lane]))
            except Exception as error:
                _explain(error, f"step of {env}", STEP_GIVES)
                raise
            if not (isinstance(answer, tuple) and len(answer) == 5):
                raise FamilyError(f"step of {env} gave {_short(answer)}: expected {STEP_GIVES}")
            observation, reward, ends, cuts, info = answer
            rewards[lane] = self._number(lane, reward)
            terminated[lane] = self._flag(lane, "terminated", ends)
            self._cut_N[lane] = self._flag(lane, "truncated", cuts)
            if (told := success_of(info)) is not None:
                self._told_N = np.zeros(self.num_envs, bool) if self._told_N is None else self._told_N
                self._told_N[lane] = told
            self._see(lane, observation)
            self._allow(lane, info)
        return rewards, terminated

    def _allow(self, lane: int, info: Any, begins: bool = False) -> None:
        """Notes the actions that are valid now, where the environment says anything of that."""
        if self._choices is None or (valid := valid_actions_of(info, len(self._choices))) is None:
            if self._valid_NA is not None:
                what = f"{self._of[lane]}: {'reset' if begins else 'step'} tells no {VALID_ACTIONS}"
                raise FamilyError(f"{what}: expected them of every observation, as before, or of none")
            return
        if self._valid_NA is None:
            self._valid_NA = np.ones((self.num_envs, len(self._choices)), bool)
        self._valid_NA[lane] = valid

    def _number(self, lane: int, reward: Any) -> float:
        if isinstance(reward, Real) or (np.shape(reward) == () and np.asarray(reward).dtype.kind in "biuf"):
            with suppress(OverflowError):
                return float(reward)
        raise FamilyError(f"{self._of[lane]}: its step gives the reward {_short(reward)}: expected one number")

    def _flag(self, lane: int, name: str, value: Any) -> bool:
        if value is False or value is True:
            return value
        array = np.asarray(value)
        if array.size == 1 and array.dtype.kind in "biu" and array.item() in (0, 1):
            return bool(array.item())
        raise FamilyError(f"{self._of[lane]}: its step gives {name} = {_short(value)}: expected True or False")

    def _see(self, lane: int, observation: Any) -> None:
        try:
            if self._flat:
                observation = flat_sample(self.envs[lane].observation_space, observation)
            self._put(lane, self._space, observation, "")
        except WrongValue as error:
            raise FamilyError(f"{self._of[lane]}: the environment shows {error}") from None

    def _put(self, lane: int, space: gym.Space, value: Any, path: str) -> None:
        if path in self._seen:
            self._seen[path].put(lane, value)
            return
        codec = codec_of(space)
        parts = codec.parts_of(space, value)
        for name, part in codec.branches(space).items():
            try:
                self._put(lane, part, parts[name], f"{path}.{name}")
            except WrongValue as error:
                raise WrongValue(0, f"{error}, in its part {name}") from None

    def _observe(self) -> NDArray:
        parts = {}
        for path, seen in self._seen.items():
            try:
                parts[path] = seen.rows()
            except WrongValue as error:
                where = f", in its part {path[1:]}" if path else ""
                raise FamilyError(f"{self._of[error.row]}: the environment shows {error}{where}") from None
        return joined("", parts, value_dtype(self._space))

    def lost_differences(self) -> str | None:
        for path, seen in self._seen.items():
            if lost := seen.lost():
                number, low, high = lost
                return f"between {low!r} and {high!r} in number {number} of {path[1:] + ' in ' if path else ''}each"
        return None

    def _leave(self, lanes: NDArray[np.int64]) -> None:
        for lane in lanes:
            self.envs[lane].close()

    def close_extras(self, **kwargs: Any) -> None:
        for env in self.envs:
            env.close()


class SeenPart(PerLane):
    """What N lanes show of one space that is no tree, put in lane by lane.

    Floats are rounded to the space's type when all is there: until then nothing is lost.
    """

    per_lane = ("_rows", "_narrowing")

    def __init__(self, space: gym.Space, num_lanes: int) -> None:
        self._take, self._dtype = gate(space), value_dtype(space)
        self._floats = self._dtype.kind == "f"
        self._rows = np.zeros((num_lanes, *space.shape), np.float64 if self._floats else self._dtype)
        self._narrowing, self._narrows = Narrowing(), False

    def put(self, lane: int, value: Any) -> None:
        """One lane's value; raises WrongValue where it is none."""
        row = as_array(value)
        exact = row.dtype == self._dtype or (
            self._floats and row.dtype.kind in "biuf" and self._dtype.itemsize <= row.dtype.itemsize
        )
        if not exact or row.shape != self._rows.shape[1:]:
            row = self._take(row[None])[0]
        self._narrows |= row.dtype.itemsize > self._dtype.itemsize
        self._rows[lane] = row

    def rows(self) -> NDArray:
        """All lanes' values, checked, in an array of its own."""
        if self._floats and self._narrows:
            self._narrowing(self._rows)
        rows = self._take(self._rows)
        return rows.copy() if rows is self._rows else rows

    def lost(self) -> tuple[int, float, float] | None:
        """See `Narrowing.lost`."""
        return self._narrowing.lost()


def _explain(error: Exception, what: str, gives: str) -> None:
    """Raises a FamilyError that says what is expected, unless the error can be told by a line of the user's."""
    if not (isinstance(error, IcrlError) or line_of(error)):
        raise FamilyError(f"{what} fails: {in_one_line(error)}; it must give {gives}") from error


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"
