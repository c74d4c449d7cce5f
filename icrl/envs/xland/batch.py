"""The batch of XLand-MiniGrid rooms: lanes whose arrays have one shape are one JAX computation.

Every episode's layout comes from a JAX key of 64 bits of the lane's own stream, so that a lane is the same in any
batch. What differs in shape (rooms of another size, longer lists of rules) is stepped apart.

Legend of the shape suffixes: N lanes, L some of them.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from xminigrid.core.actions import take_action
from xminigrid.core.constants import NUM_ACTIONS as NUM_ACTIONS
from xminigrid.core.goals import check_goal
from xminigrid.core.observation import transparent_field_of_view
from xminigrid.core.rules import check_rule
from xminigrid.envs.xland import XLandEnvParams, XLandMiniGrid
from xminigrid.types import AgentState, RuleSet

from icrl.envs.kit.base import BatchedEnv
from icrl.envs.xland.rules import KINDS, apply_rules
from icrl.envs.xland.rulesets import RULE_LENGTH
from icrl.tasks import Task, TaskFamily

VIEW = 5
"""Cells along a side of what the agent sees in front of it."""
LEAST_LANES, MOST_LANES_DOUBLED = 16, 1024
FEW_STARTS, MANY_STARTS = 32, 512
"""Lanes that start together: two sizes, so that two are compiled."""
_GAME = XLandMiniGrid()


class Room(NamedTuple):
    """What an episode changes, one row per lane."""

    grid: jax.Array
    position: jax.Array
    direction: jax.Array
    pocket: jax.Array


class XLandBatch(BatchedEnv):
    """One room per lane.

    Args:
        family: gives the spaces and the horizon.
        tasks, seed, index: as in `TaskFamily.make`.
        capacity: rules and tiles that a task's arrays have room for.
        one_layout: every episode begins in the same room.
    """

    def __init__(
        self,
        family: TaskFamily,
        tasks: Sequence[Task],
        seed: int,
        index: Sequence[int] | None,
        *,
        capacity: Callable[[Task], tuple[int, int]],
        one_layout: bool,
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._one_layout = one_layout
        shapes: dict[tuple, list[int]] = {}
        for lane, task in enumerate(tasks):
            shape = (task.params["rooms"], task.params["size"], *capacity(task))
            shapes.setdefault(shape, []).append(lane)
        self._groups = [_Group(np.array(lanes), [tasks[i] for i in lanes], *shape) for shape, lanes in shapes.items()]
        self._group_N, self._place_N = np.zeros(len(tasks), np.int64), np.zeros(len(tasks), np.int64)
        for number, group in enumerate(self._groups):
            self._group_N[group.lanes], self._place_N[group.lanes] = number, np.arange(len(group.lanes))
        self._seen = np.zeros((len(tasks), 2 * VIEW**2), np.uint8)

    def _start(self, lanes: NDArray[np.int64]) -> None:
        bits_L = np.zeros(len(lanes), np.uint64) if self._one_layout else self.streams.bits(lanes)
        keys_L2 = bits_L.view(np.uint32).reshape(-1, 2)
        for number, group in enumerate(self._groups):
            mine = np.flatnonzero(self._group_N[lanes] == number) if len(self._groups) > 1 else slice(None)
            some = lanes[mine]
            if len(some):
                self._seen[some] = group.start(self._place_N[some], keys_L2[mine])

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        # All groups are sent off before the first is waited for.
        answers = [group.advance(actions[group.lanes]) for group in self._groups]
        reached_N = np.zeros(self.num_envs, bool)
        for group, (seen, reached) in zip(self._groups, answers, strict=True):
            count = len(group.lanes)
            self._seen[group.lanes], reached_N[group.lanes] = np.asarray(seen)[:count], np.asarray(reached)[:count]
        # Here rather than in JAX, where the last bit could hang on how many lanes were compiled together.
        rewards_N = np.where(reached_N, 1.0 - 0.9 * (self.steps + 1) / self.horizon, 0.0)
        return rewards_N.astype(np.float32), reached_N

    def _observe(self) -> NDArray:
        return self._seen.astype(np.int64)


class _Group:
    """The lanes of one shape.

    Args:
        lanes: their numbers in the batch.
        tasks: theirs.
        rooms, size, num_rules, num_tiles: the shape.
    """

    def __init__(
        self, lanes: NDArray[np.int64], tasks: Sequence[Task], rooms: str, size: int, num_rules: int, num_tiles: int
    ) -> None:
        self.lanes = lanes
        plain = all(rule[0] in KINDS for task in tasks for rule in task.params["rules"])
        self._functions = _compiled(rooms, size, plain)
        self._padded = _padded(len(lanes))
        self._rules = _rulesets(tasks, self._padded, num_rules, num_tiles)
        self._room = Room(
            jnp.zeros((self._padded, size, size, 2), jnp.uint8),
            jnp.zeros((self._padded, 2), jnp.int32),
            jnp.zeros(self._padded, jnp.int32),
            jnp.zeros((self._padded, 2), jnp.uint8),
        )

    def start(self, places: NDArray[np.int64], keys_L2: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Puts the lanes at these places of the group at the start of an episode; returns what they see."""
        part = FEW_STARTS if len(places) <= 4 * FEW_STARTS else MANY_STARTS
        seen = []
        for first in range(0, len(places), part):
            count = min(part, len(places) - first)
            # A place beyond the last is written nowhere.
            places_L, keys = np.full(part, self._padded, np.int32), np.zeros((part, 2), np.uint32)
            places_L[:count], keys[:count] = places[first : first + count], keys_L2[first : first + count]
            self._room, saw = self._functions[0](self._room, self._rules, places_L, keys)
            seen.append(saw)
        return np.concatenate(seen)[: len(places)]

    def advance(self, actions: NDArray) -> tuple[jax.Array, jax.Array]:
        """Sends off one step; returns what every lane will see, and whether it has reached its goal."""
        padded = np.zeros(self._padded, np.int32)
        padded[: len(actions)] = actions
        self._room, seen, reached = self._functions[1](self._room, self._rules, padded)
        return seen, reached


