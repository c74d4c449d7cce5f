"""How large the numbers of a dataset are, and the map that brings each of them to a size that a model can see:

    u = (x - centre) / unit

A Box's declared bounds say little of that (±1 inside bounds of ±10⁶), and rewards have none. So centre and unit come
from the training histories: for every number of a Box observation and of a Box action, and for rewards, over all tasks
at once; what one task alone is like stays visible. They are robust, so that a few enormous values hide nothing, and
they follow the data: multiplied or shifted data gives the same u.

Shape suffixes: M transitions, N numbers of an observation or action.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from icrl.errors import UsageError
from icrl.spaces import (
    codec_of,
    described,
    in_short,
    join_parts,
    kind_of,
    leaves,
    no_action,
    space_from_dict,
    split,
)
from icrl.transitions import EXPERT_ACTIONS, NEXT_OBSERVATIONS, RETURN_TO_GO, Before, Transitions

if TYPE_CHECKING:
    from icrl.store import HistoryStore

_HISTORIES, _TRANSITIONS, _FEWEST, _NUMBERS = 4096, 2**18, 64, 2**22
"""Of a sample: its most histories and transitions; its fewest transitions where each has very many numbers."""
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)
_LARGEST = np.finfo(np.float64).max
Source = tuple["HistoryStore", Sequence[int] | NDArray[np.int64]]
"""A dataset, and those of its histories that are looked at."""
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
    when_read: bool = True
    """Whether it is applied where data are read: images stay bytes there, and the model's encoder applies it."""

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


Maps = Scale | None | dict[str, "Maps"]
"""Of a space: None where its values are labels; of a tree by part."""


@dataclass(frozen=True)
class Scales:
    """The maps of a model's numbers."""

    observations: Maps
    actions: Maps
    rewards: Scale
    returns: Scale | None = None
    """Of returns-to-go; None where the model reads none."""

    @classmethod
    def none(cls, observation_space: Mapping[str, Any], action_space: Mapping[str, Any]) -> "Scales":
        """Those of a model that has none, and maps a Box by its bounds itself: they change no number."""
        same = dict.fromkeys(_columns(observation_space, action_space), Scale(np.array(0.0), np.array(1.0), np.inf))
        return cls._of(same, observation_space, action_space)

    @classmethod
    def read(cls, stored: Any, observation_space: Mapping[str, Any], action_space: Mapping[str, Any]) -> "Scales":
        """The inverse of `measure`, for spaces given as `icrl.spaces.space_to_dict` gives them.

        Raises:
            UsageError: where `stored` is not what `measure` gives for these spaces.
        """
        columns = _columns(observation_space, action_space)
        if isinstance(stored, Mapping) and RETURN_TO_GO in stored:
            columns[RETURN_TO_GO] = None
        if not isinstance(stored, Mapping) or set(stored) != set(columns):
            raise UsageError(
                f"scales are {in_short(stored)}: expected the scales of {', '.join(columns)}; train again"
            )
        maps: dict[str, Scale] = {}
        for name, description in columns.items():
            shape = () if description is None else space_from_dict(description).shape
            arrays = [_numbers(stored[name], part, f"scales.{name}", math.prod(shape)) for part in ("centre", "unit")]
            if (arrays[1] <= 0).any() or len(arrays[0]) != len(arrays[1]):
                raise UsageError(f"scales.{name} holds a unit that is not above 0, or not one per centre: train again")
            shape = shape if len(arrays[0]) == math.prod(shape) else ()
            far = FAR_ACTION if _whose(name) == "actions" else FAR
            maps[name] = Scale(*(array.reshape(shape) for array in arrays), far)
        return cls._of(maps, observation_space, action_space)

    @classmethod
    def _of(cls, maps: Mapping[str, Scale], observation_space: Mapping[str, Any], action_space: Mapping[str, Any]):
        """Maps by the names of columns, as trees."""

        def tree(name: str, description: Mapping[str, Any]) -> Maps:
            codec = kind_of(description)
            if parts := codec.described(description):
                return {part: tree(f"{name}.{part}", of_part) for part, of_part in parts.items()}
            found = maps.get(name)
            # Actions are predicted: what is read is what a head is to give.
            late = found is not None and _whose(name) == "observations" and not codec.scaled_when_read(description)
            return replace(found, when_read=False) if late else found

        spaces = {"observations": observation_space, "actions": action_space}
        return cls(
            **{name: tree(name, space) for name, space in spaces.items()},
            rewards=maps["rewards"],
            returns=maps.get(RETURN_TO_GO),
        )

    def no_action(self, space: gym.Space) -> NDArray:
        """Among unscaled actions, what stands for the one before the first: of a Box the centre, 0 to the model."""

        def centred(maps: Maps, none: NDArray) -> NDArray:
            if isinstance(maps, dict):
                for part, of_part in maps.items():
                    none[part] = centred(of_part, none[part])
                return none
            return none if maps is None else np.broadcast_to(maps.centre, none.shape).astype(none.dtype)

        return centred(self.actions, no_action(space))

    def to_play(self, space: gym.Space) -> Callable[[Any], NDArray]:
        """A function that makes actions of the space of what a distribution drew: numbers `(N, …)` of the scaled
        action, of a tree nested dicts of them."""

        def of(maps: Maps, space: gym.Space) -> Callable[[Any], NDArray]:
            codec = codec_of(space)
            if isinstance(maps, dict):
                parts = {name: of(maps[name], part) for name, part in codec.branches(space).items()}
                return lambda drawn: join_parts({name: part(drawn[name]) for name, part in parts.items()})
            nearest = codec.nearest(space)
            return nearest if maps is None else lambda drawn: nearest(maps.undo(drawn))

        return of(self.actions, space)

    def of(self, transitions: Transitions) -> Transitions:
        """The same transitions with scaled numbers, those of extras that are of the same kind included."""
        t, before = transitions, transitions.before
        of_extra = {NEXT_OBSERVATIONS: self.observations, EXPERT_ACTIONS: self.actions, RETURN_TO_GO: self.returns}
        actions, rewards = scaled(self.actions, before.actions), scaled(self.rewards, before.rewards)
        return Transitions(
            scaled(self.observations, t.observations), scaled(self.actions, t.actions),
            scaled(self.rewards, t.rewards), t.terminated, t.truncated, t.steps,
            Before(actions, rewards, before.terminated, before.truncated), t.lengths,
            {name: scaled(of_extra.get(name), values) for name, values in t.extras.items()}, t.group,
        )  # fmt: skip


