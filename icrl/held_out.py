"""Whether held-out tasks are held out: what tasks do is compared, not the numbers that they are told by.

A test task and a training task that show and pay the same for the same actions under the same random numbers are
one task, however their parameters differ: a number that is rounded, cut off or left out on its way to the environment
makes such *twins*. Alike for a while is not enough: two arms that pay with chances of 0.50 and 0.51 part once in a
hundred pulls, and a goal that nobody has reached tells nothing. So

- a held-out task counts where its lane has met two rewards, if rewards are what tasks differ in;
- pairs still alike are rolled again with other random numbers, twice as long each time, by random actions, by actions
  that are held for a while, and by the best policy that the family has;
- where pairs go on parting late, chance has kept the others together, and nothing is said. Tasks with many that are
  alike are judged apart from those with few: a number that is cut off makes many ones, and leaves the others close.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from math import inf
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.episodes import uniform_policy
from icrl.seeding import permutation
from icrl.spaces import split as split_parts
from icrl.tasks import Split, Task, TaskFamily

MOST_HELD_OUT, MOST_TRAIN = 20, 200
RANKS = np.array([0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987])
"""By distance in parameters, training tasks that a held-out one is compared with. Near and less near ones: where
chance keeps the near together, it is parting the less near at that time."""
FIRST_STEPS, MOST_STEPS = 16, 4000
CROWD = 8
"""So many are many."""
LATE, PARTING = 0.1, 0.05
"""After this share of all steps it is late; above this share of pairs that part then, chance explains the others."""
LONG = 400
"""Fewer steps tell only where whatever parts has parted in the first roll; those are enough of them, too."""
MANY, FEW = 0.25, 3
COMPARED = 2.0
"""Seconds of processor time that a recording or an evaluation spends on the comparison."""


@dataclass(frozen=True)
class Comparison:
    """What came out: which held-out tasks have a twin among the training tasks."""

    twins: dict[str, list[tuple[Task, Task]]]
    """By set, in the order of its tasks: a held-out task, and a training task that does the same."""
    compared: dict[str, int]
    """By set: the tasks of which enough was seen to tell."""
    steps: int
    """That each twin was followed for, at least."""

    def leaks(self, name: str) -> bool:
        """Whether a set's twins are too many to be an accident of the draw."""
        twins, of = len(self.twins[name]), self.compared[name]
        return twins >= max(MANY * of, min(FEW, of)) and twins > 0

    def behave_as_trained(self, name: str) -> dict[str, int]:
        """Of how many of a set's tasks it is known, and how many have a twin."""
        twins = len(self.twins[name])
        return {"tasks": twins if twins >= FEW or self.leaks(name) else 0, "of": self.compared[name]}

    def sentence(self, name: str) -> str:
        """A set's twins in words, with how to fix them."""
        task, twin = self.twins[name][0]
        return (
            f"{len(self.twins[name])} of {self.compared[name]} {name} tasks do over {self.steps:,} steps what a "
            f"training task does, such as {name} task {task.id} {_short(task.params)} and training task {twin.id} "
            f"{_short(twin.params)}: use a parameter as it is drawn, not rounded or cut off; draw whole numbers with "
            "integer=True, a few values with choices=[…]"
        )


