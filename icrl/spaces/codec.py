"""What the framework has to know of a kind of space, and the error of a value that is not of its space."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

Take = Callable[[NDArray], NDArray]
"""Takes a batch `(N, *shape)` of values and gives it as the space's dtype; raises WrongValue for what is outside."""


class WrongValue(ValueError):
    """A value that is not of its space.

    Attributes:
        row: which row of the batch.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


class Codec(ABC):
    """One kind of space. A new kind is a class of these, in the list of `icrl.spaces`."""

    kind: ClassVar[str]
    """Its name in descriptions."""

    @abstractmethod
    def speaks(self, space: gym.Space) -> bool:
        """Whether `space` is of this kind, in all that it can be."""

    @abstractmethod
    def to_dict(self, space: Any) -> dict[str, Any]:
        """A JSON-able description without its kind."""

    @abstractmethod
    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        """The inverse; raises KeyError, TypeError or ValueError for what is no description."""

    @abstractmethod
    def storage_dtype(self, space: Any) -> np.dtype:
        """What the store writes."""

    @abstractmethod
    def memory_dtype(self, space: Any) -> np.dtype:
        """What models read."""

    @abstractmethod
    def no_action(self, space: Any) -> NDArray:
        """What stands for the action before the first."""

    @abstractmethod
    def words(self, description: dict[str, Any]) -> str:
        """A short form for tables and messages."""

    @abstractmethod
    def gate(self, space: Any) -> Take:
        """Checks batches of values, fast: what a space needs is computed once."""


def as_batch(values: Any, shape: tuple[int, ...], words: str) -> NDArray:
    """A batch as an array with rows of that shape; raises WrongValue where it is none."""
    values = as_array(values)
    if values.dtype.kind not in "biuf":
        raise WrongValue(
            0, f"{in_short(values[0] if len(values) else values)} of type {values.dtype}: expected numbers, of {words}"
        )
    if values.shape[1:] != shape:
        what = f"{in_short(values[0])} of shape {values.shape[1:]}"
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
