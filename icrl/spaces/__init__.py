"""The spaces the framework speaks: how they are written down, stored, read by models, checked, and put in words.

Observations are Discrete, MultiDiscrete or Box; actions are Discrete or Box. A grid position is a MultiDiscrete of two
coordinates, never a cell number: a model that embeds coordinates apart generalises to cells it was not trained on.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError
from icrl.spaces.actions import BoxActions
from icrl.spaces.box import BoxCodec, bounds_of
from icrl.spaces.codec import Codec, Take, WrongValue, as_array, in_short
from icrl.spaces.countable import DiscreteCodec, MultiDiscreteCodec

__all__ = [
    "BoxActions", "WrongValue", "alike", "as_array", "bounds_of", "check_action_space", "describe_space", "gate",
    "in_short", "memory_dtype", "no_action", "space_from_dict", "space_to_dict", "storage_dtype",
]  # fmt: skip

CODECS: dict[str, Codec] = {codec.kind: codec for codec in (DiscreteCodec(), MultiDiscreteCodec(), BoxCodec())}


def _codec(space: gym.Space) -> Codec:
    for codec in CODECS.values():
        if codec.speaks(space):
            return codec
    raise UsageError(
        f"space {in_short(space)} is not supported: expected Discrete or MultiDiscrete of one dimension, starting at "
        "0, or a Box of integers or floats of at most 64 bits; give the environment a wrapper that makes it such a one"
    )


def space_to_dict(space: gym.Space) -> dict[str, Any]:
    """A JSON-able description of `space`; raises UsageError for a kind that is not supported."""
    codec = _codec(space)
    return {"kind": codec.kind, **codec.to_dict(space)}


def space_from_dict(description: dict[str, Any]) -> gym.Space:
    """The inverse of `space_to_dict`; raises UsageError for what is no description."""
    try:
        return CODECS[description["kind"]].from_dict(description)
    except (KeyError, TypeError, ValueError, OverflowError, AssertionError) as error:
        raise UsageError(f"not the description of a space: {in_short(description)} ({in_short(error)})") from None


def alike(stored: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two descriptions are of one space, the first of which may be older: a Box was float32 throughout then,
    with each bound written by itself."""
    then, at_hand = space_to_dict(space_from_dict(stored)), space_from_dict(now)
    if isinstance(at_hand, gym.spaces.Box) and "dtype" in now and "dtype" not in stored:
        with np.errstate(over="ignore"):
            low, high = at_hand.low.astype(np.float32), at_hand.high.astype(np.float32)
        at_hand = gym.spaces.Box(low, high, dtype=np.float32)
    return then == space_to_dict(at_hand)


def storage_dtype(space: gym.Space) -> np.dtype:
    """What the store writes: a Box's own type, the smallest that holds the values of the others."""
    return _codec(space).storage_dtype(space)


def memory_dtype(space: gym.Space) -> np.dtype:
    """What models read: float32, float64, uint8 or int64 for a Box, int64 for the others."""
    return _codec(space).memory_dtype(space)


def no_action(space: gym.Space) -> NDArray:
    """What stands for the action before the first: the number of actions of a Discrete space, zeros of a Box."""
    return _codec(space).no_action(space)


def describe_space(description: dict[str, Any]) -> str:
    """A short form for tables and messages: `Discrete(5)`, `MultiDiscrete(9, 9)`, `Box(4)`, `Box(8, 8) of uint8`."""
    codec = CODECS.get(description.get("kind", ""))
    return codec.words(description) if codec else str(description)


def gate(space: gym.Space) -> Take:
    """A function that takes batches `(N, *shape)` of values of the space and gives them as an array of its dtype.

    It raises WrongValue, which says which row is not of the space, and which of its numbers. Numbers of a Box are
    compared after they are rounded to its type; infinities and NaN are of no space.
    """
    return _codec(space).gate(space)


def check_action_space(name: str, space: gym.Space) -> None:
    """Raises UsageError where the framework cannot act in the space: `name` is the family's."""
    if not isinstance(space, gym.spaces.Discrete | gym.spaces.Box):
        raise UsageError(
            f"{name} has the action space {in_short(space)}: expected Discrete or Box; wrap the environment in "
            "make_env"
        )
    _codec(space)
    if isinstance(space, gym.spaces.Box) and not space.is_bounded("both"):
        raise UsageError(
            f"{name} has the action space {in_short(space)}, not bounded on both sides, so that there is no "
            "uniform random policy: give it bounds in make_env, with gymnasium.wrappers.TransformAction for instance"
        )
