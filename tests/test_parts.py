"""Encoders, heads and distributions of every kind of space, drawn from seeds and nested."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from icrl.errors import UsageError
from icrl.models.parts import (
    distribution_of,
    make_action_encoder,
    make_action_head,
    make_observation_encoder,
    register,
    to_torch,
)
from icrl.models.parts.distributions import Bits, Factors
from icrl.models.parts.encoders import ImageEncoder, channels_last
from icrl.models.parts.kinds import PARTS
from icrl.ranges import Scales, scaled
from icrl.spaces import gate, map_leaves, memory_dtype, no_action, num_uniforms, player, sample, space_to_dict
from icrl.spaces.codec import CODECS
from tests.drawn_spaces import batch, drawn_spaces, samples

S = gym.spaces
ACTION_KINDS = ("discrete", "multi_discrete", "multi_binary", "box")
B, T, WIDTH = 2, 3, 16


def rows(space: gym.Space, seed: int = 0) -> np.ndarray:
    """Values `(B, T, *row_shape)` of memory's type."""
    values = gate(space)(batch(space, samples(space, B * T, seed)))
    return values.astype(memory_dtype(space)).reshape(B, T, *values.shape[1:])


def all_parts() -> set[str]:
    return {kind for kind in PARTS if kind in CODECS}


def test_every_kind_has_both_halves():
    """Kills: a kind that can be recorded and not be trained on."""
    assert all_parts() == {*CODECS} == {*PARTS}
    with pytest.raises(ValueError, match="already"):
        register(PARTS["box"])
    with pytest.raises(UsageError, match="models have nothing for the space"):
        make_action_head({"kind": "graph"}, 8)


@pytest.mark.parametrize("space", drawn_spaces(2, 3), ids=str)
def test_an_encoder_reads_every_number(space):
    """Kills: a part, a coordinate or a channel that the model does not see; a start that is not taken away."""
    torch.manual_seed(0)
    description = space_to_dict(space)
    maps = Scales.none(description, {"kind": "discrete", "n": 2}).observations
    encoder = make_observation_encoder(description, WIDTH, False, maps)
    first, other = (rows(space, seed) for seed in (0, 1))
    encoded, of_other = (encoder(to_torch(scaled(maps, values))) for values in (first, other))
    assert encoded.shape == (B, T, WIDTH)
    assert torch.isfinite(encoded).all()
    same = np.array([[first[b, t].tobytes() == other[b, t].tobytes() for t in range(T)] for b in range(B)])
    assert np.array_equal((encoded == of_other).all(-1).numpy(), same)
    encoded.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize("space", drawn_spaces(3, 4, ACTION_KINDS, bounded=True), ids=str)
def test_a_head_learns_and_plays_actions_of_the_space(space):
    """Kills: "none" outside the table; a target of another part; an action outside the space, or of another type."""
    torch.manual_seed(0)
    description = space_to_dict(space)
    scales = Scales.none({"kind": "discrete", "n": 2}, description)
    encoder, head = make_action_encoder(description, WIDTH), make_action_head(description, WIDTH)
    none = np.broadcast_to(scales.no_action(space), (B, T)) if space.shape is None else no_action(space)[None, None]
    assert encoder(to_torch(scaled(scales.actions, np.array(none)))).shape[-1] == WIDTH
    distribution = distribution_of(description)
    actions = to_torch(scaled(scales.actions, rows(space)))
    assert encoder(actions).shape == (B, T, WIDTH)
    x_BTD = torch.randn(B, T, WIDTH)
    unseen = torch.tensor([[False] * 3, [False, False, True]])
    optimiser, losses = torch.optim.Adam([x_BTD.requires_grad_(), *head.parameters()], 0.05), []
    for _ in range(40):
        loss, metrics = distribution.loss(head(x_BTD), actions, unseen)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] or losses[0] < 1e-6  # One action only: nothing to learn.
    assert metrics["loss"] == loss
    outputs = map_leaves(lambda tensor: tensor[:, 0].detach(), head(x_BTD))
    uniforms = np.random.default_rng(0).random((B, num_uniforms(space)))
    to_play = scales.to_play(space)
    for draws in (uniforms, None):
        found = to_play(distribution.act(outputs, draws))
        assert np.array_equal(player(space)(found, B), found)
        assert all(space.contains(sample(space, row)) for row in found)


def test_factors_are_those_of_torch_distributions():
    """Kills: logits of one factor read as another's; a mean over factors where the likelihood is their product."""
    factors = Factors([2, 3], np.array([5, -1]))
    outputs = torch.tensor([[[0.0, 1.0, 3.0, 2.0, 0.5]]])
    actions = torch.tensor([[[6, -1]]])
    of = [torch.distributions.Categorical(logits=part) for part in outputs[0, 0].split([2, 3])]
    expected = -(of[0].log_prob(torch.tensor(1)) + of[1].log_prob(torch.tensor(0)))
    loss, metrics = factors.loss(outputs, actions, torch.tensor([[False]]))
    torch.testing.assert_close(loss, expected)
    assert metrics["accuracy"] == 1.0
    assert factors.act(outputs[:, 0], None).tolist() == [[6, -1]]
    # The first factor's chance of its first value is 0.2689, the second's 0.6897, and 0.9435 of its first two.
    drawn = factors.act(outputs[:, 0].expand(3, 5), np.array([[0.26, 0.68], [0.27, 0.94], [0.99, 0.95]]))
    assert drawn.tolist() == [[5, -1], [6, 0], [6, 1]]


