"""Decision Transformer beside that of `transformers`: the same numbers where the two are the same function.

They differ in this, which the test takes away: theirs has linear encoders with biases, one LayerNorm over all tokens,
a linear head that is trained by squared errors, and one sequence for each context, never several episodes. Their GPT-2
is told position 0 at every place: only the embedding of the step tells the order, as it does here where the backbone
is made without positions.
"""

import torch
from small_models import nothing_before
from torch import nn
from transformers import DecisionTransformerConfig, DecisionTransformerModel

from icrl.choices import Choice
from icrl.models.backbones import BACKBONES
from icrl.models.config import InContextConfig
from icrl.models.methods import METHODS
from icrl.models.model import InContextModel
from icrl.models.spec import Spec
from icrl.transitions import RETURN_TO_GO, Before, Transitions

STATE, ACTION, WIDTH, HORIZON, LANES, STEPS = 3, 2, 16, 7, 4, 6


class Normed(nn.Module):
    """Their LayerNorm before the backbone."""

    def __init__(self, norm: nn.Module, backbone: nn.Module) -> None:
        super().__init__()
        self.norm, self.backbone = norm, backbone

    def forward(self, x_BLD):
        return self.backbone(self.norm(x_BLD))


def theirs() -> DecisionTransformerModel:
    torch.manual_seed(0)
    config = DecisionTransformerConfig(
        state_dim=STATE, act_dim=ACTION, hidden_size=WIDTH, max_ep_len=HORIZON, n_layer=2, n_head=2,
        n_positions=3 * STEPS, bos_token_id=None, eos_token_id=None, action_tanh=False, activation_function="relu",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = DecisionTransformerModel(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    nn.init.zeros_(model.predict_action[0].bias)
    return model


def ours(peer: DecisionTransformerModel) -> InContextModel:
    """A model with the peer's weights."""
    box = {"kind": "box", "low": None, "high": None}
    one = {"centre": [0.0], "unit": [1.0]}
    scales = {
        "observations": {key: value * STATE for key, value in one.items()},
        "actions": {key: value * ACTION for key, value in one.items()},
        "rewards": one, RETURN_TO_GO: {**one, "best": 1.0},
    }  # fmt: skip
    spec = Spec({**box, "shape": [STATE]}, {**box, "shape": [ACTION], "low": -1.0, "high": 1.0}, HORIZON, scales)
    sizes = {"n_layer": 2, "n_head": 2, "width": WIDTH, "context_length": STEPS}
    options = BACKBONES["hf"].Options(model_type="gpt2", overrides={"activation_function": "relu"}, **sizes)
    method = Choice("dt", METHODS["dt"].Options())
    model = InContextModel(InContextConfig.of(method, Choice("hf", options), {"0": spec})).eval()
    net, embedding = model.net, model.net.embedding["0"]
    net.backbone.positions = False
    weights = {name: value for name, value in peer.encoder.state_dict().items() if not name.startswith("wte")}
    net.backbone.model.load_state_dict(weights)
    nn.init.zeros_(embedding.kind.weight)
    embedding.observation, embedding.action = peer.embed_state, peer.embed_action
    embedding.to_go, embedding.step = peer.embed_return, peer.embed_timestep
    net.backbone = Normed(peer.embed_ln, net.backbone)
    numbers = net.head["0"].numbers.weight
    with torch.no_grad():
        numbers[:ACTION] = peer.predict_action[0].weight
        numbers[ACTION:] = 0.0  # One width for all actions.
    return model


def test_the_same_weights_give_the_same_loss_on_the_same_batch():
    """Kills: tokens in another order, a step embedding that one of them misses, an action read at another token."""
    peer = theirs()
    model = ours(peer)
    torch.manual_seed(1)
    states, actions = torch.rand(LANES, STEPS, STATE), torch.rand(LANES, STEPS, ACTION)
    to_go, steps = torch.rand(LANES, STEPS), torch.arange(STEPS).expand(LANES, STEPS) % HORIZON
    no = torch.zeros(LANES, STEPS, dtype=torch.bool)
    before = nothing_before(LANES)
    batch = Transitions(
        states, actions, to_go, no, no, steps, Before(torch.zeros(LANES, ACTION), *list(vars(before).values())[1:]),
        torch.full((LANES,), STEPS), {RETURN_TO_GO: to_go},
    )  # fmt: skip
    with torch.no_grad():
        given = {"states": states, "actions": actions, "returns_to_go": to_go[..., None], "timesteps": steps}
        predicted = peer(**given, return_dict=True).action_preds
        outputs = model(batch)
        mean, log_std = outputs.unbind(2)
        torch.testing.assert_close(mean, predicted, rtol=1e-4, atol=1e-5)
        # Their loss is the mean squared error; ours is that of a Gaussian, whose width is here one constant.
        error = torch.nn.functional.mse_loss(predicted, actions)
        width = log_std.flatten()[0]
        expected = ACTION * (0.5 * error * torch.exp(-2 * width) + width + 0.5 * torch.log(torch.tensor(2 * torch.pi)))
        torch.testing.assert_close(model.method.loss(model, batch)[0], expected, rtol=1e-4, atol=1e-5)
