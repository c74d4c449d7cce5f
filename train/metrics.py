"""What training reports: means between two rows, the rows of metrics.jsonl, and Weights & Biases where asked."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icrl.files import write_atomically
from icrl.folders import METRICS_FILE
from icrl.schema import integer
from icrl.train.wandb_run import start_wandb


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

    def gather(self, accelerator: Any) -> None:
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


def cut_back(path: Path, step: int) -> None:
    """Drops the rows of steps after `step`, and those that cannot be read, as the last one before a kill."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            integer(0)(row["step"], "step")
        except (ValueError, TypeError, LookupError, RecursionError):
            continue
        if row["step"] <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept))


class MetricsLog:
    """Appends rows to metrics.jsonl, and to Weights & Biases where asked, which is first told of the rows that it has
    not been told of, and of none twice. Use it in a `with` statement."""

    def __init__(self, folder: Path, *, wandb: str, project: str, config: Mapping[str, Any]) -> None:
        self._run, self._known = None, 0
        self._file = open(folder / METRICS_FILE, "a+", encoding="utf-8")  # noqa: SIM115
        if wandb != "disabled":
            self._run, self._known = start_wandb(folder, mode=wandb, project=project, config=config)
            self._file.seek(0)
            for line in self._file:
                self._tell(json.loads(line))

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
        self._tell(row)

    def _tell(self, row: Mapping[str, Any]) -> None:
        if self._run is not None and row["step"] > self._known:
            self._run.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])

    def sync(self) -> None:
        """Flushes to the disk: before a checkpoint that counts on the rows."""
        os.fsync(self._file.fileno())
