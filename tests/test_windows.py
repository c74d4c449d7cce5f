"""Every window once an epoch, whatever the number of processes and workers; and what a batch of them holds."""

import numpy as np
import pytest
import torch
from small_models import BEFORE, COLUMNS

from icrl.data_gen.generate import generate
from icrl.errors import UsageError
from icrl.models.sampling.windows import WindowIndex, WindowReader
from icrl.store import HistoryStore
from icrl.train.permutation import permute
from icrl.train.samples import BatchSlice, TrainingSamples, order_of_samples, split_histories


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 63, 64, 65, 1000])
def test_permute_is_a_permutation(size):
    """Kills: a cycle walk that ends early or a half of too few bits, either of which repeats some windows."""
    result = permute(np.arange(size), size, seed=1, purpose="test")
    assert sorted(result) == list(range(size))


def test_permutations_differ_by_seed_and_epoch():
    """Kills: a key that forgets the seed or the epoch, so that every epoch is read in the same order."""
    orders = [permute(np.arange(100), 100, seed, purpose) for seed, purpose in ((0, "a"), (1, "a"), (0, "b"))]
    assert not any(np.array_equal(a, b) for a, b in ((orders[0], orders[1]), (orders[0], orders[2])))
    assert np.array_equal(orders[0], permute(np.arange(100), 100, 0, "a"))


def test_permutation_mixes():
    """Kills: a round function that leaves neighbours together. Neighbours fall about a third of the range apart."""
    order = permute(np.arange(4096), 4096, 0, "a")
    assert abs(np.abs(np.diff(order)).mean() / 4096 - 1 / 3) < 0.03