def compare(
    family: TaskFamily,
    held_out: Mapping[str, Sequence[Task]],
    train: Sequence[Task],
    *,
    seconds: float = inf,
    most: int = MOST_HELD_OUT,
) -> Comparison:
    """Compares the held-out tasks of each set with training tasks, those nearest in parameters among them.

    Args:
        seconds: of processor time, about: fewer tasks and fewer steps where those of the family are slow.
        most: tasks of a set, the first ones.
    """
    began = time.process_time()
    speed = _speed(family, train[0], FIRST_STEPS) if seconds < inf else (0.0, 0.0)

    def cost(lanes: int, steps: int) -> float:
        return lanes * (speed[0] + steps * speed[1])

    # The first roll takes a fifth of the time, and eight lanes at least.
    fits = int(np.clip(0.2 * seconds / max(cost(1, FIRST_STEPS), 1e-12), 8, 1 << 20))
    most = min(most, max(4, fits // 12))
    both = [(name, task) for name, tasks in held_out.items() for task in tasks[:most]][: fits // 2]
    names, held = [name for name, _ in both], [task for _, task in both]
    trained = _chosen(held, train, fits - len(held))
    race = _Race(family, held, trained, _distances(held, trained))
    kinds = ["random", "policy", "held", "random"] if family.policy_kinds else ["random", "held"]
    steps = FIRST_STEPS
    while race.alive.any() and race.steps < MOST_STEPS and not race.settled:
        kind = kinds[race.rolls % len(kinds)]
        if race.rolls > 2 and time.process_time() - began + cost(race.lanes(kind), steps) > seconds:
            break
        # A policy is given an episode to get where its task is told from others.
        race.roll(kind, max(steps, min(family.horizon + 1, 400)) if kind == "policy" else steps)
        steps *= 2
    twins: dict[str, list[tuple[Task, Task]]] = {name: [] for name in held_out}
    for row in race.twins():
        twins[names[row]].append((held[row], trained[int(np.flatnonzero(race.alive[row])[0])]))
    told = race.informed | ~race.alive.any(axis=1)
    known = [name for name, told_apart in zip(names, told, strict=True) if told_apart]
    return Comparison(twins, {name: known.count(name) for name in held_out}, race.steps)


def leak(family: TaskFamily, split: Split, *, seconds: float) -> str | None:
    """A sentence about the first set of a split that is not held out; None where all are."""
    names = ["test", "validation", *split.ood]
    found = compare(family, {name: split.named(name) for name in names}, split.train, seconds=seconds)
    return next((found.sentence(name) for name in found.twins if found.leaks(name)), None)


@dataclass
class _Race:
    """Held-out tasks, training tasks, and which pairs of them have never parted."""

    family: TaskFamily
    held: Sequence[Task]
    trained: Sequence[Task]
    distance: NDArray[np.float64]
    """In parameters, of each pair."""
    steps: int = 0
    rolls: int = 0
    parted: float = 0.0
    """The share of all pairs that parted in the first roll."""
    history: list[tuple[int, NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    """Of each roll: the steps before it; how many each informed held-out task was alike with before, and after it."""

    def __post_init__(self) -> None:
        self.alive = np.ones((len(self.held), len(self.trained)), bool)
        self.informed = np.full(len(self.held), "reward" not in self.family.axes)
        self.met = np.full((len(self.held), 2), [inf, -inf])

    def lanes(self, kind: str) -> int:
        if kind == "policy":
            return int(self.alive.sum()) + len(self.held)
        return int(self.alive.any(axis=1).sum() + self.alive.any(axis=0).sum())

    @property
    def at_once(self) -> bool:
        """Whether many pairs have parted in the first roll and none since."""
        return self.parted > MANY and all((before == after).all() for _, before, after in self.history[1:])

    @property
    def settled(self) -> bool:
        """Whether nothing is to be expected of further rolls."""
        return self.steps > LONG and self.at_once

    def twins(self) -> NDArray[np.int64]:
        """The held-out tasks, by number, that have never parted from some training task, and not by chance."""
        late = [roll[1:] for roll in self.history if roll[0] >= LATE * self.steps]
        if not late or (self.steps < LONG and not (self.at_once and self.informed.mean() > 0.5)):
            return np.arange(0)
        first = late[0][0]
        found, crowd = (first > 0) & self.alive.any(axis=1), first >= CROWD
        for group in (crowd, ~crowd):
            left = float(first[group].sum() >= CROWD)
            for before, after in late:
                left *= after[group].sum() / max(1, before[group].sum())
            if 1 - left > PARTING:
                found &= ~group
        return np.flatnonzero(found)

    def roll(self, kind: str, steps: int) -> None:
        """One roll more, of the pairs that are alike; those that part in it are no more."""
        if self.rolls == 1:
            rank = np.argsort(np.argsort(np.where(self.alive, self.distance, inf), axis=1), axis=1)
            self.alive &= np.isin(rank, RANKS)
        informed = self.informed.copy()
        before = self.alive.sum(axis=1) * informed
        if kind == "policy":
            self._by_policy(steps)
        else:
            self._by_actions(kind, steps)
        self.informed |= self.met[:, 0] < self.met[:, 1]
        self.history.append((self.steps, before, self.alive.sum(axis=1) * informed))
        self.steps, self.rolls = self.steps + steps, self.rolls + 1
        if self.rolls == 1:
            self.parted = 1 - self.alive.mean()

    def _by_actions(self, kind: str, steps: int) -> None:
        rows, columns = (np.flatnonzero(self.alive.any(axis=axis)) for axis in (1, 0))
        tasks = [*(self.held[row] for row in rows), *(self.trained[column] for column in columns)]
        actions = _actions(self.family, tasks[:1], steps, self.rolls, held=kind == "held")
        marks, low, high = _rolled(self.family, tasks, self.rolls, lambda seen, step: np.repeat(
            actions[step : step + 1], len(tasks), axis=0), steps)  # fmt: skip
        self.alive[np.ix_(rows, columns)] &= marks[: len(rows), None] == marks[None, len(rows) :]
        self._meets(rows, low, high)

    def _by_policy(self, steps: int) -> None:
        """Each held-out task's best policy acts, for it and for the training tasks that it is compared with."""
        rows = np.flatnonzero(self.alive.any(axis=1))
        pairs = [np.flatnonzero(self.alive[row]) for row in rows]
        firsts = np.cumsum([0, *(1 + len(pair) for pair in pairs)])
        own = np.repeat(np.arange(len(rows)), [1 + len(pair) for pair in pairs])
        tasks = [task for row, pair in zip(rows, pairs, strict=True)
                 for task in (self.held[row], *(self.trained[column] for column in pair))]  # fmt: skip
        policy = self.family.reference_policy(self.family.policy_kinds[0], [self.held[row] for row in rows])

        def act(seen: NDArray, step: int) -> NDArray:
            return np.asarray(policy.act(seen[firsts[:-1]]))[own]

        def observe(*answer: NDArray) -> None:
            policy.observe(*(part[firsts[:-1]] for part in answer))

        marks, low, high = _rolled(self.family, tasks, self.rolls, act, steps, observe)
        for row, pair, first in zip(rows, pairs, firsts[:-1], strict=True):
            self.alive[row, pair] &= marks[first + 1 : first + 1 + len(pair)] == marks[first]
        self._meets(rows, low[firsts[:-1]], high[firsts[:-1]])

    def _meets(self, rows: NDArray[np.int64], low: NDArray, high: NDArray) -> None:
        self.met[rows, 0] = np.minimum(self.met[rows, 0], low[: len(rows)])
        self.met[rows, 1] = np.maximum(self.met[rows, 1], high[: len(rows)])


def _rolled(
    family: TaskFamily, tasks: Sequence[Task], seed: int, act: Any, steps: int, observe: Any = None
) -> tuple[NDArray[np.uint64], NDArray, NDArray]:
    """Of each lane: a mark of all that it showed and paid, and the least and the largest reward; all draw alike."""
    with closing(family.make(list(tasks), seed, [0] * len(tasks))) as env:
        seen, _ = env.reset()
        marks = _marked(np.zeros(len(tasks), np.uint64), seen)
        low, high = np.full(len(tasks), inf), np.full(len(tasks), -inf)
        for step in range(steps):
            seen, rewards, terminated, truncated, info = env.step(act(seen, step))
            marks = _marked(
                marks, seen, rewards, terminated, truncated, *([info["final_obs"]] if "final_obs" in info else [])
            )
            low, high = np.minimum(low, rewards), np.maximum(high, rewards)
            if observe is not None:
                observe(rewards, terminated, truncated)
    return marks, low, high


def _marked(marks: NDArray[np.uint64], *parts: Any) -> NDArray[np.uint64]:
    """The marks after some arrays more, each `(N, …)`: equal where all arrays so far were."""
    rows = []
    for values in [leaf for part in parts for leaf in split_parts("", np.asarray(part)).values()]:
        if values.dtype.kind == "f":
            values = values + 0.0  # -0 is 0.
        rows.append(np.ascontiguousarray(values.reshape(len(values), -1)).view(np.uint8))
    width = sum(row.shape[1] for row in rows)
    rows.append(np.zeros((len(marks), -width % 8), np.uint8))
    words = np.concatenate(rows, axis=1).view(np.uint64)
    with np.errstate(over="ignore"):
        odd = (np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)
        mixed = (words ^ (words >> np.uint64(29))) * odd
        marks = (marks ^ (marks >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
        return marks + (mixed ^ (mixed >> np.uint64(32))).sum(axis=1, dtype=np.uint64)


def _actions(family: TaskFamily, tasks: Sequence[Task], steps: int, seed: int, held: bool) -> NDArray:
    """Uniformly random actions, `(steps, *action_shape)`; held for up to an episode each, they lead further away."""
    policy = uniform_policy(family, tasks, seed)
    drawn = np.stack([policy.act(np.zeros(1))[0] for _ in range(steps)])
    if held:
        rng = np.random.default_rng(seed)
        drawn = np.repeat(drawn, rng.integers(1, max(17, family.horizon + 1), steps), axis=0)[:steps]
    return drawn


def _chosen(held: Sequence[Task], train: Sequence[Task], most: int) -> list[Task]:
    """At most so many training tasks in a drawn order: half of them near to held-out ones, the others some of all."""
    order = permutation(0, "held-out comparison", len(train))
    among = order[: max(most, 200_000 // max(1, len(_numbers(train[0].params))))]
    nearest = np.argsort(_distances(held, [train[number] for number in among]), axis=1, kind="stable")
    ranks = RANKS[: np.searchsorted(RANKS, len(among))]
    near = dict.fromkeys(nearest[:, ranks].T.ravel().tolist())
    near = list(near)[: max(1, most // 2)]
    places = sorted({*range(min(most - len(near), MOST_TRAIN, len(train))), *near})
    return [train[among[place]] for place in places]


def _distances(held: Sequence[Task], trained: Sequence[Task]) -> NDArray[np.float64]:
    """Of each pair, in parameters that are scaled to their range; 0 where tasks are not told by a few numbers each."""
    rows, own = ([_numbers(task.params) for task in tasks] for tasks in (trained, held))
    distance = np.zeros((len(held), len(trained)))
    if len({len(row) for row in (*rows, *own)}) == 1 and len(rows[0]) <= 64:
        table = np.array(rows, np.float64)
        scale = np.maximum(np.ptp(table, axis=0), 1e-12)
        for number, row in enumerate(own):
            distance[number] = np.abs((table - row) / scale).sum(axis=1)
    return distance


def _numbers(params: Any) -> list[float]:
    """The numbers in a task's parameters; a word is a number of its own."""
    if isinstance(params, Mapping):
        return [number for value in params.values() for number in _numbers(value)]
    if isinstance(params, list | tuple):
        return [number for value in params for number in _numbers(value)]
    return [float(params) if isinstance(params, bool | int | float) else crc32(str(params).encode()) / 2**32]


def _speed(family: TaskFamily, task: Task, steps: int) -> tuple[float, float]:
    """Seconds that a lane takes to be made and reset, and to step once."""
    lanes = 4
    start = time.process_time()
    with closing(family.make([task] * lanes, 0)) as env:
        env.reset()
        made = time.process_time()
        for action in _actions(family, [task], steps, 0, held=False):
            env.step(np.repeat(action[None], lanes, axis=0))
        stepped = time.process_time()
    return (made - start) / lanes, (stepped - made) / (lanes * steps)


def _short(params: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value!r}"
                      for name, value in params.items())  # fmt: skip
    return shown if len(shown) <= 120 else f"{shown[:119]}…"
