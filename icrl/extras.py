"""Columns of a step beyond those that every history has, recorded by request or where the environment tells them.

A dataset names those that it has in the `extras` of its provenance: another one is no other format.
"""

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.errors import FamilyError
from icrl.rows import Kind
from icrl.spaces import choices, in_short, row_shape, storage_dtype
from icrl.transitions import EXPERT_ACTIONS, VALID_ACTIONS

PER_STEP = (EXPERT_ACTIONS, VALID_ACTIONS)
"""All of them."""
VALID_KEYS = (VALID_ACTIONS, "action_mask")
"""Of a single environment's info, the first that is there."""


def extra_spaces(names: Iterable[str] | None, action_space: gym.Space) -> dict[str, gym.Space]:
    """By name, the spaces of those of the names that are columns of a step."""
    spaces: dict[str, gym.Space] = {EXPERT_ACTIONS: action_space}
    if (actions := choices(action_space)) is not None:
        spaces[VALID_ACTIONS] = gym.spaces.MultiBinary(len(actions))
    return {name: spaces[name] for name in PER_STEP if name in (names or ()) and name in spaces}


def kinds_of(names: Iterable[str] | None, action_space: gym.Space) -> dict[str, Kind]:
    """The same, how their rows are kept: flags as booleans."""
    spaces = extra_spaces(names, action_space)
    dtypes = {name: np.dtype(bool) if name == VALID_ACTIONS else storage_dtype(spaces[name]) for name in spaces}
    return {name: (dtypes[name], row_shape(space)) for name, space in spaces.items()}


def valid_actions_of(info: Any, num_actions: int) -> NDArray[np.bool_] | None:
    """What one environment's `info` says, shape `(A,)`; None where it says nothing.

    Raises:
        FamilyError: where that is not a flag for each action.
    """
    for key in VALID_KEYS if isinstance(info, dict) else ():
        if key in info:
            return _flags(info[key], (num_actions,))
    return None


def valid_actions(values: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """What is said of observations in which an action is to be chosen, as booleans of that shape.

    Raises:
        FamilyError: where they are not a flag for each action, or allow none at all.
    """
    array = _flags(values, shape)
    if not array.any(axis=-1).all():
        raise FamilyError("an environment says in its info that no action is valid: expected one at least")
    return array


def _flags(values: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise FamilyError(
            f"an environment says in its info that valid actions are {in_short(values)}: expected true or false, or 1 "
            f"or 0, of shape {shape}"
        )
    return array.astype(bool)
