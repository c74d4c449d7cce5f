"""Opens the files of a dataset, checked: the listing, the shards that it lists, and their columns.

Histories are known by the shard that they are in and their place in it: a column is one flat array a shard.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icrl.digests import SCHEMA, Digests, check_digests, check_sizes
from icrl.extras import VALID_ACTIONS
from icrl.folders import INFO_FILE, STATE_FILE
from icrl.provenance import PROVENANCE_FILE, TASKS_FILE
from icrl.schema import Fault, anything, fields_of, list_of, map_of, read_json, shown, text
from icrl.success import SUCCESS

if TYPE_CHECKING:
    import pyarrow as pa

SMALL = 256 << 20
"""Bytes of shards up to which opening a dataset also reads and hashes them: some 0.15 s."""
PER_HISTORY = ("task_id", "learner_seed")
FLAGS = ("terminated", "truncated", SUCCESS, VALID_ACTIONS)


@dataclass(frozen=True)
class Listing:
    """What `state.json` says."""

    shards: list[str]
    files: Digests | None
    """Of the shards and of the files beside them; None where an older release wrote the dataset."""


@dataclass(frozen=True)
class Column:
    """A list column: per history the flat array of its shard, where it starts there, and where it ends."""

    flat: list[NDArray]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    shape: tuple[int, ...] = ()
    """Of a row."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """Numbers of each history."""
        return self.ends - self.starts

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return math.prod(self.shape)

    def rows(self, history: int, start: int, stop: int) -> NDArray:
        """Rows `start` to `stop` of a history, a view: `(stop - start, *shape)`."""
        first = int(self.starts[history])
        if not self.shape:
            return self.flat[history][first + start : first + stop]
        width = math.prod(self.shape)
        return self.flat[history][first + start * width : first + stop * width].reshape(stop - start, *self.shape)


def read_listing(folder: Path) -> Listing:
    """The listing, checked against its schema.

    Raises:
        Fault: where it is damaged, or names a file that is not of this folder.
        FileNotFoundError: where there is none, and so no dataset.
    """
    state = read_json(folder / STATE_FILE)
    fields_of({"_data_files": list_of(fields_of({"filename": text}))})(state, STATE_FILE)
    names = [entry["filename"] for entry in state["_data_files"]]
    if not names:
        raise Fault(f"{STATE_FILE} lists no shard")
    for name in names:
        if not re.fullmatch(r"[\w.-]+\.arrow", name, re.ASCII):
            raise Fault(f"{STATE_FILE} lists {shown(name)}: expected names of shards in this folder")
        if names.count(name) > 1:
            raise Fault(f"{STATE_FILE} lists {name} twice")
    if "files" not in state:
        return Listing(names, None)
    SCHEMA(state["files"], "files")
    if set(state["files"]) != {*names, INFO_FILE, PROVENANCE_FILE, TASKS_FILE}:
        raise Fault(f"the digests in {STATE_FILE} are not those of its shards")
    return Listing(names, state["files"])


def check_files(folder: Path, listing: Listing) -> None:
    """Checks that the files are there, inside the folder, and, as far as that is cheap, what was written.

    Raises:
        Fault: where they are not.
    """
    for name in listing.shards:
        path = folder / name
        if not path.is_file():
            raise Fault(f"{STATE_FILE} lists {name}, which is not there")
        if path.is_symlink() and path.resolve().parent != folder.resolve():
            raise Fault(f"{name} is a link out of the folder")
    if listing.files is None:
        return
    check_sizes(folder, listing.files)
    small = sum(listing.files[name]["bytes"] for name in listing.shards) <= SMALL
    check_digests(folder, {name: of for name, of in listing.files.items() if small or name not in listing.shards})


def map_shards(folder: Path, names: list[str]) -> "pa.Table":
    """The shards as one table, mapped into memory.

    Raises:
        Fault: where one is damaged, or has other columns than the first.
    """
    import pyarrow as pa

    tables = []
    for name in names:
        try:
            with pa.memory_map(str(folder / name)) as source, pa.ipc.open_stream(source) as reader:
                tables.append(reader.read_all())
            tables[-1].validate()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Fault(f"{name}: {' '.join(str(error).split())}") from None
        if not tables[-1].schema.equals(tables[0].schema):
            raise Fault(f"{name} has other columns than {names[0]}")
    features = {field.name: feature(field.type) for field in tables[0].schema}
    info = read_json(folder / INFO_FILE)
    fields_of({"features": map_of(anything)})(info, INFO_FILE)
    if info["features"] != features:
        raise Fault(f"{INFO_FILE} describes other columns than the shards have")
    return pa.concat_tables(tables)


def read_columns(table: "pa.Table", types: dict[str, Any]) -> dict[str, Any]:
    """The columns of those names, viewed as arrays: of `PER_HISTORY` one, of the others a `Column`.

    Raises:
        Fault: where one is not there, of another type, or contradicts itself.
    """
    columns: dict[str, Any] = {}
    for name, dtype in types.items():
        if name not in table.column_names:
            raise Fault(f"there is no column {name}")
        column = table.column(name)
        if column.null_count:
            raise Fault(f"column {name} has no value in some rows")
        stored = feature(column.type)
        expected: Any = {"dtype": np.dtype(dtype).name, "_type": "Value"}
        expected = expected if name in PER_HISTORY else {"feature": expected, "_type": "List"}
        if stored != expected:
            raise Fault(f"column {name} is of type {column.type}, its space asks for {np.dtype(dtype)}")
        columns[name] = column.to_numpy() if name in PER_HISTORY else _lists(column, name)
    return columns


def feature(type_: "pa.DataType") -> dict[str, Any]:
    """A column's type as `datasets` describes it."""
    import pyarrow as pa

    names = {"float": "float32", "double": "float64"}
    if pa.types.is_list(type_):
        return {"feature": feature(type_.value_type), "_type": "List"}
    return {"dtype": names.get(str(type_), str(type_)), "_type": "Value"}


def _lists(column: "pa.ChunkedArray", name: str) -> Column:
    flat: list[NDArray] = []
    starts, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for chunk in column.chunks:
        if chunk.values.null_count:
            raise Fault(f"column {name} has no value in some rows")
        values = chunk.values.to_numpy(zero_copy_only=True)
        offsets = chunk.offsets.to_numpy(zero_copy_only=True).astype(np.int64)
        if offsets[0] < 0 or offsets[-1] > len(values) or (np.diff(offsets) < 0).any():
            raise Fault(f"column {name} ends before its last history does")
        flat += [values.view(bool) if name in FLAGS else values] * len(chunk)
        starts.append(offsets[:-1])
        ends.append(offsets[1:])
    return Column(flat, np.concatenate(starts), np.concatenate(ends))
