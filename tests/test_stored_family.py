"""Code that comes with data: run only with trust, in every command and process, and found from wherever one stands."""

import json
import shutil
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

import icrl
from icrl import cli
from icrl.envs import FAMILIES
from icrl.errors import ChangedFamily, UntrustedCode
from icrl.provenance import read_provenance
from icrl.stored_family import Consent, add_arguments, family_of

WALK = """
from pathlib import Path

with Path({log!r}).open("a") as log:
    log.write("run\\n")

from icrl.envs.grids.dark_room import DarkRoom

class Walk(DarkRoom):
    name = "walk"

    def __init__(self, *, size: int = 4, horizon: int = 5, validation: int = 3, test: int = 4):
        super().__init__(size=size, horizon=horizon, validation=validation, test=test)
        self.options = {{"size": size, "horizon": horizon, "validation": validation, "test": test}}
"""
SMALL = ["--train.steps", "2", "--train.batch_size", "4", "--train.checkpoint_every", "0", "--model.n_layer", "1",
         "--model.width", "16", "--model.n_head", "1", "--model.context_length", "10",
         "--train.evaluate_episodes", "1"]  # fmt: skip
ROLL = ["--episodes", "1", "--seeds", "1", "--source", "false"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder as somebody gives it away: project/{walk.py, data, run}; and the log that walk.py writes into."""
    folder = tmp_path_factory.mktemp("shared")
    project, log = folder / "project", folder / "log"
    project.mkdir()
    (project / "walk.py").write_text(WALK.format(log=str(log)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setattr(sys, "path", list(sys.path))
        make = ["generate", "--family", str(project / "walk.py:Walk"), "--learner", "random", "--episodes", "2"]
        assert cli.main([*make, "--out", "data", "--workers", "1"]) == 0
        assert cli.main(["train", "--data", "data", "--out", "run", *SMALL, "--trust-code"]) == 0
    return project, log


@pytest.fixture
def given(shared, tmp_path, monkeypatch):
    """A copy of it under another name, with nothing of it loaded, seen from its parent folder."""
    project, log = shared
    shutil.copytree(project, tmp_path / "theirs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.startswith("icrl_family_")]:
        monkeypatch.delitem(sys.modules, name)
    log.write_text("")
    return log


def rewrite(folder: str, **values) -> None:
    """Edits provenance.json as whoever made the folder could have."""
    path = Path(folder) / "provenance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    state = Path(folder) / "state.json"
    if state.exists():
        listing = json.loads(state.read_text())
        listing.pop("files", None)
        state.write_text(json.dumps(listing))
    (Path(folder) / "model" / "digests.json").unlink(missing_ok=True)


def test_provenance_names_no_absolute_path(shared):
    """Kills: a folder that cannot be given away, and that tells where its author works."""
    for folder in ("data", "run"):
        text = (shared[0] / folder / "provenance.json").read_text()
        assert str(shared[0].parent) not in text
        assert json.loads(text)["family"] == "walk.py:Walk"
        assert json.loads(text)["family_from"] == ".."
    assert str(shared[0].parent) not in (shared[0] / "data" / "config.yaml").read_text()


@pytest.mark.parametrize("place", ["walk.py:Walk", "walk.py", "walk:Walk"])
def test_without_trust_nothing_of_it_runs(given, place, capsys, monkeypatch):
    """Kills: a shared folder that does as its author pleases; a search path that lets it be imported later."""
    monkeypatch.chdir("theirs")
    path = list(sys.path)
    for folder in ("data", "run"):
        rewrite(folder, family=place)
    config = Path("data/config.yaml")
    config.write_text(config.read_text().replace("walk.py:Walk", place))
    assert cli.main(["evaluate", "run", *ROLL]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"icrl: {place} is code that came with the data in run, and is run only where you say so: ")
    assert "--trust-code" in told
    assert "--family" in told
    assert told.count("\n") == 1
    assert cli.main(["evaluate", "run", "--dry-run", *ROLL]) == 2
    assert cli.main(["inspect", "data"]) == 0
    assert "walk@1" in capsys.readouterr().out
    assert cli.main(["train", "--data", "data", "--out", "again", *SMALL]) == 0
    told = capsys.readouterr().err
    assert told.count("the in-context return curves are left out") == 1
    assert "train_return" not in Path("again/metrics.jsonl").read_text()
    assert "validation_loss" in Path("again/metrics.jsonl").read_text()
    assert cli.main(["train", "--data", "data", "--out", "quiet", *SMALL, "--train.evaluate_every", "0"]) == 0
    assert "left out" not in capsys.readouterr().err
    assert cli.main(["generate", "--config", "data/config.yaml", "--out", "new"]) == 2
    assert "came with the data in data" in capsys.readouterr().err
    Path("settings.yaml").symlink_to("data/config.yaml")
    assert cli.main(["generate", "--config", "settings.yaml", "--out", "new"]) == 2
    shutil.copytree("data", "bare")
    Path("bare/provenance.json").unlink()
    assert cli.main(["generate", "--config", "bare/config.yaml", "--out", "new"]) == 2
    icrl.load_agent("run")
    icrl.HistoryStore.open("data").history(0)
    for call in (lambda: icrl.evaluate("run", "e"), lambda: family_of(read_provenance(Path("run")))):
        with pytest.raises(UntrustedCode, match="came with the data"):
            call()
    with pytest.raises(UntrustedCode):
        icrl.generate("data/config.yaml", "new")
    assert given.read_text() == ""
    assert sys.path == path


@pytest.mark.parametrize("way", ["flag", "variable", "python", "named", "added"])
def test_with_trust_it_runs_from_anywhere(given, way, monkeypatch):
    """Kills: a run that is bound to the directory it was made in; a way to trust that does not."""
    if way == "flag":
        assert cli.main(["evaluate", "theirs/run", *ROLL, "--out", "e", "--trust-code", "--workers", "2"]) == 0
        assert cli.main(["inspect", "theirs/data", "--trust-code"]) == 0
    elif way == "variable":
        monkeypatch.setenv("ICRL_TRUST_CODE", "0")
        assert cli.main(["evaluate", "theirs/run", *ROLL, "--out", "e"]) == 2
        monkeypatch.setenv("ICRL_TRUST_CODE", "1")
        assert cli.main(["evaluate", "theirs/run", *ROLL, "--out", "e"]) == 0
    elif way == "python":
        icrl.evaluate("theirs/run", "e", episodes=1, seeds=1, source=False, trust_code=True)
    elif way == "named":
        shutil.move("theirs/walk.py", "mine.py")
        assert cli.main(["evaluate", "theirs/run", *ROLL, "--out", "e", "--family", "mine.py:Walk"]) == 0
        assert cli.main(["evaluate", "theirs/run", *ROLL, "--out", "f", "--trust-code"]) == 2
    else:
        from icrl.places import load_place

        monkeypatch.setitem(FAMILIES._entries, "walk.py:Walk", load_place("theirs/walk.py:Walk", callable))
        assert cli.main(["evaluate", "theirs/run", *ROLL, "--out", "e"]) == 0
    assert given.read_text()


def test_a_run_leads_to_its_family_wherever_it_was_trained(given, monkeypatch, capsys):
    """Kills: a run beside which the family is looked for where it would lie beside the data."""
    Path("far/away").mkdir(parents=True)
    assert cli.main(["train", "--data", "theirs/data", "--out", "far/away/run", *SMALL, "--trust-code"]) == 0
    monkeypatch.chdir("far")
    assert cli.main(["evaluate", "away/run", *ROLL, "--out", "e", "--trust-code"]) == 0
    shutil.move("../theirs/walk.py", "walk_2.py")
    arguments = ["train", "--data", "../theirs/data", "--out", "other", *SMALL, "--family", "walk_2.py:Walk"]
    assert cli.main(arguments) == 0
    monkeypatch.chdir("away")
    assert cli.main(["evaluate", "../other", *ROLL, "--out", "e", "--trust-code"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "run", *ROLL, "--out", "f", "--trust-code"]) == 2
    assert "walk.py is not there: name it where it is now, --family NEW/walk.py:Walk" in capsys.readouterr().err
    assert cli.main(["inspect", "../../theirs/data"]) == 0


def test_a_module_is_found_beside_its_data(given, monkeypatch):
    """Kills: `package.module:Class` that only works where it was typed."""
    for name in ("data", "run"):
        rewrite(f"theirs/{name}", family="walk:Walk")
    try:
        assert cli.main(["evaluate", "theirs/run", *ROLL, "--out", "e", "--trust-code", "--workers", "2"]) == 0
    finally:
        sys.modules.pop("walk", None)


def test_a_changed_family_is_told_before_anything_and_may_be_accepted(given, capsys):
    """Kills: an evaluation on another task that looks like any other."""
    code = Path("theirs/walk.py").read_text()
    Path("theirs/walk.py").write_text(
        code.replace("super().__init__(size=size,", "super().__init__(size=size, start='corner',", 1)
    )
    for command in (
        ["evaluate", "theirs/run", *ROLL, "--out", "e"],
        ["evaluate", "theirs/run", *ROLL, "--out", "e", "--dry-run"],
        ["train", "--data", "theirs/data", "--out", "again", *SMALL],
    ):
        assert cli.main([*command, "--trust-code"]) == 1
        assert "walk.py:Walk has changed since" in capsys.readouterr().err
    assert not Path("e").exists()
    accepted = ["evaluate", "theirs/run", *ROLL, "--out", "e", "--trust-code", "--accept-changed-family"]
    assert cli.main(accepted) == 0
    summary = json.loads(Path("e/summary.json").read_text())
    assert "was" in summary["changed_family"]
    assert summary["changed_family"] in Path("e/report.html").read_text()
    with pytest.raises(ChangedFamily):
        icrl.evaluate("theirs/run", "f", trust_code=True)


def test_a_recording_goes_on_with_the_same_family_only(given, capsys):
    """Kills: a dataset half of whose shards are of another task; one that cannot go on since its file has moved."""
    make = ["generate", "--learner", "random", "--episodes", "2", "--out", "theirs/data", "--resume", "--workers", "1"]
    Path("theirs/data/state.json").unlink()
    shutil.move("theirs/walk.py", "moved.py")
    Path("other.py").write_text(
        Path("moved.py").read_text().replace("size=size, hor", "size=size, start='corner', hor")
    )
    assert cli.main([*make, "--family", "other.py:Walk"]) == 1
    assert "has changed since the recording in theirs/data was begun: the first" in capsys.readouterr().err
    assert cli.main([*make, "--family", "moved.py:Walk"]) == 0
    assert read_provenance(Path("theirs/data")).family == "moved.py:Walk"
    assert cli.main(["inspect", "theirs/data", "--trust-code"]) == 0


def test_prompts_of_a_family_that_has_changed_are_refused(given, capsys):
    """Kills: a context that shows another task than the one the model acts in."""
    code = Path("theirs/walk.py").read_text()
    Path("other.py").write_text(code.replace("size=size, hor", "size=size, start='corner', hor"))
    for name, place in (("same", "theirs/walk.py:Walk"), ("different", "other.py:Walk")):
        make = ["generate", "--family", place, "--learner", "random", "--episodes", "2", "--split", "test"]
        assert cli.main([*make, "--out", name, "--workers", "1"]) == 0
        code = cli.main(["evaluate", "theirs/run", *ROLL, "--out", f"e-{name}", "--trust-code", "--prompt", name])
        assert code == (name == "different")
    assert "has changed since the prompts in different were recorded" in capsys.readouterr().err


def test_what_was_said_travels_to_the_processes_of_a_launch():
    """Kills: a launch whose processes ask for trust that was given."""
    consent = Consent(trust_code=True, family="a.py:B", accept_changed=True)
    parser = ArgumentParser()
    add_arguments(parser)
    given = parser.parse_args(consent.arguments())
    assert Consent(given.trust_code, given.family, given.accept_changed_family) == consent
    assert Consent().arguments() == []
