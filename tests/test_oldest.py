"""What pyproject.toml declares is what is imported, with lowest versions that `make test-oldest` installs."""

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from oldest import PYPROJECT, declared

IMPORTED_AS = {"pyyaml": "yaml"}
ROOT = PYPROJECT.parent
OLDEST = ".venv-oldest" in sys.prefix


def test_every_dependency_is_imported():
    """Kills: a dependency that is installed for nothing."""
    code = "\n".join(
        path.read_text()
        for folder in ("icrl", "data_gen", "models", "train", "eval")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml") and path.is_file()
    )
    core = PYPROJECT.read_text().split("dependencies = [")[1].split("\n]")[0]
    for name in declared():
        if f'"{name}' in core:
            assert re.search(rf"\b{IMPORTED_AS.get(name, name)}\b", code), f"{name} is declared and never imported"


@pytest.mark.parametrize(("name", "lowest"), declared().items())
def test_the_installed_version_is_no_lower_than_declared(name, lowest):
    """Kills: a lowest version that nobody has installed; in the oldest environment, another one than declared."""
    if name == "pre-commit" and not OLDEST:
        pytest.skip("it may be left out")
    have, least = ([int(part) for part in re.findall(r"\d+", text)[:3]] for text in (version(name), lowest))
    have, least = (parts + [0] * (3 - len(parts)) for parts in (have, least))
    assert have == least if OLDEST else have >= least


def test_make_builds_its_constraints_from_pyproject():
    """Kills: a list of lowest versions of its own, which ages."""
    assert "tests/oldest.py >" in (Path(ROOT) / "Makefile").read_text()
