"""How large the numbers of a dataset are, and the map that brings each of them to a size that a model can see:

    u = (x - centre) / unit

A Box's declared bounds say little of that (±1 inside bounds of ±10⁶), and rewards have none. So centre and unit come
from the training histories: for every number of a Box observation and of a Box action, and for rewards, over all tasks
at once; what one task alone is like stays visible. They are robust, so that a few enormous values hide nothing, and
they follow the data: multiplied or shifted data gives the same u.

Shape suffixes: M transitions, N numbers of an observation or action.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from icrl.errors import UsageError
from icrl.spaces import in_short, no_action, space_from_dict

if TYPE_CHECKING:
    from icrl.store import HistoryStore

_HISTORIES, _TRANSITIONS, _FEWEST, _NUMBERS = 4096, 2**18, 64, 2**22
"""Of a sample: its most histories and transitions; its fewest transitions where each has very many numbers."""
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)
_LARGEST = np.finfo(np.float64).max
FAR = 1e30
"""Inputs stay within so many units, and so finite in float32."""
FAR_ACTION = 100.0
"""Actions too: farther ones would rule the squared distance of a Gaussian's loss."""


@dataclass(frozen=True, eq=False)
class Scale:
    """The map of one column: both arrays have the shape of one row, or none for one map of all its numbers."""

    centre: NDArray[np.float64]
    unit: NDArray[np.float64]
    far: float = FAR

    def apply(self, values: NDArray) -> NDArray[np.float32]:
        """u of rows `(…, *shape)`, computed in float64, which pixels do not need."""
        precision = np.float32 if values.dtype == np.uint8 else np.float64
        with np.errstate(over="ignore"):
            u = np.subtract(values, self.centre, dtype=precision, casting="same_kind")
            u = np.divide(u, self.unit, dtype=precision, casting="same_kind")
        return u.clip(-self.far, self.far).astype(np.float32, copy=False)

    def undo(self, u: ArrayLike) -> NDArray[np.float64]:
        """x of u."""
        with np.errstate(over="ignore"):
            return self.centre + self.unit * np.asarray(u, np.float64)


@dataclass(frozen=True)
class Scales:
    """The maps of a model's numbers; None for the numbers of a Discrete or MultiDiscrete space."""

    observations: Scale | None
    actions: Scale | None
    rewards: Scale

    @classmethod
    def none(cls, observation_space: Mapping[str, Any], action_space: Mapping[str, Any]) -> "Scales":
        """Those of a model that has none, and maps a Box by its bounds itself: they change no number."""
        same = Scale(np.array(0.0), np.array(1.0), np.inf)
        return cls(
            **{"observations": None, "actions": None} | dict.fromkeys(_shapes(observation_space, action_space), same)
        )

    @classmethod
    def read(cls, stored: Any, observation_space: Mapping[str, Any], action_space: Mapping[str, Any]) -> "Scales":
        """The inverse of `measure`, for spaces given as `icrl.spaces.space_to_dict` gives them.

        Raises:
            UsageError: where `stored` is not what `measure` gives for these spaces.
        """
        shapes = _shapes(observation_space, action_space)
        if not isinstance(stored, Mapping) or set(stored) != set(shapes):
            raise UsageError(f"scales are {in_short(stored)}: expected the scales of {', '.join(shapes)}; train again")
        maps: dict[str, Scale | None] = {"observations": None, "actions": None}
        for name, shape in shapes.items():
            arrays = [_numbers(stored[name], part, f"scales.{name}", math.prod(shape)) for part in ("centre", "unit")]
            if (arrays[1] <= 0).any() or len(arrays[0]) != len(arrays[1]):
                raise UsageError(f"scales.{name} holds a unit that is not above 0, or not one per centre: train again")
            shape = shape if len(arrays[0]) == math.prod(shape) else ()
            maps[name] = Scale(*(array.reshape(shape) for array in arrays), FAR_ACTION if name == "actions" else FAR)
        return cls(**maps)

    def no_action(self, space: gym.Space) -> NDArray:
        """Among unscaled actions, what stands for the one before the first: of a Box the centre, 0 to the model."""
        none = no_action(space)
        return none if self.actions is None else np.broadcast_to(self.actions.centre, none.shape).astype(none.dtype)

    def columns(
        self, observations, actions, rewards, dones, steps, before_actions, before_rewards, before_dones
    ) -> tuple[NDArray, ...]:
        """What tokens are built from (`icrl.models.tokens.build_tokens`), its numbers scaled."""

        def scaled(scale: Scale | None, values: NDArray) -> NDArray:
            return values if scale is None or not values.size else scale.apply(values)

        return (
            scaled(self.observations, observations), scaled(self.actions, actions), scaled(self.rewards, rewards),
            dones, steps,
            scaled(self.actions, before_actions), scaled(self.rewards, before_rewards), before_dones,
        )  # fmt: skip


