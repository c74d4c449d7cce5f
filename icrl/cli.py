"""The console script `icrl`: it finds the command and hands the rest of the line to that command's own main.

Nothing heavy is imported before a command is known, so that `icrl --help` answers at once.
"""

import errno
import os
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from icrl.errors import IcrlError, LaunchError, UsageError, did_you_mean
from icrl.memory import memory_fails_in_one_line
from icrl.own_code import own_code_fails_in_one_line
from icrl.spelling import as_spelled
from icrl.stopping import Stopped, code_of, message_of, signals

COMMANDS = {
    "tasks": ("icrl.commands.tasks", "list task families and presets: spaces, horizon, splits, anchors"),
    "show": ("icrl.commands.show", "draw a few tasks of a family and a rollout of its reference policy"),
    "check-family": ("icrl.commands.check_family", "check that a task family, such as your own, keeps the contract"),
    "check-method": ("icrl.commands.check_method", "check that a method, such as your own, keeps the contract"),
    "check-backbone": ("icrl.commands.check_backbone", "check that a backbone, such as your own, keeps the contract"),
    "check-learner": (
        "icrl.commands.check_learner",
        "check that a source learner, such as your own, keeps the contract",
    ),
    "generate": ("icrl.data_gen.generate", "record learning histories of a source learner over many tasks"),
    "mix": ("icrl.data_gen.mix", "put datasets together, for one model of several families"),
    "inspect": ("icrl.data_gen.inspect_dataset", "describe and check a dataset; draw its learning curve"),
    "train": ("icrl.train.train", "pretrain a causal transformer on learning histories"),
    "evaluate": ("icrl.eval.evaluate", "prompt the frozen model on tasks that it has never seen"),
}


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BARRED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP,
    errno.ENAMETOOLONG, errno.EIO, errno.ENXIO,
)  # fmt: skip
"""Errors of the system that a user can fix: a disk that is full, a path that is closed to them or not there."""


class UsageParser(ArgumentParser):
    """For the commands without a config: a wrong line raises UsageError, as it does in those with one, and a flag may
    be written with - or _ alike."""

    def parse_known_args(self, args=None, namespace=None):
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args(as_spelled(given, self._option_string_actions), namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def add_family_arguments(parser: ArgumentParser) -> None:
    """The arguments by which a command takes one task family and its options."""
    parser.add_argument(
        "family", metavar="FAMILY", help="a name that `icrl tasks` lists, path/file.py:Class or package.module:Class"
    )
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the family, such as size=7"
    )


def family_options(given: Sequence[str]) -> dict[str, Any]:
    """The options of `--option NAME=VALUE`, values read as YAML; raises UsageError where one is not of that form."""
    import yaml

    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            options[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not (name.strip() and equals):
            raise UsageError(f"--option {text}: expected NAME=VALUE, such as size=7 or hold=[start]")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0 done, 1 failed, 2 usage, 130 Ctrl-C, 143 SIGTERM."""
    return run_main(_dispatch, argv)


def run_main(main_function: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None) -> int:
    """Runs a command's main; what a user can fix becomes one line on stderr and an exit code, not a traceback.

    Args:
        argv: the arguments; None is those of this process, which then ends with this command.
    """
    with signals(for_good=argv is None) as taken:
        try:
            code = _run(main_function, list(sys.argv[1:] if argv is None else argv))
        except BaseException as error:
            stop = taken.error or error
            if not isinstance(stop, KeyboardInterrupt | Stopped):
                raise
            if message := message_of(stop):
                # A terminal shows ^C in the line.
                print(f"{chr(10) if sys.stderr.isatty() else ''}icrl: {message}", file=sys.stderr)
            code = code_of(stop)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        taken.over = code
        if code in (128 + signal.SIGINT, 128 + signal.SIGTERM) and argv is None:
            # All is told and cleaned up; what libraries do at the end of Python takes seconds at times.
            os._exit(code)
    return code


def _run(main_function: Callable[[Sequence[str]], int | None], argv: list[str]) -> int:
    try:
        with memory_fails_in_one_line(), own_code_fails_in_one_line():
            return main_function(argv) or 0
    except UsageError as error:
        print(f"icrl: {error}", file=sys.stderr)
        return 2
    except IcrlError as error:
        if isinstance(error, LaunchError):
            # A scheduler's signal to all processes may reach the others first: then it is on its way here.
            time.sleep(0.2)
        print(f"icrl: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # `icrl tasks | head` has seen enough. What is left in the buffer has nowhere to go, at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in FULL + BARRED:
            raise
        where = f" at {error.filename}" if error.filename else ""
        what = "free some space, then go on with --resume; or give another --out"
        if error.errno in BARRED:
            what = "give another path, or change its permissions"
        print(f"icrl: cannot read or write{where}: {error.strerror}; {what}", file=sys.stderr)
        return 1


def _dispatch(argv: Sequence[str]) -> int | None:
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0 if argv else 2
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"icrl {version('icrl')}")
        return 0
    return _command(argv[0])(argv[1:])


def _command(name: str) -> Callable[[Sequence[str]], int | None]:
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}{did_you_mean(name, COMMANDS)}; choose from {', '.join(COMMANDS)}")
    return import_module(COMMANDS[name][0]).main


def _help() -> str:
    lines = [
        "usage: icrl COMMAND [...]",
        "",
        "In-context reinforcement learning, from learning history to report.",
        "",
    ]
    lines += [f"  {name:14} {text}" for name, (_, text) in COMMANDS.items()]
    lines += ["", "`icrl COMMAND --help` lists a command's flags; `icrl --version` prints the version."]
    return "\n".join(lines)
