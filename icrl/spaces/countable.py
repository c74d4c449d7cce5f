"""Discrete and MultiDiscrete, counted from 0."""

from abc import abstractmethod
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.spaces.codec import Codec, Take, WrongValue, as_batch, in_short


class _Countable(Codec):
    def storage_dtype(self, space: Any) -> np.dtype:
        """The smallest type that holds the values."""
        return np.dtype(np.min_scalar_type(int(np.max(self.sizes(space))) - 1))

    def memory_dtype(self, space: Any) -> np.dtype:
        return np.dtype(np.int64)

    @abstractmethod
    def sizes(self, space: Any) -> NDArray[np.int64]:
        """How many values each coordinate has, of the space's shape."""

    def gate(self, space: Any) -> Take:
        sizes, words, shape = self.sizes(space), self.words(self.to_dict(space)), space.shape
        limits: dict[np.dtype, Any] = {}

        def take(values: NDArray) -> NDArray:
            values = as_batch(values, shape, words)
            kind = values.dtype.kind
            if kind == "f":
                raise WrongValue(0, f"{in_short(values[0])}: expected integers, of {words}")
            if kind == "b":
                values = values.view(np.uint8)
            if values.dtype not in limits:
                limits[values.dtype] = _limit(sizes, values.dtype)
            unsigned, limit = limits[values.dtype]
            # Seen as unsigned a negative number is a large one: one comparison finds both.
            outside = values.view(unsigned) >= limit
            if np.count_nonzero(outside):
                wrong = outside.reshape(len(values), -1)
                row = int(np.argmax(wrong.any(axis=1)))
                most = int(sizes.ravel()[np.argmax(wrong[row])]) - 1
                where = f" with {in_short(values[row].ravel()[np.argmax(wrong[row])])}" if sizes.ndim else ""
                raise WrongValue(row, f"{in_short(values[row])}{where}, not of {words}: expected 0 to {most}")
            return values

        return take


class DiscreteCodec(_Countable):
    """`{"kind": "discrete", "n": 5}`."""

    kind = "discrete"

    def speaks(self, space: gym.Space) -> bool:
        return isinstance(space, gym.spaces.Discrete) and space.start == 0

    def to_dict(self, space: gym.spaces.Discrete) -> dict[str, Any]:
        return {"n": int(space.n)}

    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        return gym.spaces.Discrete(_count(description["n"]))

    def sizes(self, space: gym.spaces.Discrete) -> NDArray[np.int64]:
        return np.asarray(space.n, np.int64)

    def no_action(self, space: gym.spaces.Discrete) -> NDArray:
        """One more than the last action."""
        return np.array(space.n, np.int64)

    def words(self, description: dict[str, Any]) -> str:
        return f"Discrete({description['n']})"


class MultiDiscreteCodec(_Countable):
    """`{"kind": "multi_discrete", "nvec": [9, 9]}`."""

    kind = "multi_discrete"

    def speaks(self, space: gym.Space) -> bool:
        return isinstance(space, gym.spaces.MultiDiscrete) and space.nvec.ndim == 1 and not np.any(space.start)

    def to_dict(self, space: gym.spaces.MultiDiscrete) -> dict[str, Any]:
        return {"nvec": [int(n) for n in space.nvec]}

    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        return gym.spaces.MultiDiscrete([_count(n) for n in description["nvec"]])

    def sizes(self, space: gym.spaces.MultiDiscrete) -> NDArray[np.int64]:
        return np.asarray(space.nvec, np.int64)

    def no_action(self, space: gym.spaces.MultiDiscrete) -> NDArray:
        """One more than the last value of each coordinate."""
        return np.array(space.nvec, np.int64)

    def words(self, description: dict[str, Any]) -> str:
        return f"MultiDiscrete({', '.join(map(str, description['nvec']))})"


def _limit(sizes: NDArray[np.int64], dtype: np.dtype) -> tuple[np.dtype, Any]:
    """The unsigned type of that size, and the least number that is too large: one, or one for each coordinate."""
    unsigned = np.dtype(f"{dtype.byteorder}u{dtype.itemsize}")
    if dtype.kind == "i" and dtype.itemsize < 8:
        sizes = np.minimum(sizes, np.iinfo(dtype).max + 1)
    limit = sizes if sizes.max() > np.iinfo(unsigned).max else sizes.astype(unsigned)
    return unsigned, limit.ravel()[0] if limit.max() == limit.min() else limit


def _count(n: Any) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"{n!r} is no number of values")
    return n
