"""A run beyond its end: more steps, its checkpoints as models, one run at wandb; the save is tried first."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import icrl
from icrl.errors import CheckpointError, TrainingError, UsageError
from icrl.train.config import PretrainOptions
from icrl.train.metrics import MetricsLog, cut_back
from icrl.train.optim import learning_rate_at
from icrl.train.wandb_run import steps_in

TINY = {
    "model.n_layer": 1,
    "model.width": 16,
    "model.context_length": 8,
    "model.residual_dropout": 0.1,
    "train.batch_size": 8,
    "train.warmup": 2,
    "train.log_every": 1,
    "train.evaluate_every": 0,
    "train.checkpoint_every": 5,
    "train.keep_checkpoints": 9,
}
KILL = """
import os, icrl.train.loop as loop
rate = loop.learning_rate_at
loop.learning_rate_at = lambda step, options: os.kill(os.getpid(), 9) if step == {step} else rate(step, options)
from icrl.train.train import main
main({argv!r})
"""


def rows(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in lines]


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


def killed_at(step, data, out, options):
    """Trains until the system kills the process before that step."""
    flags = [f"--{key}={value}" for key, value in options.items()]
    code = KILL.format(step=step, argv=["--data", str(data), "--out", str(out), "--resume", *flags])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -9


@pytest.fixture(scope="module")
def short(tiny_data, tmp_path_factory):
    return icrl.train(None, tiny_data, tmp_path_factory.mktemp("short") / "run", **TINY, **{"train.steps": 10})


@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_a_finished_run_goes_on_to_more_steps(schedule, tiny_data, tmp_path, capsys):
    """Kills: more steps that begin anew, that keep the first learning rates, or that are called complete."""
    options = {**TINY, "train.schedule": schedule}
    out = icrl.train(None, tiny_data, tmp_path / "run", **options, **{"train.steps": 10})
    before = rows(out)
    icrl.train(None, tiny_data, out, resume=True, **options, **{"train.steps": 17})
    told = capsys.readouterr()
    assert "goes on to 17" in told.err
    assert "not what 17 steps from the start give" in told.err
    assert "trained 7 steps" in told.out
    assert rows(out)[:10] == before
    longer = PretrainOptions(steps=17, warmup=2, schedule=schedule)
    expected = [learning_rate_at(step, longer) for step in range(10, 17)]
    assert [row["learning_rate"] for row in rows(out)[10:]] == expected
    training = json.loads((out / "model" / "training.json").read_text())
    assert training == {"step": 17, "stages": [{"from": 0, "steps": 10}, {"from": 10, "steps": 17}]}
    assert "steps: 17" in (out / "config.yaml").read_text()
    icrl.train(None, tiny_data, out, resume=True, **options, **{"train.steps": 17})
    assert "is complete" in capsys.readouterr().out


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_more_steps_that_are_killed_are_exact_and_leave_the_old_model(number, short, tiny_data, tmp_path):
    """Kills: a killed extension that is called complete, that loses the old model or that gives other weights."""
    rng = np.random.default_rng(0)
    runs = []
    for kills in ([], sorted(rng.choice(np.arange(11, 20), number, replace=False).tolist())):
        out = tmp_path / f"run-{len(kills)}"
        shutil.copytree(short, out)
        for step in kills:
            killed_at(step, tiny_data, out, {**TINY, "train.steps": 20})
            assert weights(out) == weights(short)
            icrl.load_agent(out)
        icrl.train(None, tiny_data, out, resume=True, **TINY, **{"train.steps": 20})
        runs.append(out)
    assert weights(runs[0]) == weights(runs[1]) != weights(short)
    assert rows(runs[0]) == rows(runs[1])
    assert (runs[0] / "model" / "training.json").read_text() == (runs[1] / "model" / "training.json").read_text()


def test_what_cannot_be_made_longer_says_so(short, tiny_data, tmp_path):
    """Kills: a run cut shorter, one that goes on from nothing, one of other options or data taken along."""
    with pytest.raises(UsageError, match=r"is a run of 10 steps, train\.steps is 9: expected at least as many"):
        icrl.train(None, tiny_data, short, resume=True, **TINY, **{"train.steps": 9})
    with pytest.raises(UsageError, match=r"train\.clip was 1\.0, now 2\.0"):
        icrl.train(None, tiny_data, short, resume=True, **TINY, **{"train.steps": 20, "train.clip": 2.0})
    bare = shutil.copytree(short, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(UsageError, match="has no checkpoint from which its 10 steps could become 20"):
        icrl.train(None, tiny_data, bare, resume=True, **TINY, **{"train.steps": 20})


def test_a_model_of_an_earlier_release_goes_on_too(short, tiny_data, tmp_path, monkeypatch):
    """Kills: a run without a record of its steps that is called complete once a killed extension has begun."""
    out = shutil.copytree(short, tmp_path / "run")
    (out / "model" / "training.json").unlink()
    options = {**TINY, "train.steps": 14}
    with monkeypatch.context() as broken:
        broken.setattr("icrl.train.loop.learning_rate_at", lambda step, _: {10: 0.0, 11: 0.0}[step])
        with pytest.raises(KeyError):
            icrl.train(None, tiny_data, out, resume=True, **options)
    icrl.train(None, tiny_data, out, resume=True, **options)
    assert json.loads((out / "model" / "training.json").read_text())["step"] == 14


def test_a_checkpoint_is_evaluated_and_loaded(short, tmp_path, capsys):
    """Kills: an unfinished run of which nothing can be seen; a checkpoint's report that reads as a whole run's."""
    run = shutil.copytree(short, tmp_path / "run", ignore=shutil.ignore_patterns("model"))
    with pytest.raises(CheckpointError, match="--checkpoint latest"):
        icrl.evaluate(run, episodes=2, seeds=1, tasks=2)
    few = {"episodes": 2, "seeds": 1, "tasks": 2, "bootstrap": 100, "source": False}
    summary = icrl.evaluate(run, checkpoint=5, **few)
    assert summary["model"]["step"] == 5
    assert "after 5 steps of training" in (run / "eval-step-5" / "report.html").read_text()
    assert icrl.evaluate(run, checkpoint="latest", **few)["model"]["step"] == 10
    assert (run / "eval-step-10" / "summary.json").is_file()
    latest, finished = icrl.load_agent(run, checkpoint="latest").model, icrl.load_agent(short).model
    for name, value in finished.state_dict().items():
        assert torch.equal(latest.state_dict()[name], value)
    name, folder = "net.embedding.0.step.weight", run / "checkpoints" / "step-00000005"
    assert torch.equal(icrl.load_agent(folder).model.state_dict()[name], load_file(folder / "model.safetensors")[name])
    for wrong, message in (
        (7, "has no checkpoint of step 7: expected latest, or one of 5, 10"),
        ("x", "expected a step"),
    ):
        with pytest.raises(UsageError, match=message):
            icrl.evaluate(run, checkpoint=wrong, **few)
    weights_file = run / "checkpoints" / "step-00000005" / "model.safetensors"
    content = bytearray(weights_file.read_bytes())
    content[-1] ^= 1
    weights_file.write_bytes(content)
    with pytest.raises(CheckpointError, match="not the file that was written"):
        icrl.load_agent(run, checkpoint=5)


def parts_of(run, last):
    """The files of a run's parts at Weights & Biases, which a later sync sends, oldest first. On a busy machine wandb
    writes the end of a part shortly after it has said that it is done."""
    parts = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    deadline = time.monotonic() + 20
    while steps_in(parts[-1])[-1:] != [last] and time.monotonic() < deadline:
        time.sleep(0.1)
    return parts


def test_rows_that_wandb_had_in_memory_alone_are_told_to_the_next_part(tmp_path, monkeypatch):
    """Kills: rows of a killed part that are at wandb nowhere, and those that are there twice."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    rng = np.random.default_rng(0)
    rows, kept = 0, 0
    for share in (rng.uniform(0, 1), rng.uniform(0, 0.1), 1.0):
        back = int(rng.integers(0, rows + 1))  # The checkpoint that this part goes on from.
        cut_back(tmp_path / "metrics.jsonl", back)
        rows += 300
        with MetricsLog(tmp_path, wandb="offline", project="icrl", config={}) as log:
            for step in range(back + 1, rows + 1):
                log.write({"step": step, **{f"curve/{i}": step / (i + 1) for i in range(10)}})
        parts = parts_of(tmp_path, rows)
        content = parts[-1].read_bytes()
        parts[-1].write_bytes(content[: int(share * len(content))])
        steps = [step for file in parts for step in steps_in(file)]
        assert steps == list(range(1, len(steps) + 1))
        assert kept <= len(steps) <= rows
        kept = len(steps)
    assert kept == rows
    assert len({part.stem for part in parts}) == 1  # One id.


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(8, 9), (3,)])
def test_a_run_that_is_killed_is_one_run_at_wandb(kills, tiny_data, tmp_path, monkeypatch):
    """Kills: two runs after a kill; steps that are lost or there twice."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    options = {**TINY, "train.steps": 14, "train.wandb": "offline"}
    out = tmp_path / "run"
    for step in kills:  # The second of two comes before the first has been caught up with.
        killed_at(step, tiny_data, out, options)
    icrl.train(None, tiny_data, out, resume=True, **options)
    parts = parts_of(out, 14)
    assert (len(parts), len({part.stem for part in parts})) == (len(kills) + 1, 1)
    assert [step for part in parts for step in steps_in(part)] == list(range(1, 15))


def test_a_save_that_would_fail_fails_before_the_first_step(tiny_data, tmp_path, monkeypatch):
    """Kills: hours of training that end in a traceback while the model is saved."""
    from icrl.models.model import InContextModel

    def fails(*_, **__):
        raise TypeError("Missing required field - 'n_layer'")

    monkeypatch.setattr(InContextModel, "save_pretrained", fails)
    with pytest.raises(TrainingError, match=r"could not be saved at the end \(TypeError: Missing required field"):
        icrl.train(None, tiny_data, tmp_path / "run", **TINY, **{"train.steps": 3})
    assert not (tmp_path / "run").exists()
