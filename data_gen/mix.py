"""`icrl mix`: puts several datasets into one folder, which trains one model as all of them would."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from icrl.digests import digest_of
from icrl.errors import UsageError
from icrl.files import check_writable, commit, partial, remove, write_json
from icrl.folders import CONFIG_FILE, INFO_FILE, MIXED_FILE, STATE_FILE, look
from icrl.provenance import PROVENANCE_FILE, TASKS_FILE, to_dict
from icrl.recordings import names_of
from icrl.schema import read_json
from icrl.store import HistoryStore, open_stores
from icrl.stored_family import Consent, moved


def mix(datasets: Sequence[str | Path], out: str | Path) -> Path:
    """Writes a folder with all of these datasets; `icrl train --data OUT` learns from them as from each by itself.

    Shards are linked, which takes no space, where both folders are of one file system, and otherwise copied.

    Args:
        datasets: folders made by `icrl generate`, or by this.
        out: a new or empty folder, in which each recording gets one named after its family.

    Returns:
        the folder.

    Raises:
        UsageError: where there are fewer than two recordings, or `out` is taken.
        DatasetError: where one is half-written or damaged.
    """
    out = Path(out)
    check_writable(out)
    if (found := look(out)).kind not in ("missing", "empty"):
        raise UsageError(f"--out {out} holds other files ({found.example}): expected a new or empty folder")
    stores = open_stores(datasets)
    if len(stores) < 2:
        raise UsageError(f"{len(stores)} recording is not a mixture: expected two datasets or more")
    names = names_of([store.provenance.family for store in stores])
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.partial")
    remove(temporary)
    with partial(temporary):
        temporary.mkdir()
        for name, store in zip(names, stores, strict=True):
            _add(store, temporary / name, out / name)
        write_json(temporary / MIXED_FILE, {"splits": names})
        commit(temporary, out)
    transitions = sum(store.num_transitions for store in stores)
    print(f"{out}: {', '.join(names)}; {transitions:,} transitions")
    return out


def main(argv: Sequence[str]) -> int:
    """The command line."""
    from icrl.cli import UsageParser

    parser = UsageParser(prog="icrl mix", description=__doc__)
    parser.add_argument("data", nargs="+", help="datasets' folders, as `icrl generate` makes them")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where they are put together")
    arguments = parser.parse_args(list(argv))
    mix(arguments.data, arguments.out)
    return 0


def _add(store: HistoryStore, folder: Path, final: Path) -> None:
    """A dataset's files in another folder, which is to lie at `final`."""
    folder.mkdir()
    for name in (*store.listing.shards, INFO_FILE, TASKS_FILE, CONFIG_FILE):
        if (store.path / name).exists():
            _link(store.path / name, folder / name)
    write_json(folder / PROVENANCE_FILE, to_dict(moved(store.provenance, store.path, final, None, Consent())))
    state = read_json(store.path / STATE_FILE)
    if "files" in state:
        state["files"][PROVENANCE_FILE] = digest_of(folder / PROVENANCE_FILE)
    write_json(folder / STATE_FILE, state)


def _link(source: Path, copy: Path) -> None:
    """The same file under another name, or a copy of it."""
    try:
        os.link(source.resolve(), copy)
    except OSError:
        shutil.copyfile(source, copy)
