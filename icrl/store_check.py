"""Checks all that is in a dataset: the bytes of every shard, and every value of every column."""

from collections.abc import Iterator

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.digests import check_digests
from icrl.errors import DatasetError
from icrl.progress import progress
from icrl.schema import Fault
from icrl.spaces import WrongValue, gate
from icrl.store import HistoryStore
from icrl.store_files import FLAGS, SMALL, Column

ROWS = 1 << 20
"""Rows that are checked at once."""


def check_store(store: HistoryStore, full: bool = True) -> None:
    """Reads the whole dataset once.

    Args:
        full: also hash the shards of a dataset that is too large for opening to have done so.

    Raises:
        DatasetError: where a shard is not what was written, or a value is none that could be recorded.
    """
    try:
        if full:
            _check_shards(store)
        for name, leaf in [pair for leaves in store.leaves.values() for pair in leaves.items()]:
            if name not in FLAGS:
                _check_space(store, name, leaf)
        for name, below in (("episode", store.provenance.episodes), ("step_in_episode", store.provenance.horizon)):
            for history, numbers in _shards_of(store.columns[name]):
                wrong = (numbers < 0) | (numbers >= below)
                _refuse(store, name, history, wrong, lambda value, below=below: f"{value}: expected 0 to {below - 1}")
        for history, rewards in _shards_of(store.columns["rewards"]):
            _refuse(store, "rewards", history, ~np.isfinite(rewards), lambda value: f"{value}: expected a number")
        for name in FLAGS:
            for history, flags in _shards_of(store.columns[name]) if name in store.columns else ():
                _refuse(store, name, history, flags.view(np.uint8) > 1, lambda value: "neither true nor false")
    except Fault as fault:
        raise DatasetError(f"{store.path} is damaged ({fault}): restore it, or generate the data again") from None


def _check_shards(store: HistoryStore) -> None:
    """Raises Fault where a shard's digest is another, as far as opening has not looked."""
    files, names = store.listing.files, store.listing.shards
    if files is None or (total := sum(files[name]["bytes"] for name in names)) <= SMALL:
        return
    with progress("checking", total // 2**20, unit="MiB") as advance:
        for name in names:
            check_digests(store.path, {name: files[name]})
            advance(files[name]["bytes"] // 2**20)


def _check_space(store: HistoryStore, name: str, space: gym.Space) -> None:
    """Raises Fault where a value is not of its space."""
    take, width = gate(space), max(1, int(np.prod(space.shape)))
    for history, flat in _shards_of(store.columns[name]):
        for first in range(0, len(flat) // width, ROWS):
            rows = flat[first * width : (first + ROWS) * width].reshape(-1, *space.shape)
            try:
                take(rows)
            except WrongValue as wrong:
                history = _history_at(store.columns[name], history, (first + wrong.row) * width)
                raise Fault(f"column {name}, history {history}: {wrong}") from None


def _shards_of(column: Column) -> Iterator[tuple[int, NDArray]]:
    """Each shard's flat array, with the number of the first history in it."""
    for history, flat in enumerate(column.flat):
        if not history or flat is not column.flat[history - 1]:
            yield history, flat[: int(column.ends[_last(column, history)])]


def _last(column: Column, first: int) -> int:
    """The last history in the shard whose first one is `first`."""
    last = first
    while last + 1 < len(column.flat) and column.flat[last + 1] is column.flat[first]:
        last += 1
    return last


def _history_at(column: Column, first: int, place: int) -> int:
    """The history that has this place in the flat array of the shard that begins with history `first`."""
    return first + int(np.searchsorted(column.ends[first : _last(column, first) + 1], place, side="right"))


def _refuse(store: HistoryStore, name: str, history: int, wrong: NDArray[np.bool_], words) -> None:
    if wrong.any():
        place = int(np.argmax(wrong))
        column = store.columns[name]
        value = column.flat[history][place]
        raise Fault(f"column {name}, history {_history_at(column, history, place)}: {words(value)}")
