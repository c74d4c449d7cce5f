"""`icrl check-family NAME`: whether a task family keeps what it promises, check by check."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from icrl.envs.kit.conformance.checks import CHECKS, Failure, Subject
from icrl.own_code import in_one_line


def check_family(
    name: str, options: Mapping[str, Any] | None = None, show: Callable[[str], None] = print
) -> list[str]:
    """Runs every check on a family and shows what it finds; returns the names of the checks that failed."""
    subject = Subject(name, dict(options or {}))
    show(f"{subject.family.label}  ({name})")
    failed: list[str] = []
    told: dict[str, str] = {}
    for check in CHECKS:
        try:
            check(subject)
        except Failure as failure:
            failed.append(check.__name__)
            show(f"  FAILED  {check.__name__}: {check.__doc__}\n          {failure}")
        except Exception as error:
            # Whatever else a family of somebody's own raises: the other checks still have something to say.
            failed.append(check.__name__)
            text = in_one_line(error)
            again = told.setdefault(text, check.__name__)
            text = text if again == check.__name__ else f"as in {again}"
            show(f"  FAILED  {check.__name__}: {check.__doc__}\n          {text}")
        else:
            show(f"  ok      {check.__name__}: {check.__doc__}")
    return failed


def main(argv: Sequence[str]) -> int:
    """The command line."""
    from icrl.cli import UsageParser, add_family_arguments, family_options

    parser = UsageParser(prog="icrl check-family", description=__doc__.partition("\n")[0])
    add_family_arguments(parser)
    arguments = parser.parse_args(list(argv))
    failed = check_family(arguments.family, family_options(arguments.option))
    if failed:
        print(f"icrl: {len(failed)} of {len(CHECKS)} checks failed: {', '.join(failed)}", file=sys.stderr)
        return 1
    print(f"all {len(CHECKS)} checks passed")
    return 0
