"""`icrl check-learner LEARNER`: whether a source learner keeps what recordings take for granted, check by check."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from icrl.checks import conclude, run_checks


def check_learner(
    name: str,
    options: Mapping[str, Any] | None = None,
    family: str = "",
    family_options: Mapping[str, Any] | None = None,
    show: Callable[[str], None] = print,
) -> list[str]:
    """Runs every check on a learner and shows what it finds; returns the names of the checks that failed.

    Args:
        name: of the learner, or its place.
        options: of the learner.
        family: that it is to learn; by default the first of a few small ones that it can.
        family_options: of the family.

    Raises:
        UsageError: where there is no such learner or family, or it can learn none of those.
    """
    from icrl.data_gen.learners.conformance import Subject, checks_of

    subject = Subject(name, dict(options or {}), family, dict(family_options or {}))
    return run_checks(checks_of(subject), subject, f"{name} on {subject.family.label}", show)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    from icrl.cli import UsageParser, family_options
    from icrl.data_gen.learners.conformance import Subject, checks_of

    parser = UsageParser(prog="icrl check-learner", description=__doc__.partition("\n")[0])
    parser.add_argument("learner", metavar="LEARNER", help="a name, path/file.py:Class or package.module:Class")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the learner")
    parser.add_argument("--family", default="", help="what it is to learn (default: a small one that it can)")
    parser.add_argument(
        "--family-option", action="append", default=[], metavar="NAME=VALUE", help="an option of the family"
    )
    arguments = parser.parse_args(list(argv))
    options, of_family = family_options(arguments.option), family_options(arguments.family_option)
    failed = check_learner(arguments.learner, options, arguments.family, of_family)
    return conclude(failed, len(checks_of(Subject(arguments.learner))))
