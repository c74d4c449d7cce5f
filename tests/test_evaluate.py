"""`icrl evaluate` from a run folder to its files, with a tiny untrained model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_models import config_of

from icrl.cli import main
from icrl.data_gen.generate import generate
from icrl.envs.bandits.multi_armed import Bandit
from icrl.envs.grids.dark_room import DarkRoom
from icrl.errors import CheckpointError, IcrlError, UsageError
from icrl.eval.evaluate import evaluate
from icrl.models.model import InContextModel
from icrl.provenance import Provenance, read_provenance, read_split, write_provenance
from icrl.stored_family import family_of

ROOM = {
    "family": "dark-room", "family_options": {"size": 4, "horizon": 6, "validation": 2, "test": 3},
    "learner": "q-learning", "episodes": 8, "keep_every": 2, "workers": 1,
}  # fmt: skip
BANDIT = {
    "family": "bernoulli-bandit", "family_options": {"num_arms": 4, "train": 6, "validation": 2, "test": 5},
    "learner": "thompson", "episodes": 20, "workers": 1,
}  # fmt: skip
QUICK = {"episodes": 6, "seeds": 2, "bootstrap": 100, "pictures": 2}


def make_data(folder: Path, values: dict, **more) -> Path:
    config = folder / "generate.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps({**values, **more}))
    return generate(config, folder / "data")


def make_run(folder: Path, provenance: Provenance, data: Path, seed: int = 0) -> Path:
    """A run folder as training leaves it, with random weights."""
    names = ("observation_space", "action_space", "horizon")
    spec = {name: getattr(provenance, name) for name in names}
    config = config_of(spec, n_layer=1, n_head=1, width=8, context_length=16)
    write_provenance(folder, provenance, read_split(data))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        InContextModel(config).save_pretrained(folder / "model")
    return folder


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> tuple[Path, Path]:
    """(run, data) of a 4×4 Dark Room."""
    folder = tmp_path_factory.mktemp("room")
    data = make_data(folder, ROOM)
    return make_run(folder / "run", read_provenance(data), data), data


@pytest.fixture(scope="module")
def bandit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bandit")
    data = make_data(folder, BANDIT)
    return make_run(folder / "run", read_provenance(data), data)


def test_files_and_numbers(room, tmp_path, capsys):
    """Kills: scores that do not add up to the summary, a missing file, a last line that does not tell the result."""
    out = tmp_path / "eval"
    summary = evaluate(room[0], out, **QUICK)
    assert sorted(path.name for path in out.iterdir()) == [
        "adaptation_curve.png", "adaptation_curve.svg", "config.yaml", "digests.json", "report.html", "scores.parquet",
        "summary.json",
    ]  # fmt: skip
    assert json.loads((out / "summary.json").read_text()) == summary
    scores = pq.read_table(out / "scores.parquet").to_pandas()
    tasks = read_split(room[0]).test
    assert len(scores) == 2 * 3 * 6
    assert set(scores.task_id) == {task.id for task in tasks}
    first, last = scores[scores.episode == 0], scores[scores.episode >= 1]
    for kind, column in (("raw", "return"), ("normalised", "normalised")):
        assert summary[kind].keys() == {"zero_shot", "last5", "gain", "auc"}
        assert all(found.keys() == {"mean", "iqm", "ci_low", "ci_high"} for found in summary[kind].values())
        assert summary[kind]["zero_shot"]["mean"] == pytest.approx(first[column].mean())
        assert summary[kind]["last5"]["mean"] == pytest.approx(last[column].mean())
        assert summary[kind]["auc"]["mean"] == pytest.approx(scores[column].mean())
    anchors = family_of(read_provenance(room[0])).anchors(tasks)
    assert summary["anchors"] == {
        "random": anchors.random.mean(), "optimum": anchors.optimum.mean(), "optimum_is": "optimum", "measured": False,
    }  # fmt: skip
    assert (summary["tasks"], summary["episodes"], summary["seeds"], summary["split"]) == (3, 6, 2, "test")
    assert summary["interval"] == "mean"
    assert summary["env_steps_per_second"] > 0
    assert "regret" not in summary
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("On 3 tasks it never saw, with no weight update, the frozen model earned ")
    assert line.endswith(f" to the optimum (5.0). Report: {out / 'report.html'}")


def test_the_same_seed_gives_the_same_scores_and_another_does_not(room, tmp_path):
    """Kills: a draw outside the streams, a seed that is accepted and ignored, a report that holds the date."""
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        evaluate(room[0], tmp_path / name, **QUICK, seed=seed)
    a, b, c = ((tmp_path / name / "scores.parquet").read_bytes() for name in "abc")
    assert a == b != c
    assert (tmp_path / "a/adaptation_curve.svg").read_bytes() == (tmp_path / "b/adaptation_curve.svg").read_bytes()


def test_training_tasks_only_by_name(room, tmp_path):
    """Kills: an evaluation that says "never saw" of tasks that the model was trained on."""
    summary = evaluate(room[0], tmp_path / "train", split="train", source=False, **QUICK)
    assert summary["tasks"] == 11
    assert summary["result"].startswith("On 11 tasks of its training data, ")
    assert "source" not in summary
    summary = evaluate(room[0], tmp_path / "validation", split="validation", source=False, **QUICK)
    assert summary["result"].startswith("On 2 tasks of the validation split, ")


def test_regret_of_model_and_source(bandit, tmp_path):
    """Kills: a regret of payments rather than of arms, a source learner run on other tasks or for another trial."""
    summary = evaluate(bandit, tmp_path / "eval", **{**QUICK, "episodes": 30, "seeds": 40})
    regret = summary["regret"]
    assert regret["pulls"] == 20
    # Payments differ from the arms' means by luck alone: 4,000 pulls of standard deviation .5 at most.
    scores = pq.read_table(tmp_path / "eval/scores.parquet").to_pandas()
    earned = scores[scores.episode < 20]["return"].mean()
    assert regret["model"]["mean"] / 20 == pytest.approx(
        summary["anchors"]["optimum"] - earned, abs=4 * 0.5 / 4000**0.5
    )
    # Thompson sampling does better than pulling at random.
    assert 0 < regret["source"]["mean"] < 0.8 * 20 * (summary["anchors"]["optimum"] - summary["anchors"]["random"])
    assert regret["ratio"]["mean"] == pytest.approx(regret["model"]["mean"] / regret["source"]["mean"])
    assert regret["ratio"]["ci_low"] < regret["ratio"]["mean"] < regret["ratio"]["ci_high"]
    assert "regret" in summary["result"]


def test_pulls_whose_best_arm_nobody_knows(bandit, tmp_path, monkeypatch):
    """Kills: a regret that is no number, found out when the report is there and the summary is not."""
    known = Bandit.anchors
    monkeypatch.setattr(
        Bandit, "anchors", lambda self, tasks: replace(known(self, tasks), optimum=np.full(len(tasks), np.nan))
    )
    summary = evaluate(bandit, tmp_path / "eval", **QUICK)
    assert "regret" not in summary
    assert summary["normalised"] is None
    assert "random actions earn" in summary["result"]


def test_anchors_that_fail_cost_no_rollout(room, tmp_path, monkeypatch):
    """Kills: hours of rollout, and then an error that was there from the start."""
    monkeypatch.setattr(DarkRoom, "anchors", lambda self, tasks: 1 / 0)
    monkeypatch.setattr("icrl.eval.stages.rollout", lambda *args, **more: pytest.fail("rolled out"))
    with pytest.raises(ZeroDivisionError):
        evaluate(room[0], tmp_path / "eval", **QUICK)


def test_a_source_that_was_recorded_thinly_is_shown_whole(room, tmp_path):
    """Kills: the source's curve by every k-th episode passed off as its own."""
    source = evaluate(room[0], tmp_path / "eval", **QUICK)["source"]
    assert (source["learner"], source["episodes"], source["keep_every"]) == ("q-learning", 8, 2)


