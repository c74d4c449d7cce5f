"""What training reports: means between two rows, the rows of metrics.jsonl, and Weights & Biases where asked."""

import json
import netrc
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icrl.errors import UsageError
from icrl.files import write_atomically, write_json
from icrl.folders import METRICS_FILE
from icrl.schema import integer

WANDB_FILE = "run.json"


class Meter:
    """Sums of what every forward pass reports, kept on the device so that no step has to wait for them."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            value = value.detach().float()
            if name in self.sums:
                self.sums[name] += value
            else:
                self.sums[name] = value.clone()
        self.count += 1

    def share(self, accelerator: Any) -> None:
        """Replaces each process's sums by their mean over all processes."""
        if accelerator.num_processes > 1 and self.sums:
            names = sorted(self.sums)
            means = accelerator.reduce(torch.stack([self.sums[name] for name in names]), reduction="mean")
            self.sums = dict(zip(names, means.unbind(), strict=True))

    def means(self) -> dict[str, float]:
        """The mean of each value since the last `clear`."""
        return {name: float(total) / max(self.count, 1) for name, total in self.sums.items()}

    def clear(self) -> None:
        self.sums, self.count = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """As JSON: a float32 survives the way through a decimal number exactly."""
        return {"sums": {name: float(total) for name, total in self.sums.items()}, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.sums = {name: torch.tensor(total, device=device) for name, total in state["sums"].items()}
        self.count = state["count"]


def cut_back(path: Path, step: int) -> int:
    """Drops the rows of steps after `step`, and those that cannot be read, as the last one before a kill; returns
    the last step that there was a row of."""
    if not path.is_file():
        return 0
    kept, last = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            integer(0)(row["step"], "step")
        except (ValueError, TypeError, LookupError, RecursionError):
            continue
        last = row["step"]
        if last <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept))
    return last


class MetricsLog:
    """Appends rows to metrics.jsonl, and to Weights & Biases where asked. Use it in a `with` statement.

    Args:
        last: the step of the last row that the run has had: of rows up to there Weights & Biases knows.
    """

    def __init__(self, folder: Path, *, wandb: str, project: str, config: Mapping[str, Any], last: int = 0) -> None:
        self._run, self._known = None, 0
        if wandb != "disabled":
            run_id, self._known = _wandb_id(folder, last)
            self._run = start_wandb(folder, mode=wandb, project=project, config=config, run_id=run_id)
        self._file = open(folder / METRICS_FILE, "a", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type | None, *_: Any) -> None:
        self._file.close()
        if self._run is not None:
            self._run.finish(exit_code=0 if kind is None else 1)

    def write(self, row: Mapping[str, Any]) -> None:
        """One row; it is in the operating system's hands when this returns."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._run is not None and row["step"] > self._known:
            self._run.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])

    def sync(self) -> None:
        """Flushes to the disk: before a checkpoint that counts on the rows."""
        os.fsync(self._file.fileno())


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


def _wandb_id(folder: Path, last: int) -> tuple[str, int]:
    """The id that all parts of a run have there, and the last step that it was told of before this part.

    Rows that a continuation makes again are those that were made before; told twice, they would be there twice.
    """
    file = folder / "wandb" / WANDB_FILE
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        run_id, known = str(before["id"]), max(int(before["step"]), last)
    except (OSError, ValueError, TypeError, KeyError):
        run_id, known = secrets.token_hex(4), 0
    write_json(file, {"id": run_id, "step": known})
    return run_id, known


def start_wandb(folder: Path, *, mode: str, project: str, config: Mapping[str, Any], run_id: str) -> Any:
    """A run of that project; its files go to `folder/wandb`. Parts with one id are one run there."""
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    return wandb.init(
        project=project,
        id=run_id,
        resume="allow",
        name=folder.resolve().name,
        dir=folder,
        mode=mode,
        config=dict(config),
        settings=wandb.Settings(silent=True, console="off"),
    )
