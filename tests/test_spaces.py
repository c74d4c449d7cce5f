"""Spaces, drawn from a seeded generator: written down, stored, let in or refused, and acted in."""

import json

import gymnasium as gym
import numpy as np
import pytest

from icrl.errors import UsageError
from icrl.spaces import (
    BoxActions,
    WrongValue,
    alike,
    check_action_space,
    describe_space,
    gate,
    memory_dtype,
    space_from_dict,
    space_to_dict,
    storage_dtype,
)

S = gym.spaces
INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32]
FLOATS = [np.float16, np.float32, np.float64]


def drawn_box(rng: np.random.Generator, bounded: bool = False) -> gym.spaces.Box:
    dtype = np.dtype(rng.choice(INTEGERS + FLOATS))
    shape = tuple(rng.integers(1, 5, rng.integers(0, 4)))
    if dtype.kind != "f":
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        ends = rng.integers(least, most, (2, *shape), dtype=dtype, endpoint=True)
        if rng.random() < 0.3:
            ends = np.stack((np.full(shape, least, dtype), np.full(shape, most, dtype)))
    else:
        size = float(np.finfo(dtype).max) * 10.0 ** -rng.integers(0, np.log10(np.finfo(dtype).max))
        ends = (size * rng.uniform(-1, 1, (2, *shape))).astype(dtype)
    low, high = np.minimum(*ends), np.maximum(*ends)
    if dtype.kind == "f" and not bounded:
        low, high = np.where(rng.random(shape) < 0.3, -np.inf, low), np.where(rng.random(shape) < 0.3, np.inf, high)
    return S.Box(np.asarray(low, dtype), np.asarray(high, dtype), dtype=dtype.type)


def drawn_spaces(count: int) -> list[gym.Space]:
    rng, found = np.random.default_rng(7), []
    for _ in range(count):
        n = int(2.0 ** rng.uniform(0, 40))
        found += [S.Discrete(n), S.MultiDiscrete(1 + rng.integers(0, n, rng.integers(1, 5))), drawn_box(rng)]
    return found


def within(rng: np.random.Generator, space: gym.Space, count: int) -> np.ndarray:
    """Values of the space, its ends among them; made without the code under test."""
    if isinstance(space, S.Box):
        some = rng.choice(3, (count, *space.shape))
        zero = np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
        largest = np.finfo(space.dtype).max if space.dtype.kind == "f" else np.iinfo(space.dtype).max
        ends = (
            np.maximum(space.low, -largest if space.dtype.kind == "f" else space.low),
            np.minimum(space.high, largest),
        )
        return np.choose(some, [ends[0], ends[1], zero]).astype(space.dtype)
    sizes = np.asarray(space.nvec if isinstance(space, S.MultiDiscrete) else space.n)
    return rng.integers(0, np.broadcast_to(sizes, (count, *sizes.shape)))


@pytest.mark.parametrize("space", drawn_spaces(30), ids=str)
def test_a_space_survives_and_takes_what_is_its_own(space):
    """Kills: a bound or type that JSON changes; a value that is refused, rounded or wrapped on its way."""
    again = space_from_dict(json.loads(json.dumps(space_to_dict(space))))
    assert space_to_dict(again) == space_to_dict(space)
    assert again.dtype == space.dtype
    if isinstance(space, S.Box):
        assert np.array_equal(again.low, space.low)
        assert np.array_equal(again.high, space.high)
    values = within(np.random.default_rng(1), space, 9)
    for given in (values, values.tolist()):
        taken = gate(again)(given)
        assert np.array_equal(taken, values)
        for dtype in (storage_dtype(space), memory_dtype(space)):
            assert np.array_equal(taken.astype(dtype), values)


@pytest.mark.parametrize("space", drawn_spaces(30), ids=str)
def test_what_is_outside_is_refused_with_its_row(space):
    """Kills: −1 taken as counted from the end; 300 wrapped to 44; NaN, which no comparison finds; a wrong row."""
    rng = np.random.default_rng(2)
    values, take = within(rng, space, 9), gate(space)
    row, wrongs = int(rng.integers(9)), [np.nan, np.inf, -np.inf]
    if isinstance(space, S.Box):
        if space.dtype.kind != "f":
            wrongs += [int(np.max(space.high)) + 1, int(np.min(space.low)) - 1]
        elif np.isfinite(space.high).all():
            wrongs += [float(np.nextafter(np.max(space.high), space.dtype.type(np.inf)))]
    else:
        wrongs += [-1, int(np.max(space.nvec if isinstance(space, S.MultiDiscrete) else space.n)), -(2**40)]
    for wrong in wrongs:
        given = values.astype(float if isinstance(wrong, float) else object)
        given[row] = wrong
        if given.dtype == object:
            given = np.array(given.tolist())
        if not isinstance(wrong, float) and given.dtype.kind == "f":
            continue  # NumPy has no integer type for both.
        with pytest.raises(WrongValue, match="expected") as refused:
            take(given)
        assert refused.value.row == row or given.dtype.kind in "fO"
        assert "\n" not in str(refused.value)
    for given in (values.astype(complex), values.astype(str), [None] * 9, np.zeros((9, 7, 1)), [[1], [1, 2]]):
        with pytest.raises(WrongValue, match="expected"):
            take(given)


