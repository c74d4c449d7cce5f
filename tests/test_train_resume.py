"""A run that is killed and resumed ends with the same bytes; and what a run folder refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import icrl
from icrl.cli import run_main
from icrl.errors import CheckpointError, DatasetError, UsageError
from icrl.train.checkpoint_state import seal
from icrl.train.train import main

TINY = {
    "model.n_layer": 1,
    "model.width": 16,
    "model.context_length": 8,
    "train.steps": 20,
    "train.batch_size": 8,
    "train.warmup": 2,
    "train.log_every": 3,
    "train.evaluate_every": 8,
    "train.evaluate_episodes": 2,
    "train.evaluate_tasks": 2,
    "train.checkpoint_every": 5,
}
NOISE = {"model.attention_dropout": 0.1, "model.residual_dropout": 0.1, "method.token_mask": 0.1}
KILL_AT_STEP = """
import os, icrl.train.loop as loop
rate = loop.learning_rate_at
loop.learning_rate_at = lambda step, options: os.kill(os.getpid(), 9) if step == 13 else rate(step, options)
"""
KILL_WHILE_SAVING = """
import os, icrl.train.checkpoints as checkpoints
commit = checkpoints.commit
checkpoints.commit = lambda a, b: os.kill(os.getpid(), 9) if b.name == "step-00000010" else commit(a, b)
"""


def flags(options):
    return [f"--{key}={json.dumps(value) if not isinstance(value, str) else value}" for key, value in options.items()]


def rows(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in lines]


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(tiny_data, tmp_path_factory):
    return icrl.train(None, tiny_data, tmp_path_factory.mktemp("runs") / "whole", **TINY, **NOISE)


@pytest.mark.parametrize("kill", [KILL_AT_STEP, KILL_WHILE_SAVING])
def test_a_killed_run_goes_on_bit_for_bit(kill, finished, tiny_data, tmp_path):
    """Kills: a resume that repeats or skips a window, forgets the optimiser, draws other dropout, keeps rows of steps
    that were lost, or takes a half-written checkpoint for a whole one."""
    out = tmp_path / "killed"
    code = f"{kill}\nfrom icrl.train.train import main\nmain({['--data', str(tiny_data), '--out', str(out)]!r} + "
    code += f"{flags({**TINY, **NOISE})!r})"
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "model").exists()
    with pytest.raises(UsageError, match="has not finished; go on with --resume"):
        icrl.train(None, tiny_data, out, **TINY, **NOISE)
    icrl.train(None, tiny_data, out, resume=True, **TINY, **NOISE)
    assert rows(out) == rows(finished)
    assert weights(out) == weights(finished)


def test_a_run_keeps_the_scales_that_it_began_with(tiny_data, tmp_path):
    """Kills: a resume that measures anew, or a run of before there were scales that goes on with them."""
    out = icrl.train(None, tiny_data, tmp_path / "run", **TINY)
    newest, config = sorted((out / "checkpoints").iterdir())[-1], out / "model" / "config.json"
    state = json.loads((newest / "state.json").read_text())

    def saved() -> dict | None:
        return json.loads(config.read_text())["specs"]["0"]["scales"]

    assert saved() == {"rewards": {"centre": [0.0], "unit": [1.0]}}
    assert state["scales"] == {"0": saved()}
    other = {"rewards": {"centre": [0.0], "unit": [4.0]}}
    without = {key: state[key] for key in state if key != "scales"}
    for change, expected in (
        ({**state, "scales": {"0": other}}, other),
        ({**state, "scales": other}, other),  # As an earlier release wrote them …
        ({**state, "scales": None}, None),
        (without, None),  # … or had none.
    ):
        shutil.rmtree(out / "model", ignore_errors=True)
        (newest / "state.json").unlink()
        seal(newest, {key: value for key, value in change.items() if key not in ("files", "sha256")})
        icrl.train(None, tiny_data, out, resume=True, **TINY)
        assert saved() == expected


def test_metrics_hold_losses_and_both_curves(finished):
    """Kills: a row that is missing, repeated, or without what the step should report."""
    steps = [row["step"] for row in rows(finished)]
    assert steps == [3, 6, 8, 9, 12, 15, 16, 18, 20]
    assert {"loss", "accuracy", "learning_rate", "grad_norm"} <= set(rows(finished)[0])
    for row in rows(finished):
        evaluated = {"validation_loss", "train_return", "validation_return"} & set(row)
        assert len(evaluated) == (3 if row["step"] in (8, 16, 20) else 0)
    assert rows(finished)[-1]["loss"] < rows(finished)[0]["loss"]


def test_the_run_folder_is_whole_and_keeps_the_newest_checkpoints(finished):
    """Kills: temporary files left behind, checkpoints that pile up, a model without its data's split."""
    names = {path.name for path in finished.iterdir()}
    assert names == {"config.yaml", "provenance.json", "tasks.parquet", "metrics.jsonl", "checkpoints", "model"}
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["step-00000015", "step-00000020"]
    agent = icrl.load_agent(finished)
    agent.reset(3)
    assert agent.act([[0, 0]] * 3).shape == (3,)


