"""Training steps of Decision Transformer beside `transformers`' DecisionTransformerModel, tokens a second.

`python benchmarks/decision_transformer.py`. Same width, layers, heads, hidden channels, batch and number of tokens
(three a transition); Gaussian actions here, squared errors there. They take turns; the fastest step of each counts.
"""

import time

import torch
from transformers import DecisionTransformerConfig, DecisionTransformerModel

from icrl.choices import Choice
from icrl.models.backbones import BACKBONES
from icrl.models.config import InContextConfig
from icrl.models.methods import METHODS
from icrl.models.model import InContextModel
from icrl.models.spec import Spec
from icrl.transitions import RETURN_TO_GO, Before, Transitions

STATE, ACTION, HORIZON, LAYERS, HEADS = 4, 2, 100, 3, 2
WINDOWS, STEPS, ROUNDS = 32, 60, 10


def batch() -> Transitions:
    torch.manual_seed(0)
    no = torch.zeros(WINDOWS, STEPS, dtype=torch.bool)
    none = Before(torch.zeros(WINDOWS, ACTION), torch.zeros(WINDOWS), ~no[:, 0], no[:, 0])
    return Transitions(
        torch.rand(WINDOWS, STEPS, STATE), torch.rand(WINDOWS, STEPS, ACTION), torch.rand(WINDOWS, STEPS), no, no,
        torch.arange(STEPS).expand(WINDOWS, STEPS), none, torch.full((WINDOWS,), STEPS),
        {RETURN_TO_GO: torch.rand(WINDOWS, STEPS)},
    )  # fmt: skip


def ours(width: int, backbone: str = "transformer") -> InContextModel:
    one = {"centre": [0.0], "unit": [1.0]}
    box = {"kind": "box", "low": -1.0, "high": 1.0}
    scales = {
        "observations": {key: value * STATE for key, value in one.items()},
        "actions": {key: value * ACTION for key, value in one.items()},
        "rewards": one, RETURN_TO_GO: {**one, "best": 1.0},
    }  # fmt: skip
    spec = Spec({**box, "shape": [STATE]}, {**box, "shape": [ACTION]}, HORIZON, scales)
    options = BACKBONES[backbone].Options(n_layer=LAYERS, n_head=HEADS, width=width, context_length=STEPS)
    method = Choice("dt", METHODS["dt"].Options())
    return InContextModel(InContextConfig.of(method, Choice(backbone, options), {"0": spec}))


def theirs(width: int) -> DecisionTransformerModel:
    return DecisionTransformerModel(
        DecisionTransformerConfig(
            state_dim=STATE,
            act_dim=ACTION,
            hidden_size=width,
            max_ep_len=HORIZON,
            n_layer=LAYERS,
            n_head=HEADS,
            n_positions=3 * STEPS,
            bos_token_id=None,
            eos_token_id=None,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )


def main() -> None:
    data = batch()
    given = {
        "states": data.observations, "actions": data.actions, "returns_to_go": data.extras[RETURN_TO_GO][..., None],
        "timesteps": data.steps,
    }  # fmt: skip
    print(f"{torch.get_num_threads()} threads, {WINDOWS} windows of {STEPS} transitions, 3 tokens each")
    print("| width | this project, tokens/s | transformers' model, tokens/s | ratio |")
    print("| --- | --- | --- | --- |")
    for width in (64, 128, 256):
        model, peer = ours(width), theirs(width)
        losses = {
            model: lambda model=model: model.method.loss(model, data)[0],
            peer: lambda peer=peer: torch.nn.functional.mse_loss(peer(**given).action_preds, data.actions),
        }
        optimizers = {net: torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True) for net in losses}
        fastest = dict.fromkeys(losses, float("inf"))
        for _ in range(ROUNDS):
            for net, loss_of in losses.items():
                start = time.perf_counter()
                loss_of().backward()
                optimizers[net].step()
                optimizers[net].zero_grad()
                fastest[net] = min(fastest[net], time.perf_counter() - start)
        speeds = [3 * WINDOWS * STEPS / fastest[net] for net in (model, peer)]
        print(f"| {width} | {speeds[0]:,.0f} | {speeds[1]:,.0f} | {speeds[0] / speeds[1]:.2f} |")


if __name__ == "__main__":
    main()
