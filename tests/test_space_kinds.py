"""Every kind of space, drawn from seeds and nested: written down, let in, drawn, played, stored and read again."""

import json

import gymnasium as gym
import numpy as np
import pytest

from icrl.errors import UsageError
from icrl.spaces import (
    WrongValue,
    alike,
    bounded,
    check_action_space,
    codec_of,
    continuous,
    counter,
    drawer,
    empty,
    gate,
    leaves,
    named,
    no_action,
    num_cells,
    num_uniforms,
    player,
    sample,
    space_from_dict,
    space_to_dict,
    split,
    storage_dtype,
    value_dtype,
)
from tests.drawn_spaces import batch, drawn_spaces, same, samples

S = gym.spaces
ALL = drawn_spaces(0, 6)
ACTIONS = drawn_spaces(1, 6, ("discrete", "multi_discrete", "multi_binary", "box"), bounded=True)


@pytest.mark.parametrize("space", ALL, ids=str)
def test_a_space_and_its_values_go_through_unchanged(space):
    """Kills: a start or a bound that JSON loses; a value that is refused, wrapped, or put into another part."""
    again = space_from_dict(json.loads(json.dumps(space_to_dict(space))))
    assert again == space
    assert alike(space_to_dict(space), space_to_dict(again))
    given = samples(space, 9)
    expected = batch(space, given)
    taken = gate(again)(expected)
    assert same(space, taken, expected)
    assert gate(again)(taken) is taken
    for name, part in split("", empty(space, (2,))).items():
        leaf = named("", space)[name]
        assert continuous(leaf) or len(gate(leaf)(part)) == 2, "padding that no model can read"
    for dtype in (storage_dtype(space), empty(space, (2,)).dtype):
        assert same(space, taken.astype(dtype), expected)
    for row in taken:
        assert space.contains(sample(space, row))
    assert len(json.dumps(space_to_dict(space))) < 4000


@pytest.mark.parametrize("space", ACTIONS, ids=str)
def test_random_actions_are_of_the_space_and_all_are_drawn(space):
    """Kills: a random value outside; the ends never drawn; one random number shared by two factors."""
    uniforms = np.random.default_rng(0).random((4000, num_uniforms(space)))
    uniforms[0], uniforms[1] = 0.0, 1 - 2.0**-53
    drawn = drawer(space)(uniforms)
    assert drawn.dtype == value_dtype(space)
    gate(space)(drawn)
    assert all(space.contains(sample(space, row)) for row in drawn[:50])
    assert np.array_equal(player(space)(drawn, 4000), drawn)
    for place in range(num_uniforms(space)):
        moved = uniforms.copy()
        moved[:, place] = (moved[:, place] + 0.5) % 1
        changed = _flat(drawer(space)(moved)) != _flat(drawn)
        assert changed.any(axis=0).sum() <= 1, "a random number that is shared"
    if num_cells(space) < 100:
        numbers = counter(space)(drawn)
        assert {*numbers.tolist()} == {*range(int(num_cells(space)))}


def _flat(values: np.ndarray) -> np.ndarray:
    if values.dtype.names:
        return np.concatenate([_flat(values[name]) for name in values.dtype.names], axis=1)
    return values.reshape(len(values), -1).astype(float)


@pytest.mark.parametrize("space", ACTIONS, ids=str)
def test_what_is_no_action_is_refused(space):
    """Kills: an action outside a factor, played as counted from the end; a part that is missing."""
    play = player(space)
    for wrong in codec_of(space).wrong_batches(space):
        with pytest.raises(ValueError, match=r"expected|is not in"):
            play(wrong, 2)
    for wrong in ({}, {"no such part": np.zeros(2)}, None, [[1], [1, 2]]):
        with pytest.raises(ValueError, match="expected"):
            play(wrong, 2)
        with pytest.raises(WrongValue, match="expected"):
            gate(space)(wrong)


def test_a_wrong_value_in_a_tree_is_told_with_its_part_and_row():
    """Kills: "expected an array" of a nested observation."""
    space = S.Dict({"arm": S.Dict({"angle": S.Box(-1, 1, (2,))}), "grip": S.MultiBinary(2)})
    right = {"arm": {"angle": np.zeros((3, 2), np.float32)}, "grip": np.zeros((3, 2), int)}
    gate(space)(right)
    wrong = np.zeros((3, 2))
    wrong[1, 1] = 7
    with pytest.raises(WrongValue, match=r"7.0, .*, in its part angle, in its part arm") as refused:
        gate(space)({**right, "arm": {"angle": wrong}})
    assert refused.value.row == 1
    with pytest.raises(WrongValue, match="expected as many"):
        gate(space)({**right, "grip": np.zeros((2, 2), int)})
    assert list(leaves(space)) == ["arm.angle", "grip"]


def test_kinds_typed_in():
    """Kills: "none" that is an action; a start that is counted from 0 where it is stored."""
    assert no_action(S.Discrete(3, start=-5)) == -2
    assert no_action(S.MultiDiscrete([2, 3], start=[1, 0])).tolist() == [3, 3]
    assert no_action(S.MultiBinary(2)).tolist() == [2, 2]
    tree = S.Dict({"b": S.Discrete(2), "a": S.Box(-1, 1, (2,))})
    assert no_action(tree)["a"].tolist() == [0.0, 0.0]
    assert no_action(tree)["b"] == 2
    assert storage_dtype(S.Discrete(4, start=-3)) == np.int8
    assert storage_dtype(S.Discrete(4, start=200)) == np.uint8
    assert storage_dtype(S.MultiBinary(3)) == np.uint8
    assert drawer(S.Discrete(3, start=7))(np.array([[0.0], [0.99]])).tolist() == [7, 9]
    assert space_to_dict(S.Box(0, 255, (5, 5, 3), np.uint8)) == {"kind": "image", "shape": [5, 5, 3]}
    assert sample(S.Tuple([S.Discrete(3), S.Discrete(2)]), np.array((2, 1), [("0", int), ("1", int)])) == (2, 1)
    assert space_from_dict(space_to_dict(S.Box(0, 1, (3,), bool))) == S.Box(0, 1, (3,), np.uint8)


def test_an_open_leaf_of_actions_is_refused():
    """Kills: a recording of a tree of actions that stops at its first step, without a word of which part."""
    space = S.Dict({"a": S.Discrete(2), "b": S.Dict({"c": S.Box(0, np.inf, (2,))})})
    assert not bounded(space)
    with pytest.raises(UsageError, match=r"at b\.c, not bounded"):
        check_action_space("mine", space)
