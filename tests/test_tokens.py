"""The token layout: what a token may know, and that windows, prompts and acting build the same tokens."""

import pytest
import torch

from icrl.models.tokens import WindowBatch, build_tokens

NONE = 5  # the number of actions


def history(T: int = 10, seed: int = 0) -> dict[str, torch.Tensor]:
    """One history of random transitions, `(1, T, ...)`."""
    generator = torch.Generator().manual_seed(seed)
    dones = torch.arange(T) % 4 == 3
    return {
        "observations": torch.randint(9, (1, T, 2), generator=generator),
        "actions": torch.randint(NONE, (1, T), generator=generator),
        "rewards": torch.rand((1, T), generator=generator),
        "dones": dones[None],
        "steps": (torch.arange(T) % 4)[None],
    }


def before(h: dict[str, torch.Tensor], t: int) -> tuple[torch.Tensor, ...]:
    """The transition before t: its action, reward and done flag."""
    if t == 0:
        return torch.tensor([NONE]), torch.zeros(1), torch.ones(1, dtype=torch.bool)
    return h["actions"][:, t - 1], h["rewards"][:, t - 1], h["dones"][:, t - 1]


def test_shift_typed_in():
    """Kills: a token that holds its own action or reward (the label leaks), and a shift by one too many."""
    tokens = build_tokens(
        observations=torch.tensor([[7, 8, 9]]),
        actions=torch.tensor([[1, 2, 3]]),
        rewards=torch.tensor([[0.5, 1.5, 2.5]]),
        dones=torch.tensor([[False, True, False]]),
        steps=torch.tensor([[0, 1, 0]]),
        before_actions=torch.tensor([4]),
        before_rewards=torch.tensor([9.0]),
        before_dones=torch.tensor([True]),
    )
    assert tokens.shape == (1, 3)
    assert tokens.observations.tolist() == [[7, 8, 9]]
    assert tokens.previous_actions.tolist() == [[4, 1, 2]]
    assert tokens.previous_rewards.tolist() == [[9.0, 0.5, 1.5]]
    assert tokens.previous_dones.tolist() == [[True, False, True]]
    assert tokens.steps.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("start", [1, 3, 4, 9])
def test_a_window_has_the_tokens_of_the_whole_history(start):
    """Kills: a window from the middle that begins as if nothing had been before it."""
    h = history()
    whole = build_tokens(*h.values(), *before(h, 0))
    window = build_tokens(*(value[:, start:] for value in h.values()), *before(h, start))
    for name, value in vars(window).items():
        assert torch.equal(value, getattr(whole, name)[:, start:]), name


def test_acting_builds_the_tokens_that_training_builds():
    """Kills: a layout of acting that drifts from the one trained on."""
    h = history()
    whole = build_tokens(*h.values(), *before(h, 0))
    nothing = torch.empty((1, 0))
    for t in range(10):
        now = build_tokens(
            h["observations"][:, t : t + 1], nothing, nothing, nothing, h["steps"][:, t : t + 1], *before(h, t)
        )
        for name, value in vars(now).items():
            assert torch.equal(value, getattr(whole, name)[:, t : t + 1]), name


def test_to_keeps_every_field_and_its_type():
    """Kills: a field added later that stays behind on the CPU."""
    h = history()
    batch = WindowBatch(*h.values(), *before(h, 0), torch.tensor([10]))
    moved = batch.to("meta")
    for name, value in vars(batch).items():
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).dtype == value.dtype