def test_window_index_locates_every_window():
    """Kills: an off-by-one at a history's last window, and windows that cross two histories."""
    index = WindowIndex([5, 3, 2, 7], length=3)
    assert len(index) == 3 + 1 + 1 + 5
    history, start = index.locate(np.arange(10))
    assert history.tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 3, 3]
    assert start.tolist() == [0, 1, 2, 0, 0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_every_window_once_per_epoch_over_all_processes(world_size, accumulation):
    """Kills: processes that read the same windows, and windows that no process reads, at an epoch's seam too."""
    num_windows, batch, epochs = 37, 8, 3
    seen = []
    for step in range(num_windows * epochs // batch + 1):
        for part in range(accumulation):
            for rank in range(world_size):
                samples = BatchSlice(batch, accumulation, rank, world_size).samples(step, part)
                seen += order_of_samples(samples, num_windows, seed=5).tolist()
    for epoch in range(epochs):
        assert sorted(seen[epoch * num_windows : (epoch + 1) * num_windows]) == list(range(num_windows))


def test_a_step_reads_the_same_windows_for_every_world_size():
    """Kills: a sampler under which two processes learn from other windows than one does."""
    steps = {}
    for world_size in (1, 2, 4):
        parts = [BatchSlice(8, 1, rank, world_size).samples(11) for rank in range(world_size)]
        steps[world_size] = order_of_samples(np.concatenate(parts), 1000, seed=0).tolist()
    assert steps[1] == steps[2] == steps[4]


def test_a_batch_that_does_not_divide_is_refused():
    """Kills: a silently smaller global batch."""
    with pytest.raises(UsageError, match=r"batch_size 8 does not divide over 3 processes .* multiple of 3"):
        BatchSlice(8, 1, 0, 3)


def test_held_out_histories_are_whole_disjoint_and_fixed():
    """Kills: windows of a held-out history in training, or a split that changes with the training seed."""
    known, held_out = split_histories(100, 0.02)
    assert len(held_out) == 2
    assert sorted([*known, *held_out]) == list(range(100))
    assert [len(part) for part in split_histories(3, 0.02)] == [2, 1]
    assert [len(part) for part in split_histories(1, 0.5)] == [1, 0]
    assert [len(part) for part in split_histories(5, 0.0)] == [5, 0]


def test_batches_hold_the_stored_transitions_and_the_one_before(tiny_store):
    """Kills: columns shifted against each other, and a window that forgets the transition before its first."""
    store = tiny_store
    reader = WindowReader(store, range(len(store)), length=7)
    numbers = np.arange(len(reader))
    batch = reader.batch(numbers)
    for row, (history, start) in enumerate(zip(*reader._index.locate(numbers), strict=True)):
        whole = store.history(history)
        window = slice(start, start + 7)
        assert np.array_equal(batch.observations[row], whole.observations[window])
        assert np.array_equal(batch.actions[row], whole.actions[window])
        assert np.array_equal(batch.rewards[row], whole.rewards[window])
        assert np.array_equal(batch.terminated[row], whole.terminated[window])
        assert np.array_equal(batch.truncated[row], whole.truncated[window])
        assert np.array_equal(batch.steps[row], whole.step_in_episode[window])
        if start:
            before = [getattr(whole, name)[start - 1] for name in BEFORE]
        else:
            before = [store.provenance.action_space["n"], 0.0, True, False]
        assert [getattr(batch.before, name)[row] for name in BEFORE] == before
    assert batch.lengths.tolist() == [7] * len(numbers)


def test_short_histories_are_padded(tmp_path):
    """Kills: padding that counts as data where a history is shorter than the window; columns that no history fills."""
    room = {"size": 4, "horizon": 6, "reward": "ends", "validation": 3, "test": 7}
    data = generate(
        "dark-room-q-learning", tmp_path / "data", family_options=room, episodes=3, keep_every=1, workers=1
    )
    store = HistoryStore.open(data)
    longest = int(store.lengths.max())
    assert store.lengths.min() < longest
    reader = WindowReader(store, range(len(store)), longest + 3)
    assert len(reader) == len(store)
    batch = reader.batch(np.arange(len(store)))
    assert batch.lengths.tolist() == store.lengths.tolist()
    assert batch.actions.shape == (len(store), longest)
    beyond = torch.arange(longest) >= batch.lengths[:, None]
    assert not batch.dones[beyond].any()
    assert not batch.rewards[beyond].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_any_number_of_workers_gives_the_same_batches_and_a_resume_reads_on(tiny_store, workers):
    """Kills: batches that depend on which worker made them, and a resume that reads windows twice."""
    windows = TrainingSamples([WindowReader(tiny_store, range(len(tiny_store)), 5)], BatchSlice(4), seed=3)
    loader = torch.utils.data.DataLoader(windows, batch_size=None, sampler=range(2, 6), num_workers=workers)
    for step, (batch,) in zip(range(2, 6), loader, strict=True):
        (expected,) = windows[step]
        for name in (*COLUMNS, "lengths"):
            assert torch.equal(getattr(batch, name), getattr(expected, name)), name
        for name in BEFORE:
            assert torch.equal(getattr(batch.before, name), getattr(expected.before, name)), name


def test_shuffled_windows_hold_whole_episodes_of_one_history(tiny_store):
    """Kills: an episode that is torn apart, met twice, or taken from another history; returns-to-go of the place where
    an episode stood before; an order that another batch changes."""
    length = 3 * tiny_store.provenance.horizon
    reader = WindowReader(tiny_store, np.arange(len(tiny_store)), length, extras=("return_to_go",), shuffle=7)
    numbers = np.linspace(0, len(reader) - 1, 9).astype(np.int64)
    batch, orders = reader.batch(numbers), set()
    for row, number in enumerate(numbers):
        place, _ = reader._index.locate(np.array([number]))
        history = tiny_store.history(int(place[0]))
        ends = np.flatnonzero(history.dones) + 1
        episodes = np.split(np.arange(len(history)), ends[:-1])
        n, at, met = int(batch.lengths[row]), 0, []
        while at < n:
            match = [
                k for k, rows in enumerate(episodes)
                if k not in met and np.array_equal(batch.observations[row, at : at + len(rows)][: n - at].numpy(),
                                                   history.observations[rows][: n - at])
                and np.array_equal(batch.actions[row, at : at + len(rows)][: n - at].numpy(),
                                   history.actions[rows][: n - at])
            ]  # fmt: skip
            assert match, "no whole episode of the history stands here"
            rows = episodes[match[0]]
            some = slice(at, min(at + len(rows), n))
            expected = history.derived("return_to_go")[rows][: n - at]
            np.testing.assert_allclose(batch.extras["return_to_go"][row, some].numpy(), expected)
            assert batch.steps[row, some].tolist() == list(range(some.stop - some.start))
            met.append(match[0])
            at += len(rows)
        assert bool(batch.before.terminated[row])
        orders.add(tuple(met))
    assert len(orders) > 1
    again = reader.batch(numbers[::-1].copy())
    assert torch.equal(again.observations.flip(0), batch.observations)
