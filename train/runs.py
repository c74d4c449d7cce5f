"""A training run before, around and after its loop: the plan, the run folder, the finished model."""

import fcntl
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from icrl.config import config_to_dict, first_difference, save_config
from icrl.envs import FAMILIES, MissingExtra
from icrl.errors import CheckpointError, DatasetError, SizeError, UntrustedCode, UsageError
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
from icrl.models.spec import Spec
from icrl.provenance import PROVENANCE_FILE, Provenance, read_provenance, write_provenance
from icrl.ranges import measure
from icrl.store import HistoryStore
from icrl.stored_family import Consent, StoredFamily, moved, stored_family
from icrl.tasks import TaskFamily
from icrl.train import checkpoints
from icrl.train.config import PretrainOptions, TrainConfig, lasting
from icrl.train.metrics import METRICS_FILE, MetricsLog
from icrl.train.samples import Share, split_histories

LOCK_FILE = ".lock"
CHECKPOINT_SIZE = 3
"""Of a checkpoint over the weights alone: AdamW keeps two more numbers for each."""


@dataclass(frozen=True)
class Plan:
    """All that is known of a run before it begins. Made by `Plan.of`."""

    config: TrainConfig
    out: Path
    store: HistoryStore
    family: TaskFamily | None
    """For the in-context return curves; None where there are to be none."""
    note: str | None
    """What there is to be said of it: that it is left out, or that it has changed."""
    provenance: Provenance
    """Of the data, as the run keeps it."""
    samples: Sampler
    """Of the histories that are trained on."""
    held_out: Sampler | None
    """Of those that are not; None where there are none."""
    model_config: InContextConfig
    num_processes: int = field(default=1)

    @property
    def scales(self) -> dict[str, Any]:
        """Of each group of spaces, as a checkpoint holds them."""
        return {group: spec["scales"] for group, spec in self.model_config.specs.items()}

    @property
    def longest(self) -> int:
        """Transitions of the longest history."""
        return int(self.store.lengths.max())

    @classmethod
    def of(
        cls, config: TrainConfig, data: Path, out: Path, num_processes: int, consent: Consent | None = None
    ) -> "Plan":
        """Reads the data and checks that it and the config go together.

        Raises:
            DatasetError, UsageError: where they do not.
        """
        Share(config.train.batch_size, config.train.accumulation, 0, num_processes)
        store = HistoryStore.open(data)
        if not len(store):
            raise DatasetError(f"{data} has no histories: generate some with `icrl generate`")
        provenance, consent = store.provenance, consent or Consent()
        method = METHODS[config.method.name](config.method.options)
        method.check(provenance)
        stored, note = _curve_family(config, store, consent)
        known, held_out = split_histories(len(store), config.train.validation_fraction)
        # A run keeps the scales that it began with; one that is older than scales goes on without.
        begun = checkpoints_of(out)
        spec = Spec(
            provenance.observation_space,
            provenance.action_space,
            provenance.horizon,
            checkpoints.scales_of(begun)["0"] if begun else measure(store, known, method.needs),
        )
        model_config = InContextConfig.of(config.method, config.model, {"0": spec})
        _check_memory(config, model_config, int(store.lengths.max()), num_processes)

        def samples(histories: NDArray[np.int64]) -> Sampler:
            return method.sampler(store, histories, config.model.options.context_length, config.seed, spec.maps)

        return cls(
            config=config,
            out=out,
            store=store,
            family=stored.family if stored else None,
            note=note,
            provenance=moved(provenance, data, out, stored, consent),
            samples=samples(known),
            held_out=samples(held_out) if len(held_out) else None,
            model_config=model_config,
            num_processes=num_processes,
        )


def _curve_family(
    config: TrainConfig, store: HistoryStore, consent: Consent
) -> tuple[StoredFamily | None, str | None]:
    """The family whose environments the curves step; or None, and why, where its code is not trusted.

    Training itself needs no family: without curves none is made but a built-in one, whose version is checked.
    """
    name = store.provenance.family
    wanted = config.train.evaluate_every > 0 or consent.family is not None
    if not wanted and not FAMILIES.is_built_in(name):
        return None, None
    try:
        stored = stored_family(store.path, store.provenance, store.split, consent)
        return stored, stored.note
    except UntrustedCode as error:
        return None, f"the in-context return curves are left out: {error}"
    except MissingExtra:
        if wanted:
            raise
        return None, None


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
    samples, length = len(plan.samples), plan.samples.length
    seen = options.steps * options.batch_size
    held = 0 if plan.held_out is None else len(plan.held_out.histories)
    size = 4 * parameters
    kept = min(options.keep_checkpoints, math.ceil(options.steps / max(options.checkpoint_every, 1)))
    lines = [
        f"model        {plan.config.method.name} on {plan.config.model.name}, {parameters:,} parameters",
        f"data         {plan.store.path}: {plan.store.num_transitions:,} transitions of {plan.provenance.label}, "
        f"{len(plan.samples.histories):,} histories to train on, {held:,} for the validation loss",
        f"samples      {samples:,} of {length} transitions",
        f"training     {options.steps:,} steps of {options.batch_size} samples on {plan.num_processes} "
        f"process{'es' if plan.num_processes > 1 else ''}: {seen * length:,} tokens, {seen / samples:.2f} epochs",
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
        then, now = (provenance.identity() for provenance in (read_provenance(out), plan.provenance))
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
                "train.checkpoint_every 0, or they were removed): train anew with another --out"
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
        raise CheckpointError(f"{out / CONFIG_FILE} is not readable ({reason}): restore it, or begin anew") from None


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
    write_provenance(plan.out, plan.provenance, plan.store.split)


def open_log(plan: Plan) -> MetricsLog:
    options, config = plan.config.train, config_to_dict(plan.config)
    return MetricsLog(plan.out, wandb=options.wandb, project=options.wandb_project, config=config)


def tell_deepspeed(accelerator: Any, options: PretrainOptions, share: Share) -> None:
    """DeepSpeed accumulates and clips by itself, by its own config."""
    if accelerator.distributed_type.name != "DEEPSPEED":
        return
    accelerator.deepspeed_plugin.deepspeed_config.update(
        train_micro_batch_size_per_gpu=share.per_pass,
        gradient_accumulation_steps=options.accumulation,
        gradient_clipping=options.clip,
    )
