"""What the framework has to know of a kind of space, and the error of a value that is not of its space."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError

Take = Callable[[Any], NDArray]
"""Takes a batch `(N, *row_shape)` of values, gives it as the space's type; raises WrongValue for what is outside."""
Draw = Callable[[NDArray[np.float64]], NDArray]
"""Takes uniforms `(N, U)` and gives values `(N, *row_shape)`."""
Play = Callable[[Any, int], NDArray]
"""Takes actions of so many lanes and gives those that are played; raises ValueError for what cannot be."""


class WrongValue(ValueError):
    """A value that is not of its space.

    Attributes:
        row: which row of the batch.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


class Codec(ABC):
    """One kind of space. A new kind is a class of these, in the list of `icrl.spaces`, and a part of models for it.

    A batch of N values is one array `(N, *row_shape)`. Of a tree (Dict, Tuple) it is a structured array `(N,)`.
    """

    kind: ClassVar[str]
    """Its name in descriptions."""

    # How it is written down.

    @abstractmethod
    def speaks(self, space: gym.Space) -> bool:
        """Whether `space` is of this kind, in all that it can be."""

    @abstractmethod
    def to_dict(self, space: Any) -> dict[str, Any]:
        """A JSON-able description without its kind."""

    @abstractmethod
    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        """The inverse; raises KeyError, TypeError or ValueError for what is no description."""

    def as_once(self, space: Any, description: dict[str, Any]) -> gym.Space:
        """The space as the release saw it that wrote `description`, which may be of another kind."""
        return space

    @abstractmethod
    def words(self, description: dict[str, Any]) -> str:
        """A short form for tables and messages."""

    # What its values are made of.

    def row_shape(self, space: Any) -> tuple[int, ...]:
        """Of one value."""
        return space.shape

    def value_dtype(self, space: Any) -> np.dtype:
        """What environments show and take."""
        return space.dtype

    @abstractmethod
    def storage_dtype(self, space: Any) -> np.dtype:
        """What the store writes."""

    @abstractmethod
    def memory_dtype(self, space: Any) -> np.dtype:
        """What models read."""

    def branches(self, space: Any) -> dict[str, gym.Space]:
        """Of a tree its parts, by their names; of others none."""
        return {}

    def described(self, description: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Of the description of a tree those of its parts; of others none."""
        return {}

    def continuous(self, space: Any) -> bool:
        """Whether its values are numbers on a line: two of them can be mixed, and one is not a label."""
        return False

    def bounds(self, description: dict[str, Any]) -> tuple[list[float | None], list[float | None]] | None:
        """Of numbers on a line: the ends of each, None where a side is open. None for values that need no scale."""
        return None

    def share_a_scale(self, description: dict[str, Any]) -> bool:
        """Whether the numbers of a value are alike, pixels for instance, and have one scale."""
        return False

    def scaled_when_read(self, description: dict[str, Any]) -> bool:
        """Whether its scale is applied where data are read, rather than in the encoder of the model."""
        return True

    def fill(self, space: Any, zeros: NDArray) -> None:  # noqa: B027
        """Makes values of an array of zeros `(…, *row_shape)`, where zeros are none that models can read."""

    @abstractmethod
    def cells(self, space: Any) -> float:
        """How many values there are; infinite where they cannot be counted."""

    def counter(self, space: Any) -> Callable[[NDArray], NDArray[np.int64]]:
        """A function that gives the number of each value among all, from 0: `(N,)`; of spaces that can be counted."""
        raise NotImplementedError

    def choices(self, space: Any) -> range | None:
        """All values, where each is one integer; None for other spaces."""
        return None

    # Values from outside.

    @abstractmethod
    def gate(self, space: Any) -> Take:
        """Checks batches of values, fast: what a space needs is computed once."""

    def sample(self, space: Any, row: Any) -> Any:
        """One value as gymnasium's environments take it."""
        return np.asarray(row, space.dtype)

    def parts_of(self, space: Any, value: Any) -> dict[str, Any]:
        """The parts of one value from an environment, by name; of spaces that have such. Raises WrongValue where it is
        none."""
        raise NotImplementedError

    def as_sample(self, parts: dict[str, Any]) -> Any:
        """The inverse of `parts_of`."""
        raise NotImplementedError

    # As actions.

    def bounded(self, space: Any) -> bool:
        """Whether there is a uniform random value."""
        return True

    @abstractmethod
    def no_action(self, space: Any) -> NDArray:
        """What stands for the action before the first, of the memory's type."""

    @abstractmethod
    def num_uniforms(self, space: Any) -> int:
        """How many random numbers one value takes."""

    @abstractmethod
    def drawer(self, space: Any) -> Draw:
        """A function that gives N values that are all equally likely, for uniforms on [0, 1), `num_uniforms` of
        each."""

    @abstractmethod
    def player(self, space: Any) -> Play:
        """What an environment plays where it is asked for these actions."""

    def nearest(self, space: Any) -> Callable[[NDArray], NDArray]:
        """A function that gives the values `(N, *row_shape)` that are nearest to some numbers, of the space's type."""
        return lambda values: values

    def zero(self, space: Any) -> NDArray | None:
        """The action 0, or the nearest that there is; None where no action is like it."""
        return None

    @abstractmethod
    def wrong_batches(self, space: Any) -> list[Any]:
        """Actions of two lanes that must be refused."""


CODECS: dict[str, Codec] = {}
"""By kind; the first one that speaks a space is its codec."""


def register(*codecs: Codec) -> None:
    """Adds kinds of spaces; raises ValueError for a name that is taken."""
    for codec in codecs:
        if codec.kind in CODECS:
            raise ValueError(f"there is a kind of space {codec.kind!r} already")
        CODECS[codec.kind] = codec


def codec_of(space: gym.Space) -> Codec:
    """Raises UsageError for a space that no codec speaks."""
    for codec in CODECS.values():
        if codec.speaks(space):
            return codec
    raise UsageError(
        f"space {in_short(space)} is not supported: expected Discrete, MultiDiscrete, MultiBinary, a Box of integers "
        "or floats of at most 64 bits, or a Dict (its names texts without dots) or Tuple of these; give the "
        "environment a wrapper that makes it one"
    )


def kind_of(description: Mapping[str, Any]) -> Codec:
    """The codec of a description; raises KeyError or TypeError where it is none."""
    return CODECS[description["kind"]]


def as_batch(values: Any, shape: tuple[int, ...], words: str) -> NDArray:
    """A batch as an array with rows of that shape; raises WrongValue where it is none."""
    values = as_array(values)
    if values.dtype.kind not in "biuf":
        first = values[0] if values.ndim and values.size else values
        raise WrongValue(0, f"{in_short(first)} of type {values.dtype}: expected numbers, of {words}")
    if values.shape[1:] != shape or not values.ndim:
        what = f"{in_short(values[0])} of shape {values.shape[1:]}" if values.ndim else in_short(values)
        raise WrongValue(0, f"{what}: expected the shape {shape} of {words}")
    return values


def as_array(values: Any) -> NDArray:
    """Raises WrongValue for lists of several lengths."""
    try:
        return np.asarray(values)
    except ValueError:
        raise WrongValue(0, f"{in_short(values)}: expected an array") from None


def in_short(value: Any) -> str:
    """A value in a message, of one line."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"
