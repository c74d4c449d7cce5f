"""What a head's numbers mean: a distribution over actions, the loss of an action under it, and how one is drawn.

Shape suffixes: B windows or lanes, T tokens, A actions of a Discrete space, D numbers of a Box action, F factors of a
MultiDiscrete one, N bits of a MultiBinary one, U random numbers of an action.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from icrl.errors import UsageError

_IGNORED = -100


Metrics = dict[str, Tensor]


class Distribution(ABC):
    """One kind of distribution over actions."""

    @abstractmethod
    def loss(
        self, outputs: Any, actions: Any, unseen_BT: Tensor, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Metrics]:
        """Mean negative log-likelihood of the actions, and metrics to report of it.

        Args:
            outputs: of the head, `(B, T, …)`; of a tree of actions a dict of such.
            actions: `(B, T, *action_shape)`; likewise.
            unseen_BT: bool; transitions that do not count. At least one counts.
        """

    @abstractmethod
    def act(self, outputs: Any, uniforms: NDArray[np.float64] | None) -> Any:
        """Actions `(B, *action_shape)` for outputs `(B, …)`; of a tree a dict of such.

        Args:
            uniforms: `(B, U)` on [0, 1), as many as `icrl.spaces.num_uniforms` says: actions are drawn by inversion.
                None gives the likeliest.
        """


class Categorical(Distribution):
    """A logit for each action of a Discrete space.

    Args:
        start: the first of them.
    """

    def __init__(self, start: int = 0) -> None:
        self._start = start

    def loss(self, outputs, actions, unseen_BT, label_smoothing=0.0):
        """Metrics: "accuracy", the share of transitions whose action is the likeliest."""
        places = actions - self._start if self._start else actions
        loss, accuracy = _cross_entropy(outputs, places, unseen_BT, label_smoothing)
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    def act(self, outputs, uniforms):
        """`uniforms`: `(B, 1)`."""
        places = _drawn(outputs.float().cpu().numpy(), uniforms)
        return places + self._start if self._start else places


class Factors(Distribution):
    """A block of logits for each factor of a MultiDiscrete action; given the token they are independent.

    Args:
        sizes: of the flattened factors.
        start: the first value of each factor, of the action's shape.
    """

    def __init__(self, sizes: list[int], start: NDArray[np.int64]) -> None:
        self._sizes, self._start = sizes, start

    def loss(self, outputs, actions, unseen_BT, label_smoothing=0.0):
        """Metrics: "accuracy", the share of factors, over all transitions, whose value is the likeliest."""
        places_BTF = (actions - torch.from_numpy(self._start).to(actions.device)).flatten(2)
        found = [
            _cross_entropy(outputs_BTA, places_BT, unseen_BT, label_smoothing)
            for outputs_BTA, places_BT in zip(outputs.split(self._sizes, -1), places_BTF.unbind(-1), strict=True)
        ]
        loss, accuracy = (torch.stack(values) for values in zip(*found, strict=True))
        loss = loss.sum()
        return loss, {"loss": loss.detach(), "accuracy": accuracy.mean()}

    def act(self, outputs, uniforms):
        """`uniforms`: `(B, F)`."""
        blocks = np.split(outputs.float().cpu().numpy(), np.cumsum(self._sizes)[:-1], axis=-1)
        places_BF = np.stack(
            [_drawn(block, None if uniforms is None else uniforms[:, [f]]) for f, block in enumerate(blocks)], axis=-1
        )
        return places_BF.reshape(-1, *self._start.shape) + self._start


class Bits(Distribution):
    """A logit of its being set for each bit of a MultiBinary action; given the token they are independent."""

    def loss(self, outputs, actions, unseen_BT, label_smoothing=0.0):
        """Metrics: "accuracy", the share of bits, over all transitions, whose value is the likelier."""
        seen_BT1 = (~unseen_BT).float()[..., None]
        logits_BTN, bits_BTN = outputs.float().flatten(2), actions.flatten(2)
        # Padding may hold any byte.
        bits_BTN = (bits_BTN == 1).float()
        target_BTN = bits_BTN * (1.0 - label_smoothing) + 0.5 * label_smoothing
        nll_BTN = F.binary_cross_entropy_with_logits(logits_BTN, target_BTN, reduction="none")
        loss = (nll_BTN * seen_BT1).sum() / seen_BT1.sum()
        with torch.no_grad():
            right_BTN = (logits_BTN > 0) == (bits_BTN > 0.5)
            accuracy = (right_BTN * seen_BT1).sum() / (seen_BT1.sum() * right_BTN.shape[-1])
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    def act(self, outputs, uniforms):
        """`uniforms`: `(B, N)`."""
        logits = outputs.float().cpu().numpy().astype(np.float64)
        if uniforms is None:
            return (logits > 0).astype(np.int8)
        # P(1) = 1 / (1 + e^-x), of which no exponential overflows.
        chance = 0.5 * (1.0 + np.tanh(0.5 * logits))
        return (uniforms.reshape(logits.shape) < chance).astype(np.int8)


class DiagonalGaussian(Distribution):
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


def _cross_entropy(
    outputs_BTA: Tensor, places_BT: Tensor, unseen_BT: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Mean negative log-likelihood of the places that count, and the share of them that is the likeliest."""
    target = places_BT.masked_fill(unseen_BT, _IGNORED).flatten()
    logits = outputs_BTA.float().flatten(0, 1)
    loss = F.cross_entropy(logits, target, ignore_index=_IGNORED, label_smoothing=label_smoothing)
    with torch.no_grad():
        accuracy = (logits.argmax(-1) == target).sum() / (target != _IGNORED).sum()
    return loss, accuracy


def _drawn(logits_BA: NDArray[np.float32], uniforms_B1: NDArray[np.float64] | None) -> NDArray[np.int64]:
    """A place of each row: by inversion of the cumulative distribution, or the likeliest."""
    if uniforms_B1 is None:
        return logits_BA.argmax(-1)
    weights_BA = np.exp((logits_BA - logits_BA.max(-1, keepdims=True)).astype(np.float64))
    cumulative_BA = weights_BA.cumsum(-1)
    # u < 1, so the count of entries at or below u · total is at most A - 1.
    return (cumulative_BA <= uniforms_B1.reshape(-1, 1) * cumulative_BA[:, -1:]).sum(-1)
