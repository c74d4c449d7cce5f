"""Ctrl-C and SIGTERM at random moments: the command ends, in one line, with its code, and nothing is left over."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import icrl
from icrl import cli, stopping
from icrl.data_gen.generate import main as generate_main

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SECONDS = 20.0
"""A stop takes one or two; other work on the machine makes it more."""
RUN = {
    "model.n_layer": 1,
    "model.width": 16,
    "model.context_length": 8,
    "model.residual_dropout": 0.1,
    "train.steps": 60,
    "train.batch_size": 8,
    "train.log_every": 3,
    "train.evaluate_every": 7,
    "train.evaluate_episodes": 2,
    "train.evaluate_tasks": 2,
    "train.checkpoint_every": 10,
}
FLAGS = [f"--{key}={value}" for key, value in RUN.items()]
ROOM = ["--config", "dark-room-q-learning", "--family_options.size", "5", "--family_options.validation", "3"]
RECORDING = [
    *ROOM,
    "--family_options.test",
    "5",
    "--episodes",
    "200",
    "--histories_per_task",
    "4",
    "--histories_per_shard",
    "4",
]


def takes_signals(pid):
    """Whether the command line of that process is in charge already: Python alone leaves SIGTERM to the system."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def living(tag):
    """The processes that a command has started, itself counted."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"STOP_TEST={tag}\0".encode() in file.read_bytes():
                found.append((file.parent / "cmdline").read_bytes())
        except OSError:
            continue
    return [line for line in found if line]


def stop(argv, number, tag, *, when=None, delay=0.0):
    """Starts a command and sends it a signal `delay` seconds after `when()` holds; returns its exit code, or None
    where it was done sooner. Checks all that holds for every stop."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STOP_TEST": tag}
    command = [sys.executable, "-m", "icrl", *argv]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None and not (takes_signals(run.pid) and (when is None or when())):
            time.sleep(0.005)
        time.sleep(delay)
        run.send_signal(number)
        _, err = run.communicate(timeout=SECONDS)
    if run.returncode == 0:
        return None
    lines = [line for line in err.splitlines() if line.startswith("icrl: ")]
    assert run.returncode == CODES[number], err
    assert "Traceback" not in err
    assert len(lines) == 1, err
    assert "stopped" in lines[0]
    assert "--resume" in lines[0]
    deadline = time.monotonic() + 5
    while living(tag) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not living(tag)
    return lines[0]


def leftovers(folder):
    """What is half-written; FSDP's metadata and the digests of shards that are there are hidden and whole."""
    hidden = folder.rglob(".*") if folder.exists() else ()
    return [path for path in hidden if path.name != ".metadata" and path.suffix != ".digest"]


def rows(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in lines]


def assert_stopped_runs_go_on(tiny_data, whole, out, draws, tag):
    """A run is stopped again and again; what is there in the end is what an unstopped one gives."""
    argv = ["train", "--data", str(tiny_data), "--out", str(out), *FLAGS, "--resume"]
    for number, phase, delay in draws:
        when = {"import": None, "steps": (out / "metrics.jsonl").exists}[phase]
        line = stop(argv, number, f"{tag}-{delay}", when=when, delay=delay)
        assert not leftovers(out)
        if line and "checkpoint written" in line:
            step = int(line.split("at step ")[1].split(",")[0])
            assert (out / "checkpoints" / f"step-{step:08d}" / "state.json").is_file()
    icrl.train(None, tiny_data, out, resume=True, **RUN)
    assert rows(out) == rows(whole)
    weights = "model/model.safetensors"
    assert (out / weights).read_bytes() == (whole / weights).read_bytes()


@pytest.fixture(scope="module")
def whole(tiny_data, tmp_path_factory):
    return icrl.train(None, tiny_data, tmp_path_factory.mktemp("stopping") / "whole", **RUN)


def test_training_that_is_stopped_goes_on_bit_for_bit(tiny_data, whole, tmp_path):
    """Kills: a Ctrl-C that is lost in an import, a SIGTERM without a checkpoint, a half-written one left behind."""
    rng = np.random.default_rng(1)
    draws = [
        (signal.SIGINT, "import", float(rng.uniform(0, 3))),
        (signal.SIGTERM, "steps", float(rng.uniform(0, 0.4))),
    ]
    assert_stopped_runs_go_on(tiny_data, whole, tmp_path / "run", draws, str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_training_is_stopped_at_any_moment(seed, tiny_data, whole, tmp_path):
    """Kills: the same at the moments that the first test does not draw."""
    rng = np.random.default_rng(seed)
    draws = [
        ((signal.SIGINT, signal.SIGTERM)[rng.integers(2)], phase, float(rng.uniform(0, longest)))
        for phase, longest in (("import", 6), ("import", 12), ("steps", 1), ("steps", 2), ("steps", 3))
    ]
    assert_stopped_runs_go_on(tiny_data, whole, tmp_path / "run", draws, f"{tmp_path}")


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "zero2", "fsdp2"])
@pytest.mark.parametrize("number", CODES)
def test_all_processes_of_a_launch_stop(launch, number, tiny_data, tmp_path):
    """Kills: a launcher that kills its processes before they have written, that outlives them, or that tells it as
    often as it has processes."""
    out, processes = tmp_path / "run", ["--launch", launch, "--num-processes", "2"]
    argv = ["train", "--data", str(tiny_data), "--out", str(out), *FLAGS, "--train.steps=400", *processes]
    line = stop(argv, number, str(tmp_path), when=(out / "metrics.jsonl").exists, delay=0.5)
    assert line
    assert not leftovers(out)
    if number == signal.SIGTERM:
        step = int(line.split("at step ")[1].split(",")[0])
        assert (out / "checkpoints" / f"step-{step:08d}" / "state.json").is_file()
        icrl.load_agent(out / "checkpoints" / f"step-{step:08d}")


