"""Lanes that are held in tensors: letting go of some and copying others, for the states of all backbones."""

from abc import abstractmethod
from copy import copy
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icrl.models.backbones.base import State, on

# Lanes that a state holds on to when others leave: with fewer, a step costs as much, and products of matrices are
# rounded otherwise, which continuous actions would show.
_LEAST_LANES = 16


class HeldState(State):
    """A state that copies what it holds once half of its lanes can go, and not at every `keep`.

    Until then those that were let go are held, and read what the first that is left reads: a step works on
    `spread(x)` and gives back `shown(y)`.
    """

    def __init__(self, lanes: int, device: torch.device) -> None:
        self.device = device
        self.held_lengths = np.zeros(lanes, np.int64)
        """Tokens in each lane that is held."""
        self._shown: NDArray[np.int64] | None = None
        """The lanes that are left, where others are held still."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.held_lengths if self._shown is None else self.held_lengths[self._shown]

    def keep(self, lanes: NDArray[np.int64]) -> None:
        num_lanes = len(self.held_lengths)
        self._shown = shown = np.asarray(lanes) if self._shown is None else self._shown[lanes]
        others = np.delete(np.arange(num_lanes), shown)
        held = np.sort(np.concatenate((shown, others[: max(0, _LEAST_LANES - len(shown))])))
        if 2 * len(held) > num_lanes:
            return
        with torch.inference_mode():
            self._take(held)
        self._shown = None if len(held) == len(shown) else np.searchsorted(held, shown)

    def clear(self, lanes: NDArray[np.int64]) -> None:
        with torch.inference_mode():
            self._clear(np.asarray(lanes) if self._shown is None else self._shown[lanes])

    def fork(self, index: NDArray[np.int64]) -> Self:
        new = copy(self)
        new._shown = None
        with torch.inference_mode():
            new._take(np.asarray(index) if self._shown is None else self._shown[index])
        return new

    @property
    def places(self) -> slice | Tensor:
        """Of the lanes that are left among those that are held."""
        return slice(None) if self._shown is None else on(self._shown, self.device)

    def spread(self, x_BTD: Tensor) -> Tensor:
        """One row for each lane that is held, of one for each that is left."""
        if self._shown is None:
            return x_BTD
        row_B = np.zeros(len(self.held_lengths), np.int64)
        row_B[self._shown] = np.arange(len(self._shown))
        return x_BTD[on(row_B, self.device)]

    def shown(self, y_BTD: Tensor) -> Tensor:
        """The rows of the lanes that are left."""
        return y_BTD[self.places] if self._shown is not None else y_BTD

    @abstractmethod
    def _take(self, index: NDArray[np.int64]) -> None:
        """Holds copies of these lanes from now on, in attributes set anew: a fork shares the old ones."""

    @abstractmethod
    def _clear(self, index: NDArray[np.int64]) -> None:
        """Forgets what these lanes have read."""


class TensorState(HeldState):
    """Named tensors whose first dimension is the lane, such as the hidden state of a recurrent backbone.

    In a lane that has read nothing they are zeros.

    Args:
        tensors: by name, each `(B, ...)`; read and set them in `state.tensors`.
    """

    def __init__(self, lanes: int, tensors: dict[str, Tensor]) -> None:
        super().__init__(lanes, next(iter(tensors.values())).device)
        self.tensors = tensors

    def _take(self, index: NDArray[np.int64]) -> None:
        rows = on(index, self.device)
        self.tensors = {name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()}
        self.held_lengths = self.held_lengths[index]

    def _clear(self, index: NDArray[np.int64]) -> None:
        rows = on(index, self.device)
        self.tensors = {name: tensor.index_fill(0, rows, 0) for name, tensor in self.tensors.items()}
        self.held_lengths = self.held_lengths.copy()
        self.held_lengths[index] = 0
