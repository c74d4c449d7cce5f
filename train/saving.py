"""The model in one piece: gathered from all processes, written as a model folder, and that tried beforehand."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.utils import logging

from icrl.errors import TrainingError
from icrl.files import commit, partial, remove, write_json
from icrl.folders import MODEL_FOLDER, TRAINING_FILE, WEIGHTS_FILE
from icrl.models.config import InContextConfig
from icrl.models.model import InContextModel
from icrl.models.saved import sign_model
from icrl.train.full_disk import removed_on_error

# Those hold one set of weights, whatever the number of processes.
REPLICATED = ("NO", "MULTI_CPU", "MULTI_GPU")


def whole_weights(accelerator: Any, model: nn.Module, bare: InContextModel) -> dict[str, Tensor]:
    """The weights in one piece, in fp32, in the main process; every process calls it.

    Args:
        model: as accelerate prepared it; bare: what it was prepared from.
    """
    if accelerator.distributed_type.name in REPLICATED:
        return bare.state_dict()
    # None but in the main process for ZeRO-3; and DeepSpeed in bf16 holds the weights themselves in bf16.
    return {name: value.float() for name, value in (accelerator.get_state_dict(model) or {}).items()}


def write_model(bare: InContextModel, weights: dict[str, Tensor] | None, folder: Path) -> None:
    """Writes `config.json` and the weights into a folder; None where they are there already."""
    bare.config.dtype = torch.float32
    if weights is None:
        bare.config.save_pretrained(folder)
    else:
        logging.disable_progress_bar()
        bare.save_pretrained(folder, state_dict=weights)


def save_model(accelerator: Any, model: nn.Module, bare: InContextModel, out: Path, training: dict[str, Any]) -> None:
    """Writes `model/`, whatever the weights are sharded over; every process calls it.

    Args:
        training: of `training.json`: the step, and how it was come to.
    """
    weights = whole_weights(accelerator, model, bare)
    if accelerator.is_main_process:
        temporary = out / f".{MODEL_FOLDER}.partial"
        remove(temporary)
        with partial(temporary), removed_on_error(temporary):
            write_model(bare, weights, temporary)
            write_json(temporary / TRAINING_FILE, training)
            sign_model(temporary, out)
            commit(temporary, out / MODEL_FOLDER)
    accelerator.wait_for_everyone()


def try_saving(accelerator: Any, model: nn.Module, bare: InContextModel) -> None:
    """Goes the whole way of saving the model and of reading it, but with one number of each weight; every process
    calls it.

    Raises:
        TrainingError: where the way does not lead to the end: better before the first step than after the last.
    """
    weights = whole_weights(accelerator, model, bare)
    if not accelerator.is_main_process:
        return
    try:
        with tempfile.TemporaryDirectory(prefix="icrl-") as name:
            write_model(bare, {name: value.flatten()[:1].clone() for name, value in weights.items()}, Path(name))
            read = InContextConfig.from_pretrained(name)
            with safe_open(Path(name) / WEIGHTS_FILE, "pt") as file:
                if set(file.keys()) != set(weights):
                    raise ValueError(f"other weights come back: {sorted(set(file.keys()) ^ set(weights))[0]}")
            if _plain(read) != _plain(bare.config):
                raise ValueError("another config comes back")
    except Exception as error:
        from transformers import __version__

        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise TrainingError(
            f"the model could not be saved at the end ({reason}), so nothing was trained: transformers {__version__} "
            "is installed; take one of the versions that pyproject.toml names, or free some space for temporary files"
        ) from error


def _plain(config: InContextConfig) -> dict[str, Any]:
    values = json.loads(config.to_json_string(use_diff=False))
    # What reading and writing note down of themselves.
    return {key: value for key, value in values.items() if key not in ("_name_or_path", "architectures")}
