"""What an agent that does *not* know its bandit can get: Bayes-optimal values, and the rule of the Gittins index.

Bernoulli arms have p uniform on (0, 1), so that an arm with s successes and f failures pays with probability
(s + 1) / (s + f + 2). Gaussian arms have a known noise σ and a normal prior. The functions are pure; legend: L
subsidies λ, M = pulls that are left, S and F = successes and failures of an arm, N trials, K arms, U = points of the
grid of posterior means.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icrl.seeding import Streams

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Belief = tuple[tuple[int, int], ...]
"""(s, f) of the arms that were pulled, sorted."""


class BayesOptimum:
    """The agent that gets the most out of a trial on Bernoulli arms: exact, by dynamic programming over beliefs.

    Arms are exchangeable, so a belief is the multiset of the (s, f) of the arms that were pulled. Their number grows
    quickly: 10 pulls take 10 ms, 15 half a second, 20 several; `gittins_indices` goes on from there.
    """

    def __init__(self, pulls: int, num_arms: int) -> None:
        self._pulls, self._num_arms = pulls, num_arms
        self._best = cache(self._best_from)

    def value(self) -> float:
        """The largest expected total reward."""
        return self._best(self._pulls, ())[0]

    def returns(self) -> NDArray[np.float64]:
        """The expected reward of each pull of that agent, shape `(pulls,)`; they add up to `value()`."""
        reward_M = np.zeros(self._pulls)
        chances: dict[Belief, float] = {(): 1.0}
        for pull in range(self._pulls):
            following: dict[Belief, float] = {}
            for pulled, chance in chances.items():
                s, f = self._best(self._pulls - pull, pulled)[1]
                p = (s + 1) / (s + f + 2)
                reward_M[pull] += chance * p
                for after, q in ((_moved(pulled, (s, f), (s + 1, f)), p), (_moved(pulled, (s, f), (s, f + 1)), 1 - p)):
                    following[after] = following.get(after, 0.0) + chance * q
            chances = following
        return reward_M

    def play(self, p_NK: NDArray[np.float64], streams: Streams) -> NDArray[np.float64]:
        """The p of the arms that the agent pulls in one trial per stream on these arms, shape `(N, pulls)`."""
        lane_N, earned_NM = np.arange(len(streams)), np.zeros((len(streams), self._pulls))
        counts_NK = [[(0, 0)] * self._num_arms for _ in lane_N]
        for pull in range(self._pulls):
            # Arms that were never pulled are no part of a belief.
            beliefs = [tuple(sorted(arm for arm in counts_K if arm != (0, 0))) for counts_K in counts_NK]
            best = [self._best(self._pulls - pull, belief)[1] for belief in beliefs]
            arm_N = np.array([counts_K.index(arm) for counts_K, arm in zip(counts_NK, best, strict=True)])
            earned_NM[:, pull] = p_NK[lane_N, arm_N]
            paid_N = streams.uniform() < earned_NM[:, pull]
            for counts_K, arm, (s, f), paid in zip(counts_NK, arm_N, best, paid_N, strict=True):
                counts_K[arm] = (s + 1, f) if paid else (s, f + 1)
        return earned_NM

    def _best_from(self, left: int, pulled: Belief) -> tuple[float, tuple[int, int]]:
        """Value of a belief, and the (s, f) of an arm to pull."""
        if left == 0:
            return 0.0, (0, 0)
        options = set(pulled)
        if len(pulled) < self._num_arms:
            options.add((0, 0))
        return max((self._pull_value(left, pulled, s, f), (s, f)) for s, f in options)

    def _pull_value(self, left: int, pulled: Belief, s: int, f: int) -> float:
        after_success = self._best(left - 1, _moved(pulled, (s, f), (s + 1, f)))[0]
        after_failure = self._best(left - 1, _moved(pulled, (s, f), (s, f + 1)))[0]
        p = (s + 1) / (s + f + 2)
        return p * (1.0 + after_success) + (1.0 - p) * after_failure


def _moved(pulled: Belief, arm: tuple[int, int], to: tuple[int, int]) -> Belief:
    """The belief in which one arm of these counts has others."""
    others = list(pulled)
    if arm != (0, 0):
        others.remove(arm)
    return tuple(sorted([*others, to]))


def bayes_optimal_value(pulls: int, num_arms: int) -> float:
    """The largest expected total reward of `pulls` pulls of Bernoulli arms, exact."""
    return BayesOptimum(pulls, num_arms).value()


def gittins_indices(horizon: int, subsidies: int = 201) -> list[NDArray[np.float64]]:
    """Finite-horizon Gittins indices of a Bernoulli arm, for all numbers of pulls that are left.

    The index of (s, f) with m pulls left is the subsidy λ at which playing on and leaving are worth the same,

        Q_m(s, f; λ) = p - λ + p V_{m-1}(s+1, f; λ) + (1-p) V_{m-1}(s, f+1; λ) = 0,  V_m = max(0, Q_m), V_0 = 0,

    p = (s + 1) / (s + f + 2). Q falls in λ; its zero is found on a grid of λ by linear interpolation, to about 1e-5.

    Args:
        horizon: n, pulls in the whole trial; time and memory of the result grow as n³, memory while it runs as n².
        subsidies: points of the grid on [0, 1].

    Returns:
        `indices[m]`, for m = 1 … n, of shape `(n - m + 1, n - m + 1)`: entry [s, f], valid where s + f ≤ n - m.
        `indices[0]` is empty.

    Source: Gittins, Glazebrook and Weber, Multi-armed Bandit Allocation Indices, 2011. With finitely many pulls the
    rule is not exactly optimal, but nearly.
    """
    lambda_L = np.linspace(0.0, 1.0, subsidies)
    indices = [np.zeros((0, 0))]
    # Row t(t + 1) / 2 + s holds the arm of t pulls and s successes: the states that are needed are always the first.
    value_RL = np.zeros(((horizon + 1) * (horizon + 2) // 2, subsidies))
    work_RL = np.empty((horizon + 1, subsidies))
    for left in range(1, horizon + 1):
        side = horizon - left + 1
        table_SF = np.zeros((side, side))
        for t in range(side):
            row, s = t * (t + 1) // 2, np.arange(t + 1)
            p_S1 = ((s + 1) / (t + 2))[:, None]
            after_SL = value_RL[row + t + 1 : row + 2 * t + 3]
            # p (1 + V') + (1 - p) V'' - λ, in place: what is read belongs to t + 1 and is still that of m - 1.
            q_SL, difference_SL = value_RL[row : row + t + 1], work_RL[: t + 1]
            np.subtract(after_SL[1:], after_SL[:-1], out=difference_SL)
            difference_SL += 1.0
            difference_SL *= p_S1
            np.add(difference_SL, after_SL[:-1], out=q_SL)
            q_SL -= lambda_L
            above_S = np.count_nonzero(q_SL > 0, axis=1) - 1
            high_S, low_S = q_SL[s, above_S], q_SL[s, above_S + 1]
            table_SF[s, t - s] = (above_S + high_S / (high_S - low_S)) / (subsidies - 1)
            np.maximum(q_SL, 0.0, out=q_SL)
        indices.append(table_SF)
    return indices


def gittins_arms(
    indices: list[NDArray[np.float64]], left: int, successes_NK: NDArray[np.int64], failures_NK: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The arm of largest index in each trial, shape `(N,)`, with `left` pulls left; the first of equals."""
    return indices[left][successes_NK, failures_NK].argmax(axis=1)


