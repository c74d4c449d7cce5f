"""Prints the lowest version of each direct dependency that pyproject.toml declares, as constraints for pip."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def declared() -> dict[str, str]:
    """Every dependency of the core and of `dev` with its lowest version.

    Raises:
        ValueError: for one without a lowest version.
    """
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    found = {}
    for line in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        stated = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?(?:>=|==)([\d.]+)(?:,<[\d.]+)?", line)
        if stated is None:
            raise ValueError(f"{line!r} states no lowest version: expected name>=1.2")
        found[stated[1]] = stated[2]
    return found


if __name__ == "__main__":
    print(*(f"{name}=={version}" for name, version in declared().items()), sep="\n")
