"""Acting through the cache computes what a plain forward over the stated window of tokens computes."""

import numpy as np
import pytest
import torch

from icrl.models.backbones.base import window_start
from icrl.models.config import InContextConfig
from icrl.models.options import ModelOptions
from icrl.models.tokens import Tokens
from icrl.models.transformer import Context, InContextTransformer

CONTEXT, STEPS = 12, 60
SPACES = {
    "observation_space": {"kind": "multi_discrete", "nvec": [9, 7]},
    "action_space": {"kind": "discrete", "n": 5},
    "horizon": 6,
}


def make_model(keep: float = 0.5, fresh: bool = False, **options) -> InContextTransformer:
    """A tiny model. Unless it is to be `fresh`, its weights are as large as trained ones: the blocks of a fresh model
    add nothing yet, and whatever a cache held would be right."""
    torch.manual_seed(0)
    options = {"n_layer": 2, "n_head": 2, "width": 16, "context_length": CONTEXT, "context_keep": keep} | options
    model = InContextTransformer(InContextConfig.of(ModelOptions(**options), **SPACES)).eval()
    for parameter in () if fresh else model.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return model


def random_tokens(lanes: int, steps: int, seed: int = 0) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    shape = (lanes, steps)
    return Tokens(
        observations=torch.randint(7, (*shape, 2), generator=generator),
        previous_actions=torch.randint(6, shape, generator=generator),
        previous_rewards=torch.rand(shape, generator=generator),
        previous_dones=torch.rand(shape, generator=generator) < 0.2,
        steps=torch.randint(6, shape, generator=generator),
    )


@torch.inference_mode()
def uncached(model: InContextTransformer, tokens_1T: Tokens, t: int) -> torch.Tensor:
    """Logits at token t of one lane by a plain forward over its window."""
    start = window_start(t, model.config.context_length, model.config.kept)
    return model(tokens_1T[:, start : t + 1]).logits[0, -1]


def test_window_start_typed_in():
    """Kills: an off-by-one in when a full context is encoded anew, and from where."""
    # C = 4, K = 2: token 4 finds four places taken, keeps tokens 2 and 3, and so every second token from there.
    assert [window_start(t, 4, 2) for t in range(10)] == [0, 0, 0, 0, 2, 2, 4, 4, 6, 6]
    assert [window_start(t, 3, 0) for t in range(7)] == [0, 0, 0, 3, 3, 3, 6]
    assert [window_start(t, 3, 2) for t in range(6)] == [0, 0, 0, 1, 2, 3]
    assert [window_start(t, 1, 0) for t in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(("context_length", "kept"), [(1, 0), (5, 0), (5, 1), (5, 4), (8, 4), (200, 100), (7, 3)])
def test_window_start_keeps_the_newest_and_never_overflows(context_length, kept):
    """Kills: a window that outgrows the context, forgets more than it has to, or moves backwards."""
    starts = [window_start(t, context_length, kept) for t in range(5 * context_length)]
    for t, start in enumerate(starts):
        assert t - start + 1 <= context_length
        assert t < context_length or t - start >= kept
        if t and start != starts[t - 1]:
            # It moves only when token t - 1 had filled the context, and then keeps exactly K tokens before t.
            assert t - starts[t - 1] == context_length
            assert t - start == kept


@pytest.mark.parametrize("mlp", ["relu2", "swiglu"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_equal_lanes_at_every_position_far_past_the_window(keep, mlp):
    """Kills: a rolled cache, stale rotary positions after re-encoding, a re-encoding of the wrong tokens."""
    model, tokens = make_model(keep, mlp=mlp), random_tokens(3, STEPS)
    context = Context(model, 3)
    for t in range(STEPS):
        logits_BA = context.step(tokens[:, t : t + 1])
        for lane in range(3):
            torch.testing.assert_close(logits_BA[lane], uncached(model, tokens[lane : lane + 1], t), atol=1e-5, rtol=0)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_lanes_of_unequal_length_after_a_prefill(keep):
    """Kills: padding that is attended to, a lane's position taken from another, a prompt cut at the wrong place."""
    # Empty, short, one short of full, exactly full, just past it, far past it.
    lengths = [0, 3, CONTEXT - 1, CONTEXT, CONTEXT + 1, 2 * CONTEXT + 5]
    model, tokens = make_model(keep), random_tokens(len(lengths), max(lengths) + STEPS)
    starts = [window_start(length, CONTEXT, model.config.kept) for length in lengths]
    held = np.array(lengths) - starts
    prompt = random_tokens(len(lengths), int(held.max()), seed=1)  # the padding is not zero, and must not matter
    for field, value in vars(prompt).items():
        for lane, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            value[lane, : length - start] = getattr(tokens, field)[lane, start:length]
    context = Context(model, len(lengths))
    context.prefill(prompt, held)
    for step in range(STEPS):
        times = [length + step for length in lengths]
        now = Tokens(
            **{
                name: torch.stack([value[lane, t : t + 1] for lane, t in enumerate(times)])
                for name, value in vars(tokens).items()
            }
        )
        logits_BA = context.step(now)
        for lane, t in enumerate(times):
            torch.testing.assert_close(logits_BA[lane], uncached(model, tokens[lane : lane + 1], t), atol=1e-5, rtol=0)


def test_prefill_in_several_parts(monkeypatch):
    """Kills: a prefill of many lanes that writes the keys of one part into the lanes of another."""
    monkeypatch.setattr("icrl.models.backbones.window._PREFILL_TOKENS", 20)
    model, tokens = make_model(), random_tokens(5, 9)
    context = Context(model, 5)
    context.prefill(tokens[:, :8], np.full(5, 8))
    logits_BA = context.step(tokens[:, 8:])
    for lane in range(5):
        torch.testing.assert_close(logits_BA[lane], uncached(model, tokens[lane : lane + 1], 8), atol=1e-5, rtol=0)


def test_the_cache_costs_one_token_a_step():
    """Kills: an agent that encodes its whole context again at every step and is right, and slow."""
    model, tokens = make_model(keep=0.5), random_tokens(2, 4 * CONTEXT)
    seen = []
    first = model.blocks[0].attention
    project = first._project
    first._project = lambda x_BTD, table: (seen.append(x_BTD.shape[1]), project(x_BTD, table))[1]
    context = Context(model, 2)
    for t in range(4 * CONTEXT):
        context.step(tokens[:, t : t + 1])
    # One token a step, and K = 6 more each time that twelve places are taken: at t = 12, 18, 24, 30, 36, 42.
    assert sum(seen) == 4 * CONTEXT + 6 * 6


def test_prefill_leaves_other_lanes_alone():
    """Kills: a re-encoding of one full lane that overwrites its neighbours."""
    model, tokens = make_model(), random_tokens(3, 4)
    state = model.backbone.start(3)
    state.fill(model.embedding(tokens).detach(), np.full(3, 4))
    model.backbone._encode(state, np.array([1]), 4)
    for stored in (*state.keys_BHCE, *state.values_BHCE):
        assert not stored[[0, 2]].any()
        assert stored[1, :, :4].all()
        assert not stored[1, :, 4:].any()
