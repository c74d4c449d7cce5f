"""What a folder is, and what a command may do with it: read it, or write into it.

Three kinds of folders are begun with `config.yaml` and made whole by what is written last: a dataset by `state.json`,
a run by `model/`, an evaluation by `summary.json`. A model folder is a run's `model/`, wherever it lies.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from icrl.errors import CheckpointError, UsageError
from icrl.files import check_writable

CONFIG_FILE = "config.yaml"
STATE_FILE, INFO_FILE = "state.json", "dataset_info.json"
MIXED_FILE = "dataset_dict.json"
"""Of a folder that holds several datasets (`icrl.recordings`)."""
MODEL_FOLDER, CHECKPOINT_FOLDER, METRICS_FILE = "model", "checkpoints", "metrics.jsonl"
WEIGHTS_FILE, TRAINING_FILE = "model.safetensors", "training.json"
SUMMARY_FILE, SCORES_FILE = "summary.json", "scores.parquet"

Kind = Literal["missing", "file", "empty", "dataset", "run", "evaluation", "model", "other"]
State = Literal["new", "started", "complete"]

_WORDS = {
    "dataset": "a dataset of `icrl generate`",
    "run": "a run of `icrl train`",
    "evaluation": "an evaluation of `icrl evaluate`",
    "model": "a model folder",
}
_SOURCES = {
    "dataset": "a dataset made by `icrl generate`",
    "run": "a run folder made by `icrl train`",
    "model": "a run folder made by `icrl train`, or a model folder",
}
# Of a config that is there before anything else is: no other stage's has these keys.
_CONFIG_KEYS = {"dataset": {"family", "learner"}, "run": {"method", "train"}, "evaluation": {"prompt", "seeds"}}


@dataclass(frozen=True)
class Folder:
    """What `look` found."""

    path: Path
    kind: Kind
    complete: bool = False
    """Whether the file that is written last is there."""
    example: str = ""
    """The name of something in it, where the kind is "other"."""


def look(path: Path) -> Folder:
    """What is at `path`, by the names of what is there; nothing is checked. Hidden files do not count."""
    if not path.is_dir():
        return Folder(path, "file" if path.exists() or path.is_symlink() else "missing")
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    if not names:
        return Folder(path, "empty")
    if WEIGHTS_FILE in names:
        kind = "model"  # A checkpoint of a run is one too.
    elif names & {MODEL_FOLDER, CHECKPOINT_FOLDER, METRICS_FILE}:
        kind = "run"
    elif names & {STATE_FILE, INFO_FILE, MIXED_FILE} or any(name.endswith(".arrow") for name in names):
        kind = "dataset"
    elif names & {SUMMARY_FILE, SCORES_FILE}:
        kind = "evaluation"
    else:
        keys = _config_keys(path / CONFIG_FILE)
        kind = next((kind for kind, of in _CONFIG_KEYS.items() if of & keys), "other")
    last = {
        "dataset": path / STATE_FILE,
        "run": path / MODEL_FOLDER / "config.json",
        "evaluation": path / SUMMARY_FILE,
        "model": path / "config.json",
    }
    complete = kind in last and (last[kind].exists() or (kind == "dataset" and MIXED_FILE in names))
    return Folder(path, kind, complete, min(names))


def check_source(path: Path, kind: Literal["dataset", "run", "model"]) -> Folder:
    """What is at `path`, which a command is to read; for "model" a run will do.

    Raises:
        UsageError: where there is no folder, or it is one of another kind. One that is no kind at all is left to
            whoever reads it.
    """
    found = look(path)
    if found.kind in ("missing", "file"):
        what = "is not there" if found.kind == "missing" else "is a file"
        raise UsageError(f"{path} {what}: expected {_SOURCES[kind]}")
    if found.kind in _WORDS and found.kind != kind and (kind, found.kind) != ("model", "run"):
        raise UsageError(f"{path} is {_WORDS[found.kind]}: expected {_SOURCES[kind]}")
    return found


def check_out(path: Path, kind: Literal["dataset", "run", "evaluation"], resume: bool) -> State:
    """How far what a command is to write into `path` has come; writes nothing.

    Raises:
        UsageError: where something else is there, or `resume` is false and what is there would be lost.
    """
    check_writable(path)
    found = look(path)
    if found.kind in ("missing", "empty"):
        return "new"
    if found.kind != kind:
        what = f"is {_WORDS[found.kind]}" if found.kind in _WORDS else f"holds other files ({found.example})"
        ours = {"dataset": "a recording", "run": "a run", "evaluation": "an evaluation"}[kind]
        raise UsageError(f"--out {path} {what}: expected a new or empty folder, or {ours} to go on with")
    if not resume and (found.complete or kind != "evaluation"):
        taken = {
            ("dataset", True): "holds a dataset: go on with --resume, or give another folder",
            ("dataset", False): "holds a recording that has not finished: go on with --resume, or give another folder",
            ("run", True): "is a finished run: give another folder",
            ("run", False): "is a run that has not finished; go on with --resume, or give another folder",
            ("evaluation", True): "already holds an evaluation: give another folder, or --resume to see it again",
        }[kind, found.complete]
        raise UsageError(f"--out {path} {taken}")
    return "complete" if found.complete else "started"


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def checkpoints_of(run: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first; other names are none."""
    found = [path.parent for path in (run / CHECKPOINT_FOLDER).glob(f"step-*/{STATE_FILE}")]
    return sorted((path for path in found if re.fullmatch(r"step-\d{8,}", path.name, re.ASCII)), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(checkpoint.name.partition("-")[2])


def model_folder(path: Path, checkpoint: str | int | None = None) -> Path:
    """The folder of a run's finished model, or of one of its checkpoints; a model folder is its own.

    Args:
        checkpoint: a step, or "latest".

    Raises:
        UsageError: where there is no such checkpoint.
    """
    if checkpoint is None:
        return path / MODEL_FOLDER if (path / MODEL_FOLDER).is_dir() else path
    found = checkpoints_of(path)
    if not found:
        raise UsageError(f"{path} has no checkpoints: expected a run of `icrl train` that has written one")
    if checkpoint == "latest":
        return found[-1]
    try:
        wanted = path / CHECKPOINT_FOLDER / checkpoint_name(int(checkpoint))
    except ValueError:
        raise UsageError(f"checkpoint {checkpoint!r}: expected a step, or latest") from None
    if wanted not in found:
        there = ", ".join(str(step_of(folder)) for folder in found)
        raise UsageError(f"{path} has no checkpoint of step {checkpoint}: expected latest, or one of {there}")
    return wanted


def read_training(model: Path) -> dict[str, Any]:
    """What a model folder or a checkpoint says of its training: "step", and "stages", how it was come to.

    Empty for a model that says nothing, such as one of an earlier release.

    Raises:
        CheckpointError: where that cannot be read.
    """
    file = model / (TRAINING_FILE if (model / TRAINING_FILE).exists() else STATE_FILE)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not (isinstance(values["step"], int) and values["step"] >= 0):
            raise ValueError(f"step {values['step']!r}: expected a number of steps")
        if model.parent.name == CHECKPOINT_FOLDER and model.name != checkpoint_name(values["step"]):
            raise ValueError(f"it is of step {values['step']}")
        return values
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file} is not readable ({reason}): restore it, or remove {model}") from None


def _config_keys(path: Path) -> set[str]:
    """The keys of a config; none where it cannot be read."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return set()
    return {key for key in values if isinstance(key, str)} if isinstance(values, dict) else set()
