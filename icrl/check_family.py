"""`icrl check-family NAME`: whether a task family keeps what it promises, check by check."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from icrl.conformance import CHECKS, Failure, Subject
from icrl.envs.resolve import line_in
from icrl.errors import IcrlError


def check_family(
    name: str, options: Mapping[str, Any] | None = None, show: Callable[[str], None] = print
) -> list[str]:
    """Runs every check on a family and shows what it finds; returns the names of the checks that failed."""
    subject = Subject(name, dict(options or {}))
    show(f"{subject.family.label}  ({name})")
    own_file = str(getattr(sys.modules[type(subject.family).__module__], "__file__", ""))
    failed: list[str] = []
    told: dict[str, str] = {}
    for check in CHECKS:
        try:
            check(subject)
        except Failure as failure:
            failed.append(check.__name__)
            show(f"  FAILED  {check.__doc__}\n          {failure}")
        except Exception as error:
            # Whatever else a family of somebody's own raises: the other checks still have something to say.
            failed.append(check.__name__)
            kind = "" if isinstance(error, IcrlError) else f"{type(error).__name__}: "
            text = f"{kind}{error}{line_in(error, own_file)}"
            again = told.setdefault(text, check.__name__)
            show(f"  FAILED  {check.__doc__}\n          {text if again == check.__name__ else f'as in {again}'}")
        else:
            show(f"  ok      {check.__doc__}")
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
