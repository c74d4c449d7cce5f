"""Where data came from: the family, its split and the recording. It lies beside every dataset and every model.

A folder with provenance holds `provenance.json` (below) and `tasks.parquet` (one row per task of every split), so
that held-out tasks stay held out whatever a later version of a family would draw.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from icrl.digests import check_digests, read_digests
from icrl.errors import CheckpointError, DatasetError, IcrlError, UsageError
from icrl.files import whole_file, write_json
from icrl.folders import MODEL_FOLDER
from icrl.schema import Fault, anything, fields_of, flag, integer, list_of, map_of, optional, read_json, shown, text
from icrl.spaces import space_from_dict
from icrl.tasks import SPLIT_NAMES, Split, Task

FORMAT = 1
PROVENANCE_FILE = "provenance.json"
TASKS_FILE = "tasks.parquet"
OPTIONAL = ("family_from", "learner_from", "behaviour", "about", "extras", "adaptive")
"""Keys that a provenance may lack."""

STEADY = ("optimal", "expert", "random", "zero-action")
"""Learners that do not learn, in data of before that was noted."""


@dataclass(frozen=True)
class Provenance:
    """All that is needed to make a dataset again, and to know what a model was trained on."""

    family: str
    """The task family's name, or its place (`path/file.py:Class`), as `make_family` takes it."""
    family_version: int
    family_options: dict[str, Any]
    horizon: int
    """An episode's largest number of steps."""
    observation_space: dict[str, Any]
    """As `icrl.spaces.space_to_dict` gives it."""
    action_space: dict[str, Any]
    split_seed: int
    recorded_split: str
    """The split whose tasks the histories are of: "train" unless asked otherwise."""
    learner: str
    """The source learner's name, or its place."""
    learner_options: dict[str, Any]
    histories_per_task: int
    episodes: int
    """Episodes that the learner lived through in each history."""
    keep_every: int
    """Every k-th of those episodes was recorded."""
    seed: int
    """Of the learners and environments."""
    format: int = field(default=FORMAT)
    family_from: str | None = None
    """The folder, relative to the one that this lies in, that the family's place counts from."""
    learner_from: str | None = None
    """The same of the learner's place."""
    behaviour: dict[str, Any] | None = None
    """What the family did when the data were recorded, as `icrl.fingerprint.take` gives it."""
    about: dict[str, Any] | None = None
    """What a description needs of a family whose code may not be at hand: its label, its anchors."""
    extras: list[str] | None = None
    """Names of columns beyond those that every dataset has: "success", and of `icrl.extras.PER_STEP`."""
    adaptive: bool | None = None
    """False where nothing that the learner does depends on what it has met before in a history; None is not known."""

    @property
    def learns(self) -> bool:
        """Whether the order of a history tells of the learner's progress, as far as is known."""
        return self.learner not in STEADY if self.adaptive is None else self.adaptive

    @property
    def label(self) -> str:
        """The family's name and version, "dark-room@1", as far as it is known without the family."""
        stated = (self.about or {}).get("label")
        return stated if isinstance(stated, str) else f"{self.family}@{self.family_version}"

    def identity(self) -> dict[str, Any]:
        """What tells one recording from another: not where the family's code lies, nor what is known of it besides."""
        values = {key: value for key, value in asdict(self).items() if key not in OPTIONAL}
        return json.loads(json.dumps({**values, "family": class_of(self.family), "learner": class_of(self.learner)}))


def class_of(name: str) -> str:
    """Of a family's or a learner's place only its class: the same one may have moved since."""
    where, _, attribute = name.rpartition(":")
    return f":{attribute}" if where else name


def _space(value: Any, place: str) -> None:
    """What `space_from_dict` makes a space of."""
    map_of(anything)(value, place)
    try:
        space_from_dict(value)
    except (IcrlError, ValueError, TypeError, AssertionError, OverflowError, MemoryError):
        raise Fault(f"{place} is {shown(value)}: expected the description of a space") from None


_SCHEMA = {
    "family": text,
    "family_version": integer(0),
    "family_options": map_of(anything),
    "horizon": integer(1, 2**31 - 1),
    "observation_space": _space,
    "action_space": _space,
    "split_seed": integer(0),
    "recorded_split": text,
    "learner": text,
    "learner_options": map_of(anything),
    "histories_per_task": integer(1),
    "episodes": integer(1, 2**31 - 1),
    "keep_every": integer(1),
    "seed": integer(0),
    "format": integer(FORMAT),
}
_OPTIONAL_SCHEMA = {
    "family_from": optional(text),
    "learner_from": optional(text),
    "behaviour": optional(map_of(anything)),
    "about": optional(map_of(anything)),
    "extras": optional(list_of(text)),
    "adaptive": optional(flag),
}

_TASK_COLUMNS = {"task_id": "int64", "split": "string", "params": "string"}
TASK_TYPES = {"recording": "int64", **_TASK_COLUMNS}
"""Columns of `tasks.parquet`; the first is there where the tasks are of several recordings (`icrl.recordings`)."""


def check_values(values: dict[str, Any]) -> None:
    """Raises Fault where a value of a provenance is none that can be."""
    fields_of(_SCHEMA)(values, "it")
    for key in OPTIONAL:
        _OPTIONAL_SCHEMA.get(key, anything)(values.get(key), key)


