"""One sample of a Dict or Tuple observation as a flat row of numbers, as all data once had it."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import utils as flatten
from numpy.typing import NDArray

from icrl.spaces import WrongValue, codec_of, continuous, gate, leaves, sample, value_dtype


def flat_space(space: gym.Space) -> gym.spaces.Box:
    """The Box of the flattened space, of a type that holds all of its parts."""
    # Float32 holds one-hots, and all but large integers and doubles.
    numbers = [value_dtype(leaf) for leaf in leaves(space).values() if continuous(leaf)]
    flat, dtype = flatten.flatten_space(space), np.result_type(np.float32, *numbers)
    return gym.spaces.Box(flat.low.astype(dtype), flat.high.astype(dtype), dtype=dtype.type)


def flat_sample(space: gym.Space, value: Any) -> NDArray:
    """The row of one sample; raises WrongValue where a part of it is not of its space."""
    return flatten.flatten(space, _checked(space, value, ""))


def _checked(space: gym.Space, value: Any, path: str) -> Any:
    codec = codec_of(space)
    try:
        if not (branches := codec.branches(space)):
            return sample(space, gate(space)(np.asarray(value)[None])[0])
        values = codec.parts_of(space, value)
    except WrongValue as error:
        raise WrongValue(0, f"{error}{f' at {path}' if path else ''}") from None
    return codec.as_sample(
        {name: _checked(part, values[name], f"{path}[{name!r}]") for name, part in branches.items()}
    )
