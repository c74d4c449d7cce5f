"""Buttons whose meaning is permuted: a wiring says which of the five moves each of the five buttons makes."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from icrl.envs.grids.cells import NUM_ACTIONS
from icrl.seeding import permutation
from icrl.tasks import Task

WIRINGS = tuple(permutations(range(NUM_ACTIONS)))
"""All 120 in lexicographic order; number 0 leaves every button as it is."""


def meanings(tasks: Sequence[Task]) -> NDArray[np.int64] | None:
    """The move that each button makes, shape `(N, A)`; None where every button of every task is as it is."""
    if not any("meaning" in task.params for task in tasks):
        return None
    return np.array([task.params.get("meaning", WIRINGS[0]) for task in tasks], np.int64).reshape(-1, NUM_ACTIONS)


def buttons(meaning_NA: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """The button that makes each move, shape `(N, A)`: the inverse."""
    return None if meaning_NA is None else np.argsort(meaning_NA, axis=1)


def rewired(tasks: Sequence[Task], numbers: NDArray[np.int64], seed: int, purpose: str) -> list[Task]:
    """The tasks under these numbers, each with a wiring that is not the usual one."""
    drawn = 1 + permutation(seed, purpose, len(WIRINGS) - 1)
    return [
        Task(int(number), task.params | {"meaning": list(WIRINGS[drawn[i % len(drawn)]])})
        for i, (number, task) in enumerate(zip(numbers, tasks, strict=True))
    ]
