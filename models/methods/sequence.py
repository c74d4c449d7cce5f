"""What methods that read transitions in their order share: the net's parts, the shift by one, the cached way to act.

Shape suffixes: B windows or lanes, T transitions, L tokens, D width.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.models.methods.base import Actor
from icrl.models.parts import Distribution, make_action_head
from icrl.models.spec import Spec
from icrl.transitions import Transitions


class SequenceNet(nn.Module):
    """An embedding and a head for each group of spaces, and the backbone that they share.

    Args:
        embed: makes the embedding of a group, of (spec, width).
    """

    def __init__(self, specs: Mapping[str, Spec], backbone: Any, embed: Callable[[Spec, int], nn.Module]) -> None:
        super().__init__()
        width = backbone.width
        self.embedding = nn.ModuleDict({group: embed(spec, width) for group, spec in specs.items()})
        self.backbone = backbone
        self.head = nn.ModuleDict(
            {
                group: make_action_head(spec.action_space, width, spec.scales is not None)
                for group, spec in specs.items()
            }
        )


def shifted(before_B: Any, values_BT: Any, batch: Transitions) -> Any:
    """What came before each of T transitions: `values_BT` moved on by one, `before_B` first.

    The last column of the values is in none of them; so there may be one fewer than T, which is what there is while
    acting.
    """
    if isinstance(before_B, Mapping):
        return {key: shifted(part, values_BT[key], batch) for key, part in before_B.items()}
    last = batch.shape[1] - 1
    return torch.cat([before_B[:, None], values_BT[:, :last]], dim=1) if last else before_B[:, None]


def padding(batch: Transitions) -> Tensor:
    """Which transitions are padding: `(B, T)` bool."""
    return torch.arange(batch.shape[1], device=batch.lengths.device) >= batch.lengths[:, None]


def first_token(outputs: Any) -> Any:
    """What is said at the first token, of a tensor `(B, T, …)` or a tree of such: `(B, …)`."""
    if isinstance(outputs, Mapping):
        return {key: first_token(part) for key, part in outputs.items()}
    return outputs[:, 0]


class SequenceActor(Actor):
    """Acts by reading on: one cached decision after another, one token each.

    Args:
        net: with `embedding`, `backbone` and `head`, in eval mode.
        group: of spaces.
        distribution: what the head's numbers mean.
    """

    def __init__(self, net: nn.Module, group: str, distribution: Distribution) -> None:
        self._backbone, self._distribution, self._group = net.backbone, distribution, group
        self._embedding, self._head = net.embedding[group], net.head[group]

    @torch.inference_mode()
    def begin(self, lanes: int, prompts: Transitions | None, targets: NDArray[np.float64] | None) -> None:
        self._state = self._backbone.start(lanes)
        if prompts is not None:
            self._backbone.prefill(self._embedding(prompts), prompts.lengths.cpu().numpy(), self._state)

    @torch.inference_mode()
    def act(self, now: Transitions) -> Any:
        return first_token(self._head(self._backbone.step(self._embedding(now), self._state)[:, -1:]))

    def choose(self, outputs: Any, uniforms: NDArray[np.float64] | None) -> NDArray:
        return self._distribution.act(outputs, uniforms)

    def keep(self, lanes: NDArray[np.int64]) -> None:
        self._state.keep(lanes)
