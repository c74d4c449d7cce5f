"""A method's network around a backbone, as what is trained, saved and loaded."""

import re
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, initialization

from icrl.choices import Choice, to_dict
from icrl.models.backbones.base import Backbone
from icrl.models.backbones.kernels import INITIAL_GAIN
from icrl.models.config import InContextConfig
from icrl.models.parts import EMBEDDING_STD

EARLIER_NAMES = {r"^embedding\.": "net.embedding.0.", r"^blocks\.": "net.backbone.blocks.", r"^head\.": "net.head.0."}
"""Names of weights in models of earlier releases, and what they are called now."""


class InContextModel(PreTrainedModel):
    """What `config.method` builds around `config.backbone`; called as the method's loss calls it.

    Attributes:
        method: an instance, of the config's options.
        net: what it has built.
    """

    config_class = InContextConfig
    base_model_prefix = "net"
    main_input_name = "batch"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: InContextConfig) -> None:
        super().__init__(config)
        self.method = config.make_method()
        backbone = config.make_backbone(self.method)
        # From these options the same shapes come without what the user's may name: a folder, the network.
        config.backbone = to_dict(Choice(config.backbone_choice.name, backbone.options))
        # What FSDP wraps by itself.
        self._no_split_modules = list(getattr(backbone, "no_split_modules", ()))
        self.net = self.method.build(config.groups, backbone)
        # In a tuple, and so not a module of this one a second time.
        self._backbone = (backbone,)
        self._of_backbone = {id(module): backbone for module in backbone.modules()}
        self.register_load_state_dict_pre_hook(_rename_earlier)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Linear and embedding layers of encoders and heads; a backbone knows what its own begin with.

        Through `transformers.initialization`, which leaves alone whatever was loaded from a file: writing `.data`
        here would make `from_pretrained` return random weights.
        """
        if (backbone := self._of_backbone.get(id(module))) is not None:
            backbone.init_weights(module)
        elif isinstance(module, nn.Linear):
            initialization.normal_(module.weight, std=getattr(module, "gain", INITIAL_GAIN) * module.in_features**-0.5)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            initialization.normal_(module.weight, std=EMBEDDING_STD)

    @property
    def backbone(self) -> Backbone:
        """What mixes embedded tokens over time, somewhere in `net`."""
        return self._backbone[0]

    def window_start(self, t: int) -> int:
        """First decision of the context in which decision t of a lane is read."""
        backbone = self.backbone
        return backbone.window_start(t * backbone.tokens_per_decision) // backbone.tokens_per_decision

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As transformers has it; weights are found by the names of earlier releases too, which it takes random ones
        for otherwise."""
        return super().from_pretrained(*args, **{"key_mapping": EARLIER_NAMES, **kwargs})

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """As transformers has it; weights have this release's names, wherever they were loaded from."""
        super().save_pretrained(*args, **{"save_original_format": False, **kwargs})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.net(*args, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        """Of tokens there are none to share; Hugging Face's tools ask for some module with a weight."""
        return next(module for module in self.net.modules() if isinstance(module, nn.Embedding | nn.Linear))

    def set_input_embeddings(self, value: nn.Module) -> None:
        raise NotImplementedError("the embeddings of transitions are the method's: build another model")


def current_name(name: str) -> str:
    """What a weight of an earlier release is called now; others keep their names."""
    for pattern, now in EARLIER_NAMES.items():
        name = re.sub(pattern, now, name)
    return name


def _rename_earlier(module: nn.Module, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name in [name for name in weights if name != current_name(name)]:
        weights[current_name(name)] = weights.pop(name)


AutoModel.register(InContextConfig, InContextModel)
