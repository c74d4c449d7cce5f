"""Lanes that are done leave a batch: what environments, learners and policies keep of the others.

Whatever has one row per lane derives from `PerLane` and states which of its attributes these are. A class that states
nothing cannot let go of lanes, and nobody asks it to: it goes on with all of them.
"""

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, Generic

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError

_NO_STATE = (ABC, Generic, object, gym.vector.VectorEnv)
"""Bases without a row per lane."""


class PerLane:
    """Something with a row of its own for each lane of a batch.

    A class states the attributes that it adds in `per_lane`, an empty tuple where it adds none. It must say so itself:
    a subclass that states nothing may hold rows that nobody knows of, and does not let go of lanes.
    """

    per_lane: ClassVar[tuple[str | tuple[str, int], ...]] = ()
    """Names of attributes with the lanes along axis 0, or (name, axis): arrays, lists, mappings of such, other
    `PerLane`s; None is allowed. What is indexed by lane number times a stride may stay whole if the stride's offsets
    are stated."""
    lane_counters: ClassVar[tuple[str, ...]] = ()
    """Names of attributes that count the lanes: 0 … N - 1."""

    @property
    def lets_go(self) -> bool:
        """Whether `keep` is possible: all classes that this one is made of state their attributes, and all that these
        hold can let go as well."""
        for cls in type(self).__mro__:
            if "per_lane" not in vars(cls) and cls not in _NO_STATE and not getattr(cls, "_is_protocol", False):
                return False
        return all(_can_keep(getattr(self, name)) for name, _ in self._stated())

    def keep(self, lanes: NDArray[np.int64]) -> Any:
        """Lets go of all lanes but these, which go on exactly as they would have in the whole batch.

        Args:
            lanes: places in the present batch, rising.
        """
        for name, axis in self._stated():
            setattr(self, name, _kept(getattr(self, name), lanes, axis))
        for cls in type(self).__mro__:
            for name in vars(cls).get("lane_counters", ()):
                setattr(self, name, np.arange(len(lanes)))

    def _stated(self) -> list[tuple[str, int]]:
        stated = [entry for cls in type(self).__mro__ for entry in vars(cls).get("per_lane", ())]
        return [(entry, 0) if isinstance(entry, str) else entry for entry in stated]


def lets_go(thing: Any) -> bool:
    """Whether a learner, policy or agent can `keep` some of its lanes."""
    return bool(getattr(thing, "lets_go", callable(getattr(thing, "keep", None))))


def rising(lanes: Any, num_lanes: int) -> NDArray[np.int64]:
    """The lanes, checked.

    Raises:
        UsageError: where they are not places in a batch of that many lanes, rising, at least one.
    """
    lanes = np.asarray(lanes)
    if lanes.ndim != 1 or not len(lanes) or lanes.dtype.kind not in "iu" or (np.diff(lanes) <= 0).any():
        raise UsageError(f"the lanes to keep are {lanes.tolist()}: expected numbers of lanes, rising, at least one")
    if lanes[0] < 0 or lanes[-1] >= num_lanes:
        raise UsageError(f"the lanes to keep go from {lanes[0]} to {lanes[-1]}: there are {num_lanes}")
    return lanes.astype(np.int64)


def _can_keep(value: Any) -> bool:
    return value is None or isinstance(value, np.ndarray | list | tuple | Mapping) or lets_go(value)


def _kept(value: Any, lanes: NDArray[np.int64], axis: int) -> Any:
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return _rows(value, lanes, axis)
    if isinstance(value, list | tuple):
        return type(value)(value[lane] for lane in lanes)
    if isinstance(value, Mapping):
        return {key: _kept(part, lanes, axis) for key, part in value.items()}
    value.keep(lanes)
    return value


def _rows(array: NDArray, lanes: NDArray[np.int64], axis: int) -> NDArray:
    """Some of an array's rows, laid out in memory in the order that it had: sums are rounded in that order."""
    order = sorted(range(array.ndim), key=lambda dimension: -abs(array.strides[dimension]))
    rows = array.transpose(order).take(lanes, axis=order.index(axis))
    return rows.transpose(np.argsort(order))