def measure(store: "HistoryStore", histories: Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
    """The scales of these histories, as JSON: `{"rewards": {"centre": [0.0], "unit": [1.0]}, …}`.

    A column without numbers (a Discrete space) is not in it. The numbers of an image count as one column.
    """
    columns, spaces = sample(store, histories), store.provenance
    scales = {}
    for name in _shapes(spaces.observation_space, spaces.action_space):
        if name == "observations" and is_image(spaces.observation_space):
            columns[name] = columns[name].reshape(-1, 1)
        pairs = [centre_and_unit(column, name) for column in columns[name].T]
        scales[name] = {"centre": [centre for centre, _ in pairs], "unit": [unit for _, unit in pairs]}
    return scales


def sample(store: "HistoryStore", histories: Sequence[int] | NDArray[np.int64]) -> dict[str, NDArray]:
    """Observations, actions `(M, N)` and rewards `(M, 1)` of transitions spread evenly over histories and over time.

    All transitions where they are few; otherwise a stretch of each of some thousand histories. Nothing is random.
    """
    histories = np.asarray(histories, np.int64)
    spaces = (store.provenance.observation_space, store.provenance.action_space)
    widest = max(math.prod(space_from_dict(space).shape) for space in spaces)
    most = min(max(_NUMBERS // max(widest, 1), _FEWEST), _TRANSITIONS)
    length = int(store.lengths.max(initial=1))
    if int(store.lengths[histories].sum()) > most:
        count = min(len(histories), _HISTORIES, most)
        histories = histories[np.arange(count) * len(histories) // count]
        length = -(-most // count)
    parts: dict[str, list[NDArray]] = {"observations": [], "actions": [], "rewards": []}
    for place, history in enumerate(histories.tolist()):
        n = min(length, int(store.lengths[history]))
        start = int((place * _GOLDEN) % 1.0 * (int(store.lengths[history]) - n + 1))
        window = store.window(history, start, n)
        for name, rows in parts.items():
            rows.append(getattr(window, name).reshape(n, -1))
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def centre_and_unit(column_M: NDArray, name: str = "observations") -> tuple[float, float]:
    """A robust centre and unit of one column.

    The centre is the median m, one of the values, so that nothing is lost in the subtraction. The unit is the upper
    quartile of the deviations |x - m| that are not 0, so that rare events count in units of themselves, but at most 4
    times their lower quartile: what is larger is squashed by the model, what is smaller would not be seen. Where more
    than half of the values are one number far from a cluster of the others ("nothing there: 10⁹"), both are the
    cluster's. Of a constant column the unit is |m|, or 1.

    A deviation of rounding alone counts as 0.

    Args:
        name: for "rewards" and "actions" a median within one unit of 0 gives the centre 0, so that no reward is still
            no reward: rewards of 0 and 1 stay what they are. For "actions" the unit is the upper quartile alone: what
            the model is to do is not squashed.
    """
    noise = _rounding(column_M)
    values_M = column_M[np.isfinite(column_M)].astype(np.float64)
    if not len(values_M):
        return 0.0, 1.0
    ratio = math.inf if name == "actions" else 4.0
    centre, unit, others = _about_the_median(values_M, noise, ratio)
    if len(others) and name != "actions":
        inner_centre, inner_unit, _ = _about_the_median(others, noise, ratio)
        if 0.0 < 100.0 * inner_unit < unit:
            centre, unit = inner_centre, inner_unit
    unit = unit or abs(centre) or 1.0
    if name != "observations" and abs(centre) <= unit:
        centre = 0.0
    return centre, unit


def is_image(space: Mapping[str, Any]) -> bool:
    """Whether an observation is a picture, whose pixels share one scale: bytes, in two dimensions or more."""
    return space["kind"] == "box" and space.get("dtype") == "uint8" and len(space["shape"]) >= 2


def _about_the_median(values_M: NDArray, noise: float, ratio: float) -> tuple[float, float, NDArray]:
    """Median, spread about it (0 where there is none), and the values that are away from it."""
    half = (len(values_M) - 1) // 2
    median = float(np.partition(values_M, half)[half])
    with np.errstate(over="ignore"):
        away_M = np.minimum(np.abs(values_M - median), _LARGEST)
    others_M = away_M > noise * np.maximum(np.abs(values_M), abs(median))
    if not others_M.any():
        return median, 0.0, values_M[:0]
    low, high = np.quantile(away_M[others_M], [0.25, 0.75], method="inverted_cdf").tolist()
    return median, min(high, ratio * low), values_M[others_M]


def _rounding(column_M: NDArray) -> float:
    """The relative difference that rounding alone may make: none between whole numbers that are exact."""
    if column_M.dtype.kind != "f":
        return 0.0
    epsilon = float(np.finfo(column_M.dtype).eps)
    if (np.abs(column_M) <= 2.0 / epsilon).all() and (column_M == np.rint(column_M)).all():
        return 0.0
    # Sums in float64 are off by many roundings; what is float32 is mostly a float64 that was rounded once.
    return 1e-11 if epsilon < 1e-11 else 4.0 * epsilon


def _shapes(observation_space: Mapping[str, Any], action_space: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The row's shape of each column that has a scale."""
    spaces = {"observations": observation_space, "actions": action_space}
    shapes = {name: tuple(space["shape"]) for name, space in spaces.items() if space["kind"] == "box"}
    return shapes | {"rewards": ()}


def _numbers(stored: Any, part: str, what: str, count: int) -> NDArray[np.float64]:
    """A list of `count` finite numbers, or of one."""
    values = stored.get(part) if isinstance(stored, Mapping) else None
    if (
        isinstance(values, list)
        and len(values) in (1, count)
        and all(type(value) in (int, float) and abs(value) <= _LARGEST for value in values)
    ):
        return np.array(values, np.float64)
    raise UsageError(f"{what}.{part} is {in_short(values)}: expected {count} finite numbers; train again")
