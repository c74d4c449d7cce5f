"""Angles in radians."""

import numpy as np
from numpy.typing import NDArray


def wrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same angles from -π to π."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
