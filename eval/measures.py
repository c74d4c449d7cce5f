"""Measures of in-context learning: pure functions of returns `(S, N, K)` (seed, task, episode).

Zero-shot, last five, gain and area under the curve are one number per seed and task; they are then averaged.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from icrl.abilities import expected_regret
from icrl.eval.bootstrap import Resamples
from icrl.history import LearningHistory
from icrl.tasks import Anchors, Task, TaskFamily

LAST = 5


def measure(returns: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The four measures, each `(S, N)`.

    With x the returns and k = 0 … K - 1: zero_shot = x[0]; last5 = mean of x[K-5:] (of all, where K < 5);
    gain = last5 - zero_shot; auc = mean of x.
    """
    zero_shot, last5 = returns[..., 0], returns[..., -LAST:].mean(axis=-1)
    return {"zero_shot": zero_shot, "last5": last5, "gain": last5 - zero_shot, "auc": returns.mean(axis=-1)}


def comparable(family: TaskFamily, anchors: Anchors) -> Anchors:
    """The anchors, without their optimum where it is a script's that random actions match on one of the tasks: nothing
    can be said in shares of what it gains."""
    if anchors.known and family.best_policy != "optimum" and (anchors.optimum <= anchors.random).any():
        return replace(anchors, optimum=np.full_like(anchors.optimum, np.nan))
    return anchors


def normalise(returns: NDArray[np.float64], anchors: Anchors) -> NDArray[np.float64]:
    """z = (x - random) / (optimum - random), task by task: 0 is the random policy, 1 the best that knows the task.

    On a task whose optimum is no better than random every policy is optimal, and z is 1.

    Args:
        returns: shape `(S, N, K)`.
    """
    random, optimum = anchors.random[:, None], anchors.optimum[:, None]
    span = optimum - random
    flat = span <= 1e-9 * np.maximum(1.0, np.abs(optimum))
    return np.where(flat, 1.0, (returns - random) / np.where(flat, 1.0, span))


def iqm(values: NDArray[np.float64]) -> float:
    """Interquartile mean: the mean of what is left after a quarter of all values is cut off at either end.

    It pools seeds and tasks (Agarwal et al. 2021).
    """
    from scipy.stats import trim_mean

    return float(trim_mean(np.ravel(values), 0.25))


def describe(values: NDArray[np.float64], resamples: Resamples) -> dict[str, float]:
    """`mean`, `iqm`, and the 95% interval of the mean, of one measure `(S, N)`."""
    low, high = resamples.interval(values)
    return {"mean": float(values.mean()), "iqm": iqm(values), "ci_low": float(low), "ci_high": float(high)}


def summarise(returns: NDArray[np.float64], resamples: Resamples) -> dict[str, dict[str, float]]:
    """All four measures of returns `(S, N, K)`, described."""
    return {name: describe(values, resamples) for name, values in measure(returns).items()}


def summarise_success(success: NDArray[np.bool_], resamples: Resamples) -> dict[str, dict[str, float]]:
    """Rates of success `(S, N, K)`, described: of the first episode, of the last five, and of lanes with any."""
    rates = measure(success.astype(np.float64))
    found = {name: rates[name] for name in ("zero_shot", "last5")} | {"any": success.any(axis=-1).astype(np.float64)}
    return {name: describe(values, resamples) for name, values in found.items()}


def has_regret(family: TaskFamily, anchors: Anchors) -> bool:
    """Whether an episode is a pull whose regret can be told."""
    return family.is_bandit and anchors.known


def pull_regret(
    family: TaskFamily, tasks: Sequence[Task], histories: Sequence[LearningHistory], optimum: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Regret of every episode of one step: best expected reward less that of the arm pulled, shape `(N, K)`.

    Where the family does not know what its arms pay on average (`icrl.abilities.PullsKnown`) the payment itself
    counts, with its noise.

    Args:
        histories: one per task, all of K episodes.
        optimum: expected reward of the best arm, shape `(N,)`.
    """
    rows = []
    for task, history, best in zip(tasks, histories, optimum, strict=True):
        expected = expected_regret(family, task, history)
        rows.append(best - history.rewards.astype(np.float64) if expected is None else expected)
    return np.stack(rows)
