"""Grid worlds with walls around them: moves, the way to a goal, and exact returns by dynamic programming.

Legend of the shape suffixes: G goals, S cells (both numbered `row * size + column`), A actions, H steps, N lanes.
Every function here is pure.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

UP, RIGHT, DOWN, LEFT, STAY = range(5)
NUM_ACTIONS = 5
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))


@lru_cache
def next_cells(size: int) -> NDArray[np.int64]:
    """The cell that each action leads to, shape (S, A); a move into the wall stays where it is."""
    row_S, column_S = np.divmod(np.arange(size * size), size)
    next_SA = np.stack(
        [np.clip(row_S + down, 0, size - 1) * size + np.clip(column_S + right, 0, size - 1) for down, right in _MOVES],
        axis=1,
    )
    next_SA.flags.writeable = False
    return next_SA


@lru_cache
def next_cells_within(size: int, width: int) -> NDArray[np.int64]:
    """`next_cells` of a room of that size whose rows are numbered `width` apart, shape (width², A).

    Where the room is smaller than that, no one leaves the cells outside it.
    """
    next_SA = np.repeat(np.arange(width * width)[:, None], NUM_ACTIONS, axis=1)
    inside = (np.arange(size)[:, None] * width + np.arange(size)).reshape(-1)
    next_SA[inside] = inside[next_cells(size)]
    next_SA.flags.writeable = False
    return next_SA


@lru_cache
def cell_positions(size: int) -> NDArray[np.int64]:
    """(row, column) of each cell, shape (S, 2): what an agent observes."""
    position_S2 = np.stack(np.divmod(np.arange(size * size), size), axis=1)
    position_S2.flags.writeable = False
    return position_S2


@lru_cache
def way_to(size: int) -> NDArray[np.int64]:
    """An action on a shortest path to each goal, shape (G, S): first along the rows' axis, then along the columns'.

    Which shortest path matters once a policy is noisy: along two edges of the rectangle, as here, an ε = 0.5 policy
    in the 9×9 Dark Room gets 6.34; along its diagonal, where more moves stay useful for longer, it gets 6.69.
    """
    row, column = np.divmod(np.arange(size * size), size)
    down_GS, right_GS = row[:, None] - row, column[:, None] - column
    sideways_GS = np.where(right_GS > 0, RIGHT, np.where(right_GS < 0, LEFT, STAY))
    action_GS = np.where(down_GS > 0, DOWN, np.where(down_GS < 0, UP, sideways_GS))
    action_GS.flags.writeable = False
    return action_GS


def noisy_policy(size: int, goal_G: NDArray[np.int64], epsilon: float) -> NDArray[np.float64]:
    """Probabilities, shape (G, S, A), of acting uniformly at random with probability ε and else going to the goal."""
    prob_GSA = np.full((len(goal_G), size * size, NUM_ACTIONS), epsilon / NUM_ACTIONS)
    action_GS1 = way_to(size)[goal_G][:, :, None]
    np.put_along_axis(prob_GSA, action_GS1, 1.0 - epsilon + epsilon / NUM_ACTIONS, axis=2)
    return prob_GSA


def expected_visits(size: int, goal_G: NDArray[np.int64], epsilon: float, horizon: int) -> NDArray[np.float64]:
    """Expected number of steps, of `horizon`, that end at the goal, by the cell they start from: shape (G, S).

    Backward induction under the noisy policy π: v_{h+1}(s) = Σ_a π(a|s) [1{s' = goal} + v_h(s')], v_0 = 0.
    """
    prob_GSA, next_SA = noisy_policy(size, goal_G, epsilon), next_cells(size)
    at_goal_GS = goal_G[:, None] == np.arange(size * size)
    value_GS = np.zeros(at_goal_GS.shape)
    for _ in range(horizon):
        value_GS = np.einsum("gsa,gsa->gs", prob_GSA, (value_GS + at_goal_GS)[:, next_SA])
    return value_GS


def reach_probability(size: int, goal_G: NDArray[np.int64], epsilon: float, horizon: int) -> NDArray[np.float64]:
    """Probability that one of the first h steps ends at the goal, for h = 0 … `horizon`: shape (H + 1, G, S).

    u_{h+1}(s) = Σ_a π(a|s) [1{s' = goal} + 1{s' ≠ goal} u_h(s')], u_0 = 0: to stand there is not to reach it.
    """
    prob_GSA, next_SA = noisy_policy(size, goal_G, epsilon), next_cells(size)
    at_goal_GS = goal_G[:, None] == np.arange(size * size)
    reach_HGS = np.zeros((horizon + 1, *at_goal_GS.shape))
    for h in range(horizon):
        after_GS = np.where(at_goal_GS, 1.0, reach_HGS[h])
        reach_HGS[h + 1] = np.einsum("gsa,gsa->gs", prob_GSA, after_GS[:, next_SA])
    return reach_HGS
