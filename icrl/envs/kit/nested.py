"""Dict and Tuple observations: which there may be, and one sample of them as a flat row of numbers."""

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import utils as flatten
from numpy.typing import NDArray

from icrl.errors import UsageError
from icrl.spaces import WrongValue, gate, in_short

Nested = gym.spaces.Dict | gym.spaces.Tuple
COUNTABLE = gym.spaces.Discrete | gym.spaces.MultiDiscrete | gym.spaces.MultiBinary


def flat_space(space: gym.Space) -> gym.spaces.Box:
    """The Box of the flattened space, of a type that holds all of its parts; raises UsageError for other parts."""
    # Which holds one-hots, and all but large integers and doubles.
    dtypes = [np.dtype(np.float32)]
    for path, leaf in _leaves(space):
        if not isinstance(leaf, COUNTABLE | gym.spaces.Box):
            raise UsageError(
                f"the part {path} of the observation space is {in_short(leaf)}: expected Box, Discrete, MultiDiscrete "
                "or MultiBinary; leave it out with a wrapper in make_env"
            )
        if isinstance(leaf, gym.spaces.Box):
            dtypes.append(leaf.dtype)
    flat, dtype = flatten.flatten_space(space), np.result_type(*dtypes)
    return gym.spaces.Box(flat.low.astype(dtype), flat.high.astype(dtype), dtype=dtype.type)


def flat_sample(space: gym.Space, sample: Any) -> NDArray:
    """The row of one sample; raises WrongValue where a part of it is not of its space."""
    return flatten.flatten(space, _checked(space, sample, ""))


def _leaves(space: gym.Space, path: str = "") -> Iterator[tuple[str, gym.Space]]:
    if isinstance(space, Nested):
        keys = space.spaces if isinstance(space, gym.spaces.Dict) else range(len(space.spaces))
        for key in keys:
            yield from _leaves(space[key], f"{path}[{key!r}]")
    else:
        yield path, space


def _checked(space: gym.Space, sample: Any, path: str) -> Any:
    if isinstance(space, gym.spaces.Dict):
        if not isinstance(sample, Mapping) or set(sample) != set(space.spaces):
            raise WrongValue(0, f"{in_short(sample)}{_at(path)}: expected a sample of {in_short(space)}")
        return {key: _checked(part, sample[key], f"{path}[{key!r}]") for key, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        if not isinstance(sample, tuple | list) or len(sample) != len(space.spaces):
            raise WrongValue(0, f"{in_short(sample)}{_at(path)}: expected a sample of {in_short(space)}")
        return tuple(
            _checked(part, value, f"{path}[{k}]") for k, (part, value) in enumerate(zip(space, sample, strict=True))
        )
    try:
        if isinstance(space, gym.spaces.Box):
            return gate(space)(np.asarray(sample)[None])[0]
        return _counted(space, np.asarray(sample))
    except WrongValue as error:
        raise WrongValue(0, f"{error}{_at(path)}") from None


def _counted(space: Any, value: NDArray) -> Any:
    """A value of a countable part. Such a part may start anywhere, since one-hot it is counted from there."""
    if value.dtype.kind not in "biu" or value.shape != space.shape:
        raise WrongValue(0, f"{in_short(value)}: expected integers of {in_short(space)}")
    if isinstance(space, gym.spaces.MultiBinary):
        first, count = 0, 2
    else:
        first, count = space.start, space.n if isinstance(space, gym.spaces.Discrete) else space.nvec
    # As Python's integers, which are of every size.
    counted = value.astype(object) - first
    if np.any((counted < 0) | (counted >= count)):
        raise WrongValue(0, f"{in_short(value)}, not of {in_short(space)}")
    return int(value) if isinstance(space, gym.spaces.Discrete) else value.astype(space.dtype)


def _at(path: str) -> str:
    return f" at {path}" if path else ""
