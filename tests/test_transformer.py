"""The transformer and AD's objective: causality, memory across episodes, exact gradients of the fast kernels."""

from dataclasses import replace

import pytest
import torch
from small_models import CONTEXT as T
from small_models import NONE, SPACES, make_model, method_of, nothing_before, random_transitions
from torch.nn import functional as F

from icrl.errors import UsageError
from icrl.models.backbones import kernels
from icrl.models.model import InContextModel
from icrl.models.options import ModelOptions
from icrl.models.parts import make_observation_encoder
from icrl.transitions import Transitions


def changed(batch: Transitions, at: int) -> Transitions:
    """The batch with another observation at one place."""
    observations = batch.observations.clone()
    observations[:, at] = (observations[:, at] + 1) % 7
    return replace(batch, observations=observations)


def loss_of(model: InContextModel, batch: Transitions, generator: torch.Generator | None = None):
    return model.method.loss(model, batch, generator)


@torch.inference_mode()
def test_the_first_episode_reaches_the_last_logits():
    """Kills: positions or attention that restart at an episode's start, which erase in-context learning silently."""
    model, batch = make_model(), random_transitions(2, T)
    ends = (torch.arange(T) % 4 == 3).expand(2, T)  # three episodes of four steps
    batch = replace(batch, terminated=ends & False, truncated=ends, steps=torch.arange(T).expand(2, T) % 4)
    effect = (model(batch) - model(changed(batch, 1))).abs().amax(-1)
    assert (effect[:, 0] == 0).all()
    assert (effect[:, 1:4] > 1e-5).all()
    assert (effect[:, 4:] > 1e-5).all()


@torch.inference_mode()
def test_nothing_of_the_future_reaches_the_past():
    """Kills: attention that is not causal."""
    model, batch = make_model(), random_transitions(2, T)
    for at in range(T):
        effect = (model(batch) - model(changed(batch, at))).abs().amax(-1)
        assert (effect[:, :at] == 0).all()
        assert (effect[:, at] > 1e-5).all()


@torch.inference_mode()
def test_the_order_of_the_past_matters():
    """Kills: rotary angles that are not applied, so that the context is a bag of tokens."""
    # The last token's own embedding and the set of the others stay the same; only the order of two of them changes.
    model, x = make_model(n_layer=1), torch.randn((1, T, 16), generator=torch.Generator().manual_seed(0))
    order, backbone = [1, 0, *range(2, T)], model.net.backbone
    assert (backbone(x)[0, -1] - backbone(x[:, order])[0, -1]).abs().max() > 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("field", ["observations", "actions", "rewards", "terminated", "truncated", "steps"])
def test_every_part_of_a_token_is_read(field):
    """Kills: an embedding that is made and never added."""
    model, batch = make_model(), random_transitions(2, T)
    no = torch.zeros((2, T), dtype=torch.bool)
    batch = replace(batch, terminated=no, truncated=no)
    value = getattr(batch, field)
    other = ~value if value.dtype == torch.bool else (value + 0.5 if value.is_floating_point() else (value + 1) % 5)
    # What follows a choice is read from the next token on.
    first = 0 if field in ("observations", "steps") else 1
    effect = (model(replace(batch, **{field: other})) - model(batch))[:, first:]
    assert effect.abs().min(dim=-1).values.max() > 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("field", ["actions", "rewards", "terminated", "truncated"])
def test_every_part_of_what_came_before_is_read(field):
    """Kills: a window that begins as if the transition before it had been another."""
    model, batch = make_model(), random_transitions(2, T)
    no = torch.zeros(2, dtype=torch.bool)
    batch = replace(batch, before=replace(batch.before, terminated=no, truncated=no))
    value = getattr(batch.before, field)
    other = ~value if value.dtype == torch.bool else (value + 0.5 if value.is_floating_point() else (value + 1) % 6)
    effect = model(replace(batch, before=replace(batch.before, **{field: other}))) - model(batch)
    assert effect[:, 0].abs().amax(-1).min() > 1e-4


def test_loss_is_the_cross_entropy_of_the_rows_inside():
    """Kills: padding in the loss or the accuracy, a loss on shifted actions, a mean over windows of unequal length."""
    model, batch = make_model(), random_transitions(3, T, lengths=(T, 5, 1))
    loss, metrics = loss_of(model, batch)
    logits = model(batch)
    rows = [(window, t) for window, length in enumerate((T, 5, 1)) for t in range(length)]
    expected = [-logits[row].log_softmax(-1)[batch.actions[row]] for row in rows]
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    hits = [float(logits[row].argmax() == batch.actions[row]) for row in rows]
    assert metrics["accuracy"].item() == pytest.approx(sum(hits) / len(hits))
    assert metrics["loss"].item() == loss.item()
    assert not metrics["loss"].requires_grad


