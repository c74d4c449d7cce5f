"""The spaces the framework speaks: how they are written down, stored, read by models, checked, and put in words.

All that is known of a kind of space is in its codec, and nothing outside asks which kind a space is. A grid position
is a MultiDiscrete of two coordinates, never a cell number: a model that embeds coordinates apart generalises to cells
it was not trained on.
"""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError
from icrl.spaces.actions import BoxActions
from icrl.spaces.box import BoxCodec, bounds_of
from icrl.spaces.codec import (
    CODECS,
    Codec,
    Draw,
    Play,
    Take,
    WrongValue,
    as_array,
    codec_of,
    in_short,
    kind_of,
    register,
)
from icrl.spaces.countable import DiscreteCodec, MultiBinaryCodec, MultiDiscreteCodec
from icrl.spaces.image import ImageCodec
from icrl.spaces.trees import (
    DictCodec,
    TupleCodec,
    described,
    equal,
    join_parts,
    joined,
    leaves,
    map_leaves,
    named,
    numbers,
    split,
)

__all__ = [
    "BoxActions", "Codec", "WrongValue", "alike", "as_array", "bounded", "bounds_of", "check_action_space",
    "choices", "codec_of", "continuous", "counter", "describe_space", "described", "drawer", "empty", "equal", "gate",
    "in_short", "join", "join_parts", "joined", "kind_of", "leaves", "map_leaves", "memory_dtype", "named",
    "no_action", "num_cells", "num_uniforms", "numbers", "player", "random", "register", "row_shape", "sample",
    "space_from_dict", "space_to_dict", "split", "storage_dtype", "value_dtype", "where", "zero_action",
]  # fmt: skip

register(
    DiscreteCodec(), MultiDiscreteCodec(), MultiBinaryCodec(), ImageCodec(), BoxCodec(), DictCodec(), TupleCodec()
)  # fmt: skip


def space_to_dict(space: gym.Space) -> dict[str, Any]:
    """A JSON-able description of `space`; raises UsageError for a kind that is not supported."""
    codec = codec_of(space)
    return {"kind": codec.kind, **codec.to_dict(space)}


def space_from_dict(description: dict[str, Any]) -> gym.Space:
    """The inverse of `space_to_dict`; raises UsageError for what is no description."""
    try:
        return kind_of(description).from_dict(description)
    except (KeyError, TypeError, ValueError, OverflowError, AssertionError, AttributeError) as error:
        raise UsageError(f"not the description of a space: {in_short(description)} ({in_short(error)})") from None


