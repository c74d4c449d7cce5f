"""Environments spread over processes, for those that are slow to step: MuJoCo, Meta-World, a user's own.

Every process makes its share of the lanes by itself, from the family's name and options; the program that asks is one
of them, so that as many processes as cores leave no core to a process that only waits. Actions and what comes of them
lie in memory that the processes share; a word through a pipe says when to step. What a lane does depends on its seed
and its number only, so a pool gives the very numbers that one process would.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs import FAMILIES, make_family
from icrl.envs.kit.answers import Answers
from icrl.envs.kit.base import BatchedEnv
from icrl.errors import FamilyError, IcrlError, LaunchError, UsageError
from icrl.own_code import in_one_line, line_of
from icrl.processes import cores, fresh_processes, importable, stay_with_parent
from icrl.spaces import row_shape, value_dtype
from icrl.tasks import Task, TaskFamily

PATIENCE = 5.0
"""Seconds that a process has to end by itself when the pool is closed."""

AWAKE = 0.0005
"""Seconds that a process keeps asking before it sleeps: many environments step in the time that waking takes."""


def make_pooled(
    family_name: str,
    options: Mapping[str, Any],
    tasks: Sequence[Task],
    seed: int,
    index: Sequence[int] | None = None,
    workers: int = 0,
) -> BatchedEnv:
    """The environment of `make_family(family_name, **options).make(tasks, seed, index)`, over `workers` processes.

    Args:
        workers: at most one for each lane; 1 stays in this process, 0 takes as many as there are cores.

    Raises:
        UsageError: for a negative number, or a family that only this process can know.
    """
    if workers < 0:
        raise UsageError(f"workers={workers}: expected a number of processes, or 0 for one on each core")
    family = make_family(family_name, **options)
    workers = min(workers or cores(), len(tasks))
    if workers <= 1:
        return family.make(tasks, seed, index)
    return PooledEnv(family, tasks, seed, index, workers, name=family_name)


def factory_to_tell(family_name: str) -> Callable[..., TaskFamily] | None:
    """What another process must be told to know a family; None where the name is enough.

    Raises:
        UsageError: for one that only this process can know.
    """
    factory = FAMILIES[family_name] if FAMILIES.is_added(family_name) else None
    if not importable(factory):
        raise UsageError(
            f"{family_name} is defined in the script that was started, where no other process finds it: move it to a "
            "module of its own, or take workers=1"
        )
    return factory


class PooledEnv(BatchedEnv):
    """The lanes of a family's environment, spread over processes. Close it, or let go of it, to end them.

    Args:
        family: its name and options make it again in every process.
        tasks, seed, index: as in `TaskFamily.make`.
        workers: number of processes, this one counted, from 1 to N; each has consecutive lanes, as many as the others
            or one more.
        name: what `make_family` knows the family by, where that is not `family.name`: `path/file.py:Class`.

    Raises:
        UsageError: for more processes than lanes, or a family that only this process can know.
        LaunchError: where a process was killed; also by `reset`, `step` and `keep`.
    """

    per_lane = ()

    def __init__(
        self,
        family: TaskFamily,
        tasks: Sequence[Task],
        seed: int,
        index: Sequence[int] | None = None,
        workers: int = 2,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        if not 1 <= workers <= len(tasks):
            raise UsageError(f"workers={workers}: expected from 1 to {len(tasks)}, one lane for each process at least")
        name = name or family.name
        factory = factory_to_tell(name)
        context = get_context("spawn")

        def shared(space: gym.Space) -> _Shared:
            return _Shared(context, (self.num_envs, *row_shape(space)), value_dtype(space))

        self._shared = {
            "actions": shared(family.action_space),
            "observations": shared(family.observation_space),
            "final": shared(family.observation_space),
            "rewards": _Shared(context, (self.num_envs,), np.float64),
            "terminated": _Shared(context, (self.num_envs,), bool),
            "truncated": _Shared(context, (self.num_envs,), bool),
        }
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        lanes = np.array_split(np.arange(self.num_envs), workers)
        own, *others = (slice(int(part[0]), int(part[-1]) + 1) for part in lanes)
        with fresh_processes():
            for part in others:
                made_by = (name, factory, dict(family.options), getattr(family, "flat", False))
                recipe = (*made_by, list(tasks[part]), seed, self.index[part])
                ours, theirs = context.Pipe()
                # A daemon: at the end of this program it is told to end too.
                process = context.Process(target=_work, args=(theirs, recipe, self._shared, part), daemon=True)
                self._pipes.append(ours)
                self._processes.append(process)
                process.start()
                theirs.close()
        self._firsts = [part.start for part in (own, *others)]
        self._place([own, *others])
        with self._all_or_none():
            self._share = _Share(family, list(tasks[own]), seed, self.index[own], self._shared, own)
            self._answers()
        self.worth_leaving, self._stepped = self._share.env.worth_leaving, self.num_envs

    def _place(self, parts: list[slice]) -> None:
        """Notes which lanes each process has, and where all of them lie in memory: a process has a place for as many
        as it had at first, and fills it from its start."""
        self._parts = parts
        self._rows = np.concatenate(
            [first + np.arange(part.stop - part.start) for first, part in zip(self._firsts, parts, strict=True)]
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        infos = self._have_done("reset", [seed] * len(self._parts))
        return self._shared["observations"].array[self._rows], self._together(infos, {})

    def step(self, actions: NDArray):
        self._shared["actions"].array[self._rows] = self.played(actions)
        infos = self._have_done("step", [None] * len(self._parts))
        observations, final, rewards, terminated, truncated = (
            self._shared[name].array[self._rows]
            for name in ("observations", "final", "rewards", "terminated", "truncated")
        )
        done = terminated | truncated
        info = {"final_obs": final, "_final_obs": done} if done.any() else {}
        rewards = rewards.astype(self._share.reward_dtype, copy=False)
        return observations, rewards, terminated, truncated, self._together(infos, info)

    def _together(self, infos: Sequence[dict[str, Any]], info: dict[str, Any]) -> dict[str, Any]:
        """What the processes have to tell, in one `info`."""
        for part, own in zip(self._parts, infos, strict=True):
            for key, values in own.items():
                info.setdefault(key, np.zeros((self.num_envs, *values.shape[1:]), values.dtype))[part] = values
        return info

    @property
    def lanes_stepped(self) -> int:
        return self._stepped

    def _leave(self, lanes: NDArray[np.int64]) -> None:
        stay = np.delete(self._all_lanes, lanes)
        staying = [stay[(stay >= part.start) & (stay < part.stop)] - part.start for part in self._parts]
        self._stepped = sum(told["stepped"] for told in self._have_done("keep", staying))
        ends = np.cumsum([len(some) for some in staying]).tolist()
        self._place([slice(end - len(some), end) for some, end in zip(staying, ends, strict=True)])

    def _have_done(self, what: str, of_each: Sequence[Any]) -> list[dict[str, Any]]:
        """Has every process do something with its lanes, each with an argument of its own, and waits until all have
        done it; gives what each has to tell besides."""
        if self.closed:
            raise LaunchError("the pool of environments is closed: make a new one")
        with self._all_or_none():
            own, *others = of_each
            for number, (pipe, argument) in enumerate(zip(self._pipes, others, strict=True)):
                try:
                    pipe.send((what, argument))
                except OSError:
                    self._lost(number)
            return [self._share.do(what, own), *self._answers()]

    def _answers(self) -> list[dict[str, Any]]:
        found = []
        for number, pipe in enumerate(self._pipes):
            try:
                answer = _received(pipe)
            except (EOFError, OSError):
                self._lost(number)
            if isinstance(answer, Exception):
                raise answer
            found.append(answer)
        return found

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Closes the pool where one process fails, and after Ctrl-C: answers that nobody has read would be taken for
        those to the next question."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _lost(self, number: int) -> None:
        process = self._processes[number]
        process.join(PATIENCE)
        code, count = process.exitcode, len(self._processes) + 1
        raise LaunchError(
            f"process {number + 2} of {count} of a pool of environments was killed (exit code {code}), by a lack of "
            "memory most often: take fewer workers, or fewer lanes at once"
        ) from None

    def close_extras(self, **kwargs: Any) -> None:
        if hasattr(self, "_share"):
            self._share.env.close()
        for pipe in getattr(self, "_pipes", ()):
            pipe.close()
        for process in getattr(self, "_processes", ()):
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()


class _Shared:
    """An array in memory that a pool's processes share, of which nothing is left when the last of them has ended."""

    def __init__(self, context: Any, shape: tuple[int, ...], dtype: Any) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._memory = context.RawArray("b", max(1, int(np.prod(shape)) * self._dtype.itemsize))
        self._see()

    def _see(self) -> None:
        self.array = np.ndarray(self._shape, self._dtype, buffer=self._memory)

    def __getstate__(self) -> tuple:
        return self._shape, self._dtype, self._memory

    def __setstate__(self, state: tuple) -> None:
        self._shape, self._dtype, self._memory = state
        self._see()


