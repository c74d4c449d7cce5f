"""What `icrl train` can be told: one dataclass per concept. Importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from icrl.choices import as_choice, choice, choices_of, resolve, to_dict
from icrl.errors import UsageError


@dataclass(frozen=True)
class PretrainOptions:
    """How the model is trained, and what is written on the way.

    Raises:
        UsageError: where a value is out of range or two values contradict each other.
    """

    steps: int = 2000
    """Optimiser steps."""
    batch_size: int = 32
    """Samples (windows of histories) that one step learns from, over all processes and accumulation."""
    mix: str = ""
    """Of several datasets, samples that each has in turn, such as "2,1,1"; empty for as many of each."""
    accumulation: int = 1
    """Forward and backward passes that a step is split into: more of them need less memory and change nothing else."""
    learning_rate: float = 1e-3
    """The largest learning rate, reached after the warm-up."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and the second moment."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices; vectors have none."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 leaves it unclipped."""
    warmup: int = 100
    """Steps over which the learning rate rises linearly from 0."""
    schedule: Literal["wsd", "cosine"] = "wsd"
    """After the warm-up: "wsd" stays, then falls linearly to 0; "cosine" falls to 0 along half a cosine."""
    decay_fraction: float = 0.3
    """Last share of the steps over which "wsd" falls."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the forward pass; weights and optimiser are fp32."""
    workers: int = 0
    """Processes that read samples ahead; any number gives the same samples."""
    log_every: int = 10
    """Steps between rows of metrics.jsonl."""
    evaluate_every: int = 500
    """Steps between evaluations (validation loss, in-context return); 0 evaluates never."""
    evaluate_episodes: int = 20
    """Episodes of an in-context evaluation. The logged return is the mean of the last quarter of them."""
    evaluate_tasks: int = 16
    """Training tasks, and as many validation tasks, that an in-context evaluation takes at most."""
    validation_fraction: float = 0.02
    """Share of the histories that is never trained on; the validation loss is taken over them."""
    validation_windows: int = 256
    """Samples that the validation loss is taken over, at most."""
    checkpoint_every: int = 500
    """Steps between checkpoints; 0 writes none."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay."""
    wandb: Literal["disabled", "offline", "online"] = "disabled"
    """Also log to Weights & Biases; "offline" needs no account."""
    wandb_project: str = "icrl"
    """Its project's name."""

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("batch_size", 1),
            ("accumulation", 1),
            ("warmup", 0),
            ("workers", 0),
            ("log_every", 1),
            ("evaluate_every", 0),
            ("evaluate_episodes", 1),
            ("evaluate_tasks", 1),
            ("validation_windows", 1),
            ("checkpoint_every", 0),
            ("keep_checkpoints", 1),
        ):
            if getattr(self, name) < least:
                raise UsageError(f"train.{name} is {getattr(self, name)}: expected at least {least}")
        for name in ("weight_decay", "clip"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"train.{name} is {getattr(self, name)}: expected a number of at least 0")
        if not 0.0 < self.learning_rate < float("inf"):
            raise UsageError(f"train.learning_rate is {self.learning_rate}: expected a number above 0, such as 1e-3")
        if not 0.0 <= self.validation_fraction < 1.0:
            raise UsageError(
                f"train.validation_fraction is {self.validation_fraction}: expected at least 0 and below 1"
            )
        if not 0.0 <= self.decay_fraction <= 1.0:
            raise UsageError(f"train.decay_fraction is {self.decay_fraction}: expected a share from 0 to 1")
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise UsageError(f"train.betas is {list(self.betas)}: expected two numbers of at least 0 and below 1")
        if self.mix:
            parse_mix(self.mix)
        if self.batch_size % self.accumulation:
            raise UsageError(
                f"train.batch_size {self.batch_size} does not divide into train.accumulation {self.accumulation} "
                "parts: batch_size counts all samples of a step, so make it a multiple"
            )


@dataclass(frozen=True)
class TrainConfig:
    """One training run, without its data and its folder."""

    presets: ClassVar[str] = "icrl.train.presets"

    seed: int = 0
    """Of the weights, the order of the windows, dropout and the in-context evaluations."""
    method: Any = choice("icrl.models.methods:METHODS", "ad")  # noqa: RUF009
    """The method and its options: "ad" is Algorithm Distillation, "dt" Decision Transformer, "dpt"
    Decision-Pretrained Transformer."""
    model: Any = choice("icrl.models.backbones:BACKBONES", "transformer")  # noqa: RUF009
    """The backbone and its size."""
    train: PretrainOptions = field(default_factory=PretrainOptions)
    """How it is trained."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}: expected an integer of at least 0")
        resolve(self)

    @staticmethod
    def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
        """A stored config as this release has it: of an earlier one, AD's options stood among those of training."""
        train = values.get("train")
        moved = {key: train[key] for key in MOVED if key in train} if isinstance(train, Mapping) else {}
        if not moved:
            return dict(values)
        method = values.get("method", "ad")
        method = dict(method) if isinstance(method, Mapping) else {"name": method}
        return {
            **values,
            "method": {**moved, **method},
            "train": {key: value for key, value in train.items() if key not in moved},
        }


def parse_mix(words: str) -> tuple[int, ...]:
    """The weights of "2,1,1"; raises UsageError."""
    parts = [part.strip() for part in words.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) <= LARGEST_MIX for part in parts):
        raise UsageError(
            f"train.mix is {words!r}: expected a whole number, 1 to {LARGEST_MIX:,}, for each dataset, such as 2,1,1"
        )
    return tuple(int(part) for part in parts)


LARGEST_MIX = 10_000
"""Samples of one dataset in turn."""
MOVED = ("label_smoothing", "token_mask")
"""Options of AD that were `train.` options once."""
# What may differ between a run and its continuation: none of it changes the weights that come out.
FREE_TO_CHANGE = ("workers", "keep_checkpoints", "wandb", "wandb_project")


def lasting(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a config (as a dict) that a continuation has to share with the run that it continues.

    Its steps may become more, which `icrl.train.runs` sees to.
    """
    free = {*FREE_TO_CHANGE, "steps"}
    config = TrainConfig.upgraded(config)
    # Runs of before a dataset could be one of several had none.
    train = {"mix": "", **{key: value for key, value in config["train"].items() if key not in free}}
    chosen = {f.name: to_dict(as_choice(f, config.get(f.name, f.default))) for f in choices_of(TrainConfig)}
    return {**config, **chosen, "train": train}
