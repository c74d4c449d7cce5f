"""What a network is put together from, by the kind of space: encoders, heads, and what a head's numbers mean."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def to_torch(values: NDArray) -> Any:
    """A tensor that shares the array's memory; of a structured array a dict of such, by the names of its parts."""
    if values.dtype.names:
        return {name: to_torch(np.ascontiguousarray(values[name])) for name in values.dtype.names}
    return torch.from_numpy(values)
