"""A checkpoint's `state.json`: what training goes on with, the digests of all other files, and its own.

It makes "whole" something that can be decided: a checkpoint of which anything has changed is not gone on from.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icrl.digests import SCHEMA, check_digests, digest_of
from icrl.files import write_json
from icrl.folders import STATE_FILE, checkpoint_name
from icrl.schema import Fault, fields_of, integer, map_of, number, optional, read_json, text

_STATE = fields_of(
    {
        "step": integer(1),
        "distributed_type": text,
        "zero_stage": optional(integer(0)),
        "num_processes": integer(1),
        "meter": fields_of({"sums": map_of(number), "count": integer(0)}),
    }
)


def seal(checkpoint: Path, state: Mapping[str, Any]) -> None:
    """Writes `state.json`, the last file of a checkpoint."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    state = {**state, "files": {str(path.relative_to(checkpoint)): digest_of(path) for path in files}}
    write_json(checkpoint / STATE_FILE, {**state, "sha256": _digest(state)})


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What `state.json` says.

    Raises:
        Fault: where it is not as it was written.
    """
    try:
        state = read_json(checkpoint / STATE_FILE)
    except OSError as error:
        raise Fault(f"{STATE_FILE}: {error.strerror}") from None
    _STATE(state, STATE_FILE)
    if checkpoint.name != checkpoint_name(state["step"]):
        raise Fault(f"its {STATE_FILE} is of step {state['step']}")
    if state.keys() & {"files", "sha256"}:
        if state.pop("sha256", None) != _digest(state):
            raise Fault(f"{STATE_FILE} is not the file that was written")
        fields_of({"files": SCHEMA})(state, STATE_FILE)
    return state


def read_whole(checkpoint: Path) -> dict[str, Any]:
    """The state of a checkpoint, all of whose files are as they were written.

    Raises:
        Fault: where they are not; of a checkpoint of an earlier release only the state can be checked.
    """
    state = read_state(checkpoint)
    check_digests(checkpoint, state.get("files", {}))
    return state


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
