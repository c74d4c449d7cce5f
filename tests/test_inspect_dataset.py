"""`icrl inspect`: what it says is what was recorded, and what contradicts the index convention is found."""

from dataclasses import replace

import numpy as np
import pytest

from icrl import cli
from icrl.data_gen.generate import generate
from icrl.data_gen.inspect_dataset import inspect
from icrl.data_gen.record import record
from icrl.errors import DatasetError
from icrl.store import HistoryStore
from icrl.store_writer import list_shards, write_shard
from icrl.stored_family import family_of

OPTIONS = {"policy": "optimal", "final_epsilon": 0.0, "final_fraction": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """1,200 histories of 60 tasks in one shard, ten episodes each: noise that falls to nothing."""
    out = tmp_path_factory.mktemp("data") / "room"
    return generate("dark-room-noise", out, workers=1, histories_per_task=20, episodes=10, histories_per_shard=1200)


def test_it_finds_the_curve_and_draws_it(folder, tmp_path, capsys):
    """Kills: a description that disagrees with the family's exact anchors; a picture put into somebody's data."""
    description = inspect(folder, tmp_path / "curve.png")
    assert description.histories == 1200
    assert description.transitions == 1200 * 10 * 20
    assert description.learning_curve[0] == pytest.approx(description.random, abs=0.15)
    assert description.learning_curve[-1] == pytest.approx(description.optimum, abs=1e-5)
    assert description.episode_numbers.tolist() == list(range(10))
    assert np.all(description.quartiles[0] <= description.quartiles[1])
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    assert not (folder / "learning_curve.png").exists()
    printed = capsys.readouterr().out
    assert "60 train, 5 validation, 16 test" in printed
    assert "all 1,200 histories keep the index convention" in printed


def test_the_command_line(folder, tmp_path, capsys):
    """Kills: a traceback for a wrong folder or ending; a default picture that is nowhere."""
    assert cli.main(["inspect", str(folder)]) == 0
    assert (folder / "learning_curve.png").is_file()
    assert cli.main(["inspect", str(folder), "--picture", "x.txt"]) == 2
    assert cli.main(["inspect", str(tmp_path / "nothing")]) == 2
    assert "is not there: expected a dataset made by `icrl generate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("step_in_episode", 205, 9, "history 1: step_in_episode must rise by 1"),
        ("rewards", 205, np.nan, "column rewards, history 1: nan: expected a number"),
        ("actions", 205, 5, "column actions, history 1: 5"),
        ("truncated", 219, False, "history 1: .*finished episodes"),
        ("task_id", 1, 10**6, "task 1000000, which is not in its train split"),
    ],
)
def test_one_wrong_value_anywhere_is_found(folder, tmp_path, column, row, value, message):
    """Kills: a check of a sample of histories, which lets the one that is wrong through to training."""
    import shutil

    path = shutil.copytree(folder, tmp_path / "copy")
    family = family_of(HistoryStore.open(path).provenance)
    tasks = [family.split(0).train[history % 60] for history in range(1200)]
    columns = record(
        family, tasks, "noise-distillation", OPTIONS, episodes=10, keep_every=1, seed=0, index=range(1200)
    )
    write_shard(path / "data-00000-of-00001.arrow", columns)
    assert (path / "data-00000-of-00001.arrow").read_bytes() == (folder / "data-00000-of-00001.arrow").read_bytes()
    changed = getattr(columns, column).copy()
    changed[row] = value
    write_shard(path / "data-00000-of-00001.arrow", replace(columns, **{column: changed}))
    list_shards(path, 1)
    with pytest.raises(DatasetError, match=message):
        inspect(path, tmp_path / "curve.png")
