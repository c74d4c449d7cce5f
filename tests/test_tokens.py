"""AD's token layout: what a token may know, and that windows, prompts and acting build the same tokens."""

from dataclasses import replace

import pytest
import torch
from small_models import BEFORE, NONE, cut, make_model, nothing_before, random_transitions, to_act

from icrl.models.methods.ad import TokenEmbedding
from icrl.transitions import Before, Transitions


def embedding() -> TokenEmbedding:
    return make_model().net.embedding["0"].requires_grad_(False)


def history(T: int = 10) -> Transitions:
    """One history of random transitions, in episodes of four steps."""
    ends = (torch.arange(T) % 4 == 3)[None]
    steps = (torch.arange(T) % 4)[None]
    flags = {"terminated": ends & (steps < 0), "truncated": ends}
    return replace(random_transitions(1, T), **flags, steps=steps, before=nothing_before(1))


def test_shift_typed_in():
    """Kills: a token that holds its own action or reward (the label leaks), and a shift by one too many; an end of
    the episode of which one of its two kinds is not read."""
    embed = embedding()
    batch = Transitions(
        observations=torch.tensor([[[7, 1], [8, 2], [0, 3], [1, 4]]]),
        actions=torch.tensor([[1, 2, 3, 0]]),
        rewards=torch.tensor([[0.5, 1.5, 2.5, 3.5]]),
        terminated=torch.tensor([[False, True, False, False]]),
        truncated=torch.tensor([[False, False, True, True]]),
        steps=torch.tensor([[0, 1, 0, 5]]),
        before=Before(torch.tensor([4]), torch.tensor([9.0]), torch.tensor([True]), torch.tensor([False])),
        lengths=torch.tensor([4]),
    )
    assert batch.shape == (1, 4)
    first, second = (table.weight for table in embed.observation.tables)
    expected = (
        (first[[7, 8, 0, 1]] + second[[1, 2, 3, 4]])
        + embed.previous_action.weight[[4, 1, 2, 3]]
        + torch.tensor([[9.0], [0.5], [1.5], [2.5]]) @ embed.previous_reward.weight.T
        + embed.previous_done.weight[[1, 0, 1, 1]]
        + embed.step.weight[[0, 1, 0, 5]]
    )
    torch.testing.assert_close(embed(batch), expected[None], atol=1e-6, rtol=0)
    for name in ("terminated", "truncated"):
        before = replace(batch.before, terminated=~batch.before.terminated, truncated=batch.before.truncated)
        before = replace(before, **{name: torch.tensor([True])})
        torch.testing.assert_close(embed(replace(batch, before=before)), expected[None], atol=1e-6, rtol=0)


@pytest.mark.parametrize("start", [1, 3, 4, 9])
def test_a_window_has_the_tokens_of_the_whole_history(start):
    """Kills: a window from the middle that begins as if nothing had been before it."""
    embed, whole = embedding(), history()
    window = cut(whole, start, 10 - start)
    assert torch.equal(embed(window), embed(whole)[:, start:])
    assert not torch.equal(embed(replace(window, before=nothing_before(1))), embed(whole)[:, start:])


def test_acting_builds_the_tokens_that_training_builds():
    """Kills: a layout of acting that drifts from the one trained on."""
    embed, whole = embedding(), history()
    for t in range(10):
        now = to_act(whole, t)
        assert now.actions.shape == (1, 0)
        assert torch.equal(embed(now), embed(whole)[:, t : t + 1])


def test_no_token_holds_what_followed_it():
    """Kills: the same leak through any column, at every place."""
    embed, whole = embedding(), history()
    for t in range(10):
        other = replace(
            whole,
            **{name: getattr(whole, name).clone() for name in BEFORE},
        )
        other.actions[:, t] = (other.actions[:, t] + 1) % NONE
        other.rewards[:, t] += 1.0
        other.terminated[:, t] = ~whole.dones[:, t]
        other.truncated[:, t] = False
        assert torch.equal(embed(other)[:, : t + 1], embed(whole)[:, : t + 1])
        assert t == 9 or (embed(other)[:, t + 1] != embed(whole)[:, t + 1]).any()


def test_to_keeps_every_field_and_its_type():
    """Kills: a field added later that stays behind on the CPU, also within trees and among the extras."""
    batch = random_transitions(2, 10)
    batch = replace(batch, observations={"place": batch.observations, "more": {"reward": batch.rewards}})
    moved = batch.to("meta")

    def leaves(value, name=""):
        if isinstance(value, dict):
            return [leaf for key, part in value.items() for leaf in leaves(part, f"{name}.{key}")]
        return [(name, value)]

    found, expected = (leaves(vars(b) | {"before": dict(vars(b.before))}) for b in (moved, batch))
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert len(found) == 14
    for (name, value), (_, was) in zip(found, expected, strict=True):
        if name == ".group":
            assert value == was
            continue
        assert value.device.type == "meta", name
        assert (value.dtype, value.shape) == (was.dtype, was.shape), name
