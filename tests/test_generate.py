"""Recording: the same bytes whatever the workers and the kills, and clear refusals."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from icrl import cli
from icrl.data_gen.config import GenerateConfig
from icrl.data_gen.generate import generate
from icrl.errors import DatasetError, UsageError
from icrl.files import commit

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
        deadline = time.monotonic() + 120
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
    with pytest.raises(UsageError, match="keep_every is 5, episodes 4: only the first one would be recorded"):
        generate("dark-room-q-learning", tmp_path / "one", **SMALL | {"episodes": 4})
    with pytest.raises(UsageError, match="seed was 0, now 1"):
        generate("dark-room-q-learning", out, resume=True, seed=1, **SMALL)
    assert contents(out) == before
    capsys.readouterr()
    with pytest.raises(UsageError, match="holds a dataset"):
        generate("dark-room-q-learning", out, dry_run=True, **SMALL)
    generate("dark-room-q-learning", out, dry_run=True, resume=True, **SMALL)
    assert "is complete" in capsys.readouterr().out, "a dry run says what the real one would"
    shutil.copytree(out, tmp_path / "less")
    next((tmp_path / "less").glob("data-*.arrow")).unlink()
    with pytest.raises(DatasetError, match="which is not there"):
        generate("dark-room-q-learning", tmp_path / "less", resume=True, **SMALL)
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("method: ad")
    with pytest.raises(UsageError, match="is a run of `icrl train`"):
        generate("dark-room-q-learning", tmp_path / "run", resume=True, **SMALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds other files \(thesis.tex\)"):
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


def test_a_shard_damaged_before_the_resume_is_recorded_again(tmp_path, capsys):
    """Kills: a shard that was changed, cut or put in another's place, taken as found and signed as if written so."""
    whole = generate("dark-room-q-learning", tmp_path / "whole", workers=1, **SMALL)
    begun = tmp_path / "begun"
    names = sorted(path.name for path in whole.glob("*.arrow"))
    generator = np.random.default_rng(0)
    for number in range(5):
        with pytest.MonkeyPatch.context() as patch:  # A kill after the last shard, before the listing.
            patch.setattr("icrl.store_writer.list_shards", stop)
            with pytest.raises(KeyboardInterrupt):
                generate("dark-room-q-learning", begun, workers=1, **SMALL)
        name = names[int(generator.integers(len(names)))]
        content = bytearray((begun / name).read_bytes())
        place = int(generator.integers(len(content)))
        if number == 0:
            (begun / f".{name}.digest").unlink()
        elif number == 1:
            shutil.copy(begun / names[names.index(name) - 1], begun / name)
        elif number % 2:
            (begun / name).write_bytes(content[:place])
        else:
            content[place] ^= 1 << int(generator.integers(8))
            (begun / name).write_bytes(content)
        kept = {path.name: path.stat().st_mtime_ns for path in begun.glob("*.arrow") if path.name != name}
        capsys.readouterr()
        generate("dark-room-q-learning", begun, workers=1, resume=True, **SMALL)
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("icrl: ")]
        assert told == [f"icrl: {begun / name} is not what was written: it is recorded again"]
        assert contents(begun) == contents(whole)
        assert all((begun / other).stat().st_mtime_ns == stamp for other, stamp in kept.items())
        shutil.rmtree(begun)


def stop(*arguments):
    raise KeyboardInterrupt


