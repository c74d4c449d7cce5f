"""`icrl check-method NAME`: whether a method keeps what training and acting take for granted, check by check."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from icrl.checks import conclude, run_checks

DATA = {
    "family": "dark-room",
    "learner": "noise-distillation",
    "episodes": 6,
    "family_options": {"size": 4, "horizon": 5, "validation": 2, "test": 4},
    "workers": 1,
}
"""Some whole episodes of a few small rooms, of rising quality."""


def check_method(
    name: str,
    options: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    show: Callable[[str], None] = print,
) -> list[str]:
    """Runs every check on a method and shows what it finds; returns the names of the checks that failed.

    Args:
        options: of the method.
        data: a small dataset to run them on; None records one of `dark-room`.
    """
    from icrl.data_gen.generate import GenerateConfig, generate
    from icrl.models.methods import METHODS
    from icrl.models.methods.conformance import CHECKS, Subject

    method = METHODS[name]
    with tempfile.TemporaryDirectory(prefix="icrl-") as folder:
        if data is None:
            data = Path(folder) / "data"
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                generate(GenerateConfig(**{**DATA, **method.check_data}), data)
        return run_checks(CHECKS, Subject(name, dict(options or {}), Path(data)), f"method {name}", show)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    from icrl.cli import UsageParser, family_options

    parser = UsageParser(prog="icrl check-method", description=__doc__.partition("\n")[0])
    parser.add_argument("method", metavar="METHOD", help="a name, path/file.py:Class or package.module:Class")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the method, such as tokens=one",
    )
    parser.add_argument("--data", metavar="FOLDER", help="a small dataset to check it on (default: one is recorded)")
    arguments = parser.parse_args(list(argv))
    from icrl.models.methods.conformance import CHECKS

    failed = check_method(arguments.method, family_options(arguments.option), arguments.data)
    return conclude(failed, len(CHECKS))
