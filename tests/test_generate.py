"""Recording: the same bytes whatever the workers and the kills, and clear refusals."""

import os
import signal
import subprocess
import sys
import time

import pytest

from icrl import cli
from icrl.data_gen.describe import inspect
from icrl.data_gen.generate import generate
from icrl.errors import DatasetError, UsageError

SMALL = {"histories_per_task": 2, "episodes": 20, "keep_every": 5, "histories_per_shard": 25}


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "config.yaml"}


def test_the_bytes_do_not_depend_on_the_workers(tmp_path):
    """Kills: random numbers drawn in the order of the processes."""
    one = generate("dark-room-q-learning", tmp_path / "one", workers=1, **SMALL)
    two = generate("dark-room-q-learning", tmp_path / "two", workers=2, **SMALL)
    assert contents(one) == contents(two)
    other = generate("dark-room-q-learning", tmp_path / "other", workers=1, seed=1, **SMALL)
    assert contents(one)["data-00000-of-00005.arrow"] != contents(other)["data-00000-of-00005.arrow"]


def test_a_killed_recording_goes_on_to_the_same_bytes(tmp_path):
    """Kills: a half-written shard taken for whole, a dataset listed before it is whole."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = ["--config", "dark-room-q-learning", "--episodes=150", "--histories_per_shard=240", "--workers=1"]
    assert cli.main(["generate", *config, "--out", str(whole)]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "icrl", "generate", *config, "--out", str(killed)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not list(killed.glob("data-*.arrow")):
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    made = {path.name: path.stat().st_mtime_ns for path in killed.glob("data-*.arrow")}
    assert not (killed / "state.json").exists(), "killed too late for this test to mean anything"
    (killed / ".data-00009-of-00010.arrow.partial-1").write_bytes(b"half")
    with pytest.raises(UsageError, match=r"has not finished: go on with --resume"):
        generate("dark-room-q-learning", killed, episodes=150, histories_per_shard=240)
    assert cli.main(["generate", *config, "--out", str(killed), "--resume"]) == 0
    assert contents(killed) == contents(whole)
    assert all((killed / name).stat().st_mtime_ns == stamp for name, stamp in made.items()), "whole shards were redone"
    assert cli.main(["generate", *config, "--out", str(killed), "--resume"]) == 0


def test_refusals_name_the_cause_and_write_nothing(tmp_path, capsys):
    """Kills: data of two configs in one folder; a folder of someone else's that is written into."""
    out = generate("dark-room-q-learning", tmp_path / "data", workers=1, **SMALL)
    before = contents(out)
    with pytest.raises(UsageError, match="holds a dataset: go on with --resume"):
        generate("dark-room-q-learning", out, **SMALL)
    with pytest.raises(DatasetError, match="seed was 0, now 1"):
        generate("dark-room-q-learning", out, resume=True, seed=1, **SMALL)
    assert contents(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not empty and holds no recording"):
        generate("dark-room-q-learning", tmp_path / "mine", resume=True, **SMALL)
    for wrong, message in (
        ({"family": "dark-rom"}, "did you mean 'dark-room'"),
        ({"family_options": {"sice": 9}}, "did you mean 'size'"),
        ({"learner": "q-lerning"}, "did you mean 'q-learning'"),
        ({"split": "tests"}, "did you mean 'test'"),
        ({"episodes": 0}, "episodes is 0: expected at least 1"),
    ):
        with pytest.raises(UsageError, match=message):
            generate("dark-room-q-learning", tmp_path / "new", **{**SMALL, **wrong})
    assert not (tmp_path / "new").exists()
    generate("dark-room-q-learning", tmp_path / "new", dry_run=True, **SMALL)
    assert not (tmp_path / "new").exists()
    assert "120: 60 train tasks × 2" in capsys.readouterr().out


def test_a_full_disk_is_one_line_and_no_dataset(tmp_path, monkeypatch, capsys):
    """Kills: a listing of shards that were never written."""
    import errno

    def full(path, columns):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("icrl.store_writer.write_shard", full)
    arguments = ["--config", "dark-room-q-learning", "--histories_per_task=1", "--episodes=2", "--workers=1"]
    assert cli.main(["generate", *arguments, "--out", str(tmp_path / "data")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "data" / "state.json").exists()


def test_inspect_finds_the_curve_and_draws_it(tmp_path, capsys):
    """Kills: a description that disagrees with the family's exact anchors."""
    out = generate("dark-room-noise", tmp_path / "data", workers=1, histories_per_task=20, episodes=10)
    description = inspect(out)
    assert description.histories == 1200
    assert description.transitions == 1200 * 10 * 20
    assert description.learning_curve[0] == pytest.approx(description.random, abs=0.15)
    assert description.learning_curve[-1] == pytest.approx(description.optimum, abs=1e-5)
    assert (out / "learning_curve.png").stat().st_size > 10_000
    assert "60 train, 5 validation, 16 test" in capsys.readouterr().out
    assert cli.main(["inspect", str(out), "--picture", "x.txt"]) == 2
    assert cli.main(["inspect", str(tmp_path / "nothing")]) == 1
