"""The model's size and regularisation, as the user sets them: `--model.n_layer 6`. Importable without torch."""

from dataclasses import dataclass

from icrl.errors import UsageError, did_you_mean

MLPS = ("relu2", "swiglu")
LARGEST = {"n_layer": 1000, "n_head": 1000, "width": 100_000, "context_length": 1_000_000}
"""Far beyond what is trained: a number above is a slip, and would end in a machine without memory."""


@dataclass(frozen=True)
class ModelOptions:
    """A decoder-only transformer. The spaces, the horizon and the method come from the data and the training config.

    Raises:
        UsageError: where a value is out of range or two values contradict each other.
    """

    n_layer: int = 3
    """Number of blocks."""
    n_head: int = 2
    """Attention heads of each block; each has width / n_head channels, which must be an even number."""
    width: int = 64
    """Channels of the residual stream."""
    mlp_ratio: float = 4.0
    """Hidden channels of the MLP over width (for swiglu 2/3 of that, which gives the same number of weights)."""
    mlp: str = "relu2"
    """The MLP's non-linearity: "relu2" (squared ReLU) or "swiglu"."""
    context_length: int = 200
    """Transitions in the context, and in a training window."""
    context_keep: float = 0.5
    """Share of a full context that acting keeps: its newest part, encoded anew from position 0."""
    attention_dropout: float = 0.0
    """Dropout on the attention weights. On the CPU anything above 0 leaves the fast attention kernel."""
    residual_dropout: float = 0.0
    """Dropout on what each attention and MLP adds to the residual stream."""
    embedding_dropout: float = 0.0
    """Dropout on the embedded tokens."""

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "width", "context_length"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST[name]:
                raise UsageError(f"model.{name} is {value!r}: expected an integer from 1 to {LARGEST[name]:,}")
        if self.width % (2 * self.n_head):
            raise UsageError(
                f"model.width {self.width} does not divide into {self.n_head} heads of even width: "
                f"choose a multiple of {2 * self.n_head}"
            )
        if not 1 <= self.mlp_ratio * self.width <= LARGEST["width"]:
            raise UsageError(
                f"model.mlp_ratio is {self.mlp_ratio}: expected hidden channels, width × mlp_ratio, from 1 to "
                f"{LARGEST['width']:,}"
            )
        if self.mlp not in MLPS:
            hint = did_you_mean(str(self.mlp), MLPS)
            raise UsageError(f"unknown model.mlp {self.mlp!r}{hint}; choose from {', '.join(MLPS)}")
        if not 0.0 <= self.context_keep < 1.0:
            raise UsageError(
                f"model.context_keep is {self.context_keep}: expected a share of at least 0 and below 1, "
                "so that a full context makes room"
            )
        for name in ("attention_dropout", "residual_dropout", "embedding_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UsageError(f"model.{name} is {getattr(self, name)}: expected a probability from 0 to below 1")
