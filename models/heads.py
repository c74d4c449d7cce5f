"""From the last block's channels to a distribution over actions; the head is chosen by the action space."""

from typing import Any

from torch import Tensor, nn

from icrl.errors import UsageError
from icrl.models.kernels import Linear


class DiscreteHead(nn.Module):
    """One logit per action: `(B, T, D)` to `(B, T, A)`."""

    def __init__(self, num_actions: int, width: int) -> None:
        super().__init__()
        self.logits = Linear(width, num_actions)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.logits(x_BTD)


def make_action_head(space: dict[str, Any], width: int) -> nn.Module:
    """The head of a space given as `icrl.spaces.space_to_dict` gives it."""
    match space:
        case {"kind": "discrete", "n": n}:
            return DiscreteHead(n, width)
    raise UsageError(f"no head for the action space {space}: expected Discrete")