def _received(pipe: Connection) -> Any:
    deadline = time.perf_counter() + AWAKE
    while not pipe.poll() and time.perf_counter() < deadline:
        pass
    return pipe.recv()


class _Share:
    """The lanes that one process has, and their place in the memory of all."""

    def __init__(
        self,
        family: TaskFamily,
        tasks: list[Task],
        seed: int,
        index: NDArray,
        shared: Mapping[str, _Shared],
        part: slice,
    ) -> None:
        self.env, self._answers = family.make(tasks, seed, index), Answers(family, tasks)
        self.reward_dtype = np.dtype(np.float32)
        self.mine = {name: block.array[part] for name, block in shared.items()}

    def do(self, what: str, argument: Any) -> dict[str, Any]:
        """Resets the lanes, with a seed, or steps them, and gives what `info` says besides the last observations; or
        lets go of all but some, and says how many are stepped from then on."""
        if what == "keep":
            return {"stepped": self._keep(argument)}
        mine = self.mine
        if not len(mine["rewards"]):
            return {}
        if what == "reset":
            observations, info = self.env.reset(seed=argument)
            mine["observations"][...] = self._answers.first(observations)
            return info
        answer = self.env.step(mine["actions"].copy())
        # Memory that is shared takes any number for one of its own type.
        checked = self._answers.step(answer)
        self.reward_dtype = np.asarray(answer[1]).dtype
        mine["observations"][...], mine["rewards"][...] = checked.observations, answer[1]
        mine["terminated"][...], mine["truncated"][...] = checked.terminated, checked.truncated
        # Where a lane has not ended its last observation is that which is shown, as in one process.
        mine["final"][...] = checked.successors
        return {key: values for key, values in checked.info.items() if key not in ("final_obs", "_final_obs")}

    def _keep(self, lanes: NDArray[np.int64]) -> int:
        had_some = len(self.mine["rewards"]) > 0
        self.mine = {name: values[: len(lanes)] for name, values in self.mine.items()}
        if len(lanes):
            self.env = self.env.keep(lanes)
            self._answers.keep(lanes)
            return self.env.lanes_stepped
        if had_some:
            self.env.close()
        return 0


