"""The main path on the command line, as small as can be: generate, inspect, train, evaluate."""

import json

from icrl import cli


def test_the_main_path(tmp_path, capsys):
    """Kills: a version of a library under which a stage fails; a run that is lost at its last step."""
    data, run = tmp_path / "data", tmp_path / "run"
    few = ["--family_options.train", "12", "--family_options.test", "4", "--family_options.validation", "2"]
    assert cli.main(["generate", "--family", "bernoulli-bandit", "--learner", "ucb1", "--episodes", "40", *few,
                     "--workers", "1", "--out", str(data)]) == 0  # fmt: skip
    assert cli.main(["inspect", str(data)]) == 0
    small = {"train.steps": 4, "train.batch_size": 4, "model.n_layer": 1, "model.width": 16,
             "model.context_length": 20, "train.evaluate_every": 0}  # fmt: skip
    options = [part for name, value in small.items() for part in (f"--{name}", str(value))]
    assert cli.main(["train", "--config", "ad-small", "--data", str(data), "--out", str(run), *options]) == 0
    assert cli.main(["evaluate", str(run), "--episodes", "10", "--seeds", "1", "--bootstrap", "100"]) == 0
    assert "frozen model" in capsys.readouterr().out
    assert json.loads((run / "eval" / "summary.json").read_text())["tasks"] == 4
    assert json.loads((run / "model" / "config.json").read_text())["backbone"]["n_layer"] == 1
