"""Writes datasets: shards of learning histories as Arrow streams, listed last.

A dataset is what `datasets.load_from_disk` opens. Its `state.json` lists the shards, and is written after all of them
are whole: no listing, no dataset. Shards are named by their number, so that a resumed recording knows what is there,
and until they are listed each has its digest in a hidden file beside it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icrl.digests import HashingFile, digest_of, read_digest
from icrl.files import json_text, remove, whole_file, write_json
from icrl.folders import INFO_FILE, STATE_FILE
from icrl.provenance import PROVENANCE_FILE, TASKS_FILE
from icrl.store_files import feature
from icrl.success import SUCCESS

if TYPE_CHECKING:
    import pyarrow as pa

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
    observations: NDArray
    """Shape `(M, *observation_shape)`."""
    actions: NDArray
    """Shape `(M, *action_shape)`."""
    rewards: NDArray[np.float32]
    """Shape `(M,)`."""
    terminated: NDArray[np.bool_]
    """Shape `(M,)`."""
    truncated: NDArray[np.bool_]
    """Shape `(M,)`."""
    episode: NDArray[np.int32]
    """Shape `(M,)`."""
    step_in_episode: NDArray[np.int32]
    """Shape `(M,)`."""
    final_observations: NDArray
    """Shape `(E, *observation_shape)`."""
    success: NDArray[np.bool_] | None = None
    """Shape `(E,)`: whether each finished episode succeeded; None where nothing is known of that."""


def shard_name(shard: int, num_shards: int) -> str:
    """`data-00003-of-00016.arrow`."""
    return f"data-{shard:05d}-of-{num_shards:05d}.arrow"


def write_shard(path: Path, columns: HistoryColumns) -> None:
    """Writes one shard under a temporary name, syncs it, and gives it its name: from then on it is whole."""
    import pyarrow as pa

    batch = _record_batch(columns)
    try:
        with whole_file(path) as temporary, HashingFile(temporary) as file:
            with pa.PythonFile(file, "w") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
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


def _record_batch(columns: HistoryColumns) -> "pa.RecordBatch":
    import pyarrow as pa

    offsets, final_offsets = _offsets(columns.lengths), _offsets(columns.num_final)

    def lists(values: NDArray, starts: NDArray[np.int64]) -> "pa.ListArray":
        width = int(np.prod(values.shape[1:]))
        flat = np.ascontiguousarray(values).reshape(-1)
        # Booleans as bytes: Arrow's own are bits, which cannot be viewed without a copy.
        flat = flat.view(np.uint8) if flat.dtype == bool else flat
        if starts[-1] * width > LARGEST_LIST:
            raise ValueError(f"a shard of {starts[-1]} transitions is too large: write fewer histories in one")
        return pa.ListArray.from_arrays(pa.array((starts * width).astype(np.int32)), pa.array(flat))

    arrays = {
        "task_id": pa.array(columns.task_id, pa.int64()),
        "learner_seed": pa.array(columns.learner_seed, pa.int64()),
        "observations": lists(columns.observations, offsets),
        "actions": lists(columns.actions, offsets),
        "rewards": lists(columns.rewards, offsets),
        "terminated": lists(columns.terminated, offsets),
        "truncated": lists(columns.truncated, offsets),
        "episode": lists(columns.episode, offsets),
        "step_in_episode": lists(columns.step_in_episode, offsets),
        "final_observations": lists(columns.final_observations, final_offsets),
    }
    if columns.success is not None:
        arrays[SUCCESS] = lists(columns.success, final_offsets)
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _offsets(lengths: NDArray) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
