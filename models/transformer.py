"""The model of a transformer: tokens of transitions in, one distribution over actions per token out.

Shape suffixes: B lanes, T tokens, D width, A actions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, initialization
from transformers.utils import ModelOutput

from icrl.models.backbones.kernels import INITIAL_GAIN
from icrl.models.backbones.transformer import Transformer
from icrl.models.config import InContextConfig
from icrl.models.encoders import EMBEDDING_STD, TokenEmbedding
from icrl.models.heads import make_action_head
from icrl.models.tokens import Tokens


@dataclass
class InContextOutput(ModelOutput):
    """What a forward returns."""

    logits: Tensor | None = None
    """What the head says of the action at every token: of a Discrete space the unnormalised log-probabilities
    `(B, T, A)`, of a Box mean and log standard deviation `(B, T, 2, *action_shape)`."""


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
        # Only its blocks are registered, under the name that saved models have for them.
        backbone = Transformer(config.options)
        object.__setattr__(self, "backbone", backbone)
        self.blocks = backbone.blocks
        self.head = make_action_head(config.action_space, config.width, config.scales is not None)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Through `transformers.initialization`, which leaves alone whatever was loaded from a file: writing `.data`
        here would make `from_pretrained` return random weights."""
        if isinstance(module, nn.Linear):
            initialization.normal_(module.weight, std=getattr(module, "gain", INITIAL_GAIN) * module.in_features**-0.5)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            initialization.normal_(module.weight, std=EMBEDDING_STD)

    def train(self, mode: bool = True) -> "InContextTransformer":
        self.backbone.train(mode)
        return super().train(mode)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding.step

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embedding.step = value

    def forward(self, tokens: Tokens, *, token_mask: Tensor | None = None) -> InContextOutput:
        """Logits of the action at every token.

        Args:
            tokens: `(B, T)`, T at most the context length.
            token_mask: `(B, T)` bool: these tokens are hidden, embedded as zeros.
        """
        x_BTD = self.embedding(tokens)
        if token_mask is not None:
            x_BTD = x_BTD.masked_fill(token_mask[..., None], 0.0)
        return InContextOutput(logits=self.head(self.backbone(x_BTD)))


class Context:
    """The context of B lanes: what an `InContextTransformer` in eval mode has read."""

    def __init__(self, model: InContextTransformer, num_lanes: int) -> None:
        self.model, self.state = model, model.backbone.start(num_lanes)

    @torch.inference_mode()
    def prefill(self, tokens_BT: Tokens, lengths_B: NDArray[np.int64]) -> None:
        """See `Backbone.prefill`."""
        self.model.backbone.prefill(self.model.embedding(tokens_BT), lengths_B, self.state)

    def keep(self, lanes: NDArray[np.int64]) -> None:
        """See `State.keep`."""
        self.state.keep(lanes)

    @torch.inference_mode()
    def step(self, tokens_B1: Tokens) -> Tensor:
        """Reads one more token in every lane that is left; returns the outputs for the action to be chosen there."""
        return self.model.head(self.model.backbone.step(self.model.embedding(tokens_B1), self.state))[:, 0]


AutoModel.register(InContextConfig, InContextTransformer)
