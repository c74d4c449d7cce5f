"""The config of a model of `transformers`, from `HFOptions` and from nothing but them once a model is saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from icrl.errors import UsageError, did_you_mean
from icrl.models.backbones.options import SIZES, HFOptions

# No token is ever looked up, but some models check that their special tokens are within the vocabulary.
_VOCABULARY = 8
ATTENTION = {"full_attention", "sliding_attention"}
"""The types of layers that keep keys and values, and nothing else."""
_DROPOUTS = (
    "attention_dropout", "attn_dropout", "attn_pdrop", "resid_pdrop", "resid_dropout", "embd_pdrop", "embed_dropout",
    "hidden_dropout", "activation_dropout", "dropout", "classifier_dropout",
)  # fmt: skip
_NOT_SAVED = {
    "model_type", "transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path", "id2label",
    "label2id", "vocab_size",
}  # fmt: skip


def make_model(options: HFOptions, context: int) -> tuple[PreTrainedModel, HFOptions]:
    """The bare model, without vocabulary and language head, and the options from which it can be made again.

    Raises:
        UsageError: for an unknown type or key, a model that cannot be read, or one that is too short for the context.
    """
    with _quiet():
        if options.pretrained is None:
            model = AutoModel.from_config(_random_config(options, context))
        else:
            model = _pretrained(options, context)
    # Embedded tokens come in: an unused table would get no gradient, on which DistributedDataParallel stops.
    model.set_input_embeddings(torch.nn.Identity())
    config = model.config
    saved = {key: value for key, value in config.to_dict().items() if key not in _NOT_SAVED}
    return model, replace(
        options,
        model_type=config.model_type,
        pretrained=None,
        n_layer=config.num_hidden_layers,
        n_head=getattr(config, "num_attention_heads", None),
        n_kv_head=getattr(config, "num_key_value_heads", None),
        width=config.hidden_size,
        overrides=saved,
    )


def _random_config(options: HFOptions, context: int) -> PreTrainedConfig:
    if options.model_type not in CONFIG_MAPPING:
        raise UsageError(
            f"unknown model.model_type {options.model_type!r}{did_you_mean(options.model_type, CONFIG_MAPPING)}: "
            "expected the type of a causal model of transformers, such as llama, qwen3, gpt2, mistral or mamba"
        )
    default = AutoConfig.for_model(options.model_type)
    for key in options.overrides:
        if not hasattr(default, key):
            raise UsageError(
                f"model.overrides has {key!r}, which the config of {options.model_type} does not have"
                f"{did_you_mean(key, default.to_dict())}"
            )
    n_layer, n_head, width, ratio = (
        default_size if (size := getattr(options, name)) is None else size for name, default_size in SIZES.items()
    )
    wanted = {
        "num_hidden_layers": n_layer,
        "hidden_size": width,
        "num_attention_heads": n_head,
        "num_key_value_heads": options.n_kv_head or n_head,
        "head_dim": width // n_head,
        "intermediate_size": round(ratio * width),
        "n_inner": round(ratio * width),
        "max_position_embeddings": context,
        "vocab_size": _VOCABULARY,
        **dict.fromkeys(_DROPOUTS, options.dropout),
        # The context is the window.
        "sliding_window": None,
    }
    if set(getattr(default, "layer_types", None) or ()) <= ATTENTION:
        wanted["layer_types"] = ["full_attention"] * n_layer
    if hasattr(default, "expand"):  # Mamba's width inside follows from it.
        del wanted["intermediate_size"]
    values = {default.attribute_map.get(key, key): value for key, value in wanted.items() if hasattr(default, key)}
    if getattr(default, "pad_token_id", None) is not None:
        values["pad_token_id"] = 0
    values |= options.overrides
    settable = [key for key in values if not isinstance(getattr(type(default), key, None), property)]
    try:
        return AutoConfig.for_model(options.model_type, **{key: values[key] for key in settable})
    except Exception as error:  # Each model has checks of its own, and classes of errors for them.
        raise UsageError(f"transformers refuses this {options.model_type}: {' '.join(str(error).split())}") from None


def _pretrained(options: HFOptions, context: int) -> PreTrainedModel:
    try:
        config = AutoConfig.from_pretrained(options.pretrained, **options.overrides)
        _set_dropout(config, options.dropout)
        check_length(config, context)
        if torch.empty(0).is_meta:  # Shapes alone are asked for.
            return AutoModel.from_config(config)
        model, info = AutoModel.from_pretrained(
            options.pretrained, config=config, dtype=torch.float32, output_loading_info=True
        )
    except UsageError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if not Path(options.pretrained).is_dir() and (
            options.pretrained.count("/") > 1 or options.pretrained[0] in "./~"
        ):
            reason = "there is no such folder"
        raise UsageError(
            f"model.pretrained {options.pretrained!r} cannot be loaded ({reason}): expected a folder with config.json "
            "and model.safetensors, or the name of a model on huggingface.co, for which this machine needs the network"
        ) from None
    if missing := info["missing_keys"]:
        raise UsageError(
            f"model.pretrained {options.pretrained!r} has no weights {sorted(missing)[0]} ({len(missing)} are "
            "missing): expected a causal model's"
        )
    return model


def _set_dropout(config: PreTrainedConfig, share: float) -> None:
    for key in _DROPOUTS:
        if hasattr(config, key):
            setattr(config, key, share)


def check_length(config: PreTrainedConfig, context: int) -> None:
    """Raises UsageError where a model cannot read as many tokens as the context has."""
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and longest < context:
        raise UsageError(f"the model reads {longest} tokens, and the context has {context}: choose a smaller "
                         "model.context_length")  # fmt: skip
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True) and window < context:
        raise UsageError(f"the model attends to {window} tokens, and the context has {context}: choose a smaller "
                         "model.context_length")  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bar, and the hints that are meant for language models."""
    was_on, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if was_on:
            logging.enable_progress_bar()