def check_tasks(rows: Iterable[tuple[str, int, dict[str, Any]]]) -> None:
    """Raises Fault where a row of `tasks.parquet` (its split, number and parameters) is none that can be."""
    seen: set[int] = set()
    for split, number, params in rows:
        integer(0, 2**63 - 1)(number, "task_id")
        text(split, "split")
        map_of(anything)(params, f"params of task {number}")
        if number in seen:
            raise Fault(f"task {number} is listed twice")
        seen.add(number)


def write_provenance(folder: Path, provenance: Provenance, split: Split) -> None:
    """Writes both files, each atomically, `provenance.json` last."""
    write_files(folder, to_dict(provenance), task_rows(split))


def write_files(folder: Path, values: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    """Writes `tasks.parquet` with these rows, then `provenance.json` with these values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    names = list(rows[0]) if rows else list(_TASK_COLUMNS)
    table = pa.table(
        {name: pa.array([row[name] for row in rows], pa.type_for_alias(TASK_TYPES[name])) for name in names}
    )
    with whole_file(folder / TASKS_FILE) as temporary:
        pq.write_table(table, temporary)
    write_json(folder / PROVENANCE_FILE, values)


def to_dict(provenance: Provenance) -> dict[str, Any]:
    """As `provenance.json` has it. What is not known has no key: files without these are as old as those that never
    had them."""
    return {key: value for key, value in asdict(provenance).items() if key not in OPTIONAL or value is not None}


def from_dict(values: Any, path: Path) -> Provenance:
    """The inverse of `to_dict`; raises DatasetError for another format, Fault for values that cannot be."""
    expected = {f.name for f in fields(Provenance)}
    if not isinstance(values, dict) or values.get("format") != FORMAT or {*values, *OPTIONAL} != expected:
        raise DatasetError(
            f"{path} is not of format {FORMAT}, which this release reads: generate the data again with it"
        )
    check_values(values)
    return Provenance(**values)


def read_values(folder: Path, make: Callable[[Any, Path], Any]) -> Any:
    """What `make` makes of what `provenance.json` holds.

    Raises:
        UsageError: where there is no such folder.
        DatasetError: where it has no such file, or one that is damaged.
    """
    path = folder / PROVENANCE_FILE
    if not folder.is_dir():
        raise UsageError(f"{folder} is not there: expected a folder made by `icrl generate` or `icrl train`")
    try:
        return make(read_json(path), path)
    except FileNotFoundError:
        raise DatasetError(
            f"{folder} has no {PROVENANCE_FILE}: expected a folder made by `icrl generate` or `icrl train`"
        ) from None
    except Fault as fault:
        raise DatasetError(f"{path} is damaged ({fault}): restore it, or generate the data again") from None


def read_provenance(folder: Path) -> Provenance:
    """Raises UsageError where there is no such folder, or it is of several recordings (`icrl.recordings`), and
    DatasetError where it has no provenance, or one of another format."""

    def make(values: Any, path: Path) -> Provenance:
        if isinstance(values, dict) and "recordings" in values:
            raise UsageError(f"{folder} is of several recordings: one has to be named")
        return from_dict(values, path)

    return read_values(folder, make)


def read_split(folder: Path) -> Split:
    """The stored split; raises DatasetError where `tasks.parquet` is missing or damaged."""
    return read_tasks(folder, _TASK_COLUMNS, lambda rows: split_of(rows, read_provenance(folder).split_seed))


def task_rows(split: Split) -> Iterator[dict[str, Any]]:
    """The rows of `tasks.parquet`."""
    for name in split.names:
        for task in split.named(name):
            yield {"task_id": task.id, "split": name, "params": json.dumps(task.params)}


def split_of(rows: Iterable[Mapping[str, Any]], seed: int) -> Split:
    """The inverse of `task_rows`; raises ValueError for rows that cannot be."""
    tasks: dict[str, list[Task]] = {name: [] for name in SPLIT_NAMES}
    found = [(row["split"], row["task_id"], json.loads(row["params"] or "")) for row in rows]
    check_tasks(found)
    for split, number, params in found:
        tasks.setdefault(split, []).append(Task(number, params))
    parts = [tuple(tasks.pop(name)) for name in SPLIT_NAMES]
    return Split(seed, *parts, ood={name: tuple(of) for name, of in tasks.items()})


def read_tasks(folder: Path, columns: Mapping[str, str], make: Callable[[list[dict[str, Any]]], Any]) -> Any:
    """What `make` makes of the rows of `tasks.parquet`, which has these columns; raises DatasetError where it is
    missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / TASKS_FILE
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
        if {field.name: str(field.type) for field in table.schema} != columns:
            raise Fault(f"expected the columns {', '.join(columns)}")
        return make(table.to_pylist())
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        if isinstance(error, IcrlError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise DatasetError(
            f"{path} is missing or damaged ({reason}): restore it, or generate the data again"
        ) from None


def check_run_files(run: Path) -> None:
    """Raises CheckpointError where a run's provenance or tasks are not what its model was trained with."""
    folder = run / MODEL_FOLDER
    try:
        names = (PROVENANCE_FILE, TASKS_FILE)
        digests = read_digests(folder, names) or {}
        check_digests(run, {name: of for name, of in digests.items() if name in names})
    except Fault as fault:
        raise CheckpointError(f"{run} is damaged ({fault}): restore it, or train again") from None
