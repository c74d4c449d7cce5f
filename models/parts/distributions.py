"""What a head's numbers mean: a distribution over actions, the loss of an action under it, and how one is drawn.

Shape suffixes: B windows or lanes, T tokens, A actions of a Discrete space, D numbers of a Box action.
"""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from icrl.errors import UsageError

_IGNORED = -100


class Distribution(Protocol):
    """One kind of distribution over actions."""

    def loss(
        self, outputs: Tensor, actions: Tensor, unseen_BT: Tensor, label_smoothing: float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean negative log-likelihood of the actions, and metrics to report of it.

        Args:
            outputs: of the head, `(B, T, …)`.
            actions: `(B, T, *action_shape)`.
            unseen_BT: bool; transitions that do not count. At least one counts.
        """

    def act(self, outputs: Tensor, uniforms: NDArray[np.float64] | None) -> NDArray:
        """Actions `(B, *action_shape)` for outputs `(B, …)`: by inversion at uniforms on [0, 1), or the likeliest."""


class Categorical:
    """A logit for each action of a Discrete space."""

    def loss(self, outputs, actions, unseen_BT, label_smoothing=0.0):
        """Metrics: "accuracy", the share of transitions whose action is the likeliest."""
        target = actions.masked_fill(unseen_BT, _IGNORED).flatten()
        logits = outputs.float().flatten(0, 1)
        loss = F.cross_entropy(logits, target, ignore_index=_IGNORED, label_smoothing=label_smoothing)
        with torch.no_grad():
            accuracy = (logits.argmax(-1) == target).sum() / (target != _IGNORED).sum()
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    def act(self, outputs, uniforms):
        """`uniforms`: `(B, 1)`."""
        logits_BA = outputs.float().cpu().numpy()
        if uniforms is None:
            return logits_BA.argmax(-1)
        weights_BA = np.exp((logits_BA - logits_BA.max(-1, keepdims=True)).astype(np.float64))
        cumulative_BA = weights_BA.cumsum(-1)
        # u < 1, so the count of entries at or below u · total is at most A - 1.
        return (cumulative_BA <= uniforms * cumulative_BA[:, -1:]).sum(-1)


class DiagonalGaussian:
    """Mean and logarithm of the standard deviation of each number of a Box action, stacked: `(…, 2, *action_shape)`.

    The log-likelihood of an action is the sum over its numbers. Actions that are drawn may lie outside the bounds:
    whoever draws them clips them.
    """

    def loss(self, outputs, actions, unseen_BT, label_smoothing=0.0):
        """Metrics: "error", the mean distance of the action's numbers from their means."""
        if label_smoothing:
            raise UsageError(
                f"label_smoothing is {label_smoothing}, and these actions are continuous: there are no labels to "
                "spread it over; set it to 0"
            )
        mean, log_std = outputs.float().unbind(2)
        z = (actions.float() - mean) * torch.exp(-log_std)
        nll_BT = (0.5 * (z * z + np.log(2 * np.pi)) + log_std).reshape(*unseen_BT.shape, -1).sum(-1)
        seen_BT = (~unseen_BT).float()
        loss = (nll_BT * seen_BT).sum() / seen_BT.sum()
        with torch.no_grad():
            error = ((actions - mean).abs().reshape(*unseen_BT.shape, -1).mean(-1) * seen_BT).sum() / seen_BT.sum()
        return loss, {"loss": loss.detach(), "error": error}

    def act(self, outputs, uniforms):
        """`uniforms`: `(B, D)`, one for each number of each lane's action."""
        mean, log_std = outputs.float().cpu().numpy().swapaxes(0, 1)
        if uniforms is None:
            return mean.copy()
        from scipy.special import ndtri

        # A uniform of exactly 0 would be minus infinity.
        z = ndtri(np.maximum(uniforms, 2.0**-54)).reshape(mean.shape)
        return (mean + np.exp(log_std) * z).astype(np.float32)


CATEGORICAL, DIAGONAL_GAUSSIAN = Categorical(), DiagonalGaussian()


def distribution_of(space: dict[str, Any]) -> Distribution:
    """The distribution over the actions of a space given as `icrl.spaces.space_to_dict` gives it."""
    match space:
        case {"kind": "discrete"}:
            return CATEGORICAL
        case {"kind": "box"}:
            return DIAGONAL_GAUSSIAN
    raise UsageError(f"no distribution over the action space {space}: expected Discrete or Box")
