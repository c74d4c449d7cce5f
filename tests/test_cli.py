"""The console script: exit codes, one-line errors, and a start that does not make a user wait."""

import errno
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from icrl import cli, progress
from icrl.envs import FAMILIES
from icrl.errors import DatasetError, UsageError
from icrl.files import size_in_words, write_atomically


def test_help_lists_every_command_and_unknown_ones_exit_with_2(capsys):
    """Kills: a command that exists and is not listed; a typo that ends in a traceback."""
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in ("tasks", "generate", "inspect", "train", "evaluate"))
    assert cli.main(["generat"]) == 2
    assert "did you mean 'generate'" in capsys.readouterr().err
    assert cli.main([]) == 2


@pytest.mark.parametrize("command", ["tasks", "generate", "inspect", "train", "evaluate"])
def test_every_command_answers_help_with_0_and_a_wrong_flag_with_2(command, capsys):
    """Kills: a command whose help fails, a wrong flag with exit code 1 or a traceback."""
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert cli.main([command, "--no-such-flag"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("icrl: ")
    assert error.count("\n") == 1


def test_errors_become_one_line_and_an_exit_code(capsys):
    """Kills: a full disk or a damaged dataset that ends in a traceback; a programming error that is hidden."""

    def raising(error):
        def command(argv):
            raise error

        return command

    assert cli.run_main(raising(UsageError("wrong")), []) == 2
    assert cli.run_main(raising(DatasetError("damaged")), []) == 1
    assert cli.run_main(raising(OSError(errno.ENOSPC, "No space left on device", "/x")), []) == 1
    assert cli.run_main(raising(KeyboardInterrupt()), []) == 130
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "--resume" in error
    with pytest.raises(ZeroDivisionError):
        cli.run_main(raising(ZeroDivisionError()), [])


def test_help_loads_nothing_that_a_user_would_wait_for():
    """Kills: an import at the top of the command line that every command then pays for."""
    code = (
        "import sys, icrl.cli; icrl.cli.main(['--help']); print(sorted({'numpy', 'yaml', 'torch'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_tasks_lists_families_with_anchors_and_presets(capsys):
    """Kills: a catalogue that disagrees with the published anchors of Dark Room."""
    assert cli.main(["tasks", "--json"]) == 0
    families = {family["name"]: family for family in json.loads(capsys.readouterr().out)}
    room = families["dark-room"]
    assert room["tasks"]["test"] == 16
    assert room["tasks"]["train"] + room["tasks"]["validation"] == 65
    assert room["anchors"]["random"]["mean"] == pytest.approx(0.25, abs=0.15)
    assert "other-start" in room["out_of_distribution"]
    assert cli.main(["tasks"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("dark-room-q-learning", "ad-small", "bernoulli-bandit"))


def test_progress_lines_tell_what_is_left(monkeypatch, capsys):
    """Kills: an estimate that counts the part which an earlier run had done as this run's speed."""
    now = iter([0.0, 20.0, 30.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with progress.progress("recording", 100, unit="shards", done=50) as advance:
        advance(25, note="half")
        advance(25)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "recording: 75/100 shards, 0:20 so far, 0:20 left · half",
        "recording: 100/100 shards, 0:30 so far, 0:00 left · half",
    ]
    assert [progress.clock(s) for s in (5, 65, 3661)] == ["0:05", "1:05", "1:01:01"]


def test_a_failed_write_leaves_the_old_file_and_no_leftover(tmp_path, monkeypatch):
    """Kills: a summary cut in half by a full disk."""
    path = tmp_path / "summary.json"
    write_atomically(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("icrl.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_plug_in_that_fails_does_not_hide_the_others(monkeypatch, capsys):
    """Kills: a list of families that ends in the traceback of somebody's plug-in."""
    monkeypatch.setitem(FAMILIES._entries, "broken-plug-in", lambda: 1 / 0)
    assert cli.main(["tasks"]) == 0
    out, err = capsys.readouterr()
    assert "dark-room@1" in out
    assert "broken-plug-in cannot be described: broken-plug-in cannot be made: ZeroDivisionError" in err


def test_a_folder_that_cannot_be_written_is_told_before_anything_else(tmp_path, capsys):
    """Kills: a dry run that promises what fails, a traceback from below a file, a picture nobody can write."""
    (tmp_path / "file").write_text("")
    below = str(tmp_path / "file" / "x")
    assert cli.main(["generate", "--config", "dark-room-q-learning", "--dry-run", "--out", below]) == 2
    assert "file is a file; give another folder" in capsys.readouterr().err
    assert cli.main(["show", "dark-room", "--out", f"{below}.png"]) == 1
    assert "cannot read or write" in capsys.readouterr().err


def test_a_presets_name_is_not_taken_for_a_mistyped_family(capsys):
    """Kills: `icrl tasks ad-small`, a name that `icrl tasks` lists, answered with another family's."""
    assert cli.main(["tasks", "ad-small"]) == 2
    assert "ad-small is a preset of `icrl train --config`" in capsys.readouterr().err


def test_sizes_are_never_nothing():
    """Kills: "0.0 MB" of a dataset that is there."""
    assert [size_in_words(count) for count in (4_000, 99_000, 3_140_000)] == ["4 kB", "99 kB", "3.1 MB"]


def test_a_reader_who_has_seen_enough():
    """Kills: `icrl tasks | head -1` that ends in a traceback. Here the reader has gone before the first line."""
    command = [sys.executable, "-m", "icrl", "tasks"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tasks:
        tasks.stdout.close()
        assert tasks.stderr.read() == b""
    assert tasks.returncode == 0
