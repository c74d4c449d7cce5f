"""Algorithm Distillation: imitate the source learner's actions across its whole learning history.

Laskin et al., "In-context Reinforcement Learning with Algorithm Distillation", 2022. A window spans many episodes, so
predicting the next action well means predicting how the learner improves; acting is reading on, with no update.

Shape suffixes: B windows or lanes, T tokens, A actions.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from icrl.models.tokens import Tokens, WindowBatch, build_tokens

_IGNORED = -100


class AlgorithmDistillation:
    """Token layout, objective and way to act of AD."""

    tokens = staticmethod(build_tokens)
    """The layout: one token per transition, of the previous transition and the present observation."""

    def loss(
        self,
        model: nn.Module,
        batch: WindowBatch,
        *,
        label_smoothing: float = 0.0,
        token_mask: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy of the action over every transition of every window that is not hidden.

        Args:
            model: an `InContextTransformer`, bare or wrapped by accelerate, DDP, FSDP or DeepSpeed.
            label_smoothing: share of the target spread evenly over all actions.
            token_mask: probability that a token is hidden from the model: its embedding is zeros. The action there
                is left out of the loss, since nobody ever acts without an observation.
            generator: of the mask's random numbers.

        Returns:
            the loss, and metrics "loss" and "accuracy" (share of transitions whose action is the likeliest).
        """
        tokens = self._layout(batch)
        hidden_BT = None
        if token_mask > 0.0:
            device = generator.device if generator is not None else tokens.steps.device
            draws_BT = torch.rand(tokens.shape, generator=generator, device=device)
            hidden_BT = (draws_BT < token_mask).to(tokens.steps.device)
        logits_BTA = model(tokens, token_mask=hidden_BT).logits
        places_T = torch.arange(batch.actions.shape[1], device=batch.actions.device)
        unseen_BT = places_T >= batch.lengths[:, None]
        if hidden_BT is not None:
            unseen_BT = unseen_BT | hidden_BT
        target_BT = batch.actions.masked_fill(unseen_BT, _IGNORED)
        logits, target = logits_BTA.float().flatten(0, 1), target_BT.flatten()
        loss = F.cross_entropy(logits, target, ignore_index=_IGNORED, label_smoothing=label_smoothing)
        with torch.no_grad():
            hits = (logits.argmax(-1) == target).sum()
            accuracy = hits / (target != _IGNORED).sum()
        return loss, {"loss": loss.detach(), "accuracy": accuracy}

    def act(self, logits_BA: Tensor, uniforms_B: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """Actions `(B,)`: sampled by the inverse of the cumulative distribution at `uniforms_B`, or the likeliest."""
        logits = logits_BA.float().cpu().numpy()
        if uniforms_B is None:
            return logits.argmax(-1)
        weights_BA = np.exp((logits - logits.max(-1, keepdims=True)).astype(np.float64))
        cumulative_BA = weights_BA.cumsum(-1)
        # u < 1, so the count of entries at or below u · total is at most A - 1.
        return (cumulative_BA <= uniforms_B[:, None] * cumulative_BA[:, -1:]).sum(-1)

    def _layout(self, batch: WindowBatch) -> Tokens:
        return build_tokens(
            batch.observations,
            batch.actions,
            batch.rewards,
            batch.dones,
            batch.steps,
            batch.before_actions,
            batch.before_rewards,
            batch.before_dones,
        )


AD = AlgorithmDistillation()
