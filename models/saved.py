"""Reads a saved model, checked: its digests, its config, the names and shapes of its weights, and their values."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import logging

from icrl.digests import DIGESTS_FILE, SCHEMA, Digests, check_digests, digest_of, read_digests
from icrl.errors import CheckpointError, UntrustedCode
from icrl.files import write_json
from icrl.folders import STATE_FILE, TRAINING_FILE, WEIGHTS_FILE
from icrl.models.backbones import BACKBONES
from icrl.models.config import InContextConfig
from icrl.models.methods import METHODS
from icrl.models.model import InContextModel, current_name
from icrl.provenance import PROVENANCE_FILE, TASKS_FILE
from icrl.schema import Fault, anything, map_of, read_json
from icrl.stored_family import TRUST, Consent

MODEL_FILES = ("config.json", WEIGHTS_FILE, TRAINING_FILE)


def read_model(folder: Path, trust_code: bool = False) -> InContextModel:
    """The model in a folder with `config.json` and `model.safetensors`.

    Args:
        trust_code: run the code of a method or a backbone that the folder names by its place.

    Raises:
        UntrustedCode: where there is such code, and it is not trusted.
        CheckpointError: where there is no whole model, or its files are not of one model.
    """
    try:
        digests = _digests(folder)
        check_digests(folder, {name: of for name, of in digests.items() if name in MODEL_FILES})
        config = read_json(folder / "config.json")
        map_of(anything)(config, "config.json")
        _check_trust(folder, config, trust_code)
        with quiet():
            _check_shapes(InContextConfig.from_pretrained(folder, local_files_only=True), folder / WEIGHTS_FILE)
            model = InContextModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        _check_finite(model)
    except UntrustedCode:
        raise
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{folder} holds no model that this release can load ({reason}); train again, or restore the folder"
        ) from error
    return model


def _check_trust(folder: Path, config: dict[str, Any], trust_code: bool) -> None:
    """Raises UntrustedCode where a model is of a class that is named by its place: that code came with the folder."""
    for registry, chosen in ((METHODS, config.get("method")), (BACKBONES, config.get("backbone"))):
        name = chosen.get("name") if isinstance(chosen, dict) else None
        if isinstance(name, str) and registry.is_place(name) and not Consent(trust_code).trusted:
            raise UntrustedCode(
                f"the {registry.kind} of {folder} is {name}, code of somebody's own, and is run only where you say "
                f"so: trust_code=True, --trust-code, or {TRUST}=1"
            )


def _digests(folder: Path) -> Digests:
    """Of the folder's files; none where an earlier release wrote it. A checkpoint has them in its `state.json`."""
    if (folder / STATE_FILE).exists() and not (folder / DIGESTS_FILE).exists():
        state = read_json(folder / STATE_FILE)
        map_of(anything)(state, STATE_FILE)
        SCHEMA(digests := state.get("files", {}), "files")
        return digests
    return read_digests(folder, MODEL_FILES[:2]) or {}


def sign_model(folder: Path, run: Path) -> None:
    """Writes the digests of a saved model, and of what its run says of its data, into the model's folder."""
    files = [folder / name for name in MODEL_FILES if (folder / name).is_file()]
    files += [run / PROVENANCE_FILE, run / TASKS_FILE]
    write_json(folder / DIGESTS_FILE, {file.name: digest_of(file) for file in files})


def _check_shapes(config: InContextConfig, weights: Path) -> None:
    """Raises Fault where the weights are those of another config; transformers takes random ones for what misfits."""
    with torch.device("meta"):
        expected = {name: list(value.shape) for name, value in InContextModel(config).state_dict().items()}
    with safe_open(weights, "pt") as file:
        found = {current_name(name): file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise Fault(
                f"its weights are not those of its config.json: {name} has the shape {found.get(name)}, expected "
                f"{expected.get(name)}"
            )


def _check_finite(model: InContextModel) -> None:
    for name, value in model.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise Fault(f"its weights {name} have values that are not finite")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bar and the report that transformers writes while it loads: what is wrong is told here."""
    was_on, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if was_on:
            logging.enable_progress_bar()
