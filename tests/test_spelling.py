"""Flags with - or _: every flag of every command, drawn from the parsers themselves."""

from argparse import ArgumentParser
from importlib import import_module

import numpy as np
import pytest

from icrl import config
from icrl.cli import COMMANDS, UsageParser, main
from icrl.spelling import as_spelled


class Caught(BaseException):
    """Carries a parser out of a command."""


def parser_of(command: str, monkeypatch) -> ArgumentParser:
    def catch(parser, *args, **more):
        raise Caught(parser)

    with monkeypatch.context() as patched:
        patched.setattr(config.ArgumentParser, "parse_args", catch)
        patched.setattr(UsageParser, "parse_args", catch)
        with pytest.raises(Caught) as caught:
            import_module(COMMANDS[command][0]).main([])
    return caught.value.args[0]


def respelled(flag: str, rng: np.random.Generator) -> str:
    return "--" + "".join(str(rng.choice(["-", "_"])) if c in "-_" else c for c in flag.removeprefix("--"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_in_either_spelling(command, monkeypatch):
    """Kills: a flag that a habit of other programs cannot reach; a value that is changed with its flag."""
    rng = np.random.default_rng(0)
    parser = parser_of(command, monkeypatch)
    flags = [flag for flag in parser._option_string_actions if flag.startswith("--")]
    assert len(flags) >= 2
    values = ["a_b-c", "runs/my-run_1", "x=--y_z", "-1", "--", "k-e_y=v-a_l"]
    for flag in flags:
        for _ in range(8):
            value = str(rng.choice(values[:4]))
            given = [respelled(flag, rng), value, f"{respelled(flag, rng)}={rng.choice(values)}"]
            assert as_spelled(given, flags) == [flag, value, f"{flag}={given[2].partition('=')[2]}"]
            assert as_spelled(["--", *given], flags) == ["--", *given], "what follows -- is no flag"


def test_names_of_the_users_own_are_left_alone():
    """Kills: an option my-option of a family that becomes my_option, where both may be there."""
    flags = ["--family_options", "--train.batch_size", "--dry-run"]
    assert as_spelled(["--family-options.my-option=a-b", "--family-options.my_option", "x"], flags) == [
        "--family_options.my-option=a-b", "--family_options.my_option", "x",
    ]  # fmt: skip
    assert as_spelled(["--train.batch-sizes", "--dry_ran", "-d", "a-b"], flags) == [
        "--train.batch-sizes", "--dry_ran", "-d", "a-b",
    ]  # fmt: skip


def test_commands_take_both(capsys, tmp_path):
    """Kills: a spelling that the parser would know and its command never hands on."""
    told = []
    for dash in "-_":
        line = ["--config", "ad-small", f"--train.batch{dash}size=8", f"--print{dash}config"]
        with pytest.raises(SystemExit):
            main(["train", *line])
        told.append(capsys.readouterr().out)
        line = ["--config", "dark-room-q-learning", f"--family{dash}options.size", "5", f"--dry{dash}run"]
        assert main(["generate", *line, "--out", str(tmp_path / "data")]) == 0
        told.append(capsys.readouterr().out)
        assert (
            main(["generate", f"--family{dash}optoins.train=9", f"--dry{dash}run", "--out=d", "--config=bandit-ucb"])
            == 2
        )
        assert "did you mean '--family_options'" in capsys.readouterr().err
        told.append("")
    assert told[:3] == told[3:]
    assert "batch_size: 8" in told[0]
    assert "'size': 5" in told[1]