def test_dry_run_writes_nothing(room, tmp_path, capsys):
    """Kills: a dry run that makes the folder, or that passes where the real run would fail."""
    assert main(["evaluate", str(room[0]), "--out", str(tmp_path / "eval"), "--dry-run", "--episodes", "7"]) == 0
    assert "3 seeds each: 9 lanes of 7 episodes" in capsys.readouterr().out
    assert not (tmp_path / "eval").exists()
    with pytest.raises(UsageError, match="is a dataset"):
        evaluate(room[1], tmp_path / "eval", dry_run=True)


def test_complete_and_half_written_folders(room, tmp_path, capsys):
    """Kills: a result overwritten unasked, a half-written one taken for whole, a resume under another config."""
    out = tmp_path / "eval"
    summary = evaluate(room[0], out, resume=True, **QUICK)
    with pytest.raises(UsageError, match="already holds an evaluation"):
        evaluate(room[0], out, **QUICK)
    capsys.readouterr()
    assert evaluate(room[0], out, resume=True, **QUICK, workers=2) == summary, "the numbers are those of any number"
    first, last = capsys.readouterr().out.splitlines()
    assert "complete" in first
    assert last.startswith(summary["result"])
    with pytest.raises(UsageError, match="episodes was 6, now 7"):
        evaluate(room[0], out, resume=True, **{**QUICK, "episodes": 7})
    (out / "summary.json").unlink()
    assert evaluate(room[0], out, **QUICK)["raw"] == summary["raw"]
    with pytest.raises(UsageError, match="is a run of `icrl train`: expected a new or empty folder"):
        evaluate(room[0], room[0], **QUICK)


