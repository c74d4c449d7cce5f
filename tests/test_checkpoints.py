"""A checkpoint is whole or it is not gone on from; a disk that is full leaves the one before."""

import json
import resource
import shutil

import pytest
import torch

import icrl
from icrl.cli import run_main
from icrl.errors import CheckpointError
from icrl.train.train import main

TINY = {
    "model.n_layer": 1,
    "model.width": 16,
    "model.context_length": 8,
    "train.steps": 6,
    "train.batch_size": 4,
    "train.log_every": 3,
    "train.evaluate_every": 0,
    "train.checkpoint_every": 2,
    "train.keep_checkpoints": 3,
}
FLAGS = [f"--{key}={value}" for key, value in TINY.items()]


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


def rows(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in lines]


def stop_before_the_end(run):
    """What a kill between the last checkpoint and the model leaves."""
    shutil.rmtree(run / "model")
    return run


@pytest.fixture(scope="module")
def finished(tiny_data, tmp_path_factory):
    return icrl.train(None, tiny_data, tmp_path_factory.mktemp("runs") / "whole", **TINY)


def edited(**changes):
    def edit(checkpoint):
        state = json.loads((checkpoint / "state.json").read_text())
        (checkpoint / "state.json").write_text(json.dumps({**state, **changes}))

    return edit


def cut(name):
    return lambda checkpoint: (checkpoint / name).write_bytes((checkpoint / name).read_bytes()[:-40])


def flipped(name):
    def flip(checkpoint):
        content = bytearray((checkpoint / name).read_bytes())
        content[len(content) // 2] ^= 64
        (checkpoint / name).write_bytes(content)

    return flip


@pytest.mark.parametrize(
    "damage",
    [
        cut("model.safetensors"), flipped("model.safetensors"), cut("optimizer.bin"), flipped("optimizer.bin"),
        cut("state.json"), flipped("random_states_0.pkl"), lambda path: (path / "model.safetensors").unlink(),
        edited(step=10**9), edited(step=-3), edited(step=4), edited(step="6"), edited(step=None), edited(meter=[]),
        edited(meter={"sums": {"loss": "x"}, "count": 1}), edited(meter={"sums": {"loss": 3.0}, "count": 1}),
        edited(num_processes=-1), edited(files=None), edited(files={}), edited(sha256=3),
        lambda path: path.rename(path.with_name("step-1000000000")),
        lambda path: shutil.copy(path.with_name("step-00000004") / "state.json", path),
        lambda path: shutil.copy(path.with_name("step-00000004") / "model.safetensors", path),
    ],
)  # fmt: skip
def test_the_newest_whole_checkpoint_is_taken_and_the_damage_told(damage, finished, tiny_data, tmp_path, capsys):
    """Kills: a damaged checkpoint that is gone on from, one that ends a run with two whole ones beside it, and a
    resume that jumps to another step."""
    run = stop_before_the_end(shutil.copytree(finished, tmp_path / "run"))
    damage(run / "checkpoints" / "step-00000006")
    assert run_main(main, ["--data", str(tiny_data), "--out", str(run), "--resume", *FLAGS]) == 0
    assert "is damaged (" in (told := capsys.readouterr().err)
    assert "going on from " in told
    assert weights(run) == weights(finished)
    assert rows(run) == rows(finished)


def test_no_whole_checkpoint_is_one_line_and_nothing_is_unpickled(finished, tiny_data, tmp_path, capsys):
    """Kills: a run that silently begins anew; an older release's checkpoint that runs code, or ends in a traceback."""
    run = stop_before_the_end(shutil.copytree(finished, tmp_path / "run"))
    dangerous = Dangerous()
    dangerous.path = str(tmp_path / "made by a pickle")
    for checkpoint in run.glob("checkpoints/step-*"):
        state = json.loads((checkpoint / "state.json").read_text())
        del state["files"], state["sha256"]
        (checkpoint / "state.json").write_text(json.dumps(state))
        torch.save(dangerous, checkpoint / "optimizer.bin")
    assert run_main(main, ["--data", str(tiny_data), "--out", str(run), "--resume", *FLAGS]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "longest history" not in line]
    assert len(lines) == 1
    assert "none before it is whole: restore it, or remove" in lines[0]
    assert not (tmp_path / "made by a pickle").exists()


class Dangerous:
    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.parametrize("limit", [3_000, 12_000, 30_000])
def test_a_full_disk_leaves_the_checkpoint_before_and_no_part_of_the_next(limit, tiny_data, tmp_path, capsys):
    """Kills: a traceback of torch or safetensors, a half-written folder that keeps the disk full, a whole checkpoint
    lost with it."""
    run = tmp_path / "run"
    short = {**TINY, "train.steps": 2}
    whole = icrl.train(None, tiny_data, tmp_path / "whole", **short)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        arguments = ["--data", str(tiny_data), "--out", str(run), *FLAGS, "--train.steps=2"]
        code = run_main(main, arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("icrl: ")]
    assert code == 1
    assert len(told) == 1
    assert "free some space, then go on with --resume" in told[0]
    assert not list(run.rglob(".*partial*"))
    assert run_main(main, [*arguments, "--resume"]) == 0
    assert weights(run) == weights(whole)


def test_what_is_not_a_full_disk_stays_what_it_is(tmp_path):
    """Kills: an error of the model called a full disk."""
    from icrl.train.full_disk import removed_on_error

    folder = tmp_path / "part"
    folder.mkdir()
    with pytest.raises(RuntimeError, match="shapes"), removed_on_error(folder):
        raise RuntimeError("shapes do not fit")
    assert not folder.exists()
    with pytest.raises(CheckpointError), removed_on_error(folder):
        raise CheckpointError("no")