def bernoulli_gittins_returns(
    pulls: int, num_arms: int, streams: Streams, p_NK: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Expected reward of each pull of the finite-horizon Gittins rule on Bernoulli arms.

    The rule is played on one trial per stream. What counts is the p of the arms that it pulls, not what they pay.

    Args:
        p_NK: of the arms of each trial; None draws them uniformly, and takes the luck of the draw off the result.

    Returns:
        Shape `(N, pulls)`: one estimate per trial.
    """
    drawn, lane_N = p_NK is None, np.arange(len(streams))
    if drawn:
        p_NK = streams.uniform_block(num_arms).T.copy()
    indices = gittins_indices(pulls, subsidies=201 if pulls <= 200 else 101)
    counts_2NK = np.zeros((2, len(streams), num_arms), np.int64)
    earned_NM = np.zeros((len(streams), pulls))
    for pull in range(pulls):
        arm_N = gittins_arms(indices, pulls - pull, *counts_2NK)
        earned_NM[:, pull] = p_NK[lane_N, arm_N]
        failed_N = streams.uniform() >= earned_NM[:, pull]
        counts_2NK[failed_N.astype(np.int64), lane_N, arm_N] += 1
    return _less_luck(earned_NM, p_NK) if drawn else earned_NM


def _less_luck(earned_NM: NDArray[np.float64], mean_NK: NDArray[np.float64]) -> NDArray[np.float64]:
    """What was earned on arms of uniform means, corrected for how good the arms of each trial happen to be.

    The expectations of a trial's best mean, K/(K + 1), of its first and of its average mean, 1/2, are known. Their
    deviations serve as control variates, each pull with the coefficients of its own regression.
    """
    num_trials, num_arms = mean_NK.shape
    luck_N3 = np.stack(
        (mean_NK.max(axis=1) - num_arms / (num_arms + 1), mean_NK[:, 0] - 0.5, mean_NK.mean(axis=1) - 0.5), axis=1
    )
    design_N4 = np.concatenate((np.ones((num_trials, 1)), luck_N3), axis=1)
    slope_3M = np.linalg.lstsq(design_N4, earned_NM, rcond=None)[0][1:]
    return earned_NM - luck_N3 @ slope_3M


def gaussian_gittins_bonus(horizon: int, pseudo_pulls: float, points: int = 701) -> NDArray[np.float64]:
    """What the finite-horizon Gittins index of a Gaussian arm adds to its posterior mean, in units of the noise σ.

    The prior of the arm's mean is normal with variance σ² / ν₀. After t pulls the posterior has variance σ² / ν,
    ν = ν₀ + t, and one more pull moves its mean by σ z / sqrt(ν (ν + 1)), z ~ N(0, 1). With σ = 1 and subsidy 0,

        Q_m(ν, x) = x + E V_{m-1}(ν + 1, x + z / sqrt(ν (ν + 1))),   V_m = max(0, Q_m), V_0 = 0,

    and the index is x + b_m(ν) where Q_m(ν, -b_m(ν)) = 0. One recursion does for all means and noises, for it is
    invariant to shift and scale. V is taken as linear between the points of a grid that is even in x sqrt(ν), and E of
    that is exact.

    Args:
        horizon: n, pulls in the whole trial; time grows as n².
        pseudo_pulls: ν₀ > 0.
        points: of the grid.

    Returns:
        Shape `(n + 1, n)`: entry [m, t] is b_m(ν₀ + t), valid for 1 ≤ m ≤ n - t.
    """
    u_U = np.linspace(-_REACH, _REACH, points)
    bonus_MT = np.zeros((horizon + 1, horizon))
    value_UM = np.zeros((points, 1))
    for t in range(horizon - 1, -1, -1):
        nu, left_M = pseudo_pulls + t, np.arange(horizon - t)
        step_UU, excess_U = _posterior_step(u_U, nu)
        # Above the grid of ν + 1, where it never pays to leave, V is the line m x; below it is 0.
        line_UM = (u_U / np.sqrt(nu))[:, None] + (excess_U / np.sqrt(nu + 1))[:, None] * left_M
        q_UM = line_UM + step_UU @ value_UM
        below_M = np.count_nonzero(q_UM <= 0, axis=0) - 1
        low_M, high_M = (np.take_along_axis(q_UM, below_M[None] + i, axis=0)[0] for i in (0, 1))
        zero_M = u_U[below_M] + (u_U[1] - u_U[0]) * -low_M / (high_M - low_M)
        bonus_MT[1 : horizon - t + 1, t] = -zero_M / np.sqrt(nu)
        value_UM = np.concatenate((np.zeros((points, 1)), np.maximum(q_UM, 0.0)), axis=1)
    return bonus_MT


_REACH = 7.0
"""Standard deviations on either side of 0 that the grid of posterior means covers."""


def _posterior_step(u_U: NDArray[np.float64], nu: float) -> tuple["csr_array", NDArray[np.float64]]:
    """Where one more pull takes a posterior mean, from the grid of ν to the grid of ν + 1.

    Returns:
        The weight of each point of the new grid, sparse, shape `(U, U)`: the expectation of a function that is linear
        between the points and constant outside; and the expected excess over the last point, shape `(U,)`.
    """
    from scipy.sparse import csr_array
    from scipy.special import ndtr

    points, spacing = len(u_U), u_U[1] - u_U[0]
    deviation, middle_U1 = nu**-0.5, (u_U * np.sqrt((nu + 1) / nu))[:, None]

    def excess(over):
        """E max(0, X - over) of X normal around `middle_U1`."""
        z = (middle_U1 - over) / deviation
        return deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))

    half = min(points, int(7 * deviation / spacing) + 2)
    nearest_U1 = np.clip(np.rint((middle_U1 - u_U[0]) / spacing), 0, points - 1).astype(np.int64)
    column_UW = nearest_U1 + np.arange(-half, half + 1)
    # The weight of a point is the second difference of the excess over the points; at either end the first.
    over_UW = u_U[0] + spacing * np.concatenate((column_UW[:, :1] - 1, column_UW, column_UW[:, -1:] + 1), axis=1)
    slope_UW = -np.diff(excess(over_UW), axis=1) / spacing
    upper_UW = np.where(column_UW == points - 1, 0.0, slope_UW[:, 1:])
    lower_UW = np.where(column_UW == 0, 1.0, slope_UW[:, :-1])
    inside_UW = (column_UW >= 0) & (column_UW < points)
    row_UW = np.broadcast_to(np.arange(points)[:, None], column_UW.shape)
    weight = (lower_UW - upper_UW)[inside_UW]
    step_UU = csr_array((weight, (row_UW[inside_UW], column_UW[inside_UW])), shape=(points, points))
    return step_UU, excess(u_U[-1])[:, 0]


def gaussian_gittins_returns(
    pulls: int,
    num_arms: int,
    noise: float,
    prior: tuple[float, float],
    streams: Streams,
    mean_NK: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Expected reward of each pull of the finite-horizon Gittins rule on Gaussian arms.

    As in `bernoulli_gittins_returns`: one trial per stream, and the means of the pulled arms.

    Args:
        noise: σ > 0.
        prior: mean and variance of the normal prior that the rule assumes.
        mean_NK: of the arms of each trial; None draws them uniformly, and takes the luck of the draw off the result.

    Returns:
        Shape `(N, pulls)`: one estimate per trial.
    """
    drawn = mean_NK is None
    if drawn:
        mean_NK = streams.uniform_block(num_arms).T.copy()
    nu_0 = noise**2 / prior[1]
    bonus_MT = noise * gaussian_gittins_bonus(pulls, nu_0)
    pulls_NK, sums_NK = np.zeros(mean_NK.shape, np.int64), np.zeros(mean_NK.shape)
    lane_N, earned_NM = np.arange(len(mean_NK)), np.zeros((len(mean_NK), pulls))
    for pull in range(pulls):
        posterior_NK = (nu_0 * prior[0] + sums_NK) / (nu_0 + pulls_NK)
        arm_N = (posterior_NK + bonus_MT[pulls - pull][pulls_NK]).argmax(axis=1)
        earned_NM[:, pull] = mean_NK[lane_N, arm_N]
        pulls_NK[lane_N, arm_N] += 1
        sums_NK[lane_N, arm_N] += earned_NM[:, pull] + noise * streams.normal()
    return _less_luck(earned_NM, mean_NK) if drawn else earned_NM
