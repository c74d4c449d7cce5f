"""The learning rate at typed-in steps, and which weights decay."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from icrl.train.config import PretrainOptions
from icrl.train.optim import learning_rate_at, make_optimizer

OPTIONS = PretrainOptions(steps=10, learning_rate=1.0, warmup=2, schedule="wsd", decay_fraction=0.4)


def test_wsd_at_every_step():
    """Kills: a warm-up that begins at 0, and a decay that is over a step too early."""
    rates = [learning_rate_at(step, OPTIONS) for step in range(10)]
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_cosine_at_every_step():
    """Kills: a cosine over all steps instead of those after the warm-up."""
    options = replace(OPTIONS, schedule="cosine", steps=6)
    rates = [learning_rate_at(step, options) for step in range(6)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447], abs=1e-6)


@pytest.mark.parametrize(("warmup", "decay"), [(0, 0.0), (20, 0.3), (5, 1.0)])
@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_extreme_schedules_stay_in_range(warmup, decay, schedule):
    """Kills: a division by zero where the warm-up covers all steps or nothing decays."""
    options = replace(OPTIONS, warmup=warmup, decay_fraction=decay, schedule=schedule)
    assert all(0.0 < learning_rate_at(step, options) <= 1.0 for step in range(10))


def test_only_matrices_decay():
    """Kills: weight decay on biases."""
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(1.0)
    optimizer = make_optimizer(model, replace(OPTIONS, weight_decay=0.1), sharded=False)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(model.weight, torch.full((2, 3), 0.9))
    assert torch.equal(model.bias, torch.ones(2))
