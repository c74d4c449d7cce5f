"""Dict and Tuple: trees of spaces. A batch of N values is one structured array `(N,)`, so that rows are indexed, kept
and stacked as those of any other array, and `values["position"]` is a part; a Tuple's parts are "0", "1", …
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.spaces.codec import Codec, Draw, Play, Take, WrongValue, codec_of, in_short, kind_of


class _TreeCodec(Codec):
    def row_shape(self, space: Any) -> tuple[int, ...]:
        return ()

    def _dtype(self, space: Any, what: Callable[[Codec, Any], np.dtype]) -> np.dtype:
        return np.dtype([(name, what(c, part), c.row_shape(part)) for name, c, part in self._parts(space)])

    def _parts(self, space: Any) -> list[tuple[str, Codec, Any]]:
        return [(name, codec_of(part), part) for name, part in self.branches(space).items()]

    def value_dtype(self, space: Any) -> np.dtype:
        return self._dtype(space, lambda codec, part: codec.value_dtype(part))

    def storage_dtype(self, space: Any) -> np.dtype:
        return self._dtype(space, lambda codec, part: codec.storage_dtype(part))

    def memory_dtype(self, space: Any) -> np.dtype:
        return self._dtype(space, lambda codec, part: codec.memory_dtype(part))

    def speaks(self, space: gym.Space) -> bool:
        # Whether its parts are supported is said of them.
        return isinstance(space, self._class) and len(space.spaces) > 0 and self._well_named(space)

    _class: type

    def _well_named(self, space: Any) -> bool:
        return True

    @abstractmethod
    def _values(self, values: Any) -> Mapping[str, Any] | None:
        """The parts of one value or batch from outside, by name; None where it is none."""

    def fill(self, space: Any, zeros: NDArray) -> None:
        for name, codec, part in self._parts(space):
            codec.fill(part, zeros[name])

    def cells(self, space: Any) -> float:
        return float(np.prod([codec.cells(part) for _, codec, part in self._parts(space)]))

    def counter(self, space: Any) -> Callable[[NDArray], NDArray[np.int64]]:
        parts = [(name, int(codec.cells(part)), codec.counter(part)) for name, codec, part in self._parts(space)]

        def count(values: NDArray) -> NDArray[np.int64]:
            found = np.zeros(len(values), np.int64)
            for name, cells, of_part in parts:
                found = found * cells + of_part(values[name])
            return found

        return count

    def no_action(self, space: Any) -> NDArray:
        """That of every part."""
        return _joined(self.memory_dtype(space), {name: c.no_action(part) for name, c, part in self._parts(space)})

    def bounded(self, space: Any) -> bool:
        return all(codec.bounded(part) for _, codec, part in self._parts(space))

    def zero(self, space: Any) -> NDArray | None:
        parts = {name: codec.zero(part) for name, codec, part in self._parts(space)}
        return None if any(part is None for part in parts.values()) else _joined(self.value_dtype(space), parts)

    def num_uniforms(self, space: Any) -> int:
        return sum(codec.num_uniforms(part) for _, codec, part in self._parts(space))

    def drawer(self, space: Any) -> Draw:
        """The first uniforms are those of the first part."""
        dtype, draws, first = self.value_dtype(space), [], 0
        for name, codec, part in self._parts(space):
            last = first + codec.num_uniforms(part)
            draws.append((name, slice(first, last), codec.drawer(part)))
            first = last
        return lambda uniforms: _joined(dtype, {name: draw(uniforms[:, part]) for name, part, draw in draws})

    def sample(self, space: Any, row: Any) -> Any:
        return self.as_sample({name: codec.sample(part, row[name]) for name, codec, part in self._parts(space)})

    def parts_of(self, space: Any, value: Any) -> dict[str, Any]:
        values, branches = self._values(value), self.branches(space)
        if values is None or {*values} != {*branches}:
            raise WrongValue(0, f"{in_short(value)}: expected a sample of {in_short(space)}")
        return {name: values[name] for name in branches}

    def gate(self, space: Any) -> Take:
        """Takes structured arrays, and batches of the parts in a mapping (of a Tuple also in a sequence)."""
        takes = {name: codec.gate(part) for name, codec, part in self._parts(space)}
        dtype, words = self.value_dtype(space), self.words(self.to_dict(space))

        def take(values: Any) -> NDArray:
            given = _fields(values) or self._values(values)
            if given is None or {*given} != {*takes}:
                raise WrongValue(0, f"{in_short(values)}: expected {', '.join(takes)}, the parts of {words}")
            parts = {}
            for name, take_part in takes.items():
                try:
                    parts[name] = take_part(given[name])
                except WrongValue as error:
                    raise WrongValue(error.row, f"{error}, in its part {name}") from None
            rows = {name: len(part) for name, part in parts.items()}
            if len({*rows.values()}) > 1:
                raise WrongValue(0, f"{in_short(rows)} rows: expected as many of each part of {words}")
            same = isinstance(values, np.ndarray) and values.dtype == dtype
            if same and all(parts[name] is given[name] for name in parts):
                return values
            return _joined(dtype, parts)

        return take

    def player(self, space: Any) -> Play:
        plays, dtype = {name: codec.player(part) for name, codec, part in self._parts(space)}, self.value_dtype(space)

        def play(actions: Any, num_envs: int) -> NDArray:
            given = _fields(actions) or self._values(actions)
            if given is None or {*given} != {*plays}:
                raise ValueError(f"actions are {in_short(actions)}: expected {', '.join(plays)} of each environment")
            parts = {}
            for name, play_part in plays.items():
                try:
                    parts[name] = play_part(given[name], num_envs)
                except ValueError as error:
                    raise ValueError(f"part {name} of the actions: {error}") from None
            return _joined(dtype, parts)

        return play

    def wrong_batches(self, space: Any) -> list[Any]:
        right = np.stack([self.drawer(space)(np.zeros((1, self.num_uniforms(space))))[0]] * 2)
        parts = {name: right[name] for name in right.dtype.names}
        return [
            {**parts, name: wrong} for name, codec, part in self._parts(space) for wrong in codec.wrong_batches(part)
        ]


class DictCodec(_TreeCodec):
    """`{"kind": "dict", "spaces": {"position": {"kind": "box", …}, …}}`, in the order of the names."""

    kind = "dict"
    _class = gym.spaces.Dict

    def _well_named(self, space: gym.spaces.Dict) -> bool:
        return all(isinstance(name, str) and name and "." not in name for name in space.spaces)

    def branches(self, space: gym.spaces.Dict) -> dict[str, gym.Space]:
        return {name: space.spaces[name] for name in sorted(space.spaces)}

    def described(self, description: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return description["spaces"]

    def to_dict(self, space: gym.spaces.Dict) -> dict[str, Any]:
        return {"spaces": {name: {"kind": c.kind, **c.to_dict(part)} for name, c, part in self._parts(space)}}

    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        parts = description["spaces"]
        return gym.spaces.Dict({name: kind_of(parts[name]).from_dict(parts[name]) for name in sorted(parts)})

    def words(self, description: dict[str, Any]) -> str:
        return f"Dict({', '.join(f'{name}: {kind_of(d).words(d)}' for name, d in description['spaces'].items())})"

    def as_sample(self, parts: dict[str, Any]) -> dict[str, Any]:
        return parts

    def _values(self, values: Any) -> Mapping[str, Any] | None:
        return values if isinstance(values, Mapping) else None


class TupleCodec(_TreeCodec):
    """`{"kind": "tuple", "spaces": [{"kind": "discrete", "n": 3}, …]}`."""

    kind = "tuple"
    _class = gym.spaces.Tuple

    def branches(self, space: gym.spaces.Tuple) -> dict[str, gym.Space]:
        return {str(place): part for place, part in enumerate(space.spaces)}

    def described(self, description: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {str(place): part for place, part in enumerate(description["spaces"])}

    def to_dict(self, space: gym.spaces.Tuple) -> dict[str, Any]:
        return {"spaces": [{"kind": codec.kind, **codec.to_dict(part)} for _, codec, part in self._parts(space)]}

    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        return gym.spaces.Tuple([kind_of(part).from_dict(part) for part in description["spaces"]])

    def words(self, description: dict[str, Any]) -> str:
        return f"Tuple({', '.join(kind_of(part).words(part) for part in description['spaces'])})"

    def as_sample(self, parts: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(parts.values())

    def _values(self, values: Any) -> Mapping[str, Any] | None:
        if isinstance(values, Sequence) and not isinstance(values, str):
            return {str(place): part for place, part in enumerate(values)}
        return values if isinstance(values, Mapping) else None


def _fields(values: Any) -> dict[str, NDArray] | None:
    """The parts of a structured array."""
    names = values.dtype.names if isinstance(values, np.ndarray) else None
    return {name: values[name] for name in names} if names else None


def _joined(dtype: np.dtype, parts: Mapping[str, Any]) -> NDArray:
    """Parts of equal lengths as one structured array; of single values one without dimensions."""
    first = next(iter(dtype.names))
    rows = np.shape(parts[first])[: np.ndim(parts[first]) - len(dtype[first].shape)]
    found = np.zeros(rows, dtype)
    for name, part in parts.items():
        found[name] = part
    return found


def leaves(space: gym.Space) -> dict[str, gym.Space]:
    """The spaces of a tree that are none themselves, by their paths ("arm.position"); of another space itself, ""."""
    branches = codec_of(space).branches(space)
    if not branches:
        return {"": space}
    return {
        f"{name}.{path}".rstrip("."): leaf for name, part in branches.items() for path, leaf in leaves(part).items()
    }


def described(name: str, description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The descriptions of the leaves by the names of their columns, from that of a space."""
    branches = kind_of(description).described(description)
    if not branches:
        return {name: description}
    return {
        path: leaf for part, of_part in branches.items() for path, leaf in described(f"{name}.{part}", of_part).items()
    }


