"""The columns of transitions: what is derived from a history, and that a batch holds what the history says."""

from dataclasses import replace

import numpy as np
import pytest
from small_models import BEFORE

from icrl.data_gen.generate import generate
from icrl.errors import DatasetError
from icrl.history import LearningHistory
from icrl.models.sampling.windows import WindowReader
from icrl.store import HistoryStore
from icrl.transitions import DERIVED, NEXT_OBSERVATIONS, RETURN_TO_GO, returns_to_go, successors

ROOM = {"size": 4, "horizon": 6, "reward": "ends", "validation": 3, "test": 7}


@pytest.fixture(scope="module")
def ends(tmp_path_factory) -> HistoryStore:
    """Histories whose episodes end in both ways: at the goal, or at the horizon."""
    out = tmp_path_factory.mktemp("ends") / "data"
    return HistoryStore.open(
        generate(
            "dark-room-q-learning",
            out,
            family_options=ROOM,
            histories_per_task=1,
            episodes=12,
            keep_every=2,
            workers=1,
        )
    )


@pytest.fixture(scope="module")
def wholes(ends) -> list[LearningHistory]:
    return [ends.history(history) for history in range(len(ends))]


def random_windows(store: HistoryStore, number: int, seed: int = 0):
    """(history, start, length) of windows of any length from 1 to the whole."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        history = int(rng.integers(len(store)))
        start = int(rng.integers(store.lengths[history]))
        yield history, start, int(rng.integers(1, store.lengths[history] - start + 1))


def test_returns_to_go_typed_in():
    """Kills: a sum over the end of an episode, one that leaves out its own reward, an unfinished last episode that is
    dropped or joined to the one before."""
    rewards = np.array([1, 2, 3, 4, 5], np.float32)
    for done, expected in (
        ([0, 1, 0, 0, 0], [3, 2, 12, 9, 5]),
        ([0, 1, 0, 0, 1], [3, 2, 12, 9, 5]),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]),
        ([0, 0, 0, 0, 0], [15, 14, 12, 9, 5]),
        ([1, 0, 0, 1, 0], [1, 9, 7, 4, 5]),
    ):
        found = returns_to_go(rewards, np.array(done, bool))
        assert found.tolist() == expected
        assert found.dtype == np.float64
    assert returns_to_go(np.zeros(0), np.zeros(0, bool)).shape == (0,)
    assert returns_to_go(np.array([-2.5]), np.array([False])).tolist() == [-2.5]


def test_returns_to_go_are_exact_beside_large_ones():
    """Kills: one cumulative sum over a whole history, in which 10¹² swallows the next episode; sums in float32."""
    rewards = np.array([1e18, 1e18, 0.1, 0.2, -1e18, 1.0], np.float64)
    found = returns_to_go(rewards, np.array([False, True, False, True, True, True]))
    assert found.tolist() == [2e18, 1e18, 0.1 + 0.2, 0.2, -1e18, 1.0]
    many = np.full(100_000, 0.1, np.float32)
    assert returns_to_go(many, np.zeros(100_000, bool))[0] == pytest.approx(
        100_000 * float(np.float32(0.1)), rel=1e-12
    )


def test_successors_typed_in():
    """Kills: a next observation that is the reset of the next episode, finals given to other episodes than theirs, a
    last one that is whatever was in memory."""
    seen = np.array([10, 11, 20, 30, 31, 32])
    for done, finals, observations, expected in (
        ([0, 1, 1, 0, 0, 1], [19, 29, 39], seen, [11, 19, 29, 31, 32, 39]),
        # Unfinished: the one that follows is known …
        ([0, 1, 1, 0, 0], [19, 29], seen, [11, 19, 29, 31, 32]),
        # … or it is not, and what was seen last stays.
        ([0, 1, 1, 0, 0, 0], [19, 29], seen, [11, 19, 29, 31, 32, 32]),
        ([0], [], seen[:1], [10]),
        ([1], [19], seen[:1], [19]),
    ):
        np.full(len(done), 77)  # What was in memory is not to be seen.
        assert successors(observations, np.array(done, bool), np.array(finals, int)).tolist() == expected
    assert successors(np.zeros((0, 2)), np.zeros(0, bool), np.zeros((0, 2))).shape == (0, 2)
    pairs = successors(np.array([[1, 2], [3, 4]]), np.array([False, True]), np.array([[5, 6]]))
    assert pairs.tolist() == [[3, 4], [5, 6]]


def test_an_unfinished_history_has_both():
    """Kills: a prompt that ends within an episode and has no successor, or the return of another episode."""
    history = LearningHistory(
        observations=np.array([0, 1, 2, 3], np.uint8), actions=np.zeros(4, int), rewards=np.float32([1, 2, 4, 8]),
        terminated=np.array([False, True, False, False]), truncated=np.zeros(4, bool), episode=np.array([0, 0, 5, 5]),
        step_in_episode=np.array([0, 1, 0, 1]), final_observations=np.array([9], np.uint8),
        task_id=0, task_params={}, learner="x", learner_seed=0,
    )  # fmt: skip
    assert history.derived(NEXT_OBSERVATIONS).tolist() == [1, 9, 3, 3]
    assert history.derived(RETURN_TO_GO).tolist() == [3, 2, 12, 8]
    with pytest.raises(KeyError, match="expert_actions is not derived"):
        history.derived("expert_actions")
    cut = replace(history, truncated=np.array([False, False, False, True]), final_observations=np.array([9, 7]))
    assert cut.derived(NEXT_OBSERVATIONS).tolist() == [1, 9, 3, 7]
    assert cut.derived(RETURN_TO_GO).tolist() == [3, 2, 12, 8]


@pytest.mark.parametrize("which", ["tiny_store", "ends"])
def test_an_extra_of_a_window_is_that_of_the_whole_history(which, request):
    """Kills: a return that stops at the window's end, or at its start; finals counted from the window's start."""
    store = request.getfixturevalue(which)
    for history, start, length in random_windows(store, 150):
        whole = store.history(history)
        for name in DERIVED:
            found, expected = store.extra(name, history, start, length), whole.derived(name)[start : start + length]
            np.testing.assert_array_equal(found, expected, err_msg=f"{name} {history} {start} {length}")
            assert found.dtype == expected.dtype
    with pytest.raises(DatasetError, match="has no column expert_actions: record it"):
        store.extra("expert_actions", 0, 0, 1)
    for name in DERIVED:
        with pytest.raises(IndexError):
            store.extra(name, 0, int(store.lengths[0]) + 1, 1)


def test_terminated_and_truncated_stay_apart_in_a_batch(ends, wholes):
    """Kills: a batch that knows only that an episode is over, from which no value after a cut can be learned."""
    reader = WindowReader(ends, range(len(ends)), 7)
    numbers = np.arange(len(reader))
    batch = reader.batch(numbers)
    assert batch.terminated.any()
    assert batch.truncated.any()
    assert not (batch.terminated & batch.truncated).any()
    assert (batch.dones == (batch.terminated | batch.truncated)).all()
    both = {"terminated": 0, "truncated": 0}
    for row, (history, start) in enumerate(zip(*reader._index.locate(numbers), strict=True)):
        whole, n = wholes[history], int(batch.lengths[row])
        for name in both:
            assert np.array_equal(getattr(batch, name)[row, :n], getattr(whole, name)[start : start + n])
            assert not getattr(batch, name)[row, n:].any()
            if start:
                assert bool(getattr(batch.before, name)[row]) == bool(getattr(whole, name)[start - 1])
                both[name] += int(getattr(batch.before, name)[row])
        if not start:
            assert [bool(getattr(batch.before, name)[row]) for name in BEFORE[2:]] == [True, False]
    assert min(both.values()) > 0


def test_final_observations_are_found_again(ends, wholes):
    """Kills: an end of an episode whose successor is the start of the next, in a window from anywhere."""
    reader = WindowReader(ends, range(len(ends)), 9, extras=DERIVED)
    numbers = np.arange(len(reader))
    batch, finals = reader.batch(numbers), 0
    assert set(batch.extras) == set(DERIVED)
    assert batch.extras[NEXT_OBSERVATIONS].shape == batch.observations.shape
    assert batch.extras[RETURN_TO_GO].shape == batch.shape
    for row, (history, start) in enumerate(zip(*reader._index.locate(numbers), strict=True)):
        whole, n = wholes[history], int(batch.lengths[row])
        followed = batch.extras[NEXT_OBSERVATIONS][row]
        for t in range(n):
            if whole.dones[start + t]:
                expected = whole.final_observations[whole.dones[: start + t].sum()]
                finals += 1
            else:
                expected = whole.observations[start + t + 1]
            assert followed[t].tolist() == expected.tolist()
        assert not followed[n:].any()
        to_go = whole.derived(RETURN_TO_GO)[start : start + n]
        np.testing.assert_allclose(batch.extras[RETURN_TO_GO][row, :n], to_go, rtol=1e-6)
        assert not batch.extras[RETURN_TO_GO][row, n:].any()
    assert finals > len(ends)


def test_windows_of_one_episode_end_with_it(ends, wholes):
    """Kills: a context of one episode that reads into the next, or leaves out how it ended; starts that are missed."""
    reader = WindowReader(ends, range(len(ends)), 5, extras=(RETURN_TO_GO,), one_episode=True)
    assert len(reader) == ends.num_transitions
    numbers = np.arange(len(reader))
    batch = reader.batch(numbers)
    for row, (history, start) in enumerate(zip(*reader._index.locate(numbers), strict=True)):
        whole, n = wholes[history], int(batch.lengths[row])
        left = int(np.argmax(whole.dones[start:])) + 1
        assert n == min(left, 5)
        assert batch.steps[row, :n].tolist() == whole.step_in_episode[start : start + n].tolist()
        assert bool(batch.dones[row, n - 1]) == (left <= 5)
        assert not batch.dones[row, : n - 1].any()
