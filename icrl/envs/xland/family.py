"""XLand-MiniGrid: rooms of objects with a hidden goal and hidden rules, stepped as one JAX batch.

The game is the package `xminigrid` itself (`icrl[xland]`); the rulesets are drawn here, so that nothing is downloaded.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
import numpy as np

from icrl.envs.kit.measured import measured_return
from icrl.envs.kit.simple_policies import UniformActions
from icrl.envs.xland.batch import NUM_ACTIONS, VIEW, XLandBatch
from icrl.envs.xland.rulesets import Protocol, draw_ruleset, every_goal, read_rulesets
from icrl.errors import UsageError
from icrl.seeding import Streams, permutation, stream_keys
from icrl.tasks import (
    Anchors,
    Axis,
    ReferencePolicy,
    Split,
    Task,
    TaskFamily,
    check_count,
    ood_numbers,
    split_numbers,
    split_sizes,
    varying_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

Rooms = Literal["R1", "R2", "R4"]

NUM_TILES, NUM_COLOURS = 13, 12
UNSEEN_SHARE = 0.1
"""Of all goals, so many are in the set "unseen-goals" only."""
LARGER_BY = 4
"""Cells a side by which the rooms of the set "larger" are larger."""
DRAWN_AT_LEAST, GIVE_UP = 128, 20
"""Rulesets of a round of drawing; rounds without a new one, after which there are taken to be no more."""


class XLandTrivial(TaskFamily):
    """A goal to find out and three objects that do not matter, in one room of 9×9, without rules.

    Args:
        rooms: "R1" one room, "R2" two with a door between them, "R4" four.
        size: cells along a side, walls included.
        horizon: steps of an episode; the package takes 3 · size².
        train, validation, test: rulesets of each split; each out-of-distribution set has `test` tasks.
        hold: axes that are the same in all tasks: "reward" the goal, "dynamics" no rules, "start" one layout.
        benchmark_file: an .npz file of rulesets to draw tasks from (`read_rulesets` says how); "" to make them here.
    """

    picture_shows = (
        "The way through what was seen of the room, from dark to bright; pale cells were not seen. The goal is in "
        "words, its objects may have to be made first."
    )
    name = "xland-trivial"
    version = 1
    source = "Nikulin et al. 2023 (XLand-MiniGrid)"
    axes: tuple[Axis, ...] = ("reward", "start")
    policy_kinds = ()
    protocol = Protocol()
    anchor_episodes = 32
    """Episodes of each task that its anchor is averaged over."""

    def __init__(
        self,
        *,
        rooms: Rooms = "R1",
        size: int = 9,
        horizon: int = 243,
        train: int = 4096,
        validation: int = 64,
        test: int = 128,
        hold: Sequence[str] = (),
        benchmark_file: str = "",
    ) -> None:
        check_count("horizon", horizon, at_least=1)
        self.num_tasks = split_sizes(train, validation, test)
        every = type(self).axes
        self.axes = varying_axes(self.name, every, hold)
        held = [axis for axis in every if axis not in self.axes]
        self.rooms, self.size, self.horizon = rooms, size, horizon
        self.observation_space = gym.spaces.MultiDiscrete([NUM_TILES, NUM_COLOURS] * VIEW**2)
        self.action_space = gym.spaces.Discrete(NUM_ACTIONS)
        if "dynamics" in held:
            self.protocol = replace(self.protocol, depth=0, distractor_rules=0)
        self.deeper = replace(self.protocol, depth=self.protocol.depth + 1, prune=0.0)
        self.ood_sets = {"larger": f"rooms of {size + LARGER_BY}×{size + LARGER_BY} rather than {size}×{size}"}
        self._given = self._read(benchmark_file, held) if benchmark_file else None
        if self._given is None:
            self._describe_ood(held)
            check_count("size", size, at_least=_smallest(rooms, self.deeper.most_tiles))

    def _describe_ood(self, held: list[str]) -> None:
        if "reward" not in held:
            self.ood_sets["unseen-goals"] = f"the {UNSEEN_SHARE:.0%} of all goals that no other task has"
        if "dynamics" not in held:
            levels = "level" if self.deeper.depth == 1 else "levels"
            self.ood_sets["deeper"] = (
                f"{self.deeper.depth} {levels} of rules between the room and what the goal needs, rather than "
                f"{'none' if not self.protocol.depth else f'at most {self.protocol.depth}'}"
            )

    def _read(self, path: str, held: list[str]) -> list[dict[str, Any]]:
        if wrong := [axis for axis in held if axis != "start"]:
            raise UsageError(f"{self.name} cannot hold {wrong} of the rulesets in a file; hold only start")
        given = read_rulesets(path)
        if "dynamics" not in type(self).axes and any(ruleset["rules"] for ruleset in given):
            raise UsageError(f"{path} has rules and {self.name} has none: use xland-small or xland-medium")
        most = max(len(ruleset["tiles"]) for ruleset in given)
        check_count("size", self.size, at_least=_smallest(self.rooms, most))
        if len(given) < sum(self.num_tasks.values()):
            raise UsageError(f"{path} has {len(given)} rulesets for {self.num_tasks} tasks: ask for fewer")
        return given

    def split(self, seed: int) -> Split:
        total, test = sum(self.num_tasks.values()), self.num_tasks["test"]
        unseen = self._unseen_goals(seed)
        if self._given is not None:
            own = [self._given[i] for i in permutation(seed, f"{self.name} split", len(self._given))[:total]]
            larger = own[:test]
        else:
            own = self._rulesets(seed, "ruleset", total, self.protocol, lambda goal: goal not in unseen)
            larger = self._rulesets(seed, "larger", test, self.protocol, lambda goal: goal not in unseen)
        made = {"larger": larger}
        if "unseen-goals" in self.ood_sets:
            made["unseen-goals"] = self._rulesets(seed, "unseen", test, self.protocol, unseen.__contains__)
        if "deeper" in self.ood_sets:
            made["deeper"] = self._rulesets(seed, "deeper", test, self.deeper, lambda goal: goal not in unseen)
        ood = {
            name: [
                self._task(number, ruleset, self.size + LARGER_BY if name == "larger" else self.size)
                for number, ruleset in zip(ood_numbers(position, test), made[name], strict=True)
            ]
            for position, name in enumerate(self.ood_sets)
        }
        return split_numbers(
            np.arange(total), self.num_tasks, lambda number: self._task(number, own[number], self.size), seed, ood
        )

    def _unseen_goals(self, seed: int) -> set[tuple[int, ...]]:
        if "unseen-goals" not in self.ood_sets:
            return set()
        goals = every_goal()
        return {
            goals[i] for i in permutation(seed, f"{self.name} goals", len(goals))[: int(UNSEEN_SHARE * len(goals))]
        }

    def _rulesets(self, seed: int, purpose: str, count: int, protocol: Protocol, fits) -> list[dict[str, Any]]:
        """That many different rulesets whose goal `fits`; more of them begin with the same ones."""
        found: dict[str, dict[str, Any]] = {}
        first, barren = 0, 0
        while len(found) < count:
            numbers = np.arange(first, first + max(DRAWN_AT_LEAST, 2 * (count - len(found))))
            uniforms_NK = Streams(stream_keys(seed, f"{self.name} {purpose}", numbers)).uniform_block(protocol.draws).T
            before = len(found)
            for row in uniforms_NK:
                ruleset = draw_ruleset(protocol, row, held_goal="reward" not in self.axes)
                if fits(tuple(ruleset["goal"])):
                    found.setdefault(repr(ruleset), ruleset)
            first, barren = numbers[-1] + 1, 0 if len(found) > before else barren + 1
            if barren == GIVE_UP:
                raise UsageError(f"{self.name} found only {len(found)} different rulesets of {count}: ask for fewer")
        return list(found.values())[:count]

    def _task(self, number: int, ruleset: dict[str, Any], size: int) -> Task:
        return Task(int(number), {**ruleset, "rooms": self.rooms, "size": size})

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "XLandBatch":
        one_layout = "start" not in self.axes
        return XLandBatch(self, tasks, seed, index, capacity=self.capacity, one_layout=one_layout)

    def capacity(self, task: Task) -> tuple[int, int]:
        """Rules and tiles that the task's arrays have room for: its own, and never those of its neighbours."""
        rules, tiles = len(task.params["rules"]), len(task.params["tiles"])
        for protocol in (self.protocol, self.deeper):
            if rules <= protocol.most_rules and tiles <= protocol.most_tiles:
                return protocol.most_rules, protocol.most_tiles
        return rules, tiles

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """The random policy measured; nobody knows the optimum of a room that is seen only in part."""
        random = measured_return(self, tasks, partial(UniformActions, self), self.anchor_episodes)
        return Anchors(random, np.full(len(tasks), np.nan), measured=True)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        raise AssertionError("without policy_kinds no kind passes the check")

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.xland.drawing import draw_seen_room

        draw_seen_room(axes, task, history)


class XLandSmall(XLandTrivial):
    """A goal behind at most one level of rules, with up to two rules and two objects that lead nowhere."""

    name = "xland-small"
    axes = ("reward", "dynamics", "start")
    protocol = Protocol(depth=1, prune=0.3, distractor_rules=2, distractor_objects=2)


class XLandMedium(XLandTrivial):
    """A goal behind at most two levels of rules, with up to three rules and two objects that lead nowhere."""

    name = "xland-medium"
    axes = ("reward", "dynamics", "start")
    protocol = Protocol(depth=2, prune=0.1, distractor_rules=3, distractor_objects=2)


def _smallest(rooms: Rooms, tiles: int) -> int:
    """The least size of room in which so many tiles, and the agent, have each a cell."""
    walls = {"R1": 0, "R2": 1, "R4": 2}[rooms]
    size = 5
    while (size - 2) ** 2 - walls * (size - 2) + (walls == 2) < tiles + 1:
        size += 1
    return size
