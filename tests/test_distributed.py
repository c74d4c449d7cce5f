"""Real processes: two of them learn what one learns, through every launcher, and leave a model in one piece."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import icrl

TINY = {
    "model.n_layer": 1,
    "model.width": 16,
    "model.context_length": 8,
    "train.steps": 6,
    "train.batch_size": 8,
    "train.warmup": 2,
    "train.log_every": 1,
    "train.evaluate_every": 6,
    "train.evaluate_episodes": 2,
    "train.evaluate_tasks": 2,
    "train.checkpoint_every": 3,
}
FLAGS = [f"--{key}={value}" for key, value in TINY.items()]


def run(data, out, *flags, **variables):
    """The command line, as a user calls it."""
    command = [sys.executable, "-m", "icrl", "train", "--data", str(data), "--out", str(out), *FLAGS, *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(tiny_data, tmp_path_factory):
    return icrl.train(None, tiny_data, tmp_path_factory.mktemp("alone") / "run", **TINY)


def assert_same_run(out, alone):
    """The losses, the gradient's norm and the weights of a run in one process."""
    for ours, theirs in zip(rows(out), rows(alone), strict=True):
        for key in set(theirs) - {"tokens_per_second"}:
            assert ours[key] == pytest.approx(theirs[key], abs=1e-4), key
    ours, theirs = (load_file(path / "model" / "model.safetensors") for path in (out, alone))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert torch.allclose(ours[name], weight, atol=1e-3), name
        assert ours[name].dtype == torch.float32
    icrl.load_agent(out)


@pytest.mark.parametrize("launch", ["ddp", "zero2"])
def test_two_processes_learn_what_one_learns(launch, tiny_data, alone, tmp_path):
    """Kills: processes that read the same windows, gradients that are summed or not shared, a config of DeepSpeed
    that is dropped, a model with one process's share of the weights."""
    done = run(tiny_data, tmp_path / "run", "--launch", launch, "--num-processes", "2")
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "run", alone)
    state = json.loads((tmp_path / "run" / "checkpoints" / "step-00000006" / "state.json").read_text())
    assert state["num_processes"] == 2
    assert state["distributed_type"] == {"ddp": "MULTI_CPU", "zero2": "DEEPSPEED"}[launch]


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["zero1", "zero2", "zero3", "fsdp2"])
def test_sharded_runs_learn_the_same_and_resume(launch, tiny_data, alone, tmp_path):
    """Kills: a stage whose model is not put together, or whose checkpoint cannot be loaded."""
    out = tmp_path / "run"
    processes = ["--launch", launch, "--num-processes", "2"]
    done = run(tiny_data, out, *processes)
    assert done.returncode == 0, done.stderr
    assert_same_run(out, alone)
    # As if it had been killed after the first checkpoint.
    for path in (out / "model", out / "checkpoints" / "step-00000006"):
        subprocess.run(["rm", "-r", path], check=True)
    refused = run(tiny_data, out, "--resume")
    assert refused.returncode == 2
    assert "resume with the --launch and --num-processes of the first run" in refused.stderr
    again = run(tiny_data, out, *processes, "--resume")
    assert again.returncode == 0, again.stderr
    assert_same_run(out, alone)


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "zero2", "zero3", "fsdp2"])
def test_bf16_in_two_processes(launch, tiny_data, alone, tmp_path):
    """Kills: inputs and weights of two types; a model that is saved in half precision."""
    done = run(tiny_data, tmp_path / "run", "--launch", launch, "--num-processes", "2", "--train.precision=bf16")
    assert done.returncode == 0, done.stderr
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(weight.dtype == torch.float32 for weight in weights.values())
    assert rows(tmp_path / "run")[-1]["loss"] == pytest.approx(rows(alone)[-1]["loss"], abs=0.05)


FAILS_IN_A_LAUNCH = """
import os
from icrl.envs.grids.dark_room import DarkRoom

class Room(DarkRoom):
    def __init__(self, **options):
        super().__init__(**options)
        if "LOCAL_RANK" in os.environ:
            raise RuntimeError("no display")
"""


def test_what_fails_in_every_process_is_said_once(tmp_path):
    """Kills: a line from each process, a launcher's page of traceback, an exit code that it swallows."""
    (tmp_path / "room.py").write_text(FAILS_IN_A_LAUNCH)
    family = f"{tmp_path / 'room.py'}:Room"
    room = {"size": 4, "horizon": 6, "validation": 3, "test": 7}
    recorded = {"family_options": room, "histories_per_task": 1, "episodes": 3, "keep_every": 1, "workers": 1}
    data = icrl.generate("dark-room-q-learning", tmp_path / "data", family=family, **recorded)
    failed = run(data, tmp_path / "run", "--launch", "ddp", "--num-processes", "2", "--trust-code")
    assert failed.returncode == 1, failed.stderr
    assert "RuntimeError: no display (room.py, line 9)" in failed.stderr, failed.stderr
    assert len(failed.stderr.splitlines()) == 1, failed.stderr


def test_a_wrong_setting_is_refused_before_any_process_starts(tiny_data, tmp_path):
    """Kills: a minute of starting processes before the message, one message from each of them."""
    flags = ("--launch", "ddp", "--num-processes", "2", "--train.wandb=online")
    failed = run(tiny_data, tmp_path / "run", *flags, WANDB_API_KEY="", NETRC=str(tmp_path / "none"))
    assert failed.returncode == 2, failed.stderr
    assert len(failed.stderr.splitlines()) == 1, failed.stderr
    assert "there is no key" in failed.stderr
    assert not (tmp_path / "run").exists()
