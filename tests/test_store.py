"""The store: zero-copy windows equal to what was recorded, and no dataset without its listing."""

import json

import gymnasium as gym
import numpy as np
import pytest

from icrl.data_gen.generate import generate
from icrl.data_gen.record import record_histories
from icrl.errors import DatasetError
from icrl.provenance import Provenance, write_provenance
from icrl.spaces import gate, map_leaves, space_to_dict, storage_dtype
from icrl.store import HistoryStore
from icrl.store_check import check_store
from icrl.store_writer import HistoryColumns, list_shards, shard_name, write_shard
from icrl.stored_family import family_of
from icrl.tasks import Split, Task
from tests.drawn_spaces import batch, drawn_spaces, same, samples

SMALL = {"histories_per_task": 1, "episodes": 6, "keep_every": 2, "histories_per_shard": 20, "workers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 histories in three shards, of episodes that end at different times."""
    out = tmp_path_factory.mktemp("data") / "door"
    return generate("key-to-door-noise", out, **SMALL, **{"family_options": {"train": 60}})


def test_windows_are_the_recorded_rows_without_a_copy(folder):
    """Kills: an offset of one, a window that straddles two histories, a copy per read."""
    store = HistoryStore.open(folder)
    family, split = family_of(store.provenance), store.split
    whole = record_histories(
        family, split.train, "noise-distillation", store.provenance.learner_options, episodes=6, keep_every=2
    )
    assert len(store) == 60
    assert store.lengths.tolist() == [len(history) for history in whole]
    assert len(set(store.lengths.tolist())) > 1
    for index in range(60):
        stored = store.history(index)
        assert stored.task_params == whole[index].task_params
        for name in ("observations", "actions", "rewards", "terminated", "truncated", "episode", "final_observations"):
            np.testing.assert_array_equal(getattr(stored, name), getattr(whole[index], name))
    for index, start, length in ((0, 0, 5), (37, 3, 20), (59, int(store.lengths[59]) - 4, 4)):
        window = store.window(index, start, length)
        for name, values in window._asdict().items():
            assert len(values) == length
            assert not values.flags.owndata
            assert not values.flags.writeable
            np.testing.assert_array_equal(values, getattr(whole[index], name)[start : start + length])
    with pytest.raises(IndexError, match="no window"):
        store.window(0, 0, int(store.lengths[0]) + 1)


def test_the_folder_is_a_hugging_face_dataset(folder):
    """Kills: a format of our own; a row per transition."""
    import datasets

    rows = datasets.load_from_disk(str(folder))
    assert rows.num_rows == 60
    store = HistoryStore.open(folder)
    assert rows[3]["rewards"] == store.window(3, 0, int(store.lengths[3])).rewards.tolist()
    assert rows.features["observations"].feature.dtype == "uint8"


def _written(folder, columns: HistoryColumns, observation_space: gym.Space, action_space: gym.Space) -> HistoryStore:
    tasks = tuple(Task(number, {"number": number}) for number in range(3))
    spaces = {"observation_space": space_to_dict(observation_space), "action_space": space_to_dict(action_space)}
    provenance = Provenance(
        "any", 1, {}, 2, **spaces, split_seed=0, recorded_split="train", learner="any", learner_options={},
        histories_per_task=1, episodes=3, keep_every=1, seed=0,
    )  # fmt: skip
    write_provenance(folder, provenance, Split(0, tasks, (), ()))
    write_shard(folder / shard_name(0, 1), columns)
    list_shards(folder, 1)
    return HistoryStore.open(folder)


@pytest.mark.parametrize("seed", range(10))
def test_trees_and_all_kinds_come_back_as_they_were_written(seed, tmp_path):
    """Kills: a column of a part with the rows of another; a part that is lost, or of another type; a value that the
    store's type does not hold."""
    observation, action = drawn_spaces(seed, 1)[-seed - 1], drawn_spaces(100 + seed, 1, bounded=True)[seed % 10]
    seen, played, last = (batch(s, samples(s, n)) for s, n in ((observation, 10), (action, 10), (observation, 5)))

    def rows(space: gym.Space, values) -> np.ndarray:
        return gate(space)(values).astype(storage_dtype(space))

    columns = HistoryColumns(
        task_id=np.array([0, 1, 2]),
        learner_seed=np.array([5, 6, 7]),
        lengths=np.array([4, 0, 6]),
        num_final=np.array([2, 0, 3]),
        observations=rows(observation, seen),
        actions=rows(action, played),
        rewards=np.zeros(10, np.float32),
        terminated=np.array([0, 1] * 5, bool),
        truncated=np.zeros(10, bool),
        episode=np.array([0, 0, 1, 1, 0, 0, 1, 1, 2, 2], np.int32),
        step_in_episode=np.tile([0, 1], 5).astype(np.int32),
        final_observations=rows(observation, last),
    )
    store = _written(tmp_path, columns, observation, action)
    check_store(store)
    for index, part, finals in ((0, slice(0, 4), slice(0, 2)), (2, slice(4, 10), slice(2, 5))):
        history = store.history(index)
        assert same(observation, history.observations, map_leaves(lambda values, part=part: values[part], seen))
        assert same(action, history.actions, map_leaves(lambda values, part=part: values[part], played))
        expected = map_leaves(lambda values, finals=finals: values[finals], last)
        assert same(observation, history.final_observations, expected)
        assert history.observations.dtype == storage_dtype(observation)


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (gym.spaces.Box(-np.inf, np.inf, (2, 3)), np.float32),
        (gym.spaces.Discrete(1), np.uint8),
        (gym.spaces.Discrete(70_000), np.uint32),
        (gym.spaces.MultiDiscrete([300, 4]), np.uint16),
    ],
)
def test_every_space_comes_back_as_it_was_written(space, dtype, tmp_path):
    """Kills: a row's width taken from the wrong column; an empty history that shifts all that follow it."""
    generator = np.random.default_rng(0)

    def observations(rows: int) -> np.ndarray:
        return generator.integers(0, 256, (rows, *space.shape)).astype(dtype)

    assert storage_dtype(space) == dtype
    terminated = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1], bool)
    columns = HistoryColumns(
        task_id=np.array([0, 1, 2]),
        learner_seed=np.array([5, 6, 7]),
        lengths=np.array([4, 0, 6]),
        num_final=np.array([2, 0, 3]),
        observations=observations(10),
        actions=np.arange(10, dtype=np.uint8),
        rewards=generator.normal(size=10).astype(np.float32),
        terminated=terminated,
        truncated=np.zeros(10, bool),
        episode=np.array([0, 0, 1, 1, 0, 0, 1, 1, 2, 2], np.int32),
        step_in_episode=np.tile([0, 1], 5).astype(np.int32),
        final_observations=observations(5),
    )
    store = _written(tmp_path, columns, space, gym.spaces.Discrete(10))
    assert store.lengths.tolist() == [4, 0, 6]
    for index, rows, finals in (
        (0, slice(0, 4), slice(0, 2)),
        (1, slice(4, 4), slice(2, 2)),
        (2, slice(4, 10), slice(2, 5)),
    ):
        history = store.history(index)
        assert history.task_params == {"number": index}
        for name in ("observations", "actions", "rewards", "terminated", "truncated", "episode", "step_in_episode"):
            stored, written = getattr(history, name), getattr(columns, name)[rows]
            assert stored.dtype == written.dtype
            np.testing.assert_array_equal(stored, written)
        np.testing.assert_array_equal(history.final_observations, columns.final_observations[finals])


