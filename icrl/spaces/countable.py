"""Discrete, MultiDiscrete and MultiBinary: integers, each from a start of its own. They are stored and played as the
environment numbers them; models count them from 0."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.spaces.codec import Codec, Draw, Play, Take, WrongValue, as_array, as_batch, in_short

INTEGERS = [np.dtype(f"{sign}int{bits}") for bits in (8, 16, 32, 64) for sign in ("u", "")]


class _Countable(Codec):
    asked = "iu"
    """Kinds of NumPy types that actions may have."""

    @abstractmethod
    def sizes(self, space: Any) -> NDArray[np.int64]:
        """How many values each coordinate has, of the space's shape."""

    def starts(self, space: Any) -> NDArray[np.int64]:
        """The first of them."""
        return np.zeros(space.shape, np.int64)

    def storage_dtype(self, space: Any) -> np.dtype:
        """The smallest type that holds the values."""
        first = self.starts(space)
        low, high = int(first.min()), int((first + (self.sizes(space) - 1)).max())
        return next(dtype for dtype in INTEGERS if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)

    def value_dtype(self, space: Any) -> np.dtype:
        return np.dtype(np.int64)

    def memory_dtype(self, space: Any) -> np.dtype:
        return np.dtype(np.int64)

    def no_action(self, space: Any) -> NDArray:
        """One more than the last value of each coordinate."""
        return np.asarray(self.starts(space) + self.sizes(space), self.memory_dtype(space))

    def fill(self, space: Any, zeros: NDArray) -> None:
        if (first := self.starts(space)).any():
            zeros[...] = first

    def cells(self, space: Any) -> float:
        return float(np.prod(self.sizes(space), dtype=float))

    def counter(self, space: Any) -> Callable[[NDArray], NDArray[np.int64]]:
        sizes, first = self.sizes(space).ravel(), self.starts(space)
        strides = np.concatenate((np.cumprod(sizes[::-1])[::-1][1:], [1])).astype(np.int64)
        if first.any():
            return lambda values: (values - first).reshape(len(values), -1) @ strides
        return lambda values: values.reshape(len(values), -1) @ strides

    def num_uniforms(self, space: Any) -> int:
        return int(np.prod(space.shape))

    def drawer(self, space: Any) -> Draw:
        sizes, first, dtype, shape = self.sizes(space), self.starts(space), self.value_dtype(space), space.shape
        # A size that a float does not hold may be rounded up.
        large, from_0 = bool((sizes > 2**53).any()), not first.any()

        def draw(uniforms_NU: NDArray[np.float64]) -> NDArray:
            steps = (uniforms_NU.reshape(-1, *shape) * sizes).astype(dtype)
            steps = np.minimum(steps, sizes - 1) if large else steps
            return steps if from_0 else first + steps

        return draw

    def nearest(self, space: Any) -> Callable[[NDArray], NDArray]:
        dtype = self.value_dtype(space)
        return lambda values: np.asarray(values).astype(dtype, copy=False)

    def player(self, space: Any) -> Play:
        take, shape = self.gate(space), space.shape
        what = f"integers of shape {shape}" if shape else "one integer"

        def play(actions: Any, num_envs: int) -> NDArray:
            actions = as_array(actions)
            # NumPy would take a negative action as counted from the end, and train on it without a word.
            if actions.shape != (num_envs, *shape) or actions.dtype.kind not in self.asked:
                raise ValueError(
                    f"actions have shape {actions.shape} and type {actions.dtype}: "
                    f"expected {what} for each of {num_envs} environments"
                )
            try:
                return take(actions)
            except WrongValue as error:
                raise ValueError(f"action {in_short(actions[error.row])} is not in {space}") from None

        return play

    def wrong_batches(self, space: Any) -> list[Any]:
        first = np.stack([self.starts(space)] * 2)
        below, above = first.copy(), first.copy()
        below[0] -= 1
        above[1] += self.sizes(space)
        return [below, above, first[:1], first.astype(float)]

    def gate(self, space: Any) -> Take:
        sizes, first, shape = self.sizes(space), self.starts(space), space.shape
        words = self.words(self.to_dict(space))
        last, from_0 = first + (sizes - 1), not first.any()
        limits: dict[np.dtype, Any] = {}

        def outside(values: NDArray) -> NDArray[np.bool_]:
            if not from_0:
                return (values < first) | (values > last)
            if values.dtype not in limits:
                limits[values.dtype] = _limit(sizes, values.dtype)
            unsigned, limit = limits[values.dtype]
            # Seen as unsigned a negative number is a large one: one comparison finds both.
            return values.view(unsigned) >= limit

        def take(values: Any) -> NDArray:
            values = as_batch(values, shape, words)
            kind = values.dtype.kind
            if kind == "f":
                raise WrongValue(0, f"{in_short(values[0])}: expected integers, of {words}")
            if kind == "b":
                values = values.view(np.uint8)
            wrong = outside(values)
            if np.count_nonzero(wrong):
                wrong = wrong.reshape(len(values), -1)
                row = int(np.argmax(wrong.any(axis=1)))
                place = int(np.argmax(wrong[row]))
                where = f" with {in_short(values[row].ravel()[place])}" if sizes.ndim else ""
                limit = f"{first.ravel()[place]} to {last.ravel()[place]}"
                raise WrongValue(row, f"{in_short(values[row])}{where}, not of {words}: expected {limit}")
            return values

        return take


