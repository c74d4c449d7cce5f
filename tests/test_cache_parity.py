"""Acting through the cache computes what a plain forward over the stated window of tokens computes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import CONTEXT, cut, make_model, random_transitions, to_act, uncached, window_of

from icrl.models.backbones.base import window_start

STEPS = 60


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
    model, batch = make_model(keep, mlp=mlp), random_transitions(3, STEPS)
    actor = model.method.actor(model.net, "0")
    actor.begin(3, None, None)
    for t in range(STEPS):
        logits_BA = actor.act(to_act(batch, t))
        for lane in range(3):
            torch.testing.assert_close(logits_BA[lane], uncached(model, batch, lane, t), atol=1e-5, rtol=0)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_lanes_of_unequal_length_after_a_prefill(keep):
    """Kills: padding that is attended to, a lane's position taken from another, a prompt cut at the wrong place."""
    # Empty, short, one short of full, exactly full, just past it, far past it.
    lengths = [0, 3, CONTEXT - 1, CONTEXT, CONTEXT + 1, 2 * CONTEXT + 5]
    model, batch = make_model(keep), random_transitions(len(lengths), max(lengths) + STEPS)
    starts = [window_of(model, length) for length in lengths]
    held = torch.tensor(lengths) - torch.tensor(starts)
    # The padding is what the lane sees next, and must not matter.
    prompt = replace(cut(batch, starts, int(held.max())), lengths=held)
    actor = model.method.actor(model.net, "0")
    actor.begin(len(lengths), prompt, None)
    for step in range(STEPS):
        times = [length + step for length in lengths]
        logits_BA = actor.act(to_act(batch, times))
        for lane, t in enumerate(times):
            torch.testing.assert_close(logits_BA[lane], uncached(model, batch, lane, t), atol=1e-5, rtol=0)


def test_prefill_in_several_parts(monkeypatch):
    """Kills: a prefill of many lanes that writes the keys of one part into the lanes of another."""
    monkeypatch.setattr("icrl.models.backbones.window._PREFILL_TOKENS", 20)
    model, batch = make_model(), random_transitions(5, 9)
    actor = model.method.actor(model.net, "0")
    actor.begin(5, cut(batch, 0, 8), None)
    logits_BA = actor.act(to_act(batch, 8))
    for lane in range(5):
        torch.testing.assert_close(logits_BA[lane], uncached(model, batch, lane, 8), atol=1e-5, rtol=0)


def test_the_cache_costs_one_token_a_step():
    """Kills: an agent that encodes its whole context again at every step and is right, and slow."""
    model, batch = make_model(keep=0.5), random_transitions(2, 4 * CONTEXT)
    seen = []
    first = model.net.backbone.blocks[0].attention
    project = first._project
    first._project = lambda x_BTD, table: (seen.append(x_BTD.shape[1]), project(x_BTD, table))[1]
    actor = model.method.actor(model.net, "0")
    actor.begin(2, None, None)
    for t in range(4 * CONTEXT):
        actor.act(to_act(batch, t))
    # One token a step, and K = 6 more each time that twelve places are taken: at t = 12, 18, 24, 30, 36, 42.
    assert sum(seen) == 4 * CONTEXT + 6 * 6


def test_prefill_leaves_other_lanes_alone():
    """Kills: a re-encoding of one full lane that overwrites its neighbours."""
    model, batch = make_model(), random_transitions(3, 4)
    backbone = model.net.backbone
    state = backbone.start(3)
    state.fill(model.net.embedding["0"](batch).detach(), np.full(3, 4))
    backbone._encode(state, np.array([1]), 4)
    for stored in (*state.keys_BHCE, *state.values_BHCE):
        assert not stored[[0, 2]].any()
        assert stored[1, :, :4].all()
        assert not stored[1, :, 4:].any()