def copy_of(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "state.json").unlink(), "has no state.json.*--resume"),
        (lambda path: (path / "data-00001-of-00003.arrow").unlink(), "data-00001-of-00003.arrow, which is not there"),
        (lambda path: truncate(path / "data-00002-of-00003.arrow"), "damaged"),
        (lambda path: (path / "state.json").write_text("{"), "damaged"),
        (lambda path: (path / "dataset_info.json").write_text("[]"), "damaged"),
        (lambda path: (path / "tasks.parquet").write_bytes(b"x"), "damaged .tasks.parquet has 1 bytes"),
        (lambda path: (path / "provenance.json").unlink(), "has no provenance.json"),
        (lambda path: (path / "provenance.json").write_text("{}"), "not of format 1"),
    ],
)
def test_a_damaged_dataset_is_refused_in_one_line(folder, tmp_path, damage, message):
    """Kills: a traceback from Arrow, or worse, a dataset that opens with shards missing."""
    path = copy_of(folder, tmp_path)
    damage(path)
    with pytest.raises(DatasetError, match=message) as caught:
        HistoryStore.open(path)
    assert "\n" not in str(caught.value)


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def listing(path, names):
    """An older listing, without digests, of shards of these names."""
    state = json.loads((path / "state.json").read_text())
    state.pop("files", None)
    (path / "state.json").write_text(json.dumps({**state, "_data_files": [{"filename": name} for name in names]}))