def test_a_complete_run_is_left_alone(finished, tiny_data, capsys):
    """Kills: a finished model that a second call overwrites."""
    before = weights(finished)
    with pytest.raises(UsageError, match="is a finished run: give another folder"):
        icrl.train(None, tiny_data, finished, **TINY, **NOISE)
    assert icrl.train(None, tiny_data, finished, resume=True, **TINY, **NOISE) == finished
    assert "is complete" in capsys.readouterr().out
    assert weights(finished) == before


def test_another_config_or_other_data_are_named(finished, tiny_data, tmp_path):
    """Kills: a resume that mixes two configs, or two datasets, into one model."""
    with pytest.raises(UsageError, match=r"train\.learning_rate was 0\.001, now 0\.01"):
        icrl.train(None, tiny_data, finished, resume=True, **TINY, **NOISE, **{"train.learning_rate": 0.01})
    other = icrl.generate("bandit-ucb", tmp_path / "other", episodes=3, histories_per_task=1, workers=1,
                          **{"family_options": {"train": 3}})  # fmt: skip
    with pytest.raises(UsageError, match="trained on other data: family was 'dark-room', now"):
        icrl.train(None, other, finished, resume=True, **TINY, **NOISE)


def test_resume_with_nothing_there_begins_and_accumulation_changes_nothing(tiny_data, tmp_path):
    """Kills: a resume that wants a checkpoint; parts of a batch that are not averaged."""
    short = {**TINY, "train.steps": 4, "train.log_every": 1, "train.evaluate_every": 0}
    plain = icrl.train(None, tiny_data, tmp_path / "plain", resume=True, **short)
    parts = icrl.train(None, tiny_data, tmp_path / "parts", **short, **{"train.accumulation": 4})
    assert [row["loss"] for row in rows(parts)] == pytest.approx([row["loss"] for row in rows(plain)], abs=1e-5)
    assert [row["grad_norm"] for row in rows(parts)] == pytest.approx(
        [row["grad_norm"] for row in rows(plain)], abs=1e-4
    )


class Dangerous:
    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_damaged_or_dangerous_checkpoint_is_refused(tiny_data, tmp_path):
    """Kills: a checkpoint that runs code when it is loaded; a traceback where a file was cut short."""
    short = {**TINY, "train.steps": 5}
    out = icrl.train(None, tiny_data, tmp_path / "run", **short)
    (out / "model" / "config.json").unlink()
    optimizer = out / "checkpoints" / "step-00000005" / "optimizer.bin"
    whole = optimizer.read_bytes()
    optimizer.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="none before it is whole"):
        icrl.train(None, tiny_data, out, resume=True, **short)
    dangerous = Dangerous()
    dangerous.path = str(tmp_path / "made by a pickle")
    torch.save(dangerous, optimizer)
    with pytest.raises(CheckpointError, match="none before it is whole"):
        icrl.train(None, tiny_data, out, resume=True, **short)
    assert not (tmp_path / "made by a pickle").exists()


def test_dry_run_prints_sizes_and_writes_nothing(tiny_data, tmp_path, capsys):
    """Kills: a dry run that leaves a folder behind, which the real run then refuses."""
    icrl.train(None, tiny_data, tmp_path / "run", dry_run=True, **TINY)
    printed = capsys.readouterr().out
    assert "parameters" in printed
    assert "20 steps of 8 samples on 1 process: 1,280 transitions" in printed
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="is a dataset of `icrl generate`"):
        icrl.train(None, tiny_data, tiny_data, dry_run=True, **TINY)