def test_a_full_disk_is_one_line_and_no_dataset(tmp_path, monkeypatch, capsys):
    """Kills: a listing of shards that were never written."""
    import errno

    def full(path, columns):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("icrl.store_writer.write_shard", full)
    arguments = ["--config", "dark-room-q-learning", "--episodes=2", "--keep_every=1", "--workers=1"]
    assert cli.main(["generate", *arguments, "--out", str(tmp_path / "data")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "data" / "state.json").exists()


def test_the_disk_filling_up_names_the_file_and_leaves_no_part_of_it(tmp_path, monkeypatch):
    """Kills: Arrow's own message, which names no file; a temporary file that keeps the disk full."""
    import errno

    def full(temporary, final):
        if final.suffix != ".arrow":
            return commit(temporary, final)
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")

    monkeypatch.setattr("icrl.files.commit", full)
    with pytest.raises(OSError, match=r"No space left on device: .*data-00000-of-00005.arrow"):
        generate("dark-room-q-learning", tmp_path / "data", workers=1, **SMALL)
    assert not list(tmp_path.glob("data/*data-*"))


def test_a_script_without_a_main_guard_records_in_several_processes(tmp_path):
    """Kills: processes that run the script once more each, as spawned ones do; a family of the user's own lost."""
    (tmp_path / "my_rooms.py").write_text(
        "from icrl.envs import FAMILIES\nfrom icrl.envs.grids.dark_room import DarkRoom\n"
        "class MyRoom(DarkRoom):\n    name = 'my-room'\n"
    )
    (tmp_path / "script.py").write_text(
        "import my_rooms\nfrom icrl.data_gen.generate import generate\nfrom icrl.envs import FAMILIES\n"
        "FAMILIES.add('my-room', my_rooms.MyRoom)\n"
        f"generate('dark-room-q-learning', 'data', family='my-room', workers=2, **{SMALL})\n"
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("120 histories") == 1
    assert (tmp_path / "data" / "state.json").exists()


def test_a_family_defined_in_the_script_itself_is_recorded_in_one_process(tmp_path):
    """Kills: a process that cannot find the family, and dies of it."""
    (tmp_path / "script.py").write_text(
        "from icrl.data_gen.generate import generate\nfrom icrl.envs import FAMILIES\n"
        "from icrl.envs.grids.dark_room import DarkRoom\n"
        "class MyRoom(DarkRoom):\n    name = 'my-room'\n"
        "FAMILIES.add('my-room', MyRoom)\n"
        f"generate('dark-room-q-learning', 'data', family='my-room', workers=2, **{SMALL})\n"
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "recording in one process" in done.stderr
    assert (tmp_path / "data" / "state.json").exists()


LONG = ["--config", "dark-room-q-learning", "--histories_per_shard", "50", "--episodes", "800", "--workers", "2"]


@pytest.fixture
def recording(tmp_path):
    """`icrl generate` with two processes that have written a shard or two of 48, and the pids of its children."""
    out = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, "-c", SIGINT_AS_IN_A_TERMINAL, "generate", *LONG, "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob("data-*.arrow")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process, out
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


# A process that a test starts in the background may inherit an ignored SIGINT.
SIGINT_AS_IN_A_TERMINAL = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from icrl.cli import main; sys.exit(main(sys.argv[1:]))"
)


def workers_of(pid: int) -> list[int]:
    """The recording processes that `pid` has started, by /proc; the one that tracks resources is none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and "spawn_main" in (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@linux
def test_no_process_outlives_a_killed_recording(recording):
    """Kills: processes that wait for their next shard for ever once nobody can give it to them."""
    process, _ = recording
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 120
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a recording process outlived the one that started it"
        time.sleep(0.05)


@linux
def test_a_killed_process_is_one_line(recording):
    """Kills: a traceback where the system took a process for want of memory."""
    process, out = recording
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "one of 2 processes was killed" in errors
    assert "Traceback" not in errors
    assert not (out / "state.json").exists()


def test_ctrl_c_ends_a_recording(recording):
    """Kills: a recording that runs on to its end after Ctrl-C; a traceback from every process."""
    process, out = recording
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "go on with the same command and --resume" in errors
    assert "Traceback" not in errors
    assert len(list(out.glob("data-*.arrow"))) < 24
    assert not list(out.glob(".*.partial-*"))


def test_a_resume_under_another_definition_of_the_family_is_refused(tmp_path):
    """Kills: shards of two releases in one dataset: the config is the same, the tasks are not."""
    out = generate("dark-room-q-learning", tmp_path / "data", workers=1, **SMALL)
    values = json.loads((out / "provenance.json").read_text())
    (out / "provenance.json").write_text(json.dumps({**values, "family_version": 7}))
    (out / "state.json").unlink()
    with pytest.raises(UsageError, match=r"another release \(family_version was 7, now \d"):
        generate("dark-room-q-learning", out, resume=True, **SMALL)


@pytest.mark.parametrize(
    ("family", "learner", "message"),
    [
        ("pendulum", "q-learning", r"are of Box\(1\): choose noise-distillation or expert or random or zero-action$"),
        ("maze", "q-learning", "those of maze are 4.2e.12: choose noise-distillation or optimal or random$"),
        (
            "point-robot",
            "ucb1",
            "and point-robot is not one: choose noise-distillation or optimal or random",
        ),
        (
            "bernoulli-bandit",
            "zero-action",
            "the action zero of a Box, and the actions of bernoulli-bandit are Discrete",
        ),
    ],
)
def test_a_learner_that_cannot_learn_the_family_leaves_nothing_behind(tmp_path, family, learner, message):
    """Kills: a folder that a misfit has begun, which the next, right command refuses to write to."""
    out = tmp_path / "data"
    with pytest.raises(UsageError, match=message):
        generate(GenerateConfig(family=family, learner=learner, episodes=3), out)
    assert not out.exists()


def test_a_table_for_too_many_lanes_leaves_nothing_behind(tmp_path):
    """Kills: a check of the learner with one lane, where a shard has thousands."""
    big = {"family": "dark-room", "family_options": {"size": 300}, "learner": "q-learning", "episodes": 1}
    with pytest.raises(UsageError, match="lower histories_per_shard"):
        generate(GenerateConfig(**big, histories_per_shard=5000), tmp_path / "data")
    assert not (tmp_path / "data").exists()
