"""Describes the built-in families that can be made here: the list of `icrl tasks`, the table and pictures of the docs.

    python benchmarks/catalogue.py [FAMILY ...]

Families of extras that are not installed keep what was made of them before: run it once in each environment
(`.venv`, `.venv-extras` and `.venv-dmc`, as the Makefile makes them). Names as arguments restrict it to those.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from icrl.commands.show import show
from icrl.commands.tasks import CATALOGUE_FILE, describe_family, shipped, short_space
from icrl.envs import FAMILIES, MissingExtra

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- families -->\n", "<!-- /families -->\n"


def table(families: dict[str, dict[str, Any]]) -> str:
    """The index of the families, one table per extra."""
    parts = []
    for extra in dict.fromkeys(family["extra"] for family in families.values()):
        title = f"`icrl[{extra}]`" if extra else "family"
        parts.append(f"| {title} | varies | observation, action | source |\n|{' --- |' * 4}\n")
        for name, family in families.items():
            if family["extra"] == extra:
                spaces = f"{short_space(family['observation'])}, {short_space(family['action'])}"
                varies = ", ".join(family["varies"])
                parts.append(f"| [`{name}`](families/{name}.md) | {varies} | {spaces} | {family['source']} |\n")
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def main() -> None:
    known = shipped() if CATALOGUE_FILE.is_file() else {}
    for name in sys.argv[1:] or list(FAMILIES):
        start = time.perf_counter()
        try:
            known[name] = describe_family(name)
        except MissingExtra as missing:
            print(f"{name:28} left as it was: {missing}")
            continue
        described = time.perf_counter() - start
        show(name, DOCS / "families" / "pictures" / f"{name}.png")
        print(f"{name:28} {described:6.1f} s, picture {time.perf_counter() - start - described:.1f} s", flush=True)
    ordered = {name: known[name] for name in FAMILIES if name in known}
    CATALOGUE_FILE.write_text(json.dumps(ordered, indent=1) + "\n")
    page = DOCS / "families.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + table(ordered) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
