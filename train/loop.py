"""The training loop, with plain arguments: read, forward, backward, step; report, evaluate and save every so often."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from icrl.errors import TrainingError
from icrl.seeding import derive_seed
from icrl.train.config import PretrainOptions
from icrl.train.metrics import Meter
from icrl.train.optim import learning_rate_at
from icrl.transitions import Transitions

Loss = Callable[[nn.Module, Sequence[Transitions]], tuple[Tensor, dict[str, Tensor]]]


def due(step: int, every: int, steps: int) -> bool:
    """Whether something that is done every so many steps, and after the last, is done after `step` of them."""
    return every > 0 and (step % every == 0 or step == steps)


def fit(
    accelerator: Any,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Sequence[Transitions]],
    loss_of: Loss,
    options: PretrainOptions,
    *,
    seed: int,
    start: int,
    meter: Meter,
    evaluate: Callable[[], Mapping[str, float]],
    report: Callable[[dict[str, float]], None],
    save: Callable[[int], None],
    stops: Callable[[int], bool],
    advance: Callable[..., None],
    after_step: Callable[[int], None] = lambda step: None,
    tokens_each: int = 1,
) -> int:
    """Trains `model` from step `start` to `options.steps`; every process calls it.

    Returns:
        the steps that are done; where they are fewer than `options.steps`, a checkpoint after them is written.

    Args:
        accelerator: has prepared `model` and `optimizer`, and accumulates over `options.accumulation` passes.
        batches: what each pass of this process reads, from step `start` on: a batch for each group of spaces.
        loss_of: the loss of a pass, and what to report of it.
        seed: of dropout and hidden tokens: their random numbers are a function of (seed, process, step).
        meter: what was summed up since the last row before `start`.
        evaluate, report, save: what is done with the model, with a row of metrics and at a checkpoint; all processes
            call them at the same steps.
        stops: whether to stop after so many steps; the same in all processes.
        advance: of `icrl.progress`.
        after_step: of the method, after each optimiser step.
        tokens_each: how many a transition takes, for the speed that is reported.
    """
    model.train()
    sharded_by_deepspeed = accelerator.distributed_type.name == "DEEPSPEED"
    noise = f"dropout/{accelerator.process_index}"
    gradient_norm, tokens, shown = None, 0, ""
    clock, outside = time.perf_counter(), 0.0
    for step in range(start, options.steps):
        rate = learning_rate_at(step, options)
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(derive_seed(seed, noise, step))
        for _ in range(options.accumulation):
            parts = next(batches)
            tokens += sum(int(part.lengths.sum()) for part in parts) * tokens_each * accelerator.num_processes
            with accelerator.accumulate(model):
                loss, values = loss_of(model, [part.to(accelerator.device) for part in parts])
                # DeepSpeed clips, steps and clears the gradient in here, the rest is empty for it.
                accelerator.backward(loss)
                if accelerator.sync_gradients and (options.clip or sharded_by_deepspeed):
                    gradient_norm = accelerator.clip_grad_norm_(model.parameters(), options.clip)
                optimizer.step()
                optimizer.zero_grad()
            meter.add(values)
        done = step + 1
        after_step(done)
        row: dict[str, float] = {}
        if due(done, options.log_every, options.steps):
            meter.gather(accelerator)
            row = meter.means()
            if not math.isfinite(row["loss"]):
                raise TrainingError(
                    f"the loss is {row['loss']} at step {done}: expected a number; lower train.learning_rate, and see "
                    "what `icrl inspect` says of the data"
                )
            meter.clear()
            row["learning_rate"] = rate
            if gradient_norm is not None:
                row["grad_norm"] = float(gradient_norm)
            shown = f"loss {row['loss']:.3f}"
            now = time.perf_counter()
            row["tokens_per_second"] = tokens / (now - clock - outside)
            clock, outside, tokens = now, 0.0, 0
        pause = time.perf_counter()
        if due(done, options.evaluate_every, options.steps):
            row.update(evaluate())
        if row:
            report({"step": done, **row})
        stopped = stops(done) and done < options.steps
        if stopped or due(done, options.checkpoint_every, options.steps):
            meter.gather(accelerator)
            save(done)
        outside += time.perf_counter() - pause
        advance(1, note=shown)
        if stopped:
            return done
    return options.steps
