"""Casts of float64 to float32, where the differences between a column's values must survive."""

import numpy as np
from numpy.typing import NDArray

NOISE = 2.0**-40
"""Values that differ by less than this share of their size differ by the rounding of sums, not by what they mean."""

ACTIONS = 2.0**-21
"""Rewards of a lane that differ by less than this share of their size may do so by the rounding of float32 actions."""

TOLERANCE = 0.01
"""Largest rounding, as a share of the spread of the values."""


class Narrowing:
    """Casts a column to float32, step by step, and knows in the end whether its differences are still there.

    A column is of N lanes and of one number or several; each number is looked at by itself, and its spread is the
    largest that one lane has: where every lane has an offset of its own, that is what would be lost.

    Args:
        constant: a lane whose values differ by no more than this share of their size counts as constant; where all
            are, what lies between the lanes is the spread.
    """

    def __init__(self, constant: float = NOISE) -> None:
        self._constant = constant
        self._low: NDArray | None = None
        self._lanes = slice(None)

    def __call__(self, values: NDArray) -> NDArray[np.float32]:
        """`(N, …)` as float32; what lies beyond it becomes infinite."""
        if values.dtype == np.float32:
            return values
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if not np.can_cast(values.dtype, np.float32):
            self._see(values.astype(np.float64, copy=False), narrow)
        return narrow

    def keep(self, lanes: NDArray) -> None:
        """From now on the batch is of these of its lanes."""
        if self._low is not None:
            self._lanes = np.arange(len(self._low))[self._lanes][lanes]

    def _see(self, values: NDArray[np.float64], narrow: NDArray[np.float32]) -> None:
        if self._low is None:
            self._low, self._high, self._error = values.copy(), values.copy(), np.zeros(values.shape)
        lanes = self._lanes
        self._low[lanes] = np.minimum(self._low[lanes], values)
        self._high[lanes] = np.maximum(self._high[lanes], values)
        with np.errstate(invalid="ignore"):
            self._error[lanes] = np.maximum(self._error[lanes], np.abs(values - narrow))

    def lost(self) -> tuple[int, float, float] | None:
        """Of a number of the column whose differences float32 does not hold: which one it is, counted from 0, and the
        least and the largest of its values; None where all is well."""
        if self._low is None:
            return None
        low, high, error = (x.reshape(len(x), -1) for x in (self._low, self._high, self._error))
        size = np.maximum(np.abs(low), np.abs(high))
        # Lanes that are constant each by itself still differ from each other.
        moving = high - low > self._constant * size
        spread = np.where(moving.any(axis=0), (high - low).max(axis=0), high.max(axis=0) - low.min(axis=0))
        error = np.where(moving | ~moving.any(axis=0), error, 0.0).max(axis=0)
        wrong = (spread > NOISE * size.max(axis=0)) & (error > TOLERANCE * spread)
        if not wrong.any():
            return None
        place = int(np.argmax(wrong))
        return place, float(low[:, place].min()), float(high[:, place].max())
