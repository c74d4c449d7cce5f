"""What a family did when data of it were recorded, kept in numbers, and whether a later build of it still does that.

The numbers themselves are kept, and compared with a tolerance: another processor or linear algebra is no change. Where
observations are continuous, small differences may grow into large ones: a lane that has parted after its first `CALM`
steps is followed no further.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.behaviour import Roll, roll
from icrl.envs.kit.parametric import ParametricFamily
from icrl.errors import DatasetError, IcrlError
from icrl.own_code import own_code_fails_in_one_line
from icrl.spaces import continuous, leaves, numbers
from icrl.tasks import Split, Task, TaskFamily

MARKS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
"""Steps after which the lanes are looked at; in between, rewards and endings are added up."""
CALM = 32
LANES = 16
QUICK = 0.02
"""Seconds in which two environments of a family must be made for it to be rolled out in more than two lanes."""
LARGE = 10_000
"""Numbers of an observation, above which two lanes are enough as well."""
SECONDS = 0.1
"""Of steps, at most; the number of them that came out is kept, and the comparison takes as many."""
WHOLE = 1.0
"""Seconds of steps, at most, in fewer lanes, where an episode does not end in those: much may be paid there."""
SHOWN = 8
"""Numbers that an observation is shortened to."""
RELATIVE, OF_THE_LARGEST, LEAST = 1e-4, 1e-5, 1e-12


def take(family: TaskFamily, split: Split) -> dict[str, Any]:
    """The fingerprint, JSON-able: ranges of parameters, and a roll over some tasks of the split.

    A family whose rolls differ though their seeds are the same has no roll in it.
    """
    found: dict[str, Any] = {}
    if isinstance(family, ParametricFamily):
        found["parameters"] = _parameters(family)
    few, more = _lanes(split)
    large = sum(np.prod(leaf.shape) for leaf in leaves(family.observation_space).values()) > LARGE
    tasks = more if not large and _quick(family, few) else few
    began = time.perf_counter()
    rolled = roll(family, tasks, MARKS[-1], seconds=SECONDS, keep=_shortened)
    whole = min(family.horizon + 1, MARKS[-1])
    if (steps := len(rolled.rewards)) < whole:
        lanes = len(tasks) * WHOLE * steps / (whole * (time.perf_counter() - began))
        fewer = [tasks[i] for i in _spread(len(tasks), max(2, int(lanes)))]
        longer = roll(family, fewer, whole, seconds=WHOLE, keep=_shortened)
        if len(longer.rewards) > steps:
            rolled, tasks = longer, fewer
    found |= _numbers(rolled, tasks)
    if not type(family).__module__.startswith("icrl.") and _parted(found, _again(family, found, tasks), family):
        for key in ("lanes", "steps", "observations", "rewards", "terminated", "truncated"):
            del found[key]
    return found


def difference(then: Mapping[str, Any], family: TaskFamily, tasks: Mapping[int, Task]) -> str | None:
    """The first thing that the family does otherwise than then, with both values; None where there is none.

    Args:
        then: what `take` gave.
        tasks: those that were split then, by their numbers.

    Raises:
        DatasetError: where `then` is damaged.
    """
    with _damage(family):
        lanes = [tasks[task_id] for task_id in then.get("lanes", ())]
        if len(lanes) > LANES or (lanes and then["steps"] not in range(1, MARKS[-1] + 1)):
            raise ValueError(f"{len(lanes)} lanes of {then['steps']} steps")
        if ranges := _first_range(then["parameters"], family) if "parameters" in then else None:
            return ranges
    if not lanes:
        return None
    with _damage(family), own_code_fails_in_one_line():
        now = _again(family, then, lanes)
        return _parted(then, now, family)


@contextmanager
def _damage(family: TaskFamily) -> Iterator[None]:
    try:
        yield
    except IcrlError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DatasetError(
            f"the stored tasks and behaviour of {family.name} are damaged, or do not belong together "
            f"({type(error).__name__}: {' '.join(str(error).split())}): restore tasks.parquet and provenance.json, or "
            "generate the data again"
        ) from None


def _parameters(family: ParametricFamily) -> dict[str, Any]:
    found = {}
    for name, parameter in family.parameters.items():
        found[name] = {key: _plain(value) for key, value in asdict(parameter).items() if value is not None}
    return found


def _plain(value: Any) -> Any:
    """As JSON brings it back."""
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def _first_range(then: Mapping[str, Any], family: TaskFamily) -> str | None:
    now = _parameters(family) if isinstance(family, ParametricFamily) else {}
    for name in [*then, *(name for name in now if name not in then)]:
        if name not in now or name not in then:
            return f"parameter {name} was {'not ' * (name not in then)}there, now it is{' not' * (name not in now)}"
        # A key that only one release writes is no change of the family.
        for key in then[name]:
            if key in now[name] and then[name][key] != now[name][key]:
                return f"{key} of parameter {name} was {then[name][key]}, now {now[name][key]}"
        ranges = [{key for key in ("beyond", "choices") if key in side[name]} for side in (then, now)]
        if ranges[0] != ranges[1]:
            return f"parameter {name} had {sorted(ranges[0]) or 'no beyond'}, now {sorted(ranges[1]) or 'none'}"
    return None


def _lanes(split: Split) -> tuple[list[Task], list[Task]]:
    """Two tasks, for a family that is slow; and some from all over the split."""
    beyond = [tasks[0] for tasks in split.ood.values()][: LANES // 4]
    each = (LANES - len(beyond)) // 2
    more = [tasks[i] for tasks in (split.train, split.test) for i in _spread(len(tasks), each)]
    few = [tasks[0] for tasks in (split.train, split.test) if tasks]
    return few, [*more, *beyond]


def _spread(length: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, length - 1, min(most, length)).round().astype(int)).tolist()


def _quick(family: TaskFamily, tasks: Sequence[Task]) -> bool:
    """Whether environments are made quickly: the second time, since the first may import what makes them."""
    for _ in range(2):
        began, at = time.process_time(), time.perf_counter()
        with closing(family.make(list(tasks), 0)):
            took, passed = time.process_time() - began, time.perf_counter() - at
        if passed > 20 * QUICK:
            break
    return took < QUICK and passed < 20 * QUICK


def _again(family: TaskFamily, then: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Any]:
    return _numbers(roll(family, tasks, then["steps"], keep=_shortened), tasks)


def _marks(steps: int) -> list[int]:
    return sorted({steps, *(mark for mark in MARKS if mark < steps)})


def _numbers(rolled: Roll, tasks: Sequence[Task]) -> dict[str, Any]:
    """What is kept of a roll: for each lane a row of words for a file that people may open."""
    steps, marks = len(rolled.rewards), _marks(len(rolled.rewards))
    starts = [0, *marks[:-1]]
    seen = np.stack([rolled.observations[0], *(rolled.reached[m - 1] for m in marks)], axis=1)
    found: dict[str, Any] = {"lanes": [task.id for task in tasks], "steps": steps}
    found["observations"] = [" | ".join(_text(row) for row in lane) for lane in seen]
    for name in ("rewards", "terminated", "truncated"):
        sums = np.add.reduceat(getattr(rolled, name).astype(np.float64), starts, axis=0)
        found[name] = [_text(lane) for lane in sums.T]
    return found


def _text(row: NDArray) -> str:
    return " ".join(f"{value:.7g}" for value in row)


def _shortened(observations: NDArray) -> NDArray[np.float64]:
    """At most `SHOWN` numbers of each lane's observation, `(N, D)`: long ones are added up in parts, with weights that
    tell the places of a part from one another, and so that large numbers do not hide small ones."""
    flat = numbers(np.asarray(observations))
    if flat.shape[1] <= SHOWN:
        return flat
    weights = 1 + (np.arange(flat.shape[1]) * 0.6180339887) % 1
    return np.add.reduceat(np.arcsinh(flat) * weights, np.arange(SHOWN) * flat.shape[1] // SHOWN, axis=1)


def _parted(then: Mapping[str, Any], now: Mapping[str, Any], family: TaskFamily) -> str | None:
    """Where two rolls of the same tasks and steps part, with both values."""
    marks, count = _marks(then["steps"]), len(then["lanes"])
    seen = [_table([lane.split("|") for lane in side["observations"]]) for side in (then, now)]
    sums = {
        name: [_table([[lane] for lane in side[name]])[:, 0] for side in (then, now)]
        for name in ("rewards", "terminated", "truncated")
    }
    if seen[0].shape != (count, 1 + len(marks), *seen[1].shape[2:]) or any(
        table[0].shape != (count, len(marks)) for table in sums.values()
    ):
        raise ValueError("a row of another length")
    exact = not any(continuous(leaf) for leaf in leaves(family.observation_space).values())
    alike_NM = _alike(*seen, axes=(0, 1)).all(axis=2)
    same = {name: _alike(*table, axes=(0,)) for name, table in sums.items()}
    for m, mark in enumerate(marks):
        steps = f"step {mark}" if m == 0 or marks[m - 1] == mark - 1 else f"steps {marks[m - 1] + 1} to {mark}"
        for lane, task_id in enumerate(then["lanes"]):
            if m == 0 and not alike_NM[lane, 0]:
                return _told(f"the first observation of task {task_id}", seen[0][lane, 0], seen[1][lane, 0])
            if not exact and mark > CALM and not alike_NM[lane, : m + 2].all():
                continue
            for name, words in (
                ("rewards", "the reward of"), ("terminated", "how often ends"), ("truncated", "how often is cut"),
            ):  # fmt: skip
                if not same[name][lane, m]:
                    values = (table[lane, m : m + 1] for table in sums[name])
                    return _told(f"{words} task {task_id} in {steps}", *values)
            if not alike_NM[lane, m + 1]:
                return _told(
                    f"the observation of task {task_id} after step {mark}", seen[0][lane, m + 1], seen[1][lane, m + 1]
                )
    return None


def _table(rows: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    return np.array([[[float(word) for word in part.split()] for part in row] for row in rows])


def _alike(then: NDArray, now: NDArray, axes: tuple[int, ...]) -> NDArray[np.bool_]:
    """Equal within the tolerance; a number near 0 is measured by the largest of its kind."""
    with np.errstate(invalid="ignore"):
        largest = np.nanmax(np.where(np.isfinite(then), np.abs(then), 0.0), axis=axes, keepdims=True, initial=0.0)
        slack = RELATIVE * np.abs(then) + OF_THE_LARGEST * largest + LEAST
        return (then == now) | (np.abs(then - now) <= slack) | (np.isnan(then) & np.isnan(now))


def _told(what: str, then: NDArray, now: NDArray) -> str:
    return f"{what} was {_text(then)}, now {_text(now)}"
