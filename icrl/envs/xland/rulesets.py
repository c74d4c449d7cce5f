"""Rulesets of XLand-MiniGrid made here: a goal, production rules that make what the goal needs, objects in the room.

A tile is (kind, colour), a goal 5 numbers and a rule 7, in the encodings of the package `xminigrid`; nothing here
imports it. The three kinds of goal and of rule are those of the published benchmarks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError

Tile = tuple[int, int]

WALL, GOAL, KEY, BALL, SQUARE, PYRAMID = 2, 6, 7, 3, 4, 5
FLOOR: Tile = (1, 7)
TILE_NAMES = dict(zip(range(13), (
    "empty", "floor", "wall", "ball", "square", "pyramid", "goal", "key", "locked door", "closed door", "open door",
    "hex", "star",
), strict=True))  # fmt: skip
COLOUR_NAMES = dict(zip(range(12), (
    "", "red", "green", "blue", "purple", "yellow", "grey", "black", "orange", "white", "brown", "pink",
), strict=True))  # fmt: skip
COLOURS = (1, 2, 3, 4, 5, 6, 9)
PICKABLE: tuple[Tile, ...] = tuple(product((BALL, SQUARE, PYRAMID, KEY), COLOURS))
OBJECTS: tuple[Tile, ...] = (*PICKABLE, *product((GOAL,), COLOURS))
"""What a ruleset may put in a room. The agent cannot pick up the last 7, the goal tiles."""

HOLD, NEAR, TILE_NEAR = 1, 3, 4
GOAL_LENGTH, RULE_LENGTH = 5, 7
HELD_GOAL = (HOLD, BALL, 1, 0, 0)
"""Every task's goal where the axis "reward" is held: pick up the red ball."""


@dataclass(frozen=True)
class Protocol:
    """How rulesets are drawn, in the terms of the published benchmarks."""

    depth: int = 0
    """Levels of rules between what lies in the room and what the goal needs."""
    prune: float = 0.0
    """Probability that a tile which a rule would make lies in the room instead."""
    distractor_rules: int = 0
    """At most that many rules, uniformly many, which the goal does not need."""
    distractor_objects: int = 3
    """Objects which the goal does not need, beside those that distractor rules take."""

    @property
    def most_rules(self) -> int:
        """No ruleset has more."""
        return sum(2 ** (level + 1) for level in range(self.depth)) + self.distractor_rules

    @property
    def most_tiles(self) -> int:
        """No ruleset puts more objects in the room."""
        return 2 ** (self.depth + 1) + self.distractor_objects + 2 * self.distractor_rules

    @property
    def draws(self) -> int:
        """Uniform numbers that suffice for any ruleset."""
        return 4 + 4 * self.most_rules + self.distractor_objects + 4 * self.distractor_rules


def every_goal() -> list[tuple[int, ...]]:
    """The 665 goals, each written in one way: hold a tile, be near one, put one tile near another."""
    holds = [(HOLD, *tile, 0, 0) for tile in PICKABLE]
    nears = [(NEAR, *tile, 0, 0) for tile in OBJECTS]
    both = [*combinations_with_replacement(sorted(PICKABLE), 2), *product(PICKABLE, OBJECTS[len(PICKABLE) :])]
    return holds + nears + [(TILE_NEAR, *min(pair), *max(pair)) for pair in both]


def goal_in_words(goal: list[int]) -> str:
    """The goal as one reads it: "pick up the red ball"."""
    kind, *tiles = goal
    names = [f"the {COLOUR_NAMES[colour]} {TILE_NAMES[tile]}" for tile, colour in (tiles[:2], tiles[2:])]
    return {
        HOLD: f"pick up {names[0]}",
        NEAR: f"go next to {names[0]}",
        TILE_NEAR: f"put {names[0]} next to {names[1]}",
    }.get(kind, f"goal {goal}")


