"""Random streams: known outputs, independence of the batch, and the distributions drawn from them."""

import numpy as np
import pytest

from icrl.seeding import Streams, derive_seed, permutation, stream_keys


def test_known_outputs_of_splitmix64():
    """Kills: a changed constant or shift, which would change every dataset. The reference outputs of seed 0."""
    streams = Streams(np.array([0], np.uint64))
    outputs = [int(streams.bits()[0]) for _ in range(3)]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_keys_depend_on_seed_purpose_and_index():
    """Kills: two purposes, seeds or lanes that draw the same numbers."""
    keys = [stream_keys(seed, purpose, np.arange(1000)) for seed in (0, 1) for purpose in ("a", "b")]
    assert len(np.unique(np.concatenate(keys))) == 4000
    assert np.array_equal(stream_keys(0, "a", [3]), stream_keys(0, "a", np.arange(5))[3:4])


def test_keys_are_the_same_for_ever():
    """Kills: a key that depends on the platform, the process or the release (`hash` is salted)."""
    assert stream_keys(0, "environment", [0, 1]).tolist() == [6500604753763980041, 4769795517991541212]


def test_lanes_do_not_depend_on_the_batch():
    """Kills: numbers that change with the lanes beside them."""
    keys = stream_keys(7, "test", np.arange(100))
    crowd, alone = Streams(keys), Streams(keys[42:43])
    for _ in range(5):
        assert crowd.uniform()[42] == alone.uniform()[0]
        assert crowd.normal()[42] == alone.normal()[0]


def test_only_the_lanes_that_draw_advance():
    """Kills: a reset of some lanes that shifts the random numbers of all the others."""
    keys = stream_keys(7, "test", np.arange(4))
    streams, reference = Streams(keys), Streams(keys)
    drawn = streams.uniform(np.array([1, 3]))
    first, second = reference.uniform(), reference.uniform()
    assert np.array_equal(drawn, first[[1, 3]])
    assert np.array_equal(streams.uniform(), np.where([False, True, False, True], second, first))


def test_a_block_is_that_many_draws():
    """Kills: a block that skips or repeats a draw."""
    keys = stream_keys(1, "test", np.arange(6))
    streams, reference = Streams(keys), Streams(keys)
    streams.uniform(), reference.uniform()
    assert np.array_equal(streams.uniform_block(5), np.array([reference.uniform() for _ in range(5)]))
    lanes = np.array([4, 1])
    block = streams.uniform_block(3, lanes)
    assert np.array_equal(block, np.array([reference.uniform(lanes) for _ in range(3)]))
    assert np.array_equal(streams.uniform(), reference.uniform())


def test_distributions():
    """Kills: a uniform that reaches 1, integers that miss an end, a normal of another variance."""
    streams = Streams(stream_keys(0, "test", np.arange(100_000)))
    uniform, normal = streams.uniform(), streams.normal()
    integers = streams.integers(6)
    assert uniform.min() >= 0.0
    assert uniform.max() < 1.0
    assert uniform.mean() == pytest.approx(0.5, abs=0.004)
    assert np.bincount(integers, minlength=6) == pytest.approx(np.full(6, 100_000 / 6), rel=0.04)
    assert normal.mean() == pytest.approx(0.0, abs=0.015)
    assert normal.std() == pytest.approx(1.0, abs=0.01)
    assert streams.integers(np.arange(1, 100_001)).max() < 100_000


def test_neighbours_in_time_and_lane_are_uncorrelated():
    """Kills: lane i at draw t + 1 repeating lane i + 1 at draw t, which consecutive keys would do."""
    block_TN = Streams(stream_keys(0, "test", np.arange(300))).uniform_block(300) - 0.5
    assert len(np.unique(block_TN)) == 90_000
    later, beside = block_TN[1:] * block_TN[:-1], block_TN[:, 1:] * block_TN[:, :-1]
    both = block_TN[1:, :-1] * block_TN[:-1, 1:]
    for shifted in (later, beside, both):
        assert abs(shifted.mean() * 12) < 4 / np.sqrt(shifted.size)


def test_permutation_and_derived_seed():
    """Kills: a task dealt out twice; a derived seed that a library refuses."""
    order = permutation(0, "split", 1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert not np.array_equal(order, permutation(1, "split", 1000))
    seeds = [derive_seed(0, "torch", i) for i in range(100)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**31 for seed in seeds)