def _work(pipe: Connection, recipe: tuple, shared: Mapping[str, _Shared], part: slice) -> None:
    """What a process of the pool does: makes its lanes, then resets and steps them when it is told to."""
    stay_with_parent()
    try:
        share = _made(shared, part, *recipe)
        pipe.send({})
        while True:
            try:
                message = _received(pipe)
            except (EOFError, OSError):
                break
            pipe.send(share.do(*message))
        share.env.close()
    except Exception as error:
        _report(pipe, error)


def _made(
    shared: Mapping[str, _Shared],
    part: slice,
    name: str,
    factory: Callable[..., TaskFamily] | None,
    options: dict[str, Any],
    flat: bool,
    *lanes: Any,
) -> _Share:
    if factory is not None and not FAMILIES.is_added(name):
        FAMILIES.add(name, factory)
    family = make_family(name, **options)
    if flat:
        family.flatten()
    return _Share(family, *lanes, shared, part)


def _report(pipe: Connection, error: Exception) -> None:
    """Sends an exception to the parent with the place where it was raised; one that might not travel as its text."""
    where = f"raised in a process of a pool of environments:\n{traceback.format_exc()}"
    if line_of(error) and not isinstance(error, IcrlError):
        error = FamilyError(in_one_line(error))
    if type(error).__module__ == IcrlError.__module__:
        error.add_note(where)
    else:
        error = RuntimeError(where)
    with suppress(OSError):
        pipe.send(error)
