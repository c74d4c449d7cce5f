"""AdamW with decay on matrices only, and the learning rate as a pure function of the step."""

import math

import torch
from torch import nn

from icrl.train.config import PretrainOptions


def learning_rate_at(step: int, options: PretrainOptions) -> float:
    """The learning rate of step `step`, 0 … steps - 1.

    With p the largest rate, W warm-up steps and N steps in all: p (step + 1) / W during the warm-up. After it,
    "cosine" is p (1 + cos π u) / 2, u going from 0 to 1 over the rest. "wsd" (Hu et al., 2024) is p until the last
    D = decay fraction · N steps and p (N - step) / D over those, so that the last step still moves by p / D.
    """
    peak, steps = options.learning_rate, options.steps
    warmup = min(options.warmup, steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if options.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    decay = min(round(options.decay_fraction * steps), steps - warmup)
    return peak * min(1.0, (steps - step) / decay) if decay else peak


def make_optimizer(model: nn.Module, options: PretrainOptions, *, sharded: bool) -> torch.optim.AdamW:
    """AdamW over `model` before accelerate has wrapped it.

    Args:
        sharded: DeepSpeed or FSDP will replace the parameters by shards, for which PyTorch's fused step, one call
            instead of a dozen a tensor, is not made everywhere.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((matrices, options.weight_decay), (vectors, 0.0))
        if parameters
    ]
    fused = not sharded and next(model.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=options.betas, fused=fused or None)
