"""What `--model.…` sets of each backbone but the transformer, whose options are `ModelOptions`. Without torch."""

from dataclasses import dataclass, field
from typing import Any

from icrl.errors import UsageError
from icrl.models.options import LARGEST


def _count(name: str, value: Any) -> None:
    largest = LARGEST.get(name, 1000)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise UsageError(f"model.{name} is {value!r}: expected an integer from 1 to {largest:,}")


def _dropout(name: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise UsageError(f"model.{name} is {value}: expected a probability from 0 to below 1")


@dataclass(frozen=True)
class RecurrentOptions:
    """A stack of recurrent layers (`--model gru`, `--model lstm`), each added to what it reads.

    Raises:
        UsageError: where a value is out of range.
    """

    n_layer: int = 2
    """Number of recurrent layers."""
    width: int = 64
    """Channels of every layer's hidden state, and of what goes in and comes out."""
    context_length: int = 200
    """Transitions in a training window, which starts from a hidden state of zeros. Acting forgets nothing."""
    residual_dropout: float = 0.0
    """Dropout on what each layer adds."""
    embedding_dropout: float = 0.0
    """Dropout on the embedded tokens."""

    def __post_init__(self) -> None:
        for name in ("n_layer", "width", "context_length"):
            _count(name, getattr(self, name))
        for name in ("residual_dropout", "embedding_dropout"):
            _dropout(name, getattr(self, name))


SIZES = {"n_layer": 3, "n_head": 2, "width": 64, "mlp_ratio": 4.0}
"""Of `HFOptions`, where the user sets none and the weights are random."""


@dataclass(frozen=True)
class HFOptions:
    """A causal model of `transformers` (`--model hf`), fed with embedded tokens: no vocabulary, no language head.

    Raises:
        UsageError: where a value is out of range, or a size is set beside `pretrained`.
    """

    model_type: str = "llama"
    """The model's type in transformers: llama, qwen3, gpt2, mistral, mamba, …; with `pretrained` what was loaded."""
    pretrained: str | None = None
    """A folder or a name on the hub to take the weights from; without it they are random."""
    n_layer: int | None = None
    """Number of blocks; 3 if it is not set."""
    n_head: int | None = None
    """Attention heads of each block, where it has such; 2 if it is not set."""
    n_kv_head: int | None = None
    """Heads of keys and values, where they may be fewer; n_head if it is not set."""
    width: int | None = None
    """Channels of the residual stream; 64 if it is not set."""
    mlp_ratio: float | None = None
    """Hidden channels of the MLP over width; 4 if it is not set."""
    context_length: int = 200
    """Transitions in the context, and in a training window."""
    context_keep: float = 0.5
    """Share of a full context that acting keeps: its newest part, encoded anew from position 0. Not of a recurrent
    model such as mamba, which forgets nothing."""
    dropout: float = 0.0
    """Every dropout that the model has."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Other keys of the model's config in transformers, such as {"rope_theta": 1000.0}. A saved model has all."""

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_kv_head", "width", "context_length"):
            if getattr(self, name) is not None:
                _count(name, getattr(self, name))
        _dropout("dropout", self.dropout)
        if not 0.0 <= self.context_keep < 1.0:
            raise UsageError(f"model.context_keep is {self.context_keep}: expected a share of at least 0 and below 1")
        if self.mlp_ratio is not None and not 0 < self.mlp_ratio <= 100:
            raise UsageError(f"model.mlp_ratio is {self.mlp_ratio}: expected a number above 0, at most 100")
        sizes = [name for name in ("n_layer", "n_head", "n_kv_head", "width", "mlp_ratio") if getattr(self, name)]
        if self.pretrained is not None and sizes:
            raise UsageError(f"model.{sizes[0]} is set beside model.pretrained, whose sizes are those of its weights")
