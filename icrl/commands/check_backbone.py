"""`icrl check-backbone NAME`: whether a backbone keeps the contract that every method counts on, check by check."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from icrl.checks import conclude, run_checks


def check_backbone(
    name: str, options: Mapping[str, Any] | None = None, show: Callable[[str], None] = print
) -> list[str]:
    """Runs every check on a backbone and shows what it finds; returns the names of the checks that failed.

    Args:
        name: as `--model` takes it: a built-in name, path/file.py:Class or package.module:Class.
        options: of its `Options`; sizes that are not given are tiny.
    """
    from icrl.models.backbones.contract import CHECKS
    from icrl.models.backbones.contract_subject import Subject

    subject = Subject(name, dict(options or {}))
    subject.check_options()
    return run_checks(CHECKS, subject, f"backbone {name}", show)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    from icrl.cli import UsageParser, family_options

    parser = UsageParser(prog="icrl check-backbone", description=__doc__.partition("\n")[0])
    parser.add_argument("backbone", metavar="BACKBONE", help="a name, path/file.py:Class or package.module:Class")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the backbone, such as model_type=qwen3",
    )
    arguments = parser.parse_args(list(argv))
    from icrl.models.backbones.contract import CHECKS

    return conclude(check_backbone(arguments.backbone, family_options(arguments.option)), len(CHECKS))
