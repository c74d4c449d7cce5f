"""A bootstrap over seeds and tasks, all resamples at once.

Suffixes: B resamples, S seeds, N tasks.
"""

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from icrl.seeding import derive_seed

LEVEL = 0.95


@dataclass(frozen=True)
class Resamples:
    """How often each seed and each task was drawn in each resample, as weights that sum to 1.

    Every resample draws S seeds and then N tasks, both with replacement, and takes all pairs of them: the same tasks
    are met under every seed, so a task drawn twice counts twice under each (the bootstrap of a crossed design, Owen
    2007). The interval therefore covers the draw of the tasks as well as that of the seeds.
    """

    seed_BS: NDArray[np.float64]
    task_BN: NDArray[np.float64]

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of `values`, shape `(S, N, ...)`, over seeds and tasks in each resample: shape `(B, ...)`."""
        by_seed = rearrange(
            self.task_BN @ rearrange(values, "s n ... -> n (s ...)"), "b (s x) -> b s x", s=len(values)
        )
        return np.einsum("bs,bsx->bx", self.seed_BS, by_seed).reshape(-1, *values.shape[2:])

    def interval(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both ends of the 95% percentile interval of the mean of `values` `(S, N, ...)`: two arrays `(...)`."""
        return percentile_interval(self.means(values))


def resample(num_seeds: int, num_tasks: int, resamples: int, seed: int) -> Resamples:
    """Draws the resamples: a function of the seed."""
    generator = np.random.default_rng(derive_seed(seed, "bootstrap"))
    weights = []
    for count in (num_seeds, num_tasks):
        drawn = generator.integers(count, size=(resamples, count))
        # Resample b's draws are counted in bins b·count … b·count + count - 1.
        bins = drawn + np.arange(resamples)[:, None] * count
        weights.append(np.bincount(bins.ravel(), minlength=resamples * count).reshape(resamples, count) / count)
    return Resamples(*weights)


def percentile_interval(statistic: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends of the central 95% of a statistic's resamples, shape `(B, ...)`."""
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(statistic, [tail, 1.0 - tail], axis=0)
    return low, high