class DiscreteCodec(_Countable):
    """`{"kind": "discrete", "n": 5}`, with a `start` where that is not 0."""

    kind = "discrete"

    def speaks(self, space: gym.Space) -> bool:
        return isinstance(space, gym.spaces.Discrete)

    def to_dict(self, space: gym.spaces.Discrete) -> dict[str, Any]:
        return {"n": int(space.n)} | ({"start": int(space.start)} if space.start else {})

    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        return gym.spaces.Discrete(_count(description["n"]), start=_whole(description.get("start", 0)))

    def sizes(self, space: gym.spaces.Discrete) -> NDArray[np.int64]:
        return np.asarray(space.n, np.int64)

    def starts(self, space: gym.spaces.Discrete) -> NDArray[np.int64]:
        return np.asarray(space.start, np.int64)

    def counter(self, space: gym.spaces.Discrete) -> Callable[[NDArray], NDArray[np.int64]]:
        return lambda values: values - space.start if space.start else values

    def choices(self, space: gym.spaces.Discrete) -> range:
        return range(int(space.start), int(space.start) + int(space.n))

    def sample(self, space: gym.spaces.Discrete, row: Any) -> int:
        return int(row)

    def words(self, description: dict[str, Any]) -> str:
        start = description.get("start")
        return f"Discrete({description['n']}{f' from {start}' if start else ''})"


class MultiDiscreteCodec(_Countable):
    """`{"kind": "multi_discrete", "nvec": [9, 9]}`, with a `start` alike where that is not 0 throughout; in several
    dimensions both are nested lists."""

    kind = "multi_discrete"

    def speaks(self, space: gym.Space) -> bool:
        return isinstance(space, gym.spaces.MultiDiscrete) and space.nvec.size > 0

    def to_dict(self, space: gym.spaces.MultiDiscrete) -> dict[str, Any]:
        start = {"start": np.asarray(space.start).tolist()} if np.any(space.start) else {}
        return {"nvec": np.asarray(space.nvec).tolist()} | start

    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        nvec = _array(description["nvec"], _count)
        start = _array(description["start"], _whole) if "start" in description else None
        return gym.spaces.MultiDiscrete(nvec, start=start)

    def sizes(self, space: gym.spaces.MultiDiscrete) -> NDArray[np.int64]:
        return np.asarray(space.nvec, np.int64)

    def starts(self, space: gym.spaces.MultiDiscrete) -> NDArray[np.int64]:
        return np.asarray(space.start, np.int64)

    def words(self, description: dict[str, Any]) -> str:
        start = f" from {description['start']}" if "start" in description else ""
        return f"MultiDiscrete({', '.join(map(str, description['nvec']))}{start})"


class MultiBinaryCodec(_Countable):
    """`{"kind": "multi_binary", "shape": [4]}`."""

    kind = "multi_binary"
    asked = "biu"

    def speaks(self, space: gym.Space) -> bool:
        return isinstance(space, gym.spaces.MultiBinary)

    def to_dict(self, space: gym.spaces.MultiBinary) -> dict[str, Any]:
        return {"shape": list(space.shape)}

    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        shape = [_count(n) for n in description["shape"]]
        return gym.spaces.MultiBinary(shape[0] if len(shape) == 1 else shape)

    def sizes(self, space: gym.spaces.MultiBinary) -> NDArray[np.int64]:
        return np.full(space.shape, 2)

    def value_dtype(self, space: Any) -> np.dtype:
        return np.dtype(np.int8)

    def memory_dtype(self, space: Any) -> np.dtype:
        return np.dtype(np.uint8)

    def words(self, description: dict[str, Any]) -> str:
        return f"MultiBinary({', '.join(map(str, description['shape']))})"


def _limit(sizes: NDArray[np.int64], dtype: np.dtype) -> tuple[np.dtype, Any]:
    """The unsigned type of that size, and the least number that is too large: one, or one for each coordinate."""
    unsigned = np.dtype(f"{dtype.byteorder}u{dtype.itemsize}")
    if dtype.kind == "i" and dtype.itemsize < 8:
        sizes = np.minimum(sizes, np.iinfo(dtype).max + 1)
    limit = sizes if sizes.max() > np.iinfo(unsigned).max else sizes.astype(unsigned)
    return unsigned, limit.ravel()[0] if limit.max() == limit.min() else limit


def _whole(n: Any) -> int:
    if not isinstance(n, int) or isinstance(n, bool):
        raise ValueError(f"{n!r} is not a whole number")
    return n


def _count(n: Any) -> int:
    if _whole(n) < 1:
        raise ValueError(f"{n!r} is not a number of values")
    return n


def _array(values: Any, check: Any) -> NDArray[np.int64]:
    array = np.array(values)
    if not array.size or array.dtype.kind not in "iu":
        raise ValueError(f"{in_short(values)} are no whole numbers")
    for value in array.ravel().tolist():
        check(value)
    return array.astype(np.int64)
