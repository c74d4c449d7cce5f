"""Boxes: of integers or floats, each kept in its own type, with bounds that survive to the last bit."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.spaces.actions import BoxActions
from icrl.spaces.codec import Codec, Draw, Play, Take, WrongValue, as_array, as_batch, in_short

DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
LARGEST = np.iinfo(np.int64).max


class BoxCodec(Codec):
    """`{"kind": "box", "shape": [4], "low": [-1.0, …], "high": 1.0, "dtype": "float64"}`.

    A bound that all numbers of a large Box share is written once. JSON has no infinities: an unbounded side is null.
    Where there is no dtype it is float32, as it was in all data before there was one.
    """

    kind = "box"

    def speaks(self, space: gym.Space) -> bool:
        # Models read integers as int64. Booleans are bytes.
        return (
            isinstance(space, gym.spaces.Box)
            and (space.dtype.name in DTYPES or space.dtype == bool)
            and (space.dtype != np.uint64 or int(np.max(space.high, initial=0)) <= LARGEST)
        )

    def to_dict(self, space: gym.spaces.Box) -> dict[str, Any]:
        space = _of_numbers(space)
        described = {"shape": list(space.shape), "low": _written(space.low), "high": _written(space.high)}
        return described if space.dtype == np.float32 else {**described, "dtype": space.dtype.name}

    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        dtype = description.get("dtype", "float32")
        if dtype not in DTYPES:
            raise ValueError(f"{dtype!r} is not a type of a Box")
        shape = tuple(description["shape"])
        low, high = (
            _read(description[side], shape, np.dtype(dtype), unbounded)
            for side, unbounded in (("low", -np.inf), ("high", np.inf))
        )
        return gym.spaces.Box(low, high, dtype=np.dtype(dtype).type)

    def as_once(self, space: gym.spaces.Box, description: dict[str, Any]) -> gym.Space:
        """A Box was float32 throughout once, with each bound written by itself."""
        if description["kind"] != BoxCodec.kind or "dtype" in description:
            return space
        with np.errstate(over="ignore"):
            low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return gym.spaces.Box(low, high, dtype=np.float32)

    def value_dtype(self, space: gym.spaces.Box) -> np.dtype:
        return _of_numbers(space).dtype

    def storage_dtype(self, space: gym.spaces.Box) -> np.dtype:
        # Arrow's half floats are not read without a copy.
        return np.dtype(np.float32) if space.dtype == np.float16 else self.value_dtype(space)

    def memory_dtype(self, space: gym.spaces.Box) -> np.dtype:
        dtype = self.storage_dtype(space)
        return dtype if dtype.kind == "f" or dtype == np.uint8 else np.dtype(np.int64)

    def continuous(self, space: gym.spaces.Box) -> bool:
        return True

    def bounds(self, description: dict[str, Any]) -> tuple[list[float | None], list[float | None]]:
        return bounds_of(description)

    def share_a_scale(self, description: dict[str, Any]) -> bool:
        """Bytes in two dimensions or more are a picture."""
        return description.get("dtype") == "uint8" and len(description["shape"]) >= 2

    def cells(self, space: gym.spaces.Box) -> float:
        return np.inf

    def no_action(self, space: gym.spaces.Box) -> NDArray:
        """Zeros."""
        return np.zeros(space.shape, self.memory_dtype(space))

    def words(self, description: dict[str, Any]) -> str:
        dtype = f" of {description['dtype']}" if "dtype" in description else ""
        return f"Box({', '.join(map(str, description['shape']))}){dtype}"

    def bounded(self, space: gym.spaces.Box) -> bool:
        return bool(space.is_bounded("both"))

    def num_uniforms(self, space: gym.spaces.Box) -> int:
        return int(space.low.size)

    def drawer(self, space: gym.spaces.Box) -> Draw:
        """A side without a bound is taken to be that of -1 to 1."""
        shape = space.shape
        if self.bounded(space):
            actions = BoxActions(_of_numbers(space))
            return lambda uniforms: actions.random(uniforms.reshape(-1, *shape))
        low, high, dtype = space.low, space.high, space.dtype
        return lambda uniforms: np.clip(2 * uniforms.reshape(-1, *shape) - 1, low, high).astype(dtype)

    def nearest(self, space: gym.spaces.Box) -> Callable[[NDArray], NDArray]:
        return BoxActions(_of_numbers(space)).within

    def player(self, space: gym.spaces.Box) -> Play:
        within, shape = BoxActions(_of_numbers(space)).within, space.shape

        def play(actions: Any, num_envs: int) -> NDArray:
            actions = as_array(actions)
            if actions.shape != (num_envs, *shape) or actions.dtype.kind not in "fiu":
                raise ValueError(
                    f"actions have shape {actions.shape} and type {actions.dtype}: "
                    f"expected numbers of shape {(num_envs, *shape)}"
                )
            if np.count_nonzero(np.isfinite(actions)) != actions.size:
                lane = int(np.argmin(np.isfinite(actions).reshape(num_envs, -1).all(axis=1)))
                raise ValueError(
                    f"the action {in_short(actions[lane])} of lane {lane} is not finite: expected numbers"
                )
            return within(actions)

        return play

    def zero(self, space: gym.spaces.Box) -> NDArray:
        space = _of_numbers(space)
        return BoxActions(space).within(np.zeros((1, *space.shape), space.dtype))[0]

    def wrong_batches(self, space: gym.spaces.Box) -> list[Any]:
        return [np.full((2, *space.shape), np.nan), np.zeros((3, *space.shape))]

    def gate(self, space: gym.spaces.Box) -> Take:
        space = _of_numbers(space)
        words, shape = self.words(self.to_dict(space)), space.shape
        dtype, low, high = space.dtype, space.low, space.high
        floats, open_ = dtype.kind == "f", False
        if floats:
            # What is not finite is of no space, bounded or not.
            open_ = bool(np.isinf(low).all() and np.isinf(high).all())
            low, high = np.maximum(low, np.finfo(dtype).min), np.minimum(high, np.finfo(dtype).max)
            holds_all = False
        else:
            holds_all = bool(np.all(low == np.iinfo(dtype).min) and np.all(high == np.iinfo(dtype).max))
        same = bool(low.size) and bool((low == low.flat[0]).all() and (high == high.flat[0]).all())
        least, most = (low.flat[0], high.flat[0]) if same else (low, high)

        def inside(values: NDArray) -> bool:
            if holds_all and values.dtype == dtype:
                return True
            # NaN is neither above nor below: the comparisons must hold, rather than their opposites not.
            within = np.isfinite(values) if open_ else (values >= least) & (values <= most)
            return np.count_nonzero(within) == values.size

        def take(values: NDArray) -> NDArray:
            given = as_batch(values, shape, words)
            values = _rounded(given, dtype) if floats else given.view(np.uint8) if given.dtype == bool else given
            if not inside(values):
                if floats and given.dtype.kind == "f" and given.dtype.itemsize < dtype.itemsize:
                    # A bound, rounded to the type that the value came in.
                    with np.errstate(over="ignore"):
                        near = (given >= low.astype(given.dtype)) & (given <= high.astype(given.dtype))
                    if near.all():
                        return np.clip(values, low, high)
                raise _outside(given, values, low, high, words)
            if not floats and values.dtype != dtype:
                if values.dtype.kind == "f" and (values != np.rint(values)).any():
                    row = int(np.argmax((values != np.rint(values)).reshape(len(values), -1).any(axis=1)))
                    raise WrongValue(row, f"{in_short(given[row])}: expected integers, of {words}")
                return values.astype(dtype)
            return values

        return take


def _of_numbers(space: gym.spaces.Box) -> gym.spaces.Box:
    """The space itself, or where it is of booleans the same in bytes."""
    return gym.spaces.Box(0, 1, space.shape, np.uint8) if space.dtype == bool else space


def _outside(given: NDArray, values: NDArray, low: NDArray, high: NDArray, words: str) -> WrongValue:
    wrong = ~((values >= low) & (values <= high)).reshape(len(values), -1)
    row = int(np.argmax(wrong.any(axis=1)))
    place = int(np.argmax(wrong[row]))
    number = given[row].ravel()[place]
    shown = in_short(given[row]) if given[row].size == 1 else f"{in_short(given[row])} with {in_short(number)}"
    limits = [in_short(bound.ravel()[place]) for bound in (low, high)]
    if not np.isfinite(number):
        return WrongValue(row, f"{shown}, not finite: expected numbers, of {words}")
    return WrongValue(row, f"{shown}, not of {words}: expected {limits[0]} to {limits[1]}")


def _rounded(values: NDArray, dtype: np.dtype) -> NDArray:
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def _written(bound: NDArray) -> Any:
    numbers = [None if isinstance(x, float) and np.isinf(x) else x for x in bound.ravel().tolist()]
    return numbers[0] if len(numbers) > FEW and all(x == numbers[0] for x in numbers) else numbers


FEW = 64
"""So many bounds or fewer are written one by one, as all were once."""


def _read(bound: Any, shape: tuple[int, ...], dtype: np.dtype, unbounded: float) -> NDArray:
    numbers = bound if isinstance(bound, list) else [bound] * int(np.prod(shape))
    found = np.array([unbounded if x is None else x for x in numbers], None if numbers else dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        read = found.astype(dtype)
    if found.dtype.kind not in "iuf" or (read != found.astype(dtype if dtype.kind == "f" else found.dtype)).any():
        raise ValueError(f"{in_short(bound)} are no bounds of {dtype}")
    return read.reshape(shape)


def bounds_of(description: dict[str, Any]) -> tuple[list[float | None], list[float | None]]:
    """The bounds of a Box's description, one number for each of the Box; None where a side is open."""
    count = int(np.prod(description["shape"]))
    return tuple(
        bound if isinstance(bound := description[side], list) else [bound] * count for side in ("low", "high")
    )
