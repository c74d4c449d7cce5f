"""What the README and the docs tell a reader to run, runs: the commands as they stand, with small sizes put in."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import icrl
from icrl import cli
from icrl.commands.check_family import check_family
from icrl.commands.tasks import shipped
from icrl.data_gen import generate as generate_module
from icrl.envs import FAMILIES
from icrl.eval import evaluate as evaluate_module
from icrl.train import train as train_module

ROOT = Path(__file__).parent.parent
SMALL = {
    "generate": {"histories_per_task": 1, "episodes": 40, "keep_every": 2},
    "train": {"train.steps": 3, "train.batch_size": 4, "train.evaluate_episodes": 1, "model.context_length": 20},
    "evaluate": {"episodes": 2, "seeds": 1},
}
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```(?:{language})\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Every `icrl …` line of the page's shell blocks, without its comment."""
    lines = "".join(blocks(page, "bash|sh")).replace("\\\n", " ").splitlines()
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
    assert {shlex.split(line)[1] for line in lines} == {"tasks", "show", "generate", "inspect", "train", "evaluate"}
    run_all(lines, capfd)


@pytest.fixture
def small_sizes(monkeypatch):
    """The Python functions with small sizes put in."""

    def shrink(function, sizes):
        return lambda *args, **kwargs: function(*args, **{**kwargs, **sizes})

    monkeypatch.setattr(generate_module, "generate", shrink(generate_module.generate, SMALL["generate"]))
    monkeypatch.setattr(train_module, "train", shrink(train_module.train, SMALL["train"]))
    monkeypatch.setattr(evaluate_module, "evaluate", shrink(evaluate_module.evaluate, SMALL["evaluate"]))


def test_the_readmes_python_runs(tmp_path, monkeypatch, small_sizes):
    """Kills: an API that the README remembers and the package has forgotten."""
    monkeypatch.chdir(tmp_path)
    for block in blocks("README.md", "python"):
        exec(compile(block, "README.md", "exec"), {})


def test_the_page_about_families_runs(tmp_path, monkeypatch, small_sizes, capfd):
    """Kills: an example family that no longer is one, or whose anchors are wrong; a command that is not one."""
    monkeypatch.chdir(tmp_path)
    names = {}
    try:
        for block in blocks("docs/families.md", "python"):
            if block.startswith("# file: "):
                first, _, code = block.partition("\n")
                Path(first.removeprefix("# file: ")).write_text(code)
                assert len(code.strip().splitlines()) <= 30, "a family from gymnasium takes at most 30 lines"
            else:
                exec(compile(block, "families.md", "exec"), names)
        run_all(commands("docs/families.md"), capfd)
        assert check_family("corridor", show=print) == [], capfd.readouterr().out
    finally:
        FAMILIES._entries.pop("corridor", None)


def test_every_family_has_its_page_and_its_picture(tmp_path, monkeypatch, capfd):
    """Kills: a family without a page, a page without a picture or a source, a command on it that fails."""
    index = (ROOT / "docs/families.md").read_text()
    monkeypatch.chdir(tmp_path)
    for name in shipped():
        assert f"[`{name}`](families/{name}.md)" in index, f"docs/families.md does not link {name}"
        page = (ROOT / f"docs/families/{name}.md").read_text()
        assert f"](pictures/{name}.png)" in page, f"{name}.md shows no picture"
        assert (ROOT / f"docs/families/pictures/{name}.png").stat().st_size > 5_000
        for heading in ("Definition", "Tasks", "Anchors", "Source", "Use"):
            assert f"\n## {heading}\n" in page, f"{name}.md has no part {heading!r}"
        assert commands(f"docs/families/{name}.md"), f"{name}.md shows no command"
    pages = {path.stem for path in (ROOT / "docs/families").glob("*.md")}
    assert pages == {*shipped(), "procgen"}
    known = {name for name in FAMILIES if FAMILIES.is_built_in(name)}  # Other tests may have added some.
    assert set(shipped()) == known, "icrl tasks does not list every family: run benchmarks/catalogue.py"


def run_all(lines: list[str], capfd) -> None:
    """Runs `icrl …` lines in order, as a reader would type them, with small sizes put in."""
    for line in lines:
        try:
            code = cli.main(shrunk(line))
        except SystemExit as stop:
            code = stop.code
        assert code == 0, f"`{line}` ended with {code}: {capfd.readouterr().err[-2000:]}"


def test_the_data_page_runs(tmp_path, monkeypatch, small_sizes):
    """Kills: a way to read the data that does not read it."""
    monkeypatch.chdir(tmp_path)
    icrl.generate("dark-room-q-learning", out="data/dark-room", workers=1, **{"learner_options.explore_fraction": 0.5})
    monkeypatch.setattr("builtins.print", lambda *args, **kwargs: None)
    store = icrl.HistoryStore.open("data/dark-room")
    for block in blocks("docs/data.md", "python"):
        text = block.replace("start=100, length=200", f"start=0, length={int(store.lengths[0])}")
        exec(compile(text, "data.md", "exec"), {})


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("adding-a-*.md")))
def test_a_recipe_runs(page, tmp_path, monkeypatch, capfd):
    """Kills: a recipe for a method, a learner or a backbone of one's own that no longer makes one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setenv("ICRL_TRUST_CODE", "0")
    for block in blocks(f"docs/{page}", "python"):
        if block.startswith("# file: "):
            first, _, code = block.partition("\n")
            Path(first.removeprefix("# file: ")).write_text(code)
        else:
            exec(compile(block, page, "exec"), {})
    assert commands(f"docs/{page}"), "a recipe shows how it is checked and used"
    run_all(commands(f"docs/{page}"), capfd)