def draw_ruleset(protocol: Protocol, uniforms: NDArray[np.float64], *, held_goal: bool = False) -> dict[str, Any]:
    """One ruleset, as `{"goal": [5], "rules": [[7], …], "tiles": [[2], …]}`.

    Args:
        protocol: how to draw it.
        uniforms: `protocol.draws` numbers from 0 to 1, all that it depends on.
        held_goal: whether the goal is `HELD_GOAL` whatever the numbers say.
    """
    numbers: Iterator[float] = iter(uniforms.tolist())

    def pick(choices, unlike=()):
        left = [choice for choice in choices if choice not in unlike] if unlike else choices
        return left[int(next(numbers) * len(left))]

    kind = pick((HOLD, NEAR, TILE_NEAR))
    first, second = pick(OBJECTS if kind != HOLD else PICKABLE), pick(PICKABLE)
    if held_goal:
        kind, first = HELD_GOAL[0], (HELD_GOAL[1], HELD_GOAL[2])
    needed = [first] if kind != TILE_NEAR else sorted((first, second))
    goal = [kind, *(number for tile in needed for number in tile)]

    used, room, rules = list(needed), [], []
    for _ in range(protocol.depth):
        inputs: list[Tile] = []
        for product_tile in needed:
            if next(numbers) < protocol.prune:
                room.append(product_tile)
                continue
            rule, taken = _draw_rule(pick, product_tile, used)
            rules.append(rule)
            used += taken
            inputs += taken
        needed = inputs
    room += needed
    room += [pick(OBJECTS, unlike=used) for _ in range(protocol.distractor_objects)]
    if protocol.distractor_rules:
        for _ in range(int(next(numbers) * (protocol.distractor_rules + 1))):
            made = pick((*PICKABLE, FLOOR), unlike=used)
            rule, taken = _draw_rule(pick, made, ())
            rules.append(rule)
            room += taken
    return {
        "goal": goal + [0] * (GOAL_LENGTH - len(goal)),
        "rules": [rule + [0] * (RULE_LENGTH - len(rule)) for rule in rules],
        "tiles": [list(tile) for tile in sorted(room)],
    }


def _draw_rule(pick, made: Tile, used: list[Tile] | tuple) -> tuple[list[int], list[Tile]]:
    """A rule that makes that tile, and the tiles that it takes, none of which is in `used`."""
    kind = pick((1, 2, 3))  # held by the agent; next to the agent; two tiles next to each other
    taken = [pick(OBJECTS if kind != 1 else PICKABLE, unlike=used)]
    if kind == 3:
        taken.append(pick(PICKABLE, unlike=used))
    return [kind, *(number for tile in (*taken, made) for number in tile)], taken


def read_rulesets(path: str) -> list[dict[str, Any]]:
    """The different rulesets of an .npz file, without the empty rules and tiles that pad them.

    The file holds the arrays of the package's benchmarks: `goals` `(R, 5)`, `rules` `(R, r, 7)`, `init_tiles`
    `(R, t, 2)`. The package itself saves pickles, which run code when they are read, so they are not read here.

    Raises:
        UsageError: where the file is missing or holds no such arrays.
    """
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path}: expected an .npz of rulesets")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns = [np.asarray(arrays[name]) for name in ("goals", "rules", "init_tiles")]
        if [column.ndim for column in columns] != [2, 3, 3] or len({len(column) for column in columns}) > 1:
            raise ValueError(f"the arrays have shapes {[column.shape for column in columns]}")
    except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path} holds no rulesets ({error}): expected an .npz file of the arrays goals (R, 5), "
            "rules (R, r, 7) and init_tiles (R, t, 2), as numpy.savez writes them"
        ) from error
    found: dict[str, dict[str, Any]] = {}
    for goal, rules, tiles in zip(*columns, strict=True):
        ruleset = {
            "goal": goal.tolist(),
            "rules": rules[rules[:, 0] > 0].tolist(),
            "tiles": sorted(tiles[tiles[:, 0] > 0].tolist()),
        }
        found.setdefault(repr(ruleset), ruleset)
    return list(found.values())