def named(name: str, space: gym.Space) -> dict[str, gym.Space]:
    """The leaves by the names of their columns: "observations.position", or "observations" of no tree."""
    return {f"{name}.{path}".rstrip("."): leaf for path, leaf in leaves(space).items()}


def split(name: str, values: Any) -> dict[str, Any]:
    """A structured array, or a column of such in a file, as one for each column; any other by itself."""
    if values.dtype.names is None:
        return {name: values}
    found: dict[str, NDArray] = {}
    for part in values.dtype.names:
        found |= split(f"{name}.{part}", values[part])
    return found


def joined(name: str, columns: Mapping[str, NDArray], dtype: np.dtype) -> NDArray:
    """The inverse of `split`: a structured array of that type, or where it has no parts the column itself."""
    if dtype.names is None:
        return columns[name]
    return _joined(dtype, {part: joined(f"{name}.{part}", columns, dtype[part].base) for part in dtype.names})


def join_parts(parts: Mapping[str, NDArray]) -> NDArray:
    """Batches of the parts of a tree, each `(N, …)`, as one structured array `(N,)`."""
    return _joined(np.dtype([(name, part.dtype, part.shape[1:]) for name, part in parts.items()]), parts)


def numbers(values: NDArray) -> NDArray[np.float64]:
    """All numbers of each row, `(N, D)`; of trees those of one leaf after the other."""
    return np.concatenate(
        [part.reshape(len(part), -1).astype(np.float64) for part in split("", values).values()], axis=1
    )


def equal(some: NDArray, others: NDArray) -> bool:
    """Whether two arrays hold the same, NaN and NaN alike, in every part."""
    parts = [split("", np.asarray(values)) for values in (some, others)]
    return {*parts[0]} == {*parts[1]} and all(
        np.array_equal(part, parts[1][name], equal_nan=True) for name, part in parts[0].items()
    )


def map_leaves(function: Callable[..., Any], *trees: Any) -> Any:
    """The function of the leaves of trees of one shape, which are nested dicts; of no trees, of themselves."""
    first = trees[0]
    if isinstance(first, dict):
        return {name: map_leaves(function, *(tree[name] for tree in trees)) for name in first}
    return function(*trees)
