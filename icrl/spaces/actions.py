"""Actions of a Box: always of its type and within its bounds, however far these are."""

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray


class BoxActions:
    """What plays in one Box; N actions at once.

    Args:
        space: bounded on both sides.
    """

    def __init__(self, space: gym.spaces.Box) -> None:
        self._dtype, self._low, self._high = space.dtype, space.low, space.high
        self._floats = space.dtype.kind == "f"
        if self._floats:
            with np.errstate(over="ignore"):
                self._width = space.high - space.low
            self._far = not np.isfinite(self._width).all()
            self._low_float, self._high_float = (x.astype(np.float64) for x in (space.low, space.high))
        else:
            # Counted from the lowest, modulo 2^64: no sum of 64 bits overflows.
            self._first, self._last = (x.astype(np.int64) for x in (space.low, space.high))
            self._count = (self._last.view(np.uint64) - self._first.view(np.uint64)).astype(np.float64) + 1.0
            self._low_float, self._high_float = (x.astype(np.float64) for x in (space.low, space.high))

    def within(self, values: NDArray) -> NDArray:
        """Finite numbers `(N, *shape)`, clipped to the bounds and rounded to the type, in a new array."""
        if values.dtype == self._dtype:
            return values.clip(self._low, self._high)
        if self._floats:
            # Numbers between two bounds do not leave them by being rounded to the bounds' own type.
            return values.astype(np.float64).clip(self._low_float, self._high_float).astype(self._dtype)
        if values.dtype.kind != "f":
            return values.clip(self._low, self._high).astype(self._dtype)
        whole, low, high = np.rint(values.astype(np.float64)), self._low_float, self._high_float
        # The float of a bound of 64 bits may lie beyond it: only what is below is cast.
        inner = np.where((whole > low) & (whole < high), whole, 0.0).astype(self._dtype)
        return np.where(whole >= high, self._high, np.where(whole <= low, self._low, inner))

    def random(self, uniforms: NDArray[np.float64]) -> NDArray:
        """Actions that are all equally likely, for uniforms `(N, *shape)` on [0, 1)."""
        if not self._floats:
            steps = np.minimum(np.floor(uniforms * self._count), np.nextafter(self._count, 0.0)).astype(np.uint64)
            found = (self._first.view(np.uint64) + steps).view(np.int64)
            return found.clip(self._first, self._last).astype(self._dtype)
        if self._far:
            return self.within(self._low_float * (1.0 - uniforms) + self._high_float * uniforms)
        # The sum may be rounded to beyond the upper bound.
        return (self._low + uniforms * self._width).astype(self._dtype).clip(self._low, self._high)
