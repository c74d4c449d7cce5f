"""The spaces the framework speaks, as plain data: they travel in datasets and model configs, and are compared.

Observations are Discrete, MultiDiscrete or Box; actions are Discrete or Box. A grid position is a MultiDiscrete of two
coordinates, never a cell number: a model that embeds coordinates apart generalises to cells it was not trained on.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError


def space_to_dict(space: gym.Space) -> dict[str, Any]:
    """A JSON-able description of `space`; raises UsageError for a kind that is not supported."""
    if isinstance(space, gym.spaces.Discrete) and space.start == 0:
        return {"kind": "discrete", "n": int(space.n)}
    if isinstance(space, gym.spaces.MultiDiscrete) and space.nvec.ndim == 1 and not np.any(space.start):
        return {"kind": "multi_discrete", "nvec": [int(n) for n in space.nvec]}
    if isinstance(space, gym.spaces.Box):
        low, high = np.broadcast_to(space.low, space.shape), np.broadcast_to(space.high, space.shape)
        return {
            "kind": "box",
            "shape": list(space.shape),
            # JSON has no infinities: an unbounded side is None.
            "low": [None if np.isinf(x) else float(x) for x in low.ravel()],
            "high": [None if np.isinf(x) else float(x) for x in high.ravel()],
        }
    raise UsageError(
        f"space {space} is not supported: expected Discrete or MultiDiscrete starting at 0, or Box; "
        "give the environment a wrapper that makes it one of them"
    )


def space_from_dict(description: dict[str, Any]) -> gym.Space:
    """The inverse of `space_to_dict`."""
    match description:
        case {"kind": "discrete", "n": n}:
            return gym.spaces.Discrete(n)
        case {"kind": "multi_discrete", "nvec": nvec}:
            return gym.spaces.MultiDiscrete(nvec)
        case {"kind": "box", "shape": shape, "low": low, "high": high}:
            low = np.array([-np.inf if x is None else x for x in low], np.float32).reshape(shape)
            high = np.array([np.inf if x is None else x for x in high], np.float32).reshape(shape)
            return gym.spaces.Box(low, high, dtype=np.float32)
    raise UsageError(f"not the description of a space: {description}")


def storage_dtype(space: gym.Space) -> np.dtype:
    """The smallest type that holds the space's values: what the store writes."""
    if isinstance(space, gym.spaces.Box):
        return np.dtype(np.float32)
    largest = int(space.n if isinstance(space, gym.spaces.Discrete) else np.max(space.nvec)) - 1
    return np.dtype(np.min_scalar_type(largest))


def memory_dtype(space: gym.Space) -> np.dtype:
    """The type that models read: float32 for a Box, int64 for the others."""
    return np.dtype(np.float32 if isinstance(space, gym.spaces.Box) else np.int64)


def no_action(space: gym.Space) -> NDArray:
    """What stands for the action before the first: the number of actions of a Discrete space, zeros of a Box."""
    if isinstance(space, gym.spaces.Box):
        return np.zeros(space.shape, np.float32)
    return np.array(space.n, np.int64)


def describe_space(description: dict[str, Any]) -> str:
    """A short form for tables and messages: `Discrete(5)`, `MultiDiscrete(9, 9)`, `Box(4)`."""
    match description:
        case {"kind": "discrete", "n": n}:
            return f"Discrete({n})"
        case {"kind": "multi_discrete", "nvec": nvec}:
            return f"MultiDiscrete({', '.join(map(str, nvec))})"
        case {"kind": "box", "shape": shape}:
            return f"Box({', '.join(map(str, shape))})"
    return str(description)