def test_label_smoothing_typed_in():
    """Kills: a smoothing that is accepted and ignored."""
    model, batch = make_model(), random_transitions(3, T)
    plain, _ = loss_of(model, batch)
    smooth, _ = loss_of(make_model(method=method_of(label_smoothing=0.2)), batch)
    uniform = -model(batch).log_softmax(-1).mean()
    torch.testing.assert_close(smooth, 0.8 * plain + 0.2 * uniform)


def test_token_mask_hides_whole_tokens_and_leaves_them_out_of_the_loss():
    """Kills: a mask that leaves part of a token, or the loss of a position whose observation is hidden."""
    model, batch = make_model(method=method_of(token_mask=0.4)), random_transitions(3, T)
    hidden = torch.rand((3, T), generator=torch.Generator().manual_seed(3)) < 0.4
    loss, _ = loss_of(model, batch, torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = model(batch, hidden_BT=hidden)
        others = batch.map(torch.clone)
        others.observations[hidden] = (others.observations[hidden] + 1) % 7
        # A token holds the reward of the transition before it.
        others.rewards[:, :-1][hidden[:, 1:]] += 1.0
        assert torch.equal(model(others, hidden_BT=hidden), logits)
        assert not torch.equal(model(others), model(batch))
    expected = F.cross_entropy(logits[~hidden], batch.actions[~hidden])
    torch.testing.assert_close(loss.detach(), expected)
    assert loss_of(make_model(), batch)[0].item() != pytest.approx(loss.item(), abs=1e-3)


def test_every_parameter_gets_a_gradient():
    """Kills: an unused parameter, on which DistributedDataParallel stops."""
    model = make_model(method=method_of(token_mask=0.2)).train()
    loss, _ = loss_of(model, random_transitions(3, T))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dropout", ["attention_dropout", "residual_dropout", "embedding_dropout"])
def test_dropout_acts_in_training_only(dropout):
    """Kills: a dropout that is set and does nothing, or that is on while acting."""
    model, batch = make_model(**{dropout: 0.5}), random_transitions(2, T)
    with torch.no_grad():
        assert torch.equal(model(batch), model(batch))
        model.train()
        assert not torch.equal(model(batch), model(batch))


def test_gradient_checkpointing_gives_the_same_gradients():
    """Kills: a block that cannot be computed twice."""
    gradients = []
    for checkpointing in (False, True):
        model = make_model().train()
        if checkpointing:
            # transformers renamed it; both names are within the version bounds.
            (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
        loss_of(model, random_transitions(3, T))[0].backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-7, rtol=1e-5)


def test_bf16_autocast_is_near_fp32():
    """Kills: a part that refuses bf16, or attention that loses its meaning in it."""
    model, batch = make_model(), random_transitions(3, T)
    exact, _ = loss_of(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = loss_of(model, batch)
    loss.backward()
    assert abs(loss.item() - exact.item()) < 0.05
    half = make_model().to(torch.bfloat16)
    assert abs(loss_of(half, batch)[0].item() - exact.item()) < 0.1


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 48), (48, 16), (16, 16)])
@pytest.mark.parametrize("shape", [(3, 50), (150,), (1, 7)])
def test_linear_is_the_plain_product_with_its_gradients(shape, inputs, outputs):
    """Kills: a wrong transpose in the backward pass of the oneDNN product."""
    torch.manual_seed(0)
    layer = kernels.Linear(inputs, outputs)
    x, dy = torch.randn(*shape, inputs, requires_grad=True), torch.randn(*shape, outputs)
    y = F.linear(x, layer.weight)
    expected = (y, *torch.autograd.grad(y, (x, layer.weight), dy))
    y = layer(x)
    for a, b in zip((y, *torch.autograd.grad(y, (x, layer.weight), dy)), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("fast", "plain"),
    [
        (kernels.squared_relu, lambda h: F.relu(h).square()),
        (kernels.rms_norm, lambda x: x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()),
    ],
)
def test_elementwise_kernels_and_their_gradients(fast, plain):
    """Kills: a wrong derivative in a hand-written backward pass."""
    torch.manual_seed(0)
    x, dy = torch.randn(5, 6, 16, requires_grad=True), torch.randn(5, 6, 16)
    y, expected = fast(x), plain(x)
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(y, x, dy)[0], torch.autograd.grad(expected, x, dy)[0], atol=1e-5, rtol=1e-5
    )
    with torch.no_grad():
        kept = x.clone()
        torch.testing.assert_close(fast(x), expected, atol=1e-6, rtol=1e-5)
        assert torch.equal(x, kept)


