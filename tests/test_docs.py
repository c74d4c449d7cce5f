"""What the README and the docs tell a reader to run, runs: the commands as they stand, with small sizes put in."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import icrl
from icrl import cli
from icrl.data_gen import generate as generate_module
from icrl.envs import FAMILIES
from icrl.eval import evaluate as evaluate_module
from icrl.train import pretrain as pretrain_module

ROOT = Path(__file__).parent.parent
SMALL = {
    "generate": {"histories_per_task": 1, "episodes": 40, "keep_every": 2},
    "train": {"train.steps": 3, "train.batch_size": 4, "train.evaluate_episodes": 1, "model.context_length": 20},
    "evaluate": {"episodes": 2, "seeds": 1},
}
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Every `icrl …` line of the page's shell blocks, without its comment."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.startswith("icrl ")]


def shrunk(line: str) -> list[str]:
    """The command's arguments, with small sizes added at the end, where they win."""
    arguments = shlex.split(line)[1:]
    small = SMALL.get(arguments[0], {}) if "--print_config" not in line else {}
    return arguments + [f"--{key}={value}" for key, value in small.items()]


def test_every_command_of_the_readme_runs(tmp_path, monkeypatch, capfd):
    """Kills: a README that was true once. In order, in one folder, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    lines = commands("README.md")
    assert {shlex.split(line)[1] for line in lines} == {"tasks", "generate", "inspect", "train", "evaluate"}
    for line in lines:
        try:
            code = cli.main(shrunk(line))
        except SystemExit as stop:
            code = stop.code
        assert code == 0, f"`{line}` ended with {code}: {capfd.readouterr().err[-2000:]}"


@pytest.fixture
def small_sizes(monkeypatch):
    """The Python functions with small sizes put in."""

    def shrink(function, sizes):
        return lambda *args, **kwargs: function(*args, **{**kwargs, **sizes})

    monkeypatch.setattr(generate_module, "generate", shrink(generate_module.generate, SMALL["generate"]))
    monkeypatch.setattr(pretrain_module, "train", shrink(pretrain_module.train, SMALL["train"]))
    monkeypatch.setattr(evaluate_module, "evaluate", shrink(evaluate_module.evaluate, SMALL["evaluate"]))


def test_the_readmes_python_runs(tmp_path, monkeypatch, small_sizes):
    """Kills: an API that the README remembers and the package has forgotten."""
    monkeypatch.chdir(tmp_path)
    for block in blocks("README.md", "python"):
        exec(compile(block, "README.md", "exec"), {})


def test_the_page_about_families_runs(tmp_path, monkeypatch, small_sizes):
    """Kills: an example family that no longer is one, or whose anchors are wrong."""
    monkeypatch.chdir(tmp_path)
    names = {}
    try:
        for block in blocks("docs/families.md", "python"):
            exec(compile(block, "families.md", "exec"), names)
        family = icrl.make_family("corridor", length=21)
        tasks = [task for name in ("train", "validation", "test") for task in family.split(0).named(name)] * 200
        for kind, expected in (("random", family.anchors(tasks).random), ("optimal", family.anchors(tasks).optimum)):
            returns = played(family, tasks, kind)
            assert returns.mean() == pytest.approx(expected.mean(), abs=4 * returns.std() / np.sqrt(len(tasks)) + 1e-9)
    finally:
        FAMILIES._entries.pop("corridor", None)


def played(family, tasks, learner: str) -> np.ndarray:
    """The return of one episode on each task."""
    from icrl.data_gen.record import record_histories

    histories = record_histories(family, tasks, learner, {}, episodes=1)
    return np.array([history.episode_returns()[0] for history in histories])


def test_the_data_page_runs(tmp_path, monkeypatch, small_sizes):
    """Kills: a way to read the data that does not read it."""
    monkeypatch.chdir(tmp_path)
    icrl.generate("dark-room-q-learning", out="data/dark-room", workers=1, **{"learner_options.explore_fraction": 0.5})
    monkeypatch.setattr("builtins.print", lambda *args, **kwargs: None)
    store = icrl.HistoryStore.open("data/dark-room")
    for block in blocks("docs/data.md", "python"):
        text = block.replace("start=100, length=200", f"start=0, length={int(store.lengths[0])}")
        exec(compile(text, "data.md", "exec"), {})
