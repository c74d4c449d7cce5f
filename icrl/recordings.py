"""Several recordings in one folder: what a model was trained on, and datasets that were mixed into one.

A run of one dataset keeps its provenance as the dataset does. A run of several keeps a list: `provenance.json` holds
`{"format": 1, "recordings": [{"name": …, …}, …]}`, and a row of `tasks.parquet` says which of them its task is of.

A mixed dataset is a folder with a dataset for each recording, named as the recording is, and `dataset_dict.json`,
which lists them: `datasets.load_from_disk` opens it as a `DatasetDict`. So the name that a row lies under says which
recording it is of, and each recording keeps columns of its own spaces' types.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icrl.errors import DatasetError, UsageError, did_you_mean
from icrl.folders import MIXED_FILE
from icrl.provenance import (
    FORMAT,
    PROVENANCE_FILE,
    TASK_TYPES,
    Provenance,
    from_dict,
    read_provenance,
    read_split,
    read_tasks,
    read_values,
    split_of,
    task_rows,
    to_dict,
    write_files,
    write_provenance,
)
from icrl.schema import Fault, fields_of, integer, list_of, read_json, text
from icrl.tasks import Split


@dataclass(frozen=True)
class Recording:
    """One of the recordings of a folder."""

    name: str
    """Of the family, and a number where there are several of one family: "dark-room", "dark-room-2"."""
    provenance: Provenance
    split: Split


def names_of(families: Sequence[str]) -> list[str]:
    """A name for each of several recordings, fit for a folder, of the families' names or places."""
    names: list[str] = []
    for family in families:
        base = re.sub(r"[^\w.-]+", "-", family.rpartition(":")[2], flags=re.ASCII).strip("-.") or "family"
        number, name = 1, base
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names


def write_recordings(folder: Path, recordings: Sequence[Recording]) -> None:
    """Writes `tasks.parquet`, then `provenance.json`: of one recording as `write_provenance` does."""
    if len(recordings) == 1:
        write_provenance(folder, recordings[0].provenance, recordings[0].split)
        return
    rows = [{"recording": number, **row} for number, of in enumerate(recordings) for row in task_rows(of.split)]
    listed = [{"name": of.name, **to_dict(of.provenance)} for of in recordings]
    write_files(folder, {"format": FORMAT, "recordings": listed}, rows)


def read_recordings(folder: Path) -> tuple[Recording, ...]:
    """The recordings of a dataset or a run.

    Raises:
        UsageError: where there is no such folder.
        DatasetError: where its files are missing or damaged.
    """
    if (folder / MIXED_FILE).is_file():
        return tuple(Recording(path.name, read_provenance(path), read_split(path)) for path in datasets_in(folder))

    def make(values: Any, path: Path) -> list[tuple[str, Provenance]] | None:
        if not (isinstance(values, dict) and "recordings" in values):
            return None
        if values.get("format") != FORMAT:
            raise DatasetError(f"{path} is not of format {FORMAT}, which this release reads: train again with it")
        fields_of({"recordings": list_of(fields_of({"name": text}))})(values, PROVENANCE_FILE)
        found = [(of["name"], {key: of[key] for key in of if key != "name"}) for of in values["recordings"]]
        if len({name for name, _ in found}) != len(found) or len(found) < 2:
            raise Fault("expected two recordings or more, of different names")
        return [(name, from_dict(of, path)) for name, of in found]

    listed = read_values(folder, make)
    if listed is None:
        provenance = read_provenance(folder)
        return (Recording(names_of([provenance.family])[0], provenance, read_split(folder)),)

    def splits(rows: list[dict[str, Any]]) -> list[Split]:
        for row in rows:
            integer(0, len(listed) - 1)(row["recording"], "recording")
        return [
            split_of([row for row in rows if row["recording"] == number], of.split_seed)
            for number, (_, of) in enumerate(listed)
        ]

    found = read_tasks(folder, TASK_TYPES, splits)
    return tuple(Recording(name, of, split) for (name, of), split in zip(listed, found, strict=True))


def named(recordings: Sequence[Recording], name: str | None, folder: Path) -> Recording:
    """The recording of that name; where there is one alone it needs none.

    Raises:
        UsageError: where there is none, or several and no name.
    """
    names = [of.name for of in recordings]
    if name is None and len(recordings) == 1:
        return recordings[0]
    if name is None:
        raise UsageError(
            f"{folder} is of several recordings: name one of {', '.join(names)} (--recording, recording=)"
        )
    if name not in names:
        raise UsageError(f"{folder} has no recording {name!r}{did_you_mean(name, names)}; expected {', '.join(names)}")
    return recordings[names.index(name)]


def identity(recordings: Sequence[Recording]) -> Mapping[str, Any]:
    """What tells the data of one run from those of another."""
    if len(recordings) == 1:
        return recordings[0].provenance.identity()
    return {of.name: of.provenance.identity() for of in recordings}


def groups_of(provenances: Sequence[Provenance]) -> list[str]:
    """The group of spaces of each: "0" for those of the first, and so on in order of appearance."""
    groups: list[tuple[Any, Any]] = []
    found = []
    for of in provenances:
        spaces = (of.observation_space, of.action_space)
        if spaces not in groups:
            groups.append(spaces)
        found.append(str(groups.index(spaces)))
    return found


def group_of(recordings: Sequence[Recording], name: str) -> str:
    """The group of the recording of that name."""
    groups = groups_of([of.provenance for of in recordings])
    return groups[[of.name for of in recordings].index(name)]


def datasets_in(path: Path) -> list[Path]:
    """The datasets that a folder is: those of its list where it was mixed, and otherwise itself.

    Raises:
        DatasetError: where the list is damaged.
    """
    try:
        listed = read_json(path / MIXED_FILE)
        fields_of({"splits": list_of(text)})(listed, MIXED_FILE)
        for name in listed["splits"]:
            if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
                raise Fault(f"{MIXED_FILE} lists {name!r}: expected names of folders in this one")
            if not (path / name).is_dir():
                raise Fault(f"{MIXED_FILE} lists {name}, which is not there")
        if len(set(listed["splits"])) != len(listed["splits"]) or not listed["splits"]:
            raise Fault(f"{MIXED_FILE} lists a recording twice, or none")
    except (FileNotFoundError, NotADirectoryError):
        return [path]
    except Fault as fault:
        raise DatasetError(f"{path} is damaged ({fault}): restore it, or mix the datasets again") from None
    return [path / name for name in listed["splits"]]
