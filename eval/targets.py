"""The return that an agent is asked for, where its method takes one: a number, a share of the way to the optimum, or
the best of an episode in its data.
"""

import math
import re

import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError
from icrl.tasks import Anchors

BEST = "best"
_SHARE = re.compile(r"(-?\d+(?:\.\d+)?)%")


def check_target(text: str) -> None:
    """Raises UsageError where `text` names no target."""
    if text == BEST or _SHARE.fullmatch(text):
        return
    try:
        if math.isfinite(float(text)):
            return
    except ValueError:
        pass
    raise UsageError(
        f"target_return is {text!r}: expected a return such as 12.5, a share of the way from random actions to the "
        f'optimum such as 80%, or "{BEST}" for the best of an episode in the data'
    )


def targets(text: str, anchors: Anchors, best: float | None) -> NDArray[np.float64]:
    """The target of each task, shape `(N,)`.

    Args:
        text: as `check_target` takes it.
        anchors: of the N tasks; a share counts from random actions, 0%, to their optimum, 100%.
        best: the best return of an episode in the data that the model was trained on.

    Raises:
        UsageError: for a share where the optimum is not known.
    """
    if found := _SHARE.fullmatch(text):
        if not anchors.known:
            raise UsageError(f"target_return is {text}, and the optimum of these tasks is not known: give a return")
        return anchors.random + float(found[1]) / 100.0 * (anchors.optimum - anchors.random)
    value = best if text == BEST else float(text)
    return np.full(len(anchors.random), 0.0 if value is None else value)