def refused(path, message):
    with pytest.raises(DatasetError, match=message) as caught:
        HistoryStore.open(path)
    assert "\n" not in str(caught.value)


SHARDS = [shard_name(number, 3) for number in range(3)]


def test_a_shard_listed_twice_is_refused(folder, tmp_path):
    """Kills: histories that count double in training and in every mean."""
    path = copy_of(folder, tmp_path)
    listing(path, [SHARDS[0], SHARDS[1], SHARDS[0]])
    refused(path, f"lists {SHARDS[0]} twice")


def test_a_listed_name_that_leads_out_of_the_folder_is_refused(folder, tmp_path):
    """Kills: a dataset of somebody's that reads, and passes on, whatever file of the reader's it names."""
    path = copy_of(folder, tmp_path)
    (path / "inner").mkdir()
    for place in (tmp_path, path / "inner"):
        (path / SHARDS[1]).rename(place / "x.arrow")
        for name in ("../x.arrow", f"../{path.name}/inner/x.arrow", "inner/x.arrow", str(place / "x.arrow")):
            listing(path, [SHARDS[0], name, SHARDS[2]])
            refused(path, r"state.json lists .*: expected names of shards in this folder")
        (place / "x.arrow").rename(path / SHARDS[1])
    listing(path, SHARDS)
    assert len(HistoryStore.open(path)) == 60, "refused for another reason"


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    """Kills: the same by a link under a proper name; a link beside its target is no way out."""
    path = copy_of(folder, tmp_path)
    (path / SHARDS[1]).rename(tmp_path / "x.arrow")
    (path / SHARDS[1]).symlink_to(tmp_path / "x.arrow")
    refused(path, f"{SHARDS[1]} is a link out of the folder")
    (tmp_path / "x.arrow").rename(path / "x.arrow")
    (path / SHARDS[1]).unlink()
    (path / SHARDS[1]).symlink_to("x.arrow")
    assert len(HistoryStore.open(path)) == 60


def test_a_shard_of_another_dataset_is_refused(folder, tmp_path):
    """Kills: a shard of the same family, spaces, tasks and name that another seed has made."""
    options = {"family_options": {"train": 60}}
    other = generate("key-to-door-noise", tmp_path / "other", seed=1, **SMALL, **options)
    path = copy_of(folder, tmp_path)
    (path / SHARDS[1]).write_bytes((other / SHARDS[1]).read_bytes())
    refused(path, f"{SHARDS[1]} (has .* bytes|is not the file that was written)")
    (path / SHARDS[1]).write_bytes((other / SHARDS[2]).read_bytes())
    listing(path, SHARDS)
    refused(path, "damaged")  # Without digests: these are histories that another shard has already.


def test_another_version_of_the_family_is_refused(folder, tmp_path):
    """Kills: old data read under a new definition of its task."""
    path = copy_of(folder, tmp_path)
    values = json.loads((path / "provenance.json").read_text())
    (path / "provenance.json").write_text(json.dumps({**values, "family_version": 0}))
    list_shards(path, 3)
    with pytest.raises(DatasetError, match=r"key-to-door-ad-eps@0.*generate the data again"):
        family_of(HistoryStore.open(path).provenance)