def scaled(maps: Maps, values: NDArray) -> Any:
    """Values `(…, *row_shape)` as a model reads them: of a tree a nested dict of arrays."""
    if isinstance(maps, dict) and values.size:
        return {part: scaled(of_part, values[part]) for part, of_part in maps.items()}
    return maps.apply(values) if isinstance(maps, Scale) and maps.when_read and values.size else values


def measure(
    store: "HistoryStore", histories: Sequence[int] | NDArray[np.int64], extras: Sequence[str] = ()
) -> dict[str, Any]:
    """The scales of these histories; see `measure_all`."""
    return measure_all([(store, histories)], extras)


def measure_all(sources: Sequence[Source], extras: Sequence[str] = ()) -> dict[str, Any]:
    """The scales of histories of one dataset, or of several with the same spaces, as JSON: `{"rewards": {"centre":
    [0.0], "unit": [1.0]}, …}`.

    A column without numbers (a Discrete space) is not in it; of trees each leaf with numbers is, as
    "observations.position". The numbers of an image count as one column. Where returns-to-go are among the extras
    that a method reads, their unit is what 99% of them stay within, and the best return of an episode is beside it.
    """
    samples = [sample(store, histories) for store, histories in sources]
    columns = {name: np.concatenate([of[name] for of in samples]) for name in samples[0]}
    spaces = sources[0][0].provenance
    scales = {}
    for name, description in _columns(spaces.observation_space, spaces.action_space).items():
        if pixels(name, description):
            columns[name] = columns[name].reshape(-1, 1)
        pairs = [centre_and_unit(column, _whose(name)) for column in columns[name].T]
        scales[name] = {"centre": [centre for centre, _ in pairs], "unit": [unit for _, unit in pairs]}
    if RETURN_TO_GO in extras:
        some = [
            store.history(int(h))
            for store, histories in sources
            for h in histories[:: -(-len(histories) // _HISTORIES)]
        ]
        to_go = np.concatenate([history.derived(RETURN_TO_GO) for history in some])
        first = np.concatenate([history.step_in_episode for history in some]) == 0
        unit = float(np.quantile(np.abs(to_go), 0.99, method="inverted_cdf"))
        scales[RETURN_TO_GO] = {"centre": [0.0], "unit": [unit or 1.0], "best": float(to_go[first].max())}
    return scales


def sample(store: "HistoryStore", histories: Sequence[int] | NDArray[np.int64]) -> dict[str, NDArray]:
    """Columns of observations and actions `(M, N)`, by name, and rewards `(M, 1)`, of transitions spread evenly over
    histories and over time.

    All transitions where they are few; otherwise a stretch of each of some thousand histories. Nothing is random.
    """
    histories = np.asarray(histories, np.int64)
    spaces = (store.provenance.observation_space, store.provenance.action_space)
    widest = max(sum(math.prod(leaf.shape) for leaf in leaves(space_from_dict(space)).values()) for space in spaces)
    most = min(max(_NUMBERS // max(widest, 1), _FEWEST), _TRANSITIONS)
    length = int(store.lengths.max(initial=1))
    if int(store.lengths[histories].sum()) > most:
        count = min(len(histories), _HISTORIES, most)
        histories = histories[np.arange(count) * len(histories) // count]
        length = -(-most // count)
    parts: dict[str, list[NDArray]] = {}
    for place, history in enumerate(histories.tolist()):
        n = min(length, int(store.lengths[history]))
        start = int((place * _GOLDEN) % 1.0 * (int(store.lengths[history]) - n + 1))
        window = store.window(history, start, n)
        for name in ("observations", "actions", "rewards"):
            for column, rows in split(name, getattr(window, name)).items():
                parts.setdefault(column, []).append(rows.reshape(n, -1))
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


def pixels(name: str, description: Mapping[str, Any] | None) -> bool:
    """Whether the numbers of a column are those of a picture that is observed, and share one scale."""
    return _whose(name) == "observations" and kind_of(description).share_a_scale(description)


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


def _columns(
    observation_space: Mapping[str, Any], action_space: Mapping[str, Any]
) -> dict[str, Mapping[str, Any] | None]:
    """The columns that have a scale, with the description of each; rewards have none."""
    found = described("observations", observation_space) | described("actions", action_space)
    return {name: leaf for name, leaf in found.items() if kind_of(leaf).bounds(leaf) is not None} | {"rewards": None}


def _whose(name: str) -> str:
    """ "observations" of "observations.position"."""
    return name.partition(".")[0]


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