def test_bits_are_those_of_torch_distributions():
    """Kills: a bit that is drawn the other way round; padding in the loss; an overflow at a large logit."""
    bits = Bits()
    outputs = torch.tensor([[[2.0, -1.0]], [[50.0, -2000.0]]])
    actions = torch.tensor([[[1, 1]], [[0, 1]]], dtype=torch.uint8)
    unseen = torch.tensor([[False], [True]])
    expected = -torch.distributions.Bernoulli(logits=outputs[0]).log_prob(actions[0].float()).sum()
    loss, metrics = bits.loss(outputs, actions, unseen)
    torch.testing.assert_close(loss, expected)
    assert metrics["accuracy"] == 0.5
    assert bits.act(outputs[:, 0], None).tolist() == [[1, 0], [1, 0]]
    # P(1) is 0.8808 and 0.2689.
    assert bits.act(outputs[:1, 0].expand(2, 2), np.array([[0.88, 0.26], [0.89, 0.27]])).tolist() == [[1, 1], [0, 0]]


def test_a_tree_draws_as_its_parts_do():
    """Kills: a part that is drawn with the random numbers of another; a loss that leaves out a part."""
    space = space_to_dict(S.Dict({"a": S.Discrete(3, start=2), "b": S.MultiDiscrete([2, 2])}))
    parts = {name: distribution_of(part) for name, part in space["spaces"].items()}
    torch.manual_seed(0)
    outputs = {"a": torch.randn(4, 5, 3), "b": torch.randn(4, 5, 4)}
    actions = {"a": torch.randint(2, 5, (4, 5)), "b": torch.randint(2, (4, 5, 2))}
    unseen = torch.zeros(4, 5, dtype=torch.bool)
    loss, metrics = distribution_of(space).loss(outputs, actions, unseen)
    apart = {name: part.loss(outputs[name], actions[name], unseen) for name, part in parts.items()}
    torch.testing.assert_close(loss, apart["a"][0] + apart["b"][0])
    assert metrics["b.accuracy"] == apart["b"][1]["accuracy"]
    uniforms, now = np.random.default_rng(0).random((4, 3)), {name: x[:, 0] for name, x in outputs.items()}
    drawn = distribution_of(space).act(now, uniforms)
    assert np.array_equal(drawn["a"], parts["a"].act(now["a"], uniforms[:, :1]))
    assert np.array_equal(drawn["b"], parts["b"].act(now["b"], uniforms[:, 1:]))


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((5, 5), False), ((5, 5, 3), True), ((3, 5, 5), False), ((84, 84, 4), True), ((4, 84, 84), False),
        ((7, 7, 20), True), ((20, 7, 7), False), ((64, 96, 3), True), ((3, 64, 96), False), ((4, 64, 64, 3), True),
        ((9, 100, 3), True), ((5, 5, 5), True),
    ],
)  # fmt: skip
def test_channels_are_where_the_shape_says(shape, last):
    """Kills: rows of an image convolved as if they were colours; an image of a size that the layers do not fit."""
    assert channels_last(shape) is last
    torch.manual_seed(0)
    encoder = ImageEncoder(shape, WIDTH, 127.5, 127.5)
    pixels = torch.randint(256, (1, 2, *shape), dtype=torch.uint8)
    encoded = encoder(pixels)
    assert encoded.shape == (1, 2, WIDTH)
    assert not torch.equal(encoded[0, 0], encoded[0, 1])
    if len(shape) == 3:
        channels = shape[-1] if last else shape[0]
        assert encoder.convolutions[0].in_channels == channels
        other = ImageEncoder((*shape[1:], shape[0]) if not last else (shape[-1], *shape[:-1]), WIDTH, 127.5, 127.5)
        if channels_last((*shape[1:], shape[0]) if not last else (shape[-1], *shape[:-1])) is not last:
            other.load_state_dict(encoder.state_dict())
            moved = pixels.movedim(2, -1) if not last else pixels.movedim(-1, 2)
            torch.testing.assert_close(other(moved), encoded)


def test_an_older_box_of_bytes_keeps_its_encoder():
    """Kills: a model of before there were images, whose weights no longer fit."""
    older = {"kind": "box", "shape": [4, 4, 3], "low": 0, "high": 255, "dtype": "uint8"}
    encoder = make_observation_encoder(older, WIDTH)
    assert {name: list(value.shape) for name, value in encoder.state_dict().items()} == {
        "hidden.weight": [WIDTH, 48], "hidden.bias": [WIDTH], "out.weight": [WIDTH, WIDTH],
    }  # fmt: skip
    assert isinstance(make_observation_encoder(space_to_dict(S.Box(0, 255, (4, 4, 3), np.uint8)), 8), ImageEncoder)
    assert isinstance(make_action_encoder({"kind": "discrete", "n": 3}, 8), nn.Embedding)
