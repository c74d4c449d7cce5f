"""Checkpoints of a run: written under another name, synced, renamed; the newest few are kept.

`checkpoints/step-XXXXXXXX/` holds what accelerate saves (weights, optimiser, per-process random states) and
`state.json`: the step, how the run was launched and how long it was to be, the model's scales, and the sums that the
next row of metrics is made from. With the model's `config.json`, and its weights in one piece, it is a model folder as
well.

Nothing is unpickled without limits. accelerate loads weights from safetensors and the rest with `weights_only=True`,
except objects registered for checkpointing, of which there are none here: our own state is JSON. DeepSpeed asks for
unlimited unpickling, which PyTorch's own switch overrules while a checkpoint is read.
"""

import os
import pickle
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from icrl.errors import CheckpointError, UsageError
from icrl.files import commit, partial, remove
from icrl.folders import CHECKPOINT_FOLDER, checkpoint_name, checkpoints_of
from icrl.models.model import InContextModel
from icrl.schema import Fault
from icrl.train.checkpoint_state import read_state, read_whole, seal
from icrl.train.full_disk import removed_on_error
from icrl.train.saving import REPLICATED, whole_weights, write_model


def save_checkpoint(
    accelerator: Any,
    run: Path,
    step: int,
    state: Mapping[str, Any],
    keep: int,
    model: nn.Module,
    bare: InContextModel,
) -> None:
    """Writes the checkpoint after `step` steps and drops all but the newest `keep`; every process calls it.

    Args:
        state: plain data, given back by `resume`.
        model, bare: as in `icrl.train.saving`.
    """
    final = run / CHECKPOINT_FOLDER / checkpoint_name(step)
    # All processes write into one folder, so its name holds no process number.
    temporary = final.with_name(f".{final.name}.partial")
    weights = None if accelerator.distributed_type.name in REPLICATED else whole_weights(accelerator, model, bare)
    with partial(temporary) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            remove(temporary)
            temporary.mkdir(parents=True)
        accelerator.wait_for_everyone()
        with removed_on_error(temporary):
            accelerator.save_state(str(temporary))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                # With its config, and in one piece: a checkpoint is a model folder too.
                write_model(bare, weights, temporary)
                seal(temporary, {"step": step, **launch_of(accelerator), **state})
                commit(temporary, final)
    if accelerator.is_main_process:
        # A newer one that is still there is one that was not gone on from.
        for old in [path for path in checkpoints_of(run) if path.name <= final.name][:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def launch_of(accelerator: Any) -> dict[str, Any]:
    """How the processes work together, as far as a checkpoint depends on it."""
    plugin = accelerator.deepspeed_plugin if accelerator.distributed_type.name == "DEEPSPEED" else None
    return {
        "distributed_type": accelerator.distributed_type.name,
        "zero_stage": plugin.zero_stage if plugin is not None else None,
        "num_processes": accelerator.num_processes,
    }


def resume(accelerator: Any, run: Path) -> dict[str, Any] | None:
    """Loads the newest whole checkpoint of a run into what accelerate has prepared; every process calls it.

    Returns:
        its state; None where the run has no checkpoint.

    Raises:
        UsageError: where it is of other processes.
        CheckpointError: where there are checkpoints, and none is whole.
    """
    damage = ""
    for checkpoint in reversed(checkpoints_of(run)):
        try:
            state = read_whole(checkpoint)
            _check_launch(checkpoint, state, accelerator)
            _load(accelerator, checkpoint)
        except Fault as fault:
            damage = damage or f"{checkpoint} is damaged ({fault})"
            continue
        if damage and accelerator.is_main_process:
            print(f"icrl: {damage}: going on from {checkpoint}", file=sys.stderr)
        return state
    if damage:
        raise CheckpointError(
            f"{damage}, and none before it is whole: restore it, or remove {run / CHECKPOINT_FOLDER} to start over"
        )
    return None


def _check_launch(checkpoint: Path, state: Mapping[str, Any], accelerator: Any) -> None:
    """Raises UsageError where a checkpoint is of other processes than these, and cannot be read by them."""
    now = launch_of(accelerator)
    then = {key: state[key] for key in now}
    if then != now and not {then["distributed_type"], now["distributed_type"]} <= set(REPLICATED):
        raise UsageError(
            f"{checkpoint} was written by {_words(then)}, these are {_words(now)}: sharded checkpoints load only as "
            "they were written, so resume with the --launch and --num-processes of the first run"
        )


def scales_of(found: list[Path]) -> dict[str, Any]:
    """By group, the scales of a run with these checkpoints, all of which hold them: of the newest that can be read."""
    for checkpoint in reversed(found):
        with suppress(Fault):
            scales = read_state(checkpoint).get("scales")
            # Of an earlier release, whose models had one group, or no scales at all.
            return {"0": scales} if scales is None or "rewards" in scales else scales
    return {"0": None}


def _load(accelerator: Any, checkpoint: Path) -> None:
    """Loads weights and optimiser; raises Fault where a file is missing or damaged."""
    try:
        with _limited_unpickling():
            accelerator.load_state(str(checkpoint))
    except (
        OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, AttributeError, pickle.UnpicklingError,
        SafetensorError,
    ) as error:  # fmt: skip
        raise Fault((str(error).strip().splitlines() or [type(error).__name__])[0]) from error


@contextmanager
def _limited_unpickling() -> Iterator[None]:
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with torch.serialization.safe_globals(_deepspeed_classes()):
            yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def _deepspeed_classes() -> list[Any]:
    """What DeepSpeed pickles beside tensors and plain data."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() != "true":
        return []
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]


def _words(launch: Mapping[str, Any]) -> str:
    stage = f" stage {launch['zero_stage']}" if launch["zero_stage"] is not None else ""
    return f"{launch['num_processes']} processes of type {launch['distributed_type']}{stage}"
