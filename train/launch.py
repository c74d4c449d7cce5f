"""How a run is spread over processes: presets by name or path, the right launcher for each, and what must come of it.

A preset is a config file of `accelerate launch`. `icrl train --launch zero2 --num-processes 2` starts the launcher,
which starts `python -m icrl.train.train` with the same arguments in every process; each of them then checks that
the processes are what was asked for, because launchers are known to start something else without a word: on a CPU
`accelerate launch` runs a single process where two were asked for, and torchrun runs two that know nothing of each
other.
"""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from icrl import errors, stopping
from icrl.errors import IcrlError, LaunchError, UsageError, did_you_mean
from icrl.files import write_json
from icrl.processes import cores
from icrl.stopping import Stopped
from icrl.train import stops

LAUNCHES = ("cpu", "ddp", "zero1", "zero2", "zero3", "fsdp2")
PROGRAM = "icrl.train.train"
FAILURES = "ICRL_FAILURES"
"""An environment variable: the folder where the processes of a launch leave what went wrong in them."""
# DeepSpeed calls what the newest PyTorch renames; FSDP warns of changes in place to the output, which nobody makes.
_HARMLESS = (r"`torch\.distributed\.\w+` is deprecated", r"FSDP2-wrapped module .* returned a view tensor")


class ChildError(LaunchError):
    """A process of a launched run has failed, and has left no message but what it printed."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a process of the run ended with exit code {code}: its message stands above")
        self.code = code


@dataclass(frozen=True)
class Launch:
    """One way to spread a run."""

    name: str
    """As the user gave it: a preset's name, or a path."""
    path: Path
    """The config file for `accelerate launch`."""
    kind: str
    """accelerate's distributed type: "NO", "MULTI_CPU", "MULTI_GPU", "DEEPSPEED" or "FSDP"."""
    zero_stage: int | None
    """DeepSpeed's stage."""
    num_processes: int
    """Processes on all machines together, where the user asks for no other number."""

    @property
    def in_this_process(self) -> bool:
        return self.kind == "NO"