def test_another_model_is_not_reported_under_an_old_result(room, tmp_path):
    """Kills: `make demo` after a new training, which would print the old model's numbers."""
    run = make_run(tmp_path / "run", read_provenance(room[1]), room[1])
    evaluate(run, **QUICK)
    make_run(tmp_path / "run", read_provenance(room[1]), room[1], seed=1)
    with pytest.raises(UsageError, match="another"):
        evaluate(run, resume=True, **QUICK)


def test_mistakes_are_one_line(room, tmp_path, capsys):
    """Kills: a traceback for a mistyped flag, split or folder."""
    for argv, code, message in (
        (["--epsiodes", "3"], 2, "--episodes"),
        (["--split", "tset"], 2, "test"),
        (["--prompt_episodes", "3"], 2, "prompt is empty"),
        (["--device", "gpu"], 2, "device 'gpu' cannot be used"),
        (["--prompt", str(tmp_path / "nothing")], 2, "is not there"),
    ):
        assert main(["evaluate", str(room[0]), "--out", str(tmp_path / "eval"), *argv]) == code
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert main(["evaluate", str(tmp_path / "no-run")]) == 2
    assert "expected a run folder made by" in capsys.readouterr().err


def test_a_model_of_other_spaces_than_its_provenance(room, bandit, tmp_path):
    """Kills: a shape error deep in the model where a folder was put together from two runs."""
    run = tmp_path / "run"
    write_provenance(run, read_provenance(room[0]), read_split(room[0]))
    (run / "model").symlink_to(bandit / "model")
    with pytest.raises(CheckpointError, match="not of one run"):
        evaluate(run, tmp_path / "eval", **QUICK)


def test_a_prompted_evaluation(room, tmp_path):
    """Kills: a prompt that is read and dropped; prompts refused for the tasks that they are of."""
    data = make_data(tmp_path, ROOM, split="test", histories_per_task=2)
    prompted = evaluate(room[0], tmp_path / "eval", prompt=str(data), prompt_episodes=2, **QUICK)
    assert "first episode after the prompt" in prompted["result"]
    with pytest.raises(UsageError, match="icrl generate --split test"):
        evaluate(room[0], tmp_path / "other", prompt=str(room[1]), **QUICK)


