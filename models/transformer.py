"""The decoder-only transformer: tokens of transitions in, one distribution over actions per token out.

Pre-norm blocks with RMSNorm, rotary positions, squared-ReLU or SwiGLU MLPs, no biases.

Shape suffixes: B lanes, T tokens, D width, A actions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedModel, initialization
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from icrl.errors import UsageError
from icrl.models.attention import AttentionCache, CausalSelfAttention
from icrl.models.config import InContextConfig
from icrl.models.encoders import EMBEDDING_STD, TokenEmbedding
from icrl.models.heads import make_action_head
from icrl.models.kernels import INITIAL_GAIN, Linear, rms_norm, rotary_table, squared_relu
from icrl.models.tokens import Tokens


@dataclass
class InContextOutput(ModelOutput):
    """What a forward returns."""

    logits: Tensor | None = None
    """What the head says of the action at every token: of a Discrete space the unnormalised log-probabilities
    `(B, T, A)`, of a Box mean and log standard deviation `(B, T, 2, *action_shape)`."""


class SquaredReLU(nn.Module):
    """max(x W, 0)² V (So et al., 2021)."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = round(ratio * width)
        self.up = Linear(width, hidden)
        self.down = Linear(hidden, width, gain=0.0)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(squared_relu(self.up(x_BTD)))


class SwiGLU(nn.Module):
    """(silu(x W) · x U) V (Shazeer, 2020), with 2/3 of the channels: as many weights as the other."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = max(8, round(ratio * width * 2 / 3 / 8) * 8)
        self.up = Linear(width, 2 * hidden)
        self.down = Linear(hidden, width, gain=0.0)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate, value = self.up(x_BTD).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Block(GradientCheckpointingLayer):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: InContextConfig, layer: int) -> None:
        super().__init__()
        self.dropout = config.residual_dropout
        self.attention = CausalSelfAttention(config.width, config.n_head, layer, config.attention_dropout)
        self.mlp = (SquaredReLU if config.mlp == "relu2" else SwiGLU)(config.width, config.mlp_ratio)

    def forward(self, x_BTD: Tensor, table: Tensor, cache: AttentionCache | None = None) -> Tensor:
        x_BTD = x_BTD + self._drop(self.attention(rms_norm(x_BTD), table, cache))
        return x_BTD + self._drop(self.mlp(rms_norm(x_BTD)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class InContextTransformer(PreTrainedModel):
    """Predicts the action at every token of a context that may span many episodes of one task."""

    config_class = InContextConfig
    base_model_prefix = "transformer"
    main_input_name = "tokens"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Block", "TokenEmbedding"]  # noqa: RUF012

    def __init__(self, config: InContextConfig) -> None:
        super().__init__(config)
        self.embedding = TokenEmbedding(config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.head = make_action_head(config.action_space, config.width, config.scales is not None)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Blocks add nothing at first: what they give to the residual stream starts at zero.

        Through `transformers.initialization`, which leaves alone whatever was loaded from a file: writing `.data`
        here would make `from_pretrained` return random weights.
        """
        if isinstance(module, nn.Linear):
            initialization.normal_(module.weight, std=getattr(module, "gain", INITIAL_GAIN) * module.in_features**-0.5)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            initialization.normal_(module.weight, std=EMBEDDING_STD)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding.step

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embedding.step = value

    def _embed(
        self, tokens: Tokens, cache: AttentionCache | None, token_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The embedded tokens `(B, T, D)`, and the rows of the rotary table of their positions."""
        config, (_, T) = self.config, tokens.shape
        if config.context_length < T:
            raise UsageError(
                f"{T} tokens do not fit the model's context of {config.context_length}: give its newest tokens"
            )
        x_BTD = self.embedding(tokens)
        if token_mask is not None:
            x_BTD = x_BTD.masked_fill(token_mask[..., None], 0.0)
        if self.training and config.embedding_dropout:
            x_BTD = F.dropout(x_BTD, config.embedding_dropout)
        table = rotary_table(config.context_length, config.width // config.n_head, x_BTD.device)
        positions = slice(0, T) if cache is None else cache.positions(T)
        return x_BTD, table[positions] if isinstance(positions, slice) else table[positions, None]

    def fill(self, tokens: Tokens, prefill: AttentionCache) -> None:
        """Stores the keys and values of these tokens and predicts nothing: the last block stops at its keys."""
        x_BTD, table = self._embed(tokens, prefill)
        for block in self.blocks[:-1]:
            x_BTD = block(x_BTD, table, prefill)
        self.blocks[-1].attention.store(rms_norm(x_BTD), table, prefill)

    def forward(
        self, tokens: Tokens, *, cache: AttentionCache | None = None, token_mask: Tensor | None = None
    ) -> InContextOutput:
        """Logits of the action at every token.

        Args:
            tokens: `(B, T)`, T at most the context length.
            cache: a `KeyValueCache`, for T = 1; none for a plain causal forward.
            token_mask: `(B, T)` bool: these tokens are hidden, embedded as zeros.
        """
        x_BTD, table = self._embed(tokens, cache, token_mask)
        for block in self.blocks:
            x_BTD = block(x_BTD, table, cache)
        return InContextOutput(logits=self.head(rms_norm(x_BTD)))


AutoModel.register(InContextConfig, InContextTransformer)