def test_rotary_products_depend_on_the_distance_alone():
    """Kills: absolute positions in disguise, under which a context encoded anew from 0 means something else."""
    table = kernels.rotary_table(50, 8, torch.device("cpu"))
    torch.manual_seed(0)
    qkv = torch.randn(1, 1, 3, 1, 8)

    def at(t: int) -> torch.Tensor:
        return kernels.rotary(qkv, table[t : t + 1])[0, 0, :, 0]

    torch.testing.assert_close(at(0)[:2], qkv[0, 0, :2, 0])
    assert torch.equal(at(30)[2], qkv[0, 0, 2, 0])  # values are left alone
    torch.testing.assert_close(at(7)[0] @ at(4)[1], at(43)[0] @ at(40)[1])
    assert abs(at(7)[0] @ at(4)[1] - at(7)[0] @ at(5)[1]) > 1e-3
    # Channels 0 and 1 turn by one radian a position.
    first, second = qkv[0, 0, 0, 0, :2].tolist()
    expected = complex(first, second) * complex(torch.tensor(3.0).cos(), torch.tensor(3.0).sin())
    assert at(3)[0, 0].item() == pytest.approx(expected.real, abs=1e-5)
    assert at(3)[0, 1].item() == pytest.approx(expected.imag, abs=1e-5)


def test_observation_encoders_by_space():
    """Kills: a space sent to another's encoder, coordinates that share a table, a Box that is not normalised."""
    torch.manual_seed(0)
    cells = make_observation_encoder({"kind": "multi_discrete", "nvec": [4, 6]}, 8)
    a, b = (cells(torch.tensor([[pair]]))[0, 0] for pair in ([1, 2], [2, 1]))
    assert not torch.allclose(a, b)
    torch.testing.assert_close(a, cells.tables[0].weight[1] + cells.tables[1].weight[2])
    wide = make_observation_encoder({"kind": "box", "shape": [2], "low": [0.0, None], "high": [100.0, None]}, 8)
    unit = make_observation_encoder({"kind": "box", "shape": [2], "low": [-1.0, None], "high": [1.0, None]}, 8)
    unit.load_state_dict(wide.state_dict())
    torch.testing.assert_close(wide(torch.tensor([[[75.0, 3.0]]])), unit(torch.tensor([[[0.5, 3.0]]])))
    image = make_observation_encoder({"kind": "box", "shape": [2, 3], "low": [0.0] * 6, "high": [1.0] * 6}, 8)
    assert image(torch.zeros(5, 4, 2, 3)).shape == (5, 4, 8)
    with pytest.raises(UsageError, match="models have nothing for the space"):
        make_observation_encoder({"kind": "graph"}, 8)


@pytest.mark.parametrize(
    "observation_space",
    [{"kind": "discrete", "n": 7}, {"kind": "box", "shape": [3], "low": [0.0] * 3, "high": [1.0] * 3}],
)
def test_other_spaces_train(observation_space):
    """Kills: a model that only works on grids."""
    spec = SPACES | {"observation_space": observation_space}
    model = make_model(fresh=True, spec=spec, n_layer=1, mlp="swiglu").train()
    observations = torch.randint(7, (3, T)) if observation_space["kind"] == "discrete" else torch.rand(3, T, 3)
    loss, _ = loss_of(model, replace(random_transitions(3, T), observations=observations))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_it_learns_to_repeat_what_was_rewarded():
    """Kills: a model or objective that trains without error and does not learn from the context."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = make_model(width=32, fresh=True).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def windows(number: int) -> Transitions:
        # A bandit: the best of five arms is hidden; the source tries arms 0, 1, 2, … and stays at the one that paid.
        best = torch.randint(NONE, (number, 1), generator=generator)
        actions = torch.arange(T).expand(number, T).minimum(best)
        yes, zeros = torch.ones((number, T), dtype=torch.bool), torch.zeros((number, T), dtype=torch.long)
        return replace(
            random_transitions(number, T), observations=zeros[..., None].expand(number, T, 2), actions=actions,
            rewards=(actions == best).float(), terminated=yes, truncated=~yes, steps=zeros,
            before=nothing_before(number),
        )  # fmt: skip

    for _ in range(150):
        loss, metrics = loss_of(model, windows(32))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert metrics["accuracy"] > 0.99


def test_context_overflow_is_refused():
    """Kills: positions past the rotary table."""
    with pytest.raises(UsageError, match="13 tokens do not fit the model's context of 12"):
        make_model()(random_transitions(1, 13))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 65}, "choose a multiple of 4"),
        ({"n_layer": 0}, "model.n_layer is 0"),
        ({"mlp": "swigul"}, "did you mean 'swiglu'"),
        ({"context_keep": 1.0}, "below 1"),
        ({"attention_dropout": 1.0}, "model.attention_dropout is 1.0"),
        ({"mlp_ratio": 0}, "model.mlp_ratio is 0"),
    ],
)
def test_bad_options_name_the_remedy(options, message):
    """Kills: a head width of zero or a fraction that fails deep inside torch."""
    with pytest.raises(UsageError, match=message):
        ModelOptions(**options)
