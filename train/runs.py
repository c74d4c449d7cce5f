"""A training run before, around and after its loop: the plan, the run folder, the finished model."""

import fcntl
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from icrl.config import config_to_dict, first_difference, save_config
from icrl.errors import CheckpointError, SizeError, UsageError
from icrl.files import remove, size_in_words, write_json
from icrl.folders import (
    CHECKPOINT_FOLDER,
    CONFIG_FILE,
    MODEL_FOLDER,
    TRAINING_FILE,
    State,
    check_out,
    checkpoints_of,
    read_training,
)
from icrl.models.config import InContextConfig
from icrl.models.methods import METHODS
from icrl.models.methods.base import Sampler
from icrl.models.model import InContextModel
from icrl.provenance import PROVENANCE_FILE
from icrl.recordings import Recording, identity, read_recordings, write_recordings
from icrl.stored_family import Consent
from icrl.train import checkpoints
from icrl.train.config import PretrainOptions, TrainConfig, lasting
from icrl.train.metrics import METRICS_FILE, MetricsLog
from icrl.train.mixing import Mix, check_passes
from icrl.train.parts import Part, open_parts, samplers_of, specs_of
from icrl.train.samples import BatchSlice

LOCK_FILE = ".lock"
CHECKPOINT_SIZE = 3
"""Of a checkpoint over the weights alone: AdamW keeps two more numbers for each."""


@dataclass(frozen=True)
class Plan:
    """All that is known of a run before it begins. Made by `Plan.of`."""

    config: TrainConfig
    out: Path
    parts: list[Part]
    """The recordings that the run learns from."""
    notes: list[str]
    """What there is to be said of their families: that one is left out, or has changed."""
    mix: Mix
    samplers: list[Sampler]
    """Of each recording, what reads the histories that are trained on."""
    held_out: list[Sampler | None]
    """And those that are not; None where there are none."""
    model_config: InContextConfig
    num_processes: int = field(default=1)

    @property
    def scales(self) -> dict[str, Any]:
        """Of each group of spaces, as a checkpoint holds them."""
        return {group: spec["scales"] for group, spec in self.model_config.specs.items()}

    @property
    def longest(self) -> int:
        """Transitions of the longest history."""
        return max(int(part.store.lengths.max()) for part in self.parts)

    @property
    def recordings(self) -> list[Recording]:
        """What the run keeps of its data."""
        return [part.recording for part in self.parts]

    @classmethod
    def of(
        cls, config: TrainConfig, data: Sequence[Path], out: Path, num_processes: int, consent: Consent | None = None
    ) -> "Plan":
        """Reads the datasets and checks that they and the config go together.

        Raises:
            DatasetError, UsageError: where they do not.
        """
        options = config.train
        mine = BatchSlice(options.batch_size, options.accumulation, 0, num_processes)
        method = METHODS[config.method.name](config.method.options)
        parts, notes = open_parts(config, data, out, consent or Consent(), method)
        names = [part.name for part in parts]
        mix = Mix.of(options.mix, names)
        check_passes(mix, [part.group for part in parts], names, mine.per_pass, mine.batch_size)
        # A run keeps the scales that it began with; one that is older than scales goes on without.
        begun = checkpoints_of(out)
        specs = specs_of(parts, method, checkpoints.scales_of(begun) if begun else None)
        model_config = InContextConfig.of(config.method, config.model, specs)
        _check_memory(config, model_config, max(int(part.store.lengths.max()) for part in parts), num_processes)
        known, held_out = samplers_of(parts, specs, method, config)
        return cls(config, out, parts, notes, mix, known, held_out, model_config, num_processes)


