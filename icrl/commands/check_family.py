"""`icrl check-family NAME`: whether a task family keeps what it promises, check by check."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from icrl.checks import conclude, run_checks
from icrl.envs.kit.conformance.checks import CHECKS, Subject


def check_family(
    name: str, options: Mapping[str, Any] | None = None, show: Callable[[str], None] = print
) -> list[str]:
    """Runs every check on a family and shows what it finds; returns the names of the checks that failed."""
    subject = Subject(name, dict(options or {}))
    return run_checks(CHECKS, subject, f"{subject.family.label}  ({name})", show)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    from icrl.cli import UsageParser, add_family_arguments, family_options

    parser = UsageParser(prog="icrl check-family", description=__doc__.partition("\n")[0])
    add_family_arguments(parser)
    arguments = parser.parse_args(list(argv))
    failed = check_family(arguments.family, family_options(arguments.option))
    return conclude(failed, len(CHECKS))