def read_launch(name: str) -> Launch:
    """The launch of that name or file.

    Raises:
        UsageError: where there is none, or it is not one that training can use.
    """
    path = Path(str(resources.files("icrl.train").joinpath("launchers", f"{name}.yaml")))
    if name not in LAUNCHES:
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            hint = did_you_mean(name, LAUNCHES)
            raise UsageError(f"unknown launch {name!r}{hint}: expected {', '.join(LAUNCHES)}, or a YAML file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"launch file {path} cannot be read ({error.strerror}): expected a YAML file") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"launch file {path} is not valid YAML: {' '.join(str(error).split())}") from None
    values = values if isinstance(values, dict) else {}
    kind = str(values.get("distributed_type", "NO"))
    if kind not in ("NO", "MULTI_CPU", "MULTI_GPU", "DEEPSPEED", "FSDP"):
        raise UsageError(
            f"launch file {path} has distributed_type {kind}: expected NO, MULTI_CPU, MULTI_GPU, DEEPSPEED or FSDP"
        )
    stage = (values.get("deepspeed_config") or {}).get("zero_stage") if kind == "DEEPSPEED" else None
    return Launch(name, path, kind, stage, int(values.get("num_processes", 1)))


def count_processes(launch: Launch, asked: int | None) -> int:
    """How many processes a launch starts: as many as asked for, or one per GPU, or what its file says.

    Raises:
        UsageError, LaunchError: where that cannot be.
    """
    if asked is not None and asked < 1:
        raise UsageError(f"--num-processes is {asked}: expected at least 1")
    if launch.in_this_process:
        if (asked or 1) > 1:
            raise UsageError(
                f"--launch {launch.name} is a single process, --num-processes asks for {asked}: "
                "choose --launch ddp, zero1, zero2, zero3 or fsdp2"
            )
        return 1
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked is None:
        return gpus if gpus and launch.name in LAUNCHES else launch.num_processes
    if gpus and asked > gpus:
        raise LaunchError(f"--num-processes is {asked}, this machine has {gpus} GPUs: expected at most one for each")
    return asked


def inside_a_launcher() -> bool:
    """Whether torchrun, `accelerate launch` or another launcher started this process."""
    return "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def start(launch: Launch, num_processes: int, argv: Sequence[str], folder: Path) -> None:
    """Runs the program with `argv` in that many processes and waits for them.

    Args:
        folder: one of this launch alone, where its processes leave what goes wrong in them.

    Raises:
        IcrlError: the first that a process has left with `leave_failure`: one, though it may have arisen in all.
        Stopped: after SIGTERM, once they have written a checkpoint.
        ChildError: where one has failed otherwise.
    """
    command = [sys.executable, "-m", "icrl.train.launch", str(launch.path), launch.kind, str(num_processes), *argv]
    # Shared out, since two processes with a thread for every core each collapse; one is what a launcher would set.
    threads = str(max(1, cores() // num_processes))
    # PyTorch's sockets warn of names that nobody needs to resolve.
    quiet = {"OMP_NUM_THREADS": threads, "TORCH_CPP_LOG_LEVEL": "ERROR"}
    environment = {**quiet, **os.environ, FAILURES: str(folder)}
    # In a group of its own: a terminal's Ctrl-C is for this process alone, which then ends the launch at once.
    process = subprocess.Popen(command, env=environment, process_group=0)
    try:
        with stopping.deferred(tell=(folder / stops.STOP_FILE).touch):
            code = process.wait()
    except BaseException:
        stops.end_launch(process)
        raise
    if code:
        left = sorted(folder.glob("failure-*.json"), key=lambda file: file.stat().st_mtime_ns)
        if left:
            failure = json.loads(left[0].read_text())
            kinds = {**vars(errors), "Stopped": Stopped}
            raise kinds.get(failure["kind"], IcrlError)(failure["message"])
        if stopping.asked():
            raise Stopped
        raise ChildError(128 - code if code < 0 else code)


def leave_failure(error: IcrlError | Stopped) -> bool:
    """In a process of a launch: leaves an error to the one that waits in `start`; False where none does."""
    if FAILURES not in os.environ:
        return False
    message = error.message if isinstance(error, Stopped) else str(error)
    if message == "":  # Another process of the launch tells it.
        return True
    failure = {"kind": type(error).__name__, "message": message}
    write_json(Path(os.environ[FAILURES]) / f"failure-{os.getpid()}.json", failure)
    return True


def make_accelerator(launch: Launch | None, *, precision: str, accumulation: int) -> Any:
    """accelerate's view of the processes.

    Args:
        launch: what was asked for; None takes what the launcher that started this process says.
    """
    import torch
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState, GradientState

    cuda = torch.cuda.is_available() and not (launch is not None and launch.in_this_process)
    deepspeed = _flag("ACCELERATE_USE_DEEPSPEED")
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if not torch.cuda.is_available():
        # DeepSpeed, which transformers imports where it can, would look for a device and warn that there is none.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    for message in _HARMLESS:
        warnings.filterwarnings("ignore", message=message)
    if deepspeed:
        _prepare_deepspeed(cuda)
    if world_size == 1 and not deepspeed:
        # accelerate keeps one state for the whole process: a second run may want another precision.
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    # Without the backend's name accelerate would see one process where DeepSpeed sees several.
    handlers = [InitProcessGroupKwargs(backend="gloo")] if world_size > 1 and not cuda else []
    accelerator = Accelerator(
        cpu=not cuda and not deepspeed,
        mixed_precision="bf16" if precision == "bf16" else "no",
        gradient_accumulation_steps=accumulation,
        kwargs_handlers=handlers,
    )
    if _flag("ACCELERATE_USE_FSDP") and accelerator.distributed_type.name == "MULTI_CPU":
        _fsdp_on_the_cpu(accelerator)
    return accelerator


def check_processes(accelerator: Any, launch: Launch | None, num_processes: int | None) -> None:
    """Raises LaunchError unless the processes are what was asked for."""
    kind, world_size = accelerator.distributed_type.name, accelerator.num_processes
    told = int(os.environ.get("WORLD_SIZE", 1))
    if world_size != told:
        raise LaunchError(
            f"the launcher started {told} processes, accelerate sees {world_size}: start the run with "
            "`icrl train --launch NAME --num-processes N`"
        )
    if "LOCAL_RANK" not in os.environ and {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= set(os.environ):
        raise LaunchError(
            "`accelerate launch` was asked for several CPU processes and has started one: expected all of them; "
            "use `icrl train --launch ddp --num-processes N`"
        )
    for variable, meant in (("ACCELERATE_USE_DEEPSPEED", "DEEPSPEED"), ("ACCELERATE_USE_FSDP", "FSDP")):
        if _flag(variable) and kind != meant:
            raise LaunchError(
                f"{variable} asks for processes of type {meant}, accelerate says {kind}: unset ACCELERATE_USE_CPU, "
                "which overrules it, or start the run with `icrl train --launch NAME --num-processes N`"
            )
    if launch is None:
        return
    expected = {"MULTI_GPU": ("MULTI_GPU", "MULTI_CPU"), "MULTI_CPU": ("MULTI_CPU",)}.get(launch.kind, (launch.kind,))
    if kind not in expected:
        raise LaunchError(
            f"--launch {launch.name} should give processes of type {expected[0]}, accelerate says {kind}: leave "
            "--launch out if another launcher starts the run"
        )
    if num_processes is not None and world_size != num_processes:
        raise LaunchError(
            f"--num-processes asks for {num_processes}, {world_size} are running: "
            "start the run with `icrl train --launch NAME --num-processes N`"
        )
    if launch.kind == "DEEPSPEED":
        stage = accelerator.deepspeed_plugin.zero_stage
        if stage != launch.zero_stage:
            raise LaunchError(
                f"--launch {launch.name} is ZeRO stage {launch.zero_stage}, DeepSpeed runs stage {stage}"
            )


def _flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("1", "true", "yes")


def _prepare_deepspeed(cuda: bool) -> None:
    """Before its first use: fewer messages, and on a CPU no operator that takes minutes to compile."""
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    if not cuda:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _fsdp_on_the_cpu(accelerator: Any) -> None:
    """accelerate turns FSDP on for accelerators only, though PyTorch's works over gloo: turned on by hand."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    plugin = FullyShardedDataParallelPlugin()
    if accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(accelerator.mixed_precision)
    accelerator.state.fsdp_plugin = plugin
    accelerator.state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def main(argv: Sequence[str]) -> int:
    """The launcher's own process: `… FILE KIND N ARGUMENTS…`; returns the children's exit code."""
    file, kind, num_processes, *arguments = argv
    stops.be_a_launcher()
    import torch
    import torch.distributed.run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # The children say what went wrong, in one line; the launcher would add a page to it.
    logging.disable(logging.ERROR)
    cuda = torch.cuda.is_available()
    if not cuda:
        os.environ["ACCELERATE_USE_CPU"] = "false" if kind == "DEEPSPEED" else "true"
    try:
        if kind in ("MULTI_GPU", "MULTI_CPU") and not cuda:
            # The machine's own name need not be one that it can resolve.
            command = ["--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", num_processes]
            torchrun.run(torchrun.parse_args([*command, "-m", PROGRAM, *arguments]))
        else:
            from accelerate.commands.launch import launch_command, launch_command_parser

            command = ["--config_file", file, "--num_processes", num_processes, "--main_process_port", "0"]
            launch_command(launch_command_parser().parse_args([*command, "-m", PROGRAM, *arguments]))
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return 128 - code if code < 0 else code
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
