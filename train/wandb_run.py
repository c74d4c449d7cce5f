"""A run at Weights & Biases: one, by its id, however often training is stopped and goes on.

wandb holds rows in memory until there are 32 KiB of them, and they are gone where it is killed. So what it is still to
be told is counted from what it really has: offline from the files that `wandb sync` sends, online from what
the server answers.
"""

import json
import netrc
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icrl.errors import UsageError
from icrl.files import write_json

ID_FILE = "run.json"
HEADER, BLOCK = 7, 32768
"""Bytes that wandb writes before the first record, and those of a block, which holds no record's head at its end."""


def check_wandb(mode: str) -> None:
    """Raises UsageError where "online" has no key: the library would ask for one and wait."""
    if mode != "online" or os.environ.get("WANDB_API_KEY"):
        return
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rpartition("/")[2]
    try:
        known = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        known = None
    if known is None:
        raise UsageError(
            f"train.wandb is online, and there is no key for {host}: run `wandb login`, set WANDB_API_KEY, "
            "or choose offline"
        )


def start_wandb(folder: Path, *, mode: str, project: str, config: Mapping[str, Any]) -> tuple[Any, int]:
    """A run of that project, and the last step that it has been told of already; its files go to `folder/wandb`.
    Parts with one id are one run there."""
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    parts = folder.glob("wandb/offline-run-*/*.wandb")
    known = max((step for part in parts for step in steps_in(part)), default=0)
    run = wandb.init(
        project=project,
        id=_run_id(folder),
        resume="allow",
        name=folder.resolve().name,
        dir=folder,
        mode=mode,
        config=dict(config),
        settings=wandb.Settings(silent=True, console="off"),
    )
    return run, max(known, run.step - 1)  # A run's step is the next one; one that goes on has it from the server.


def steps_in(part: Path) -> list[int]:
    """The steps of the rows that wandb's file of a part holds, up to where it is cut."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2

    steps = []
    for content in _records(part.read_bytes()):
        record = wandb_internal_pb2.Record()
        try:
            record.ParseFromString(content)
        except DecodeError:
            break
        if record.WhichOneof("record_type") == "history":
            steps.append(record.history.step.num)
    return steps


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format: heads of four bytes of checksum, two of length, one of kind."""
    at, record = HEADER, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if at + 7 + length > len(content):
            return
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # A whole one, or the last part of one.
            yield record
            record = b""


def _run_id(folder: Path) -> str:
    """The id that all parts of a run have there."""
    file = folder / "wandb" / ID_FILE
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, TypeError, KeyError):
        run_id = secrets.token_hex(4)
        write_json(file, {"id": run_id})
        return run_id
