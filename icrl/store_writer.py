"""Writes datasets: shards of learning histories as Arrow streams, listed last.

A dataset is what `datasets.load_from_disk` opens. Its `state.json` lists the shards, and is written after all of them
are whole: no listing, no dataset. Shards are named by their number, so that a resumed recording knows what is there,
and until they are listed each has its digest in a hidden file beside it.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icrl.digests import HashingFile, digest_of, read_digest
from icrl.files import json_text, remove, whole_file, write_json
from icrl.folders import INFO_FILE, STATE_FILE
from icrl.provenance import PROVENANCE_FILE, TASKS_FILE
from icrl.spaces import split
from icrl.spill import SpilledColumn
from icrl.store_files import feature
from icrl.success import SUCCESS

if TYPE_CHECKING:
    import pyarrow as pa

Values = NDArray | SpilledColumn
"""A column: in memory, or in a temporary file from which it is read as it is written."""

LARGEST_LIST = np.iinfo(np.int32).max
"""Numbers in one column of a shard: Arrow counts them in 32 bits."""


@dataclass(frozen=True)
class HistoryColumns:
    """Some histories, one after the other: N histories, M transitions and E finished episodes in all."""

    task_id: NDArray[np.int64]
    """Shape `(N,)`."""
    learner_seed: NDArray[np.int64]
    """Shape `(N,)`."""
    lengths: NDArray[np.int64]
    """Shape `(N,)`: transitions of each history; they sum to M."""
    num_final: NDArray[np.int64]
    """Shape `(N,)`: finished episodes of each history; they sum to E."""
    observations: Values
    """Shape `(M, *observation_shape)`."""
    actions: Values
    """Shape `(M, *action_shape)`."""
    rewards: Values
    """Shape `(M,)`."""
    terminated: Values
    """Shape `(M,)`."""
    truncated: Values
    """Shape `(M,)`."""
    episode: Values
    """Shape `(M,)`."""
    step_in_episode: Values
    """Shape `(M,)`."""
    final_observations: Values
    """Shape `(E, *observation_shape)`."""
    success: Values | None = None
    """Shape `(E,)`: whether each finished episode succeeded; None where nothing is known of that."""
    extras: Mapping[str, Values] = field(default_factory=dict)
    """By name, each of shape `(M, …)`: what was recorded by request."""


def shard_name(shard: int, num_shards: int) -> str:
    """`data-00003-of-00016.arrow`."""
    return f"data-{shard:05d}-of-{num_shards:05d}.arrow"


def write_shard(path: Path, columns: HistoryColumns) -> None:
    """Writes one shard under a temporary name, syncs it, and gives it its name: from then on it is whole."""
    import pyarrow as pa

    spilled: dict[int, SpilledColumn] = {}
    batch = _record_batch(columns, spilled)
    try:
        with whole_file(path) as temporary, HashingFile(temporary) as file:
            with pa.PythonFile(_Filling(file, spilled), "w") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            if spilled:
                raise RuntimeError("pyarrow copies what it writes: a shard of this size needs another release")
            _digest_file(path).write_text(json_text(file.digest))
    except BaseException:
        remove(_digest_file(path))
        raise


def is_whole(path: Path) -> bool:
    """Whether a shard that is not listed yet is there, and is what was written."""
    return path.is_file() and read_digest(_digest_file(path)) == digest_of(path)


def drop_shard(path: Path) -> None:
    """Removes a shard that is not listed, as far as it is there."""
    remove(path)
    remove(_digest_file(path))


def list_shards(folder: Path, num_shards: int) -> None:
    """Makes the folder a dataset of its shards: the commit point of a recording."""
    import pyarrow as pa

    names = [shard_name(shard, num_shards) for shard in range(num_shards)]
    with pa.memory_map(str(folder / names[0])) as source:
        schema = pa.ipc.open_stream(source).schema
    features = {field.name: feature(field.type) for field in schema}
    write_json(
        folder / INFO_FILE, {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    )
    known = {name: read_digest(_digest_file(folder / name)) for name in names}
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "icrl",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
        "files": {
            name: known.get(name) or digest_of(folder / name)
            for name in (*names, INFO_FILE, PROVENANCE_FILE, TASKS_FILE)
        },
    }
    write_json(folder / STATE_FILE, state)
    for name in names:
        remove(_digest_file(folder / name))


def _digest_file(shard: Path) -> Path:
    return shard.with_name(f".{shard.name}.digest")


class _Filling(io.RawIOBase):
    """A file that gets the numbers of a column where it is given the zeros that stand for them.

    Args:
        spilled: by the address of those zeros; a column that was written is taken out.
    """

    def __init__(self, file: HashingFile, spilled: dict[int, SpilledColumn]) -> None:
        self._file, self._spilled = file, spilled

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        column = self._spilled.pop(getattr(data, "address", None), None)
        for chunk in [data] if column is None else column.chunks():
            self._file.write(_flat(chunk) if isinstance(chunk, np.ndarray) else chunk)
        return memoryview(data).nbytes


def _record_batch(columns: HistoryColumns, spilled: dict[int, SpilledColumn]) -> "pa.RecordBatch":
    """The histories as Arrow has them. A column that is not in memory is zeros, which take no memory as long as nobody
    looks at them; it is noted in `spilled` by where they lie."""
    import pyarrow as pa

    offsets, final_offsets = _offsets(columns.lengths), _offsets(columns.num_final)

    def lists(values: Values, starts: NDArray[np.int64]) -> "pa.ListArray":
        width = int(np.prod(values.shape[1:]))
        if starts[-1] * width > LARGEST_LIST:
            raise ValueError(f"a shard of {starts[-1]} transitions is too large: write fewer histories in one")
        if isinstance(values, SpilledColumn):
            flat = _flat(np.zeros(values.shape, values.dtype))
            if flat.size:
                spilled[flat.ctypes.data] = values
        else:
            flat = _flat(values)
        return pa.ListArray.from_arrays(pa.array((starts * width).astype(np.int32)), pa.array(flat))

    arrays = {
        "task_id": pa.array(columns.task_id, pa.int64()),
        "learner_seed": pa.array(columns.learner_seed, pa.int64()),
        **{name: lists(part, offsets) for name, part in split("observations", columns.observations).items()},
        **{name: lists(part, offsets) for name, part in split("actions", columns.actions).items()},
        "rewards": lists(columns.rewards, offsets),
        "terminated": lists(columns.terminated, offsets),
        "truncated": lists(columns.truncated, offsets),
        "episode": lists(columns.episode, offsets),
        "step_in_episode": lists(columns.step_in_episode, offsets),
        **{
            name: lists(part, final_offsets)
            for name, part in split("final_observations", columns.final_observations).items()
        },
    }
    if columns.success is not None:
        arrays[SUCCESS] = lists(columns.success, final_offsets)
    for name, values in columns.extras.items():
        arrays |= {path: lists(part, offsets) for path, part in split(name, values).items()}
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _flat(values: NDArray) -> NDArray:
    """Booleans as bytes: Arrow's own are bits, which cannot be viewed without a copy."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.view(np.uint8) if flat.dtype == bool else flat


def _offsets(lengths: NDArray) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
