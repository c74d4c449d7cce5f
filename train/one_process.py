"""What one process of a training run does, alone or together with the others of its launch."""

import time
from contextlib import ExitStack

import torch

from icrl import stopping
from icrl.folders import METRICS_FILE
from icrl.models.model import InContextModel
from icrl.progress import clock, progress
from icrl.seeding import derive_seed
from icrl.train import checkpoints, runs, saving
from icrl.train.curves import curves_of
from icrl.train.launch import Launch, check_processes, make_accelerator
from icrl.train.loop import fit
from icrl.train.metrics import Meter, cut_back
from icrl.train.mixing import mixed_loss
from icrl.train.optim import make_optimizer
from icrl.train.parts import labels_of
from icrl.train.samples import BatchSlice, TrainingSamples
from icrl.train.stops import Vote, leave_signals_to_parent


def train_here(plan: runs.Plan, resume: bool, launch: Launch | None, num_processes: int | None) -> None:
    """Trains in this process, together with the others of its launch."""
    config, options, out = plan.config, plan.config.train, plan.out
    began = time.monotonic()

    # 1. The processes, and what each of them reads.
    accelerator = make_accelerator(launch, precision=options.precision, accumulation=options.accumulation)
    check_processes(accelerator, launch, num_processes)
    first = accelerator.is_main_process
    mine = BatchSlice(options.batch_size, options.accumulation, accelerator.process_index, accelerator.num_processes)

    # 2. Model and optimiser: the same first weights in every process.
    torch.manual_seed(derive_seed(config.seed, "weights"))
    bare = InContextModel(plan.model_config)
    curves = curves_of(plan, InContextModel(plan.model_config).to(accelerator.device).eval())
    runs.set_deepspeed_batch(accelerator, options, mine)
    sharded = accelerator.distributed_type.name in ("DEEPSPEED", "FSDP")
    model, optimizer = accelerator.prepare(bare, make_optimizer(bare, options, sharded=sharded))
    # What would fail after the last step fails before the first.
    saving.try_saving(accelerator, model, bare)

    # 3. The run folder, once every process has looked at it; the newest checkpoint.
    accelerator.wait_for_everyone()
    with ExitStack() as stack:
        if first:
            stack.enter_context(runs.locked(out))
        meter, done, state = Meter(), 0, {}
        if resume and (state := checkpoints.resume(accelerator, out) or {}):
            meter.load_state_dict(state["meter"], accelerator.device)
            done = state["step"]
        stages = runs.stages_of(plan, state)
        accelerator.wait_for_everyone()
        log = None
        if first:
            runs.drop_partials(out)
            runs.begin_folder(plan, stages)
            cut_back(out / METRICS_FILE, done)
            log = stack.enter_context(runs.open_log(plan))

        # 4. What happens every so often.
        def evaluate() -> dict[str, float]:
            weights = saving.whole_weights(accelerator, model, bare)
            values = curves.measure(weights) if first else {}
            accelerator.wait_for_everyone()
            return values

        def save(step: int) -> None:
            if log is not None:
                log.sync()
            state = {"meter": meter.state_dict(), "scales": plan.scales, "stages": stages}
            checkpoints.save_checkpoint(accelerator, out, step, state, options.keep_checkpoints, model, bare)

        labels = labels_of(plan.parts)

        def loss_of(model, parts):
            return mixed_loss(bare.method, model, parts, labels)

        # 5. Train. SIGTERM waits for the end of a step, and for the model once the last one is done.
        batches = torch.utils.data.DataLoader(
            TrainingSamples(plan.samplers, mine, config.seed, plan.mix),
            batch_size=None,
            sampler=range(done * options.accumulation, options.steps * options.accumulation),
            num_workers=options.workers,
            worker_init_fn=leave_signals_to_parent,
        )
        advance = stack.enter_context(progress("training", options.steps, done=done, enabled=first))
        with stopping.deferred():
            last = fit(
                accelerator,
                model,
                optimizer,
                iter(batches),
                loss_of,
                options,
                seed=config.seed,
                start=done,
                meter=meter,
                evaluate=evaluate,
                report=log.write if log else lambda row: None,
                save=save,
                stops=Vote(accelerator, done),
                advance=advance,
                after_step=lambda step: bare.method.after_step(bare.net, step),
                tokens_each=bare.method.tokens_per_decision,
            )
            if last < options.steps:
                told = f"stopped by SIGTERM at step {last:,}, checkpoint written; go on with --resume"
                raise stopping.Stopped(told if first else "")

            # 6. The model in one piece: the run is complete.
            saving.save_model(accelerator, model, bare, out, {"step": options.steps, "stages": stages})
    if first:
        took = clock(time.monotonic() - began)
        print(f"trained {options.steps - done:,} steps in {took}: {out / 'model'}")
    accelerator.end_training()