def assert_stopped_recordings_go_on(out, workers, draws, tag):
    argv = ["generate", *RECORDING, "--workers", str(workers), "--resume"]
    for number, delay in draws:
        stop([*argv, "--out", str(out)], number, f"{tag}-{delay}", when=(out / "config.yaml").exists, delay=delay)
        assert not leftovers(out)
    for folder in (out, out.with_name("whole")):
        assert generate_main([*argv[1:], "--out", str(folder)]) == 0
    for shard in out.with_name("whole").glob("*.arrow"):
        assert (out / shard.name).read_bytes() == shard.read_bytes()


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_recording_that_is_stopped_goes_on_with_the_same_bytes(workers, tmp_path):
    """Kills: processes that finish their shards after the one that asked is gone, and half a shard left behind."""
    rng = np.random.default_rng(workers)
    draws = [((signal.SIGTERM, signal.SIGINT)[workers - 1], float(rng.uniform(0, 1.5)))]
    assert_stopped_recordings_go_on(tmp_path / "data", workers, draws, str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_recording_is_stopped_at_any_moment(seed, tmp_path):
    """Kills: the same at the moments that the first test does not draw."""
    rng = np.random.default_rng(seed)
    draws = [((signal.SIGTERM, signal.SIGINT)[rng.integers(2)], float(rng.uniform(0, 3))) for _ in range(4)]
    assert_stopped_recordings_go_on(tmp_path / "data", 1 + seed % 2, draws, str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_evaluation_is_stopped_at_any_moment(seed, whole, tmp_path):
    """Kills: an evaluation that goes on, in this process or in those of its pool, or half a report."""
    rng = np.random.default_rng(seed)
    argv = ["evaluate", str(whole), "--episodes", "3000", "--workers", str(1 + seed % 2), "--out", str(tmp_path / "e")]
    number = (signal.SIGTERM, signal.SIGINT)[seed // 2]
    assert stop(argv, number, str(tmp_path), delay=float(rng.uniform(0, 12)))
    assert not leftovers(tmp_path / "e")


LATE = """
import os, sys
from icrl import cli

class Late:
    def __del__(self, kill=os.kill, write=os.write, pid=os.getpid()):
        write(1, b"late\\n")
        kill(pid, {number})

sys.late = Late()
sys.exit(cli.run_main(lambda argv: 0))
"""


@pytest.mark.parametrize("number", CODES)
def test_a_stop_while_python_ends_changes_nothing(number):
    """Kills: the exit code of a signal from a command that has done all of its work."""
    run = subprocess.run([sys.executable, "-c", LATE.format(number=int(number))], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "late\n", "")


SWALLOWS = """
import sys, time, weakref
from icrl import cli, stopping

stopping.PATIENCE = {patience}

class Thing:
    pass

def busy(_):
    print("busy", flush=True)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        pass

def main(argv):
    {body}
    print("not stopped", flush=True)

sys.exit(cli.run_main(main))
"""
FINALISER = """thing = Thing()
    reference = weakref.ref(thing, busy)
    del thing
    time.sleep(3)"""
EXCEPT = """try:
        busy(None)
    except BaseException:
        pass
    time.sleep(3)"""
STUCK = """try:
        print("busy", flush=True)
        time.sleep(3)
    finally:
        time.sleep(60)"""
TURNED = """try:
        busy(None)
    except BaseException as error:
        raise ImportError("the extension module failed") from None"""


@contextmanager
def swallowing(body, patience):
    """A command that does this, and is in the midst of it."""
    code = SWALLOWS.format(body=body, patience=patience)
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True) as run:
        assert run.stdout.readline() == "busy\n"
        yield run


@pytest.mark.parametrize("body", [FINALISER, EXCEPT, TURNED, STUCK], ids=["finaliser", "except", "turned", "stuck"])
@pytest.mark.parametrize("number", CODES)
def test_a_stop_that_somebody_swallows(body, number):
    """Kills: a command that goes on where Python, or a library, drops the exception, or makes another one of it; one
    that never ends cleaning up."""
    with swallowing(body, patience=2.0) as run:
        run.send_signal(number)
        out, err = run.communicate(timeout=SECONDS)
    assert run.returncode == CODES[number]
    assert err.startswith("icrl: stopped")
    assert (out, len(err.splitlines())) == ("", 1)


def test_a_second_ctrl_c_ends_at_once():
    """Kills: a user who has to wait until a network answers."""
    with swallowing(STUCK, patience=SECONDS) as run:
        run.send_signal(signal.SIGINT)
        time.sleep(stopping.REPEAT + 0.2)
        start = time.monotonic()
        run.send_signal(signal.SIGINT)
        run.wait(SECONDS)
    assert run.returncode == 130
    assert time.monotonic() - start < SECONDS / 2


def test_signals_are_given_back_and_untouched_elsewhere():
    """Kills: a script that calls a command and then cannot be stopped any more; a thread that touches signals."""
    import threading

    def all_of_them():
        return [signal.getsignal(number) for number in CODES], sys.unraisablehook

    before = all_of_them()
    seen = []
    cli.run_main(lambda argv: seen.append(all_of_them()), [])
    assert seen[0] != before
    assert all_of_them() == before
    thread = threading.Thread(target=cli.run_main, args=(lambda argv: seen.append(all_of_them()), []))
    thread.start()
    thread.join()
    assert seen[1] == before
    assert not stopping.asked()
