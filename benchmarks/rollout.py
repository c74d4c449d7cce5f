"""What one decision costs: through the cache, and by encoding the context again. `python benchmarks/rollout.py`.

Each row acts in N lanes of a context that is full or past it, the steady state of a long rollout, for whole periods
of C - K steps: so the encoding of the kept half, paid once a period, is in the mean. Encoding again is a plain forward
over the C newest tokens, what acting costs without a cache. Both are interleaved in one run.

    python benchmarks/rollout.py --context-length 200 1000 --lanes 128 1
"""

import argparse
import time
from statistics import mean, median

import numpy as np
import torch

from icrl.choices import Choice
from icrl.models.agent import InContextAgent
from icrl.models.config import InContextConfig
from icrl.models.methods import METHODS
from icrl.models.model import InContextModel
from icrl.models.options import ModelOptions
from icrl.models.spec import Spec
from icrl.transitions import Before, Transitions

SPEC = Spec({"kind": "multi_discrete", "nvec": [9, 9]}, {"kind": "discrete", "n": 5}, horizon=20)
METHOD = Choice("ad", METHODS["ad"].Options())


def full_context(lanes: int, length: int) -> Transitions:
    generator = torch.Generator().manual_seed(0)
    shape, yes = (lanes, length), torch.ones(lanes, dtype=torch.bool)
    ends = (torch.arange(length) % 20 == 19).expand(shape)
    return Transitions(
        observations=torch.randint(9, (*shape, 2), generator=generator),
        actions=torch.randint(5, shape, generator=generator),
        rewards=torch.rand(shape, generator=generator),
        terminated=ends & False,
        truncated=ends,
        steps=(torch.arange(length) % 20).expand(shape),
        before=Before(torch.full((lanes,), 5), torch.zeros(lanes), yes, ~yes),
        lengths=torch.full((lanes,), length),
    )


@torch.inference_mode()
def encode_again(model: InContextModel, parts: list[Transitions]) -> None:
    """One decision without a cache: a forward over the context, in parts that stay in the processor's caches."""
    for part in parts:
        model(part)


def measure(lanes: int, context_length: int, repetitions: int, args: argparse.Namespace) -> str:
    """A row of the table."""
    options = ModelOptions(n_layer=args.n_layer, n_head=args.n_head, width=args.width, context_length=context_length)
    torch.manual_seed(0)
    model = InContextModel(InContextConfig.of(METHOD, Choice("transformer", options), {"0": SPEC})).to(args.device)
    agent = InContextAgent(model)
    agent.reset(lanes)
    observations = np.random.default_rng(0).integers(9, size=(lanes, 2))
    rewards, no = np.zeros(lanes, np.float32), np.zeros(lanes, bool)
    some = max(1, 8192 // context_length)
    context = full_context(lanes, context_length).to(args.device)
    parts = [context.map(lambda x, lane=lane: x[lane : lane + some]) for lane in range(0, lanes, some)]
    period = context_length - int(options.context_keep * context_length)

    def steps(number: int) -> list[float]:
        seconds = []
        for _ in range(number):
            start = time.perf_counter()
            agent.act(observations)
            agent.observe(rewards, no, no)
            seconds.append(time.perf_counter() - start)
        return seconds

    def wait() -> None:
        if args.device == "cuda":
            torch.cuda.synchronize()

    steps(context_length)  # fills the context: from here on every period costs the same
    encode_again(model, parts)
    wait()
    decisions, periods, again = [], [], []
    for _ in range(repetitions):
        seconds = steps(period)
        decisions.append(median(seconds))
        periods.append(mean(seconds))
        start = time.perf_counter()
        encode_again(model, parts)
        wait()
        again.append(time.perf_counter() - start)
    amortised, uncached = median(periods), median(again)
    return (
        f"| {lanes} | {context_length} | {median(decisions) * 1e3:.2f} | {amortised * 1e3:.2f} "
        f"| {uncached * 1e3:.1f} | {uncached / amortised:.0f}× | {lanes / amortised:,.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[128, 1])
    parser.add_argument("--context-length", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--n-layer", type=int, default=3)
    parser.add_argument("--n-head", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's own choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(
        f"{args.n_layer} layers, width {args.width}, {args.n_head} heads, {torch.get_num_threads()} threads, "
        f"{args.device}, torch {torch.__version__}; ms a decision of all lanes"
    )
    print(
        "| lanes | context | cached, median | cached, mean with re-encoding | encoding again | ratio | decisions/s |"
    )
    print("|---|---|---|---|---|---|---|")
    for lanes in args.lanes:
        for context_length in args.context_length:
            print(measure(lanes, context_length, args.repetitions, args), flush=True)


if __name__ == "__main__":
    main()