def test_a_context_that_no_history_fills_is_told(tiny_data, tmp_path, capsys):
    """Kills: places of the context that nothing ever trains, and windows of a length that there are none of."""
    options = TINY | {"model.context_length": 5000}
    icrl.train(None, tiny_data, tmp_path / "run", dry_run=True, **options)
    printed = capsys.readouterr()
    longest = int(icrl.HistoryStore.open(tiny_data).lengths.max())
    assert f"of {longest} transitions" in printed.out
    assert f"--model.context_length {longest}" in printed.err


def test_wandb_offline_and_bf16(tiny_data, tmp_path, monkeypatch):
    """Kills: a prompt for a key; a model that is saved in half precision."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    short = {**TINY, "train.steps": 3}
    out = icrl.train(
        None, tiny_data, tmp_path / "run", **short, **{"train.wandb": "offline", "train.precision": "bf16"}
    )
    assert list((out / "wandb").glob("offline-run-*/*.wandb"))
    assert {weight.dtype for weight in icrl.load_agent(out).model.parameters()} == {torch.float32}
    with pytest.raises(UsageError, match=r"there is no key for .*choose offline"):
        icrl.train(None, tiny_data, tmp_path / "online", **short, **{"train.wandb": "online"})


def test_two_runs_in_one_folder_are_refused(tiny_data, tmp_path):
    """Kills: the children of a killed launcher and its resumed run writing the same files."""
    from icrl.train.runs import locked

    with locked(tmp_path / "run"), pytest.raises(UsageError, match="another process is training"):
        icrl.train(None, tiny_data, tmp_path / "run", **TINY)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--out", "x"], 2, "--data is missing"),
        (["--data", "nowhere", "--out", "x"], 2, "nowhere is not there"),
        (["--data", "x", "--out", "y", "--train.stepz", "3"], 2, "did you mean"),
        (["--data", "x", "--out", "y", "--launch", "zero4"], 2, "unknown launch 'zero4' (did you mean 'zero"),
        (["--data", "x", "--out", "y", "--num-processes", "2"], 2, "--num-processes 2 needs a --launch: choose ddp"),
    ],
)
def test_a_wrong_line_is_one_line(argv, code, message, capsys):
    """Kills: a traceback, and a wrong exit code."""
    assert run_main(main, argv) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_file_in_the_way_and_a_foreign_folder_are_refused(tiny_data, tmp_path):
    """Kills: a run that mixes its files with someone's own."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"holds other files \(thesis.tex\)"):
        icrl.train(None, tiny_data, tmp_path / "mine", **TINY)
    with pytest.raises(UsageError, match="is a file"):
        icrl.train(None, tiny_data, tmp_path / "mine" / "thesis.tex", **TINY)
    with pytest.raises(DatasetError):
        icrl.train(None, tmp_path / "mine", tmp_path / "run", **TINY)


def test_what_would_fail_later_is_told_by_the_dry_run_and_before_anything_is_written(tiny_data, tmp_path, monkeypatch):
    """Kills: a disk that fills up at a checkpoint; a loss that refuses its options once the processes are there."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    point = icrl.generate(
        "point-robot-noise", tmp_path / "point", family_options={"train": 20}, histories_per_task=1, workers=1
    )
    weights = (
        60_000  # Of the tiny model, roughly: its checkpoints, the newest beside those that stay, are 12 times that.
    )
    faults = [
        (point, {"method.label_smoothing": 0.1}, None, "label_smoothing is 0.1, and point-robot has continuous"),
        (tiny_data, {"train.wandb": "online"}, None, "there is no key"),
        (tiny_data, {"method": "add"}, None, "did you mean 'ad'"),
        (tiny_data, {"model.context_length": 10**6}, 0, "GB free: free some space"),
        (tiny_data, {}, weights, "GB free: free some space"),
    ]
    for data, values, free, message in faults:
        if free is not None:
            monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        for dry_run in (True, False):
            with pytest.raises((UsageError, CheckpointError), match=message):
                icrl.train(None, data, tmp_path / "run", dry_run=dry_run, **{**TINY, **values})
            assert not (tmp_path / "run").exists()