@pytest.mark.filterwarnings("error")
def test_actions_are_inside_and_of_the_type():
    """Kills: 4.007 in a Box of integers; infinity where bounds are near the largest float; bounds of 64 bits that a
    float does not hold."""
    rng = np.random.default_rng(3)
    boxes = [drawn_box(rng, bounded=True) for _ in range(60)]
    boxes += [S.Box(-m, m, (2,), type(m)) for m in (np.finfo(np.float32).max, np.finfo(np.float64).max)]
    boxes += [S.Box(-(2**63), 2**63 - 1, (3,), np.int64), S.Box(np.float32([0, -1]), np.float32([0, 1]))]
    for box in boxes:
        actions = BoxActions(box)
        uniforms = rng.random((50, *box.shape))
        uniforms[0], uniforms[1] = 0.0, 1 - 2.0**-53
        wild = rng.normal(0, 1, (50, *box.shape)) * 10.0 ** rng.integers(-3, 300, (50, *box.shape))
        for found in (actions.random(uniforms), actions.within(wild), actions.within(actions.random(uniforms))):
            assert found.dtype == box.dtype
            assert ((found >= box.low) & (found <= box.high)).all()
            gate(box)(found)


def test_whole_numbers_are_equally_likely():
    """Kills: rounding, which gives the ends half the chance of the others."""
    counts = np.bincount(BoxActions(S.Box(0, 5, (), np.int32)).random((np.arange(6000) + 0.5) / 6000))
    assert counts.tolist() == [1000] * 6


def test_a_large_box_is_written_in_a_few_bytes():
    """Kills: a provenance of 400 kB for an image."""
    image = S.Box(0, 255, (84, 84, 3), np.uint8)
    assert len(json.dumps(space_to_dict(image))) < 120
    listed = {"kind": "box", "shape": [84, 84, 3], "low": [0.0] * 21168, "high": [255.0] * 21168}
    assert space_from_dict(listed) == S.Box(0, 255, (84, 84, 3), np.float32)
    assert storage_dtype(image).itemsize == 1
    assert describe_space(space_to_dict(image)) == "Image(84, 84, 3)"


def test_older_descriptions_are_of_the_same_space():
    """Kills: an older run that no longer fits its family, since a Box was float32 throughout."""
    for now in (
        S.Box(-0.1, 0.1, (2,), np.float64),
        S.Box(0, 255, (9,), np.uint8),
        S.Box(-1e300, 1e300, (2,), np.float64),
    ):
        with np.errstate(over="ignore"):
            then = S.Box(now.low.astype(np.float32), now.high.astype(np.float32), dtype=np.float32)
        assert alike(space_to_dict(then), space_to_dict(now))
        assert not alike(space_to_dict(S.Box(-0.1, 0.2, (2,))), space_to_dict(now))
    assert not alike(space_to_dict(S.Discrete(3)), space_to_dict(S.Discrete(4)))
    image = {"kind": "box", "shape": [4, 4, 3], "low": 0, "high": 255, "dtype": "uint8"}
    assert alike(image, space_to_dict(S.Box(0, 255, (4, 4, 3), np.uint8)))
    assert not alike(image, space_to_dict(S.Box(0, 1, (4, 4, 3), np.uint8)))


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "disc", "n": 3}, {"kind": "discrete", "n": "3"}, {"kind": "discrete", "n": 0}, {"kind": "discrete"},
        [],
        {"kind": "box", "shape": [2], "low": [0.0], "high": [1.0, 1.0]},
        {"kind": "box", "shape": [2], "low": "a", "high": 1.0},
        {"kind": "box", "shape": [1], "low": [0], "high": [300], "dtype": "uint8"},
        {"kind": "box", "shape": [1], "low": [0], "high": [3], "dtype": "object"},
    ],
)  # fmt: skip
def test_what_is_no_description_is_one_line(damage):
    """Kills: a KeyError from a damaged file; a bound of 300 read as 44."""
    with pytest.raises(UsageError, match="not the description of a space"):
        space_from_dict(damage)


@pytest.mark.parametrize(
    "space",
    [S.Text(4), S.Sequence(S.Discrete(2)), S.Dict({"a": S.Text(4)}), S.Dict({"a.b": S.Discrete(2)}), S.Tuple([])],
    ids=str,
)
def test_other_kinds_are_refused(space):
    """Kills: a space that is taken for another one."""
    with pytest.raises(UsageError, match="not supported: expected Discrete, MultiDiscrete"):
        space_to_dict(space)


@pytest.mark.parametrize("low", [-np.inf, 0.0])
def test_an_open_box_of_actions_is_refused(low):
    """Kills: recording that stops after hours, or a uniform policy over half a line."""
    with pytest.raises(UsageError, match="not bounded on both sides"):
        check_action_space("windy", S.Box(low, np.inf, (2,)))
