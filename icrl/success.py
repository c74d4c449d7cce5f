"""Success, where environments tell it: `info["success"]`. An episode succeeded if any of its steps says so.

Some environments say it at every step, some where an episode ends.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.errors import FamilyError

SUCCESS = "success"
"""The key of `info` for a batch; also the name of the column in a dataset and in `scores.parquet`."""
KEYS = (SUCCESS, "is_success")
"""Of a single environment, the first that is there."""


def success_of(info: Any) -> bool | None:
    """What one environment's `info` says; None where it says nothing.

    Raises:
        FamilyError: where that is neither true nor false.
    """
    for key in KEYS if isinstance(info, dict) else ():
        if key in info:
            value = info[key]
            if isinstance(value, np.ndarray) and value.size == 1:
                value = value.reshape(())
            return bool(successes(value, ()))
    return None


def successes(values: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Values as booleans of that shape.

    Raises:
        FamilyError: where one is neither true nor false, nor 1 nor 0.
    """
    try:
        array = np.asarray(values)
        fine = array.shape == shape and array.dtype.kind in "biuf" and bool(((array == 0) | (array == 1)).all())
    except ValueError:
        fine = False
    if not fine:
        told = " ".join(repr(values).split())
        each = f" for each of {shape[0]} lanes" if shape else ""
        raise FamilyError(
            f"an environment says in its info that success is {told if len(told) <= 60 else told[:57] + '…'}: "
            f"expected true or false, or 1 or 0{each}"
        )
    return array.astype(bool)