def test_finite(room, tmp_path):
    """Kills: NaN in the summary of the shortest evaluation there is."""
    summary = evaluate(room[0], tmp_path / "eval", episodes=1, seeds=1, tasks=1, bootstrap=100)
    assert np.isfinite(summary["raw"]["gain"]["mean"])


def test_the_number_of_processes_changes_nothing(room, tmp_path):
    """Kills: lanes that are dealt out to processes in another order than they are scored in."""
    alone = evaluate(room[0], tmp_path / "alone", **QUICK)
    spread = evaluate(room[0], tmp_path / "spread", workers=2, **QUICK)
    for key in ("raw", "normalised", "source"):
        assert alone[key] == spread[key]


def test_tasks_out_of_distribution_by_name(room, tmp_path):
    """Kills: an out-of-distribution set that is not stored with the run, or is evaluated on the usual tasks."""
    summary = evaluate(room[0], tmp_path / "eval", split="other-start", **QUICK)
    assert summary["split"] == "other-start"
    assert "3 tasks of the other-start split" in summary["result"]
    stored = read_split(room[0])
    assert set(pq.read_table(tmp_path / "eval" / "scores.parquet")["task_id"].to_pylist()) == {
        task.id for task in stored.ood["other-start"]
    }
    with pytest.raises(UsageError, match="did you mean 'other-start'"):
        evaluate(room[0], tmp_path / "wrong", split="othr-start", **QUICK)


def test_what_was_trained_on_is_no_test(tmp_path):
    """Kills: a score on the test tasks by a model whose histories were recorded on them."""
    data = make_data(tmp_path, ROOM, split="test")
    run = make_run(tmp_path / "run", read_provenance(data), data)
    with pytest.raises(UsageError, match="was trained on histories of its test tasks"):
        evaluate(run, tmp_path / "eval", **QUICK)
    assert not (tmp_path / "eval").exists()
    assert not evaluate(run, tmp_path / "eval", split="validation", **QUICK)["seen_in_training"]


def test_what_would_fail_later_is_told_by_the_dry_run_and_before_the_rollout(room, tmp_path, monkeypatch):
    """Kills: hours of rollout, and then an error that was there from the start; a dry run that promises otherwise."""
    mine = make_run(tmp_path / "mine", replace(read_provenance(room[0]), learner="my-learner"), room[1])
    other = make_run(tmp_path / "other", replace(read_provenance(room[0]), learner="ucb1"), room[1])
    monkeypatch.setattr("icrl.eval.stages.rollout", lambda *args, **more: pytest.fail("rolled out"))
    faults = [
        (mine, {}, None, "source learner 'my-learner' is not known here.*--source false leaves it out"),
        (other, {}, None, "cannot learn these tasks .*--source false"),
        (room[0], {"prompt": str(tmp_path)}, None, "is not|has no"),
        (room[0], {"prompt": str(room[1])}, None, "icrl generate --split test"),
        (room[0], {"episodes": 10**9}, None, "scores are more than an evaluation holds"),
        (room[0], {"bootstrap": 10**9}, None, "lower --episodes, --seeds, --tasks or --bootstrap"),
        (room[0], {"device": "gpu"}, None, "device 'gpu' cannot be used"),
        (room[0], {"split": "tset"}, None, "did you mean 'test'"),
        (room[0], {}, ("anchors", lambda self, tasks: [][0]), "list index"),
        (room[0], {}, ("draw", lambda self, axes, task, history: [][0]), "list index"),
    ]
    for run, values, patch, message in faults:
        for dry_run in (True, False):
            with monkeypatch.context() as patched:
                if patch:
                    patched.setattr(DarkRoom, *patch)
                with pytest.raises((IcrlError, IndexError), match=message):
                    evaluate(run, tmp_path / "eval", dry_run=dry_run, **{**QUICK, **values})
            assert not (tmp_path / "eval").exists()
    evaluate(mine, tmp_path / "eval", dry_run=True, source=False, **QUICK)
