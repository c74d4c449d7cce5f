"""What the best agent that does *not* know its Bernoulli bandit can get: Bayes-optimal values and Gittins indices.

Both hold for arms whose p is uniform on (0, 1), so that an arm with s successes and f failures pays with probability
(s + 1) / (s + f + 2). The functions are pure; legend: L subsidies λ, M = pulls that are left, S and F = successes
and failures of an arm, N trials, K arms.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray


def bayes_optimal_value(pulls: int, num_arms: int) -> float:
    """The largest expected total reward of `pulls` pulls: exact, by dynamic programming over beliefs.

    Arms are exchangeable, so a belief is the multiset of the (s, f) of the arms that were pulled. Their number grows
    quickly: 10 pulls take 10 ms, 15 half a second, 20 several; `gittins_indices` goes on from there.
    """

    @cache
    def value(left: int, pulled: tuple[tuple[int, int], ...]) -> float:
        if left == 0:
            return 0.0
        best = 0.0
        options = set(pulled)
        if len(pulled) < num_arms:
            options.add((0, 0))
        for s, f in options:
            others = list(pulled)
            if (s, f) != (0, 0):
                others.remove((s, f))
            after_success = value(left - 1, tuple(sorted([*others, (s + 1, f)])))
            after_failure = value(left - 1, tuple(sorted([*others, (s, f + 1)])))
            p = (s + 1) / (s + f + 2)
            best = max(best, p * (1.0 + after_success) + (1.0 - p) * after_failure)
        return best

    return value(pulls, ())


def gittins_indices(horizon: int, subsidies: int = 201) -> list[NDArray[np.float64]]:
    """Finite-horizon Gittins indices of a Bernoulli arm, for all numbers of pulls that are left.

    The index of (s, f) with m pulls left is the subsidy λ at which playing on and leaving are worth the same,

        Q_m(s, f; λ) = p - λ + p V_{m-1}(s+1, f; λ) + (1-p) V_{m-1}(s, f+1; λ) = 0,  V_m = max(0, Q_m), V_0 = 0,

    p = (s + 1) / (s + f + 2). Q falls in λ; its zero is found on a grid of λ by linear interpolation, to about 1e-5.

    Args:
        horizon: n, pulls in the whole trial; time grows as n³, 100 take 0.2 s, and memory as n².
        subsidies: points of the grid on [0, 1].

    Returns:
        `indices[m]`, for m = 1 … n, of shape `(n - m + 1, n - m + 1)`: entry [s, f], valid where s + f ≤ n - m.
        `indices[0]` is empty.

    Source: Gittins, Glazebrook and Weber, Multi-armed Bandit Allocation Indices, 2011. With finitely many pulls the
    rule is not exactly optimal, but nearly.
    """
    lambda_L11 = np.linspace(0.0, 1.0, subsidies)[:, None, None]
    indices = [np.zeros((0, 0))]
    value_LSF = np.zeros((subsidies, horizon + 1, horizon + 1))
    for left in range(1, horizon + 1):
        side = horizon - left + 1
        s, f = np.arange(side)[:, None], np.arange(side)
        p_SF = (s + 1) / (s + f + 2)
        q_LSF = p_SF * (1.0 + value_LSF[:, 1 : side + 1, :side]) + (1.0 - p_SF) * value_LSF[:, :side, 1 : side + 1]
        q_LSF -= lambda_L11
        above_SF = (q_LSF > 0).sum(axis=0) - 1
        high_SF = np.take_along_axis(q_LSF, above_SF[None], axis=0)[0]
        low_SF = np.take_along_axis(q_LSF, above_SF[None] + 1, axis=0)[0]
        indices.append((above_SF + high_SF / (high_SF - low_SF)) / (subsidies - 1))
        value_LSF = np.maximum(q_LSF, 0.0)
    return indices


def gittins_arms(
    indices: list[NDArray[np.float64]], left: int, successes_NK: NDArray[np.int64], failures_NK: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The arm of largest index in each trial, shape `(N,)`, with `left` pulls left; the first of equals."""
    return indices[left][successes_NK, failures_NK].argmax(axis=1)
