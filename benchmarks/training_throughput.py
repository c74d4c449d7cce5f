"""Training throughput of the model against transformers' Llama and GPT-2 of the same size: `python benchmarks/…`.

All three trunks stand between the same token embedding and the same action head, get the same windows and take the
same step: forward, cross-entropy at every token, backward, gradient clipping, fused AdamW. Llama's MLP has the width
at which the weights of a block are as many as ours, GPT-2's is four times its width. The repetitions of the three are
interleaved, so that whatever else the machine does falls on all of them; the table shows medians and their ratios.

    python benchmarks/training_throughput.py --width 64 256 --dtype fp32 bf16
"""

import argparse
import time
from statistics import median

import torch
from torch import nn
from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from icrl.choices import Choice
from icrl.models.config import InContextConfig
from icrl.models.methods import METHODS
from icrl.models.methods.ad import TokenEmbedding
from icrl.models.methods.base import Method
from icrl.models.model import InContextModel
from icrl.models.options import ModelOptions
from icrl.models.parts import make_action_head
from icrl.models.spec import Spec
from icrl.transitions import Before, Transitions

SPEC = Spec({"kind": "multi_discrete", "nvec": [9, 9]}, {"kind": "discrete", "n": 5}, horizon=20)
METHOD = Choice("ad", METHODS["ad"].Options())
# width: (layers, heads, windows in a batch, for about a second of three steps on two cores)
SIZES = {64: (3, 2, 32), 128: (4, 4, 16), 256: (4, 4, 8), 512: (6, 8, 4)}


class WithTrunk(nn.Module):
    """Our embedding and head around a stock trunk."""

    def __init__(self, width: int, trunk: nn.Module) -> None:
        super().__init__()
        self.embedding, self.trunk = TokenEmbedding(SPEC, width), trunk
        self.head = make_action_head(SPEC.action_space, width)

    def forward(self, batch, hidden_BT=None):
        return self.head(self.trunk(inputs_embeds=self.embedding(batch), use_cache=False).last_hidden_state)


def make_models(options: ModelOptions) -> dict[str, nn.Module]:
    llama = LlamaConfig(
        vocab_size=3,  # unused; transformers wants its special tokens in it
        hidden_size=options.width,
        intermediate_size=round(options.width * options.mlp_ratio * 2 / 3),
        num_hidden_layers=options.n_layer,
        num_attention_heads=options.n_head,
        max_position_embeddings=options.context_length,
        attn_implementation="sdpa",
    )
    gpt2 = GPT2Config(
        vocab_size=3,
        n_embd=options.width,
        n_layer=options.n_layer,
        n_head=options.n_head,
        n_positions=options.context_length,
        resid_pdrop=0.0,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="sdpa",
    )
    return {
        "icrl": InContextModel(InContextConfig.of(METHOD, Choice("transformer", options), {"0": SPEC})),
        "Llama": WithTrunk(options.width, LlamaModel(llama)),
        "GPT-2": WithTrunk(options.width, GPT2Model(gpt2)),
    }


def block_parameters(model: nn.Module) -> int:
    """Weights of the blocks alone: GPT-2 also has a table of positions, and all have the same embedding."""
    names = ("net.backbone.blocks.", "trunk.layers.", "trunk.h.")
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith(names))


def make_batch(context_length: int, windows: int) -> Transitions:
    generator = torch.Generator().manual_seed(0)
    shape, yes = (windows, context_length), torch.ones(windows, dtype=torch.bool)
    ends = (torch.arange(shape[1]) % 20 == 19).expand(shape)
    return Transitions(
        observations=torch.randint(9, (*shape, 2), generator=generator),
        actions=torch.randint(5, shape, generator=generator),
        rewards=torch.rand(shape, generator=generator),
        terminated=ends & False,
        truncated=ends,
        steps=(torch.arange(shape[1]) % 20).expand(shape),
        before=Before(torch.full((windows,), 5), torch.zeros(windows), yes, ~yes),
        lengths=torch.full((windows,), shape[1]),
    )


def make_step(model: nn.Module, method: Method, batch: Transitions, dtype: str):
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    model.train()

    def step() -> None:
        with torch.autocast(batch.actions.device.type, torch.bfloat16, enabled=dtype == "bf16"):
            loss, _ = method.loss(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def measure(width: int, dtype: str, context_length: int, repetitions: int, device: str) -> list[str]:
    """Rows of the table for one width and type."""
    n_layer, n_head, windows = SIZES[width]
    options = ModelOptions(n_layer=n_layer, n_head=n_head, width=width, context_length=context_length)
    torch.manual_seed(0)
    models = {name: model.to(device) for name, model in make_models(options).items()}
    batch = make_batch(context_length, windows).to(device)
    steps = {name: make_step(model, models["icrl"].method, batch, dtype) for name, model in models.items()}
    seconds = {name: [] for name in models}
    for repetition in range(repetitions + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            if repetition >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - start)
    tokens = windows * context_length
    ours = median(seconds["icrl"])
    return [
        f"| {width} | {n_layer} | {n_head} | {dtype} | {name} | {block_parameters(models[name]):,} "
        f"| {tokens / median(times):,.0f} | {median(times) / ours:.2f} |"
        for name, times in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[64, 256], choices=sorted(SIZES))
    parser.add_argument("--dtype", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--context-length", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's own choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(
        f"context {args.context_length}, {torch.get_num_threads()} threads, {args.device}, torch {torch.__version__}"
    )
    print("| width | layers | heads | type | trunk | block weights | tokens/s | time ÷ icrl's |")
    print("|---|---|---|---|---|---|---|---|")
    for width in args.width:
        for dtype in args.dtype:
            print("\n".join(measure(width, dtype, args.context_length, args.repetitions, args.device)), flush=True)


if __name__ == "__main__":
    main()
