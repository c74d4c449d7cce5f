"""How far a point on the plane is from its goal at every step: by the shortest way, drifting, and under random steps.

A step is the action, at most `STEP` along either axis, plus a constant wind that is weaker than that. An *offset* is
goal minus position. The axes do not meet in the dynamics, so along each the offset that is left after k steps has a
least value max(0, |offset| - k · speed), and the policy that takes it along both axes at once is the nearest to the
goal at every single step. Letters of shapes: N tasks, K steps, M nodes of a quadrature.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

STEP = 0.1
"""The largest action along either axis."""
CELLS = 32
"""Cells of the tables of densities to a `STEP`."""

Array = NDArray[np.float64]


def shortest_offsets(offset_N2: Array, wind_N2: Array, horizon: int) -> Array:
    """What is left of the offset after 1, 2, … steps of the shortest way, `(K, N, 2)`, without its sign."""
    step_K11 = np.arange(1, horizon + 1)[:, None, None]
    speed_N2 = STEP + np.sign(offset_N2) * wind_N2
    return np.maximum(0.0, np.abs(offset_N2) - step_K11 * speed_N2)


def drifting_offsets(offset_N2: Array, wind_N2: Array, horizon: int) -> Array:
    """The offset after 1, 2, … steps of the action zero, `(K, N, 2)`."""
    return offset_N2 - np.arange(1, horizon + 1)[:, None, None] * wind_N2


def mean_distance_from_box(low_N2: Array, high_N2: Array, ahead_N2: Array | float, behind_N2: Array | float) -> Array:
    """Mean distance to the goal, `(N,)`, for offsets uniform in a box, after the shortest way of some steps. Exact.

    Args:
        low_N2, high_N2: corners of the box of offsets.
        ahead_N2, behind_N2: what those steps take off a positive and off a negative offset.
    """
    total = np.zeros(np.broadcast_shapes(low_N2.shape, np.shape(ahead_N2))[:-1])
    ahead_N2, behind_N2 = np.broadcast_to(ahead_N2, low_N2.shape), np.broadcast_to(behind_N2, low_N2.shape)
    corners = ((low_N2, -1.0), (high_N2, 1.0))
    for x_N2, sign_x in corners:
        for y_N2, sign_y in corners:
            edge_N2 = np.stack((x_N2[..., 0], y_N2[..., 1]), axis=-1)
            gone_N2 = np.minimum(np.abs(edge_N2), np.where(edge_N2 > 0, ahead_N2, behind_N2))
            sign_N = sign_x * sign_y * np.sign(edge_N2[..., 0]) * np.sign(edge_N2[..., 1])
            total += sign_N * _distance_over_box(np.abs(edge_N2) - gone_N2, gone_N2)
    return total / np.prod(high_N2 - low_N2, axis=-1)


def _distance_over_box(side_N2: Array, gone_N2: Array) -> Array:
    """∫∫ √(u² + v²) over offsets from 0 to `gone + side`, of which the first `gone` count as 0."""
    u, v = side_N2[..., 0], side_N2[..., 1]
    tiny = np.finfo(np.float64).tiny
    corner = 2 * u * v * np.hypot(u, v) + u**3 * np.arcsinh(v / (u + tiny)) + v**3 * np.arcsinh(u / (v + tiny))
    return corner / 6 + (gone_N2[..., 0] * v**2 + gone_N2[..., 1] * u**2) / 2


@lru_cache(maxsize=4)
def walk_density(horizon: int) -> tuple[Array, Array]:
    """Density along one axis of the sum of 1, 2, … actions uniform on ±STEP: points `(G,)`, density `(K, G)`."""
    reach = STEP * min(horizon, 8.0 * np.sqrt(horizon / 3.0) + 1.0)
    half = int(np.ceil(reach / STEP)) * CELLS
    points = np.arange(-half, half + 1) * (STEP / CELLS)
    density = np.zeros((horizon, len(points)))
    density[0] = (np.abs(np.arange(-half, half + 1)) <= CELLS) / (2 * STEP)
    for k in range(1, horizon):
        # The mean of the last one over ±STEP, by the integral of the line through its points. The first is a box,
        # whose integral is known.
        below = _integral(density[k - 1]) if k > 1 else np.clip(points + STEP, 0.0, 2 * STEP) / (2 * STEP)
        ahead, behind = np.ones_like(below), np.zeros_like(below)
        ahead[:-CELLS], behind[CELLS:] = below[CELLS:], below[:-CELLS]
        density[k] = (ahead - behind) / (2 * STEP)
    return points, density


def _integral(density: Array) -> Array:
    return np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2))) * (STEP / CELLS)


def walk_nodes(horizon: int, panel: int) -> tuple[Array, Array]:
    """Nodes and weights, each `(K, 2 · panel)`, of a quadrature over the sum of 1, 2, … random actions."""
    points, density = walk_density(horizon)
    node, weight = np.polynomial.legendre.leggauss(panel)
    steps = np.arange(1, horizon + 1)
    reach_K = STEP * np.minimum(steps, 5.0 * np.sqrt(steps / 3.0))
    share = np.concatenate(((node - 1) / 2, (node + 1) / 2))
    node_KM = reach_K[:, None] * share
    weight_KM = np.stack([np.interp(x, points, row) for x, row in zip(node_KM, density, strict=True)])
    weight_KM *= np.concatenate((weight, weight))
    return node_KM, weight_KM / weight_KM.sum(axis=1, keepdims=True)


def random_distances(offset_N2: Array, wind_N2: Array, horizon: int) -> Array:
    """Expected distance to the goal after 1, 2, … random steps, `(K, N)`; its error is below 1e-4."""
    left_KN2 = drifting_offsets(offset_N2, wind_N2, horizon)
    distance_KN = np.empty(left_KN2.shape[:2])
    for k, (node_M, weight_M) in enumerate(zip(*walk_nodes(horizon, panel=24), strict=True)):
        square_NM2 = (left_KN2[k][:, None] - node_M[:, None]) ** 2
        distance_NMM = np.sqrt(square_NM2[:, :, None, 0] + square_NM2[:, None, :, 1])
        distance_KN[k] = np.einsum("nij,i,j->n", distance_NMM, weight_M, weight_M)
    return distance_KN


def random_distances_from_box(low_N2: Array, high_N2: Array, wind_N2: Array, horizon: int) -> Array:
    """As `random_distances`, for offsets that are uniform in a box at the start."""
    distance_KN = np.empty((horizon, len(low_N2)))
    for k, (node_M, weight_M) in enumerate(zip(*walk_nodes(horizon, panel=6), strict=True)):
        shift_MM2 = np.stack(np.meshgrid(node_M, node_M, indexing="ij"), axis=-1)
        shift_NMM2 = shift_MM2 + (k + 1) * wind_N2[:, None, None]
        mean_NMM = mean_distance_from_box(
            low_N2[:, None, None] - shift_NMM2, high_N2[:, None, None] - shift_NMM2, 0, 0
        )
        distance_KN[k] = np.einsum("nij,i,j->n", mean_NMM, weight_M, weight_M)
    return distance_KN


def random_closeness(offset_N2: Array, wind_N2: Array, horizon: int, radius: float) -> Array:
    """E[1 - distance where it is at most `radius`, else 0] after 1, 2, … random steps, `(K, N)`: over that disc."""
    node, weight = np.polynomial.legendre.leggauss(16)
    r_R, angle_A = radius * (node + 1) / 2, np.arange(32) * (2 * np.pi / 32)
    weight_R = weight * radius / 2 * r_R * (1 - r_R) * (2 * np.pi / 32)
    disc_RA2 = r_R[:, None, None] * np.stack((np.cos(angle_A), np.sin(angle_A)), axis=-1)
    points, density = walk_density(horizon)
    left_KN2 = drifting_offsets(offset_N2, wind_N2, horizon)
    closeness_KN = np.empty(left_KN2.shape[:2])
    for k, row in enumerate(density):
        place_NRA2 = left_KN2[k][:, None, None] + disc_RA2
        chance_NRA2 = np.interp(place_NRA2, points, row, left=0.0, right=0.0)
        closeness_KN[k] = np.einsum("nra,nra,r->n", chance_NRA2[..., 0], chance_NRA2[..., 1], weight_R)
    return closeness_KN


def first_hits(offset_N2: Array, wind_N2: Array, horizon: int, within: float) -> Array:
    """Chance that random steps come for the first time within a small box of ±`within` at the goal, `(K, N)`.

    By the renewal equation, the place in the box taken for its centre: the box is small beside a step.
    """
    points, density = walk_density(horizon)
    goal_KN2 = drifting_offsets(offset_N2, wind_N2, horizon)
    again_KN2 = drifting_offsets(np.zeros_like(wind_N2), wind_N2, horizon)

    def inside(place_KN2: Array) -> Array:
        chance = [np.interp(x, points, row, left=0.0, right=0.0) for x, row in zip(place_KN2, density, strict=True)]
        return np.prod(2 * within * np.array(chance), axis=-1)

    visit_KN, again_KN = inside(goal_KN2), inside(again_KN2)
    hit_KN = visit_KN.copy()
    for k in range(1, horizon):
        hit_KN[k] -= (hit_KN[:k] * again_KN[k - 1 :: -1][:k]).sum(axis=0)
    return hit_KN
