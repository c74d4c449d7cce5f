"""Contexts and queries of a dataset: of one task, drawn apart, the same for the same number, at every prefix."""

import numpy as np
import pytest
import torch

from icrl.data_gen.generate import generate
from icrl.envs import make_family
from icrl.errors import DatasetError
from icrl.models.sampling.sets import DRAWS, QUERIES, SEEN, TARGETS, Prefixes, SetReader, spread_of
from icrl.ranges import Scales
from icrl.store import HistoryStore
from icrl.transitions import NEXT_OBSERVATIONS

ROOM = {"size": 4, "horizon": 6, "validation": 3, "test": 7, "start": "anywhere"}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> HistoryStore:
    """Random actions in a 4×4 room: 12 histories of 5 episodes of 6 steps."""
    out = tmp_path_factory.mktemp("sets") / "data"
    changes = {
        "family": "dark-room", "family_options": ROOM, "learner": "random", "learner_options": {}, "keep_every": 1,
        "histories_per_task": 2, "episodes": 5, "workers": 1, "expert_actions": True,
    }  # fmt: skip
    generate("dark-room-q-learning", out, **changes)
    return HistoryStore.open(out)


def reader(store: HistoryStore, length: int = 10, seed: int = 0, shuffled: bool = True, **prefixes) -> SetReader:
    spaces = (store.provenance.observation_space, store.provenance.action_space)
    prefixes = Prefixes(**({"count": 0, "queries": 1} | prefixes))
    return SetReader(store, np.arange(len(store)), length, seed, Scales.none(*spaces), prefixes, shuffled)


def test_contexts_and_queries_are_of_one_task_and_targets_are_its_experts(store):
    """Kills: a query of another task than its context, a target of another state than the query's."""
    family = make_family("dark-room", **ROOM)
    tasks = {task.id: task for task in family.split(0).train}
    numbers = np.arange(len(store)) + 5 * len(store)
    batch = reader(store).batch(numbers)
    for row in range(len(store)):
        task = tasks[int(store.task_ids[row])]
        asked = batch.extras[QUERIES][row].numpy()
        policy = family.reference_policy("optimal", [task] * len(asked))
        assert np.array_equal(policy.act(asked), batch.extras[TARGETS][row].numpy())
        at_goal = (batch.extras[NEXT_OBSERVATIONS][row].numpy() == task.params["goal"]).all(axis=1)
        assert np.array_equal(at_goal, batch.rewards[row].numpy() == 1)


def test_a_context_is_transitions_as_they_were_in_no_order(store):
    """Kills: columns that are shuffled apart from one another, a successor of another transition, an order that is
    kept, a transition that is drawn twice."""
    batch = reader(store, length=30).batch(np.arange(3))
    for row in range(3):
        history = store.history(row)
        whole = [history.observations, history.actions, history.rewards, history.terminated, history.truncated]
        whole += [history.step_in_episode, history.derived(NEXT_OBSERVATIONS)]
        drawn = [batch.observations, batch.actions, batch.rewards, batch.terminated, batch.truncated, batch.steps]
        drawn += [batch.extras[NEXT_OBSERVATIONS]]
        as_rows = [
            np.concatenate([np.asarray(c, np.float64).reshape(30, -1) for c in columns], axis=1).tolist()
            for columns in (whole, [c[row] for c in drawn])
        ]
        assert as_rows[0] != as_rows[1]
        assert sorted(as_rows[0]) == sorted(as_rows[1])


def test_unshuffled_contexts_are_stretches_of_a_history(store):
    """Kills: data of a learner that learns, whose order is lost."""
    batch = reader(store, length=7, shuffled=False).batch(np.arange(40))
    starts = set()
    for row in range(40):
        history = store.history(row % len(store))
        said = history.step_in_episode + 100 * history.observations[:, 0].astype(int)
        windows = np.lib.stride_tricks.sliding_window_view(said, 7)
        found = (batch.steps[row] + 100 * batch.observations[row, :, 0]).numpy()
        places = np.flatnonzero((windows == found).all(axis=1))
        assert len(places)
        starts.add(int(places[0]))
    assert len(starts) > 5


def test_a_sample_is_a_function_of_its_number(store):
    """Kills: samples that depend on the batch or on what was read before; an epoch that repeats one context."""
    one, other = reader(store), reader(store)
    numbers = np.array([3, 400, 3 + len(store)])
    other.batch(np.arange(50))
    first, again = one.batch(numbers), other.batch(numbers[::-1].copy())
    for name in ("observations", "actions", "rewards"):
        assert torch.equal(getattr(first, name), getattr(again, name).flip(0))
    assert torch.equal(first.extras[QUERIES], again.extras[QUERIES].flip(0))
    # 3 and 3 + H are two draws of one history.
    assert not torch.equal(first.extras[QUERIES][0], first.extras[QUERIES][2])
    assert not torch.equal(first.observations, reader(store, seed=1).batch(numbers).observations)
    assert len(one) == len(store) * DRAWS


def test_queries_are_drawn_apart_from_the_context(store):
    """Kills: queries that are states of the context, whose transitions tell where the expert would go."""
    batch = reader(store, length=2, queries=40).batch(np.arange(len(store)))
    for row in range(len(store)):
        seen = {tuple(cell) for cell in batch.observations[row].tolist()}
        assert len({tuple(cell) for cell in batch.extras[QUERIES][row].tolist()} - seen) > 2


def test_all_prefixes_are_due_the_empty_one_included():
    """Kills: an empty or a whole context that is never trained on."""
    random = np.random.default_rng(0)
    assert Prefixes(0, 1).draw(5, 5, random).tolist() == [0, 1, 2, 3, 4, 5]
    assert Prefixes(0, 2).draw(2, 4, random).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    drawn = np.array([Prefixes(3, 1).draw(6, 6, random) for _ in range(400)])
    assert [set(column) for column in drawn.T] == [{0}, {1, 2, 3}, {4, 5, 6}]
    assert Prefixes(3, 2).draw(1, 6, random).tolist() == [0, 0, 1, 1, 1, 1]
    assert (Prefixes(0, 3).total(5), Prefixes(4, 3).total(5)) == (18, 12)


def test_what_is_seen_is_within_the_context(store):
    """Kills: a query that counts more transitions than its context has."""
    for count in (0, 4):
        batch = reader(store, length=100, count=count).batch(np.arange(6))
        assert batch.shape == (6, 30)
        assert (batch.extras[SEEN][:, 0] == 0).all()
        assert (batch.extras[SEEN] <= batch.lengths[:, None]).all()


def test_data_without_expert_actions_cannot_be_read(tiny_store):
    """Kills: targets of zeros."""
    with pytest.raises(DatasetError, match="has no column expert_actions"):
        reader(tiny_store).batch(np.arange(2))


def test_a_set_of_a_prompt_holds_nothing_twice_while_there_is_more(store):
    """Kills: a context of one transition many times over; the newest part of a prompt for all of it."""
    history = store.history(0)
    said = np.concatenate(
        [
            history.observations,
            history.actions[:, None],
            history.derived(NEXT_OBSERVATIONS),
            history.truncated[:, None],
        ],
        axis=1,
    )
    distinct = len(np.unique(said, axis=0))
    assert distinct < len(history)
    chosen = spread_of(history, distinct)
    assert len(np.unique(said[chosen], axis=0)) == distinct
    few = spread_of(history, 8)
    assert len(set(few.tolist())) == 8
    assert few.min() < 15 <= few.max()
    assert spread_of(history, 30).tolist() == list(range(30))
