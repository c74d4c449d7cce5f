"""`icrl train`: pretrains a causal transformer on learning histories.

Every launcher runs this program, as `python -m icrl.train.train`, in each of its processes.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icrl.config import load_config, parse_command, save_config
from icrl.errors import IcrlError, UsageError
from icrl.files import remove
from icrl.own_code import own_code_fails_in_one_line
from icrl.stopping import Stopped, asked, code_of
from icrl.stored_family import Consent
from icrl.stored_family import add_arguments as add_family_consent
from icrl.train.config import TrainConfig
from icrl.train.launch import (
    FAILURES,
    ChildError,
    count_processes,
    inside_a_launcher,
    leave_failure,
    read_launch,
    start,
)
from icrl.train.stops import stay_with_launch


def train(
    config: str | Path | TrainConfig | None = "ad-small",
    data: str | Path | Sequence[str | Path] | None = None,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    dry_run: bool = False,
    launch: str | None = None,
    num_processes: int | None = None,
    trust_code: bool = False,
    family: str | None = None,
    accept_changed_family: bool = False,
    **overrides: Any,
) -> Path:
    """Trains a model on a dataset and writes a run folder, whose `model/` comes last.

    Args:
        config: a preset's name, a YAML file or a `TrainConfig`.
        data: a dataset made by `icrl generate`, or several, of which one model learns.
        out: the run folder.
        resume: go on from the newest checkpoint; where there is none yet, begin. A run goes on to more steps where
            the config has more.
        dry_run: only print what would be done.
        launch: "cpu", "ddp", "zero1", "zero2", "zero3", "fsdp2" or a config file of `accelerate launch`; None is this
            process, on its GPU where there is one, or what the launcher that started this process makes of it.
        num_processes: how many processes the launch starts; None is one per GPU, or what the launch says.
        trust_code: run the code of the family where it came with the data, for the in-context return curves.
        family: where the family is now, `path/file.py:Class`: your own code.
        accept_changed_family: go on though the family does not do what it did.
        overrides: dotted keys of the config, as in `**{"train.steps": 2000}`.

    Returns:
        the run folder.
    """
    # 1. What to do.
    config = load_config(TrainConfig, config, overrides)
    if not data or out is None:
        name = "out" if data else "data"
        raise UsageError(f"--{name} is missing: expected {'a dataset' if name == 'data' else 'a run'} folder's path")
    datasets = [Path(of) for of in ([data] if isinstance(data, str | Path) else data)]
    out = Path(out)
    started_here = not inside_a_launcher()
    launched = read_launch(launch) if launch else None
    if launched is None and started_here and (num_processes or 1) > 1:
        raise UsageError(f"--num-processes {num_processes} needs a --launch: choose ddp, zero1, zero2, zero3 or fsdp2")

    # 2. Look before anything is written: the data, the share of each process, the run folder.
    from icrl.store_check import check_store
    from icrl.train.runs import LOCK_FILE, Plan, check_folder, check_space, describe, drop_partials, growth
    from icrl.train.wandb_run import check_wandb

    processes = count_processes(launched, num_processes) if launched and started_here else None
    consent = Consent(trust_code, family, accept_changed_family)
    plan = Plan.of(config, datasets, out, processes or 1, consent)
    context = config.model.options.context_length
    if plan.longest < context and started_here:
        print(
            f"icrl: the longest history has {plan.longest} transitions: of a context of {context} "
            f"the places after that are never trained; --model.context_length {plan.longest} leaves them out",
            file=sys.stderr,
        )
    for note in plan.notes if started_here else ():
        print(f"icrl: {note}", file=sys.stderr)
    state = check_folder(plan, resume)
    if state == "complete":
        print(f"{out} is complete: {out / 'model'}")
        return out
    if started_here or (os.environ.get("RANK", "0") == "0" and FAILURES not in os.environ):  # Once is enough.
        for part in plan.parts:
            check_store(part.store)
    check_wandb(config.train.wandb)
    check_space(plan)
    if started_here and (longer := growth(plan)):
        print(f"icrl: {longer}", file=sys.stderr)
    if dry_run:
        print(describe(plan))
        return out

    # 3. Several processes: start them; each comes back here, inside a launcher.
    if launched and started_here and not launched.in_this_process:
        with tempfile.TemporaryDirectory(prefix="icrl-") as folder:
            save_config(config, Path(folder) / "config.yaml")
            arguments = ["--config", str(Path(folder) / "config.yaml"), "--out", str(out)]
            arguments += [word for of in datasets for word in ("--data", str(of))]
            arguments += ["--launch", launch, "--num-processes", str(processes), *(["--resume"] if resume else [])]
            arguments += consent.arguments()
            try:
                start(launched, processes, arguments, Path(folder))
            except BaseException:
                drop_partials(out)
                remove(out / LOCK_FILE)
                raise
        return out

    # 4. This process's part.
    from icrl.train.one_process import train_here

    train_here(plan, resume, launched, num_processes)
    return out


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        action="append",
        help="a dataset of `icrl generate`; once for each of several",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where the run is written")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and write nothing")
    parser.add_argument("--launch", metavar="NAME|FILE", help="cpu, ddp, zero1, zero2, zero3, fsdp2, or a YAML file")
    parser.add_argument("--num-processes", type=int, metavar="N", help="processes that the launch starts")
    add_family_consent(parser)


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code."""
    arguments, config = parse_command("icrl train", __doc__.partition("\n")[0], TrainConfig, argv, _add_arguments)
    try:
        train(
            config,
            arguments.data,
            arguments.out,
            resume=arguments.resume,
            dry_run=arguments.dry_run,
            launch=arguments.launch,
            num_processes=arguments.num_processes,
            trust_code=arguments.trust_code,
            family=arguments.family,
            accept_changed_family=arguments.accept_changed_family,
        )
    except ChildError as error:
        return error.code  # its message is on the screen already
    return 0


def _one_of_several(argv: Sequence[str]) -> int:
    """`main` in one process of a launch: what goes wrong in all of them is said once, by the one that started it."""
    if FAILURES in os.environ:
        stay_with_launch(Path(os.environ[FAILURES]))
    try:
        with own_code_fails_in_one_line():  # Here already, so that such an error is left too.
            return main(argv)
    except IcrlError as error:
        if not leave_failure(error):
            raise
        return 1
    except Stopped as error:
        if not leave_failure(error):
            raise
        return code_of(error)
    except RuntimeError:
        if FAILURES in os.environ and asked():
            return 1  # Another process has stopped sooner, and a word to it was lost: no fault to tell of.
        raise


if __name__ == "__main__":
    from icrl.cli import run_main

    sys.exit(run_main(_one_of_several))
