"""The production rules of XLand-MiniGrid on the five cells that a step can change.

The package works out all of its 12 kinds of rule on the whole room, once per rule. The three kinds of the published
benchmarks change only the cell that was acted on and the four around it. So here these five are taken out of the
room, go through all rules, and are put back once. The answers are the package's.
"""

import jax
import jax.numpy as jnp

from icrl.envs.xland.rulesets import FLOOR

FORWARD, PICK_UP, PUT_DOWN = 0, 3, 4
HELD, NEXT_TO, TWO_TILES = 1, 2, 3
KINDS = (0, HELD, NEXT_TO, TWO_TILES)
"""Kinds of rule that are known here, 0 for none."""
_AROUND = jnp.array(((0, 0), (-1, 0), (0, 1), (1, 0), (0, -1)))


def apply_rules(
    rules_R7: jax.Array, grid: jax.Array, pocket: jax.Array, action: jax.Array, position: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The room and what the agent carries after all rules, in their order.

    Args:
        rules_R7: encodings, of `KINDS` only.
        grid: shape `(size, size, 2)`.
        pocket: shape `(2,)`.
        action: that was taken.
        position: the cell that it acted on, the agent's own after a step; shape `(2,)`.
    """
    # Beyond the walls there is nothing to change: a cell there stands for the wall, which no rule takes.
    cells_52 = jnp.clip(position + _AROUND, 0, grid.shape[0] - 1)
    tiles_52 = grid[cells_52[:, 0], cells_52[:, 1]]
    floor = jnp.array(FLOOR, jnp.uint8)

    def apply(carry, rule):
        tiles_52, pocket = carry
        kind, first, second, third = rule[0], rule[1:3], rule[3:5], rule[5:7]
        here, around_42 = tiles_52[0], tiles_52[1:]

        held = (kind == HELD) & (action == PICK_UP) & _same(pocket, first)
        pocket = jnp.where(held, second, pocket)

        met_4 = (kind == NEXT_TO) & (action == FORWARD) & _same(around_42, first)
        joined_4 = (_same(here, first) & _same(around_42, second)) | (_same(here, second) & _same(around_42, first))
        joined_4 &= (kind == TWO_TILES) & (action == PUT_DOWN)
        around_42 = jnp.where(met_4[:, None], second, jnp.where(joined_4[:, None], third, around_42))
        here = jnp.where(joined_4.any(), floor, here)
        return (jnp.concatenate((here[None], around_42)), pocket), None

    (tiles_52, pocket), _ = jax.lax.scan(apply, (tiles_52, pocket), rules_R7)
    return grid.at[cells_52[:, 0], cells_52[:, 1]].set(tiles_52), pocket


def _same(tiles: jax.Array, tile: jax.Array) -> jax.Array:
    return (tiles == tile).all(axis=-1)