def _padded(count: int) -> int:
    """Lanes to compute for `count`: few different numbers, since each is compiled for itself."""
    if count > MOST_LANES_DOUBLED:
        return -(-count // MOST_LANES_DOUBLED) * MOST_LANES_DOUBLED
    return max(LEAST_LANES, 1 << (count - 1).bit_length())


def _rulesets(tasks: Sequence[Task], padded: int, num_rules: int, num_tiles: int) -> RuleSet:
    goal = np.zeros((padded, 5), np.uint8)
    rules = np.zeros((padded, num_rules, RULE_LENGTH), np.uint8)
    tiles = np.zeros((padded, num_tiles, 2), np.uint8)
    for lane, task in enumerate(tasks):
        goal[lane] = task.params["goal"]
        if task.params["rules"]:
            rules[lane, : len(task.params["rules"])] = task.params["rules"]
        tiles[lane, : len(task.params["tiles"])] = task.params["tiles"]
    return RuleSet(goal=jnp.asarray(goal), rules=jnp.asarray(rules), init_tiles=jnp.asarray(tiles))


@cache
def _compiled(rooms: str, size: int, plain: bool) -> tuple[Any, Any]:
    """The functions that start and that step lanes of such rooms, shared by all batches; `plain`: rules of `KINDS`."""
    params = XLandEnvParams(view_size=VIEW, height=size, width=size, grid_type=rooms, max_steps=1)

    def start_one(ruleset: RuleSet, key: jax.Array) -> tuple[Room, jax.Array]:
        first = _GAME.reset(params.replace(ruleset=ruleset), key)
        return _room(first.state.grid, first.state.agent), first.observation.reshape(-1)

    def step_one(room: Room, ruleset: RuleSet, action: jax.Array) -> tuple[Room, jax.Array, jax.Array]:
        # The package's own step, but for the rules; reward and horizon are the batch's.
        agent = AgentState(room.position, room.direction, room.pocket)
        grid, agent, changed = take_action(room.grid, agent, action)
        if plain:
            grid, pocket = apply_rules(ruleset.rules, grid, agent.pocket, action, changed)
            agent = agent.replace(pocket=pocket)
        else:
            grid, agent = check_rule(ruleset.rules, grid, agent, action, changed)
        reached = check_goal(ruleset.goal, grid, agent, action, changed)
        return _room(grid, agent), transparent_field_of_view(grid, agent, VIEW, VIEW).reshape(-1), reached

    @partial(jax.jit, donate_argnums=0)
    def start(room: Room, rulesets: RuleSet, places: jax.Array, keys: jax.Array) -> tuple[Room, jax.Array]:
        some = jax.tree.map(lambda x: x.at[places].get(mode="clip"), rulesets)
        fresh, seen = jax.vmap(start_one)(some, keys)
        return jax.tree.map(lambda whole, part: whole.at[places].set(part, mode="drop"), room, fresh), seen

    return start, jax.jit(jax.vmap(step_one), donate_argnums=0)


def _room(grid: jax.Array, agent: AgentState) -> Room:
    return Room(
        grid.astype(jnp.uint8),
        agent.position.astype(jnp.int32),
        agent.direction.astype(jnp.int32),
        agent.pocket.astype(jnp.uint8),
    )