def alike(stored: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two descriptions are of one space, the first of which an earlier release may have written."""
    then, at_hand = space_from_dict(stored), space_from_dict(now)
    return space_to_dict(then) == space_to_dict(codec_of(at_hand).as_once(at_hand, stored))


def row_shape(space: gym.Space) -> tuple[int, ...]:
    """Of one value in a batch `(N, *row_shape)`: of a tree (), since its batches are structured arrays."""
    return codec_of(space).row_shape(space)


def value_dtype(space: gym.Space) -> np.dtype:
    """What environments show and take: a Box's own type, int64, int8 for a MultiBinary; of a tree these by part."""
    return codec_of(space).value_dtype(space)


def storage_dtype(space: gym.Space) -> np.dtype:
    """What the store writes: a Box's own type, the smallest that holds the values of the others."""
    return codec_of(space).storage_dtype(space)


def memory_dtype(space: gym.Space) -> np.dtype:
    """What models read: float32, float64, uint8 or int64 for a Box, uint8 for bits, int64 for the others."""
    return codec_of(space).memory_dtype(space)


def empty(space: gym.Space, shape: tuple[int, ...], memory: bool = True) -> NDArray:
    """An array for values of the space, `(*shape, *row_shape)`, of the type of memory or of the values themselves. It
    is full of some value, mostly zeros: of a Discrete space that does not begin at 0 these would be none."""
    found = np.zeros(shape + row_shape(space), memory_dtype(space) if memory else value_dtype(space))
    codec_of(space).fill(space, found)
    return found


def join(name: str, columns: dict[str, NDArray], space: gym.Space) -> NDArray:
    """Columns of the store, `name` or `name.part`, as one array of the values of a space, of the store's type."""
    return joined(name, columns, storage_dtype(space))


def no_action(space: gym.Space) -> NDArray:
    """What stands for the action before the first: one more than the last of integers, zeros of a Box."""
    return codec_of(space).no_action(space)


def num_uniforms(space: gym.Space) -> int:
    """How many random numbers a random value takes: one for each of its numbers."""
    return codec_of(space).num_uniforms(space)


def drawer(space: gym.Space) -> Draw:
    """A function that gives N values `(N, *row_shape)`, all equally likely, for uniforms `(N, num_uniforms(space))` on
    [0, 1)."""
    return codec_of(space).drawer(space)


def random(space: gym.Space, uniforms_NU: NDArray[np.float64]) -> NDArray:
    """What `drawer` gives, once."""
    return drawer(space)(uniforms_NU)


def player(space: gym.Space) -> Play:
    """A function of actions and their number of lanes, that gives what is played: of a Box as its type and within its
    bounds. It raises ValueError for what is no action."""
    return codec_of(space).player(space)


def sample(space: gym.Space, row: Any) -> Any:
    """One row of a batch as gymnasium's environments take it: an int, an array, a dict or a tuple."""
    return codec_of(space).sample(space, row)


def zero_action(space: gym.Space) -> NDArray | None:
    """The action 0, or the nearest that there is; None where no action is like it."""
    return codec_of(space).zero(space)


def bounded(space: gym.Space) -> bool:
    """Whether there is a uniform random value."""
    return codec_of(space).bounded(space)


def continuous(space: gym.Space) -> bool:
    """Whether its values are numbers on a line, two of which can be mixed."""
    return codec_of(space).continuous(space)


def choices(space: gym.Space) -> range | None:
    """All values, where each is one integer; None for other spaces."""
    return codec_of(space).choices(space)


def num_cells(space: gym.Space) -> float:
    """How many values there are; infinite where they cannot be counted."""
    return codec_of(space).cells(space)


def counter(space: gym.Space) -> Callable[[NDArray], NDArray[np.int64]]:
    """A function that gives the number of each value among all, from 0; of spaces that can be counted."""
    return codec_of(space).counter(space)


def where(mask_N: NDArray[np.bool_], some: NDArray, others: NDArray) -> NDArray:
    """Rows of `some` where the mask is true, else of `others`: `(N, …)`."""
    return np.where(mask_N.reshape(-1, *(1,) * (some.ndim - 1)), some, others)


def describe_space(description: dict[str, Any]) -> str:
    """A short form for tables and messages: `Discrete(5)`, `MultiDiscrete(9, 9)`, `Box(4)`, `Image(8, 8)`."""
    codec = CODECS.get(description.get("kind", ""))
    return codec.words(description) if codec else str(description)


def gate(space: gym.Space) -> Take:
    """A function that takes batches `(N, *row_shape)` of values of the space and gives them as an array of its type.

    Values of a tree may come as a mapping (of a Tuple also as a sequence) of batches of its parts.

    It raises WrongValue, which says which row is not of the space, and which of its numbers. Numbers of a Box are
    compared after they are rounded to its type; infinities and NaN are of no space.
    """
    return codec_of(space).gate(space)


def check_action_space(name: str, space: gym.Space) -> None:
    """Raises UsageError where the framework cannot act in the space: `name` is the family's."""
    for path, leaf in leaves(space).items():
        if not codec_of(leaf).bounded(leaf):
            raise UsageError(
                f"{name} has the action space {in_short(leaf)}{f' at {path}' if path else ''}, not bounded on both "
                "sides, so that there is no uniform random policy: give it bounds in make_env, with "
                "gymnasium.wrappers.TransformAction for instance"
            )