def check_space(plan: Plan) -> None:
    """Raises CheckpointError where the disk could not hold the checkpoints and the model that the run will write."""
    options, weights = plan.config.train, 4 * _parameters(plan)
    # The newest checkpoint is whole before the oldest one goes.
    kept = min(options.keep_checkpoints + 1, options.steps // max(options.checkpoint_every, 1) + 1)
    needed = weights * (1 + CHECKPOINT_SIZE * (kept if options.checkpoint_every else 0))
    there = next(folder for folder in (plan.out, *plan.out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free + sum(file.stat().st_size for file in plan.out.rglob("*") if file.is_file())
    if needed > free:
        raise CheckpointError(
            f"the run may write {needed / 1e9:,.2f} GB of checkpoints and model, {plan.out} has {free / 1e9:,.2f} GB "
            "free: free some space, or lower train.keep_checkpoints"
        )


def _parameters(plan: Plan) -> int:
    return sum(weight.numel() for weight in _on_paper(plan.model_config).parameters())


def _on_paper(config: InContextConfig) -> InContextModel:
    """The model with shapes and without numbers; it has a config of its own, which it may complete."""
    with torch.device("meta"):
        return InContextModel(deepcopy(config))


def _check_memory(config: TrainConfig, model: InContextConfig, longest: int, num_processes: int) -> None:
    """Raises SizeError where the weights, their gradient and the optimiser's two moments cannot be held, or the least
    that a forward pass leaves for the backward one."""
    options, planned = config.model.options, _on_paper(model)
    weights = sum(weight.numel() for weight in planned.parameters())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 16 * weights > memory:
        raise SizeError(
            f"a model of some {weights:,.0f} weights takes {16 * weights / 1e9:,.0f} GB to train, this machine has "
            f"{memory / 1e9:,.0f} GB: lower model.width, model.n_layer or model.mlp_ratio"
        )
    windows = config.train.batch_size / (config.train.accumulation * num_processes)
    layers = getattr(planned.backbone.options, "n_layer", 1)
    needed = 4 * windows * min(options.context_length, longest) * planned.backbone.width * layers
    if needed > memory:
        raise SizeError(
            f"a pass over {windows:,.0f} windows takes more than {needed / 1e9:,.0f} GB, this machine has "
            f"{memory / 1e9:,.0f} GB: lower train.batch_size, or raise train.accumulation"
        )


def describe(plan: Plan) -> str:
    """What a run would do: sizes and files."""
    options, parameters = plan.config.train, _parameters(plan)
    seen = options.steps * options.batch_size
    samples = sum(map(len, plan.samplers))
    size = 4 * parameters
    kept = min(options.keep_checkpoints, math.ceil(options.steps / max(options.checkpoint_every, 1)))
    lines = [
        f"model        {plan.config.method.name} on {plan.config.model.name}, {parameters:,} parameters",
        *(line for place in range(len(plan.parts)) for line in _data_lines(plan, place)),
        f"training     {options.steps:,} steps of {options.batch_size} samples on {plan.num_processes} "
        f"process{'es' if plan.num_processes > 1 else ''}: {_transitions(plan):,} transitions, "
        f"{seen / samples:.2f} epochs",
        f"files        {plan.out / CONFIG_FILE}, {PROVENANCE_FILE}, tasks.parquet, {METRICS_FILE}",
    ]
    if found := checkpoints_of(plan.out):
        lines.insert(0, f"goes on      from {found[-1]}")
    if options.checkpoint_every:
        lines.append(
            f"             {plan.out / CHECKPOINT_FOLDER}: {kept} of about {size_in_words(CHECKPOINT_SIZE * size)}"
        )
    lines.append(f"             {plan.out / MODEL_FOLDER}: about {size_in_words(size)}")
    return "\n".join([*lines, "nothing was written (--dry-run)"])


def _data_lines(plan: Plan, place: int) -> list[str]:
    part, sampler, held_out = plan.parts[place], plan.samplers[place], plan.held_out[place]
    held = 0 if held_out is None else len(held_out.histories)
    turns = f", {plan.mix.weights[place]} of {sum(plan.mix.weights)}" if len(plan.parts) > 1 else ""
    return [
        f"data         {part.store.path}: {part.store.num_transitions:,} transitions of {part.provenance.label}, "
        f"{len(sampler.histories):,} histories to train on, {held:,} for the validation loss",
        f"samples      {len(sampler):,} of {sampler.length} transitions{turns}",
    ]


def _transitions(plan: Plan) -> int:
    """Transitions that the run reads, where every sample is as long as can be."""
    options, total = plan.config.train, sum(plan.mix.weights)
    lengths = (weight * sampler.length for weight, sampler in zip(plan.mix.weights, plan.samplers, strict=True))
    return options.steps * options.batch_size * sum(lengths) // total


def check_folder(plan: Plan, resume: bool) -> State:
    """What is in the run folder; writes nothing.

    Raises:
        UsageError: where something is there and `resume` is false, or it is no run, or one of another config or data.
        CheckpointError: where it is damaged.
    """
    out = plan.out
    if (state := check_out(out, "run", resume)) == "new":
        return state
    before, steps = _config_before(out)
    if difference := first_difference(before, lasting(config_to_dict(plan.config))):
        raise UsageError(
            f"{out} was made from another config: {difference}; give the first value again, or another --out"
        )
    if (out / PROVENANCE_FILE).is_file():
        then, now = identity(read_recordings(out)), identity(plan.recordings)
        if difference := first_difference(then, now):
            raise UsageError(
                f"{out} was trained on other data: {difference}; give the first --data again, or another --out"
            )
    wanted = plan.config.train.steps
    if wanted < steps:
        raise UsageError(f"{out} is a run of {steps:,} steps, train.steps is {wanted:,}: expected at least as many")
    if state == "complete" and wanted > (step := read_training(out / MODEL_FOLDER).get("step", steps)):
        if not checkpoints_of(out):
            raise UsageError(
                f"{out} has no checkpoint from which its {step:,} steps could become {wanted:,} (it was trained with "
                "train.checkpoint_every 0, or they were removed): train again with another --out"
            )
        return "started"
    return state


def growth(plan: Plan) -> str | None:
    """What is to be told where a run is made longer than it was to be; None where it is not."""
    if not (plan.out / CONFIG_FILE).is_file() or not checkpoints_of(plan.out):
        return None
    (_, before), wanted = _config_before(plan.out), plan.config.train.steps
    if wanted <= before:
        return None
    return (
        f"{plan.out} was to take {before:,} steps and goes on to {wanted:,}: from here on its learning rate is that "
        f"of {wanted:,} steps, so the result is not what {wanted:,} steps from the start give"
    )


def _config_before(out: Path) -> tuple[dict[str, Any], int]:
    """The lasting part of a run's config, and its steps."""
    try:
        values = yaml.safe_load((out / CONFIG_FILE).read_text(encoding="utf-8"))
        return lasting(values), int(values["train"]["steps"])
    except (OSError, ValueError, RecursionError, yaml.YAMLError, AttributeError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{out / CONFIG_FILE} is not readable ({reason}): restore it, or start over") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder, and keeps every other process from training in it meanwhile.

    A killed launcher may leave its children running; two runs in one folder would spoil each other's files. The lock
    is the operating system's: it goes when the process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_FILE, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"another process is training in {folder}: wait for it or stop it, or give another --out"
            ) from None
        try:
            yield
        finally:
            (folder / LOCK_FILE).unlink(missing_ok=True)


def drop_partials(out: Path) -> None:
    """Removes what processes that were killed have half-written."""
    for folder in (out, out / CHECKPOINT_FOLDER, out / MODEL_FOLDER):
        for leftover in folder.glob(".*.partial*"):
            remove(leftover)


def stages_of(plan: Plan, state: dict[str, Any]) -> list[dict[str, int]]:
    """How a run has come where it is: from which step on it was to take how many in all.

    Args:
        state: of the checkpoint that it goes on from; empty for a new run.
    """
    steps = plan.config.train.steps
    if not state:
        return [{"from": 0, "steps": steps}]
    stages = state.get("stages") or read_training(plan.out / MODEL_FOLDER).get("stages")
    # Of a run of an earlier release nothing is known but its config.
    stages = stages or [{"from": 0, "steps": _config_before(plan.out)[1]}]
    return stages if stages[-1]["steps"] == steps else [*stages, {"from": state["step"], "steps": steps}]


def begin_folder(plan: Plan, stages: list[dict[str, int]]) -> None:
    """Writes what a run is made from; the config first, which makes the folder a run."""
    model = plan.out / MODEL_FOLDER
    if model.is_dir() and not (model / TRAINING_FILE).is_file():
        # The model of an earlier release, which is to be that of more steps: of how many it is now.
        step = stages[0]["steps"]
        write_json(model / TRAINING_FILE, {"step": step, "stages": [{"from": 0, "steps": step}]})
    save_config(plan.config, plan.out / CONFIG_FILE)
    write_recordings(plan.out, plan.recordings)


def open_log(plan: Plan) -> MetricsLog:
    options, config = plan.config.train, config_to_dict(plan.config)
    return MetricsLog(plan.out, wandb=options.wandb, project=options.wandb_project, config=config)


def set_deepspeed_batch(accelerator: Any, options: PretrainOptions, mine: BatchSlice) -> None:
    """DeepSpeed accumulates and clips by itself, by its own config."""
    if accelerator.distributed_type.name != "DEEPSPEED":
        return
    accelerator.deepspeed_plugin.deepspeed_config.update(
        train_micro_batch_size_per_gpu=mine.per_pass,
        gradient_accumulation_steps=options.accumulation,
        gradient_clipping=options.clip,
    )
