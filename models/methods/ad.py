"""Algorithm Distillation: imitate the source learner's actions across its whole learning history.

Laskin et al., "In-context Reinforcement Learning with Algorithm Distillation", 2022. A window spans many episodes, so
predicting the next action well means predicting how the learner improves; acting is reading on, with no update.

Shape suffixes: B windows or lanes, T tokens.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.models.actions import CATEGORICAL, DIAGONAL_GAUSSIAN, Distribution
from icrl.models.tokens import Tokens, WindowBatch, build_tokens


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
        """Mean negative log-likelihood of the action over every transition of every window that is not hidden.

        For a Discrete space that is the cross-entropy, for a Box that of a diagonal Gaussian.

        Args:
            model: an `InContextTransformer`, bare or wrapped by accelerate, DDP, FSDP or DeepSpeed.
            label_smoothing: share of the target spread evenly over all actions.
            token_mask: probability that a token is hidden from the model: its embedding is zeros. The action there
                is left out of the loss, since nobody ever acts without an observation.
            generator: of the mask's random numbers.

        Returns:
            the loss, and metrics: "loss", and what the distribution reports (`icrl.models.actions`).
        """
        tokens = self._layout(batch)
        hidden_BT = None
        if token_mask > 0.0:
            device = generator.device if generator is not None else tokens.steps.device
            draws_BT = torch.rand(tokens.shape, generator=generator, device=device)
            hidden_BT = (draws_BT < token_mask).to(tokens.steps.device)
        outputs = model(tokens, token_mask=hidden_BT).logits
        places_T = torch.arange(batch.actions.shape[1], device=batch.actions.device)
        unseen_BT = places_T >= batch.lengths[:, None]
        if hidden_BT is not None:
            unseen_BT = unseen_BT | hidden_BT
        distribution = DIAGONAL_GAUSSIAN if batch.actions.is_floating_point() else CATEGORICAL
        return distribution.loss(outputs, batch.actions, unseen_BT, label_smoothing)

    def act(self, outputs: Tensor, uniforms: NDArray[np.float64] | None, distribution: Distribution) -> NDArray:
        """Actions `(B, *action_shape)`: drawn by inversion at `uniforms`, or the likeliest where there are none."""
        return distribution.act(outputs, uniforms)

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
