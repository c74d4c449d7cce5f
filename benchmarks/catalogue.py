"""Describes the built-in families that can be made here, and writes what `icrl tasks` lists of them.

Families of extras that are not installed keep what was written of them before: run it once in each environment
(`.venv`, `.venv-extras` and `.venv-dmc`, as the Makefile makes them). Names as arguments restrict it to those.
"""

import json
import sys
import time

from icrl.catalogue import CATALOGUE_FILE, describe_family, shipped
from icrl.envs import FAMILIES, MissingExtra


def main() -> None:
    known = shipped() if CATALOGUE_FILE.is_file() else {}
    for name in sys.argv[1:] or list(FAMILIES):
        start = time.perf_counter()
        try:
            known[name] = describe_family(name)
        except MissingExtra as missing:
            print(f"{name:28} left as it was: {missing}")
            continue
        print(f"{name:28} {time.perf_counter() - start:6.1f} s")
    ordered = {name: known[name] for name in FAMILIES if name in known}
    CATALOGUE_FILE.write_text(json.dumps(ordered, indent=1) + "\n")


if __name__ == "__main__":
    main()
