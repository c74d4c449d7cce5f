"""The five folders are one package, its imports point down the floors, and its wheel holds nothing else."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from icrl.cli import COMMANDS

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "icrl": "icrl",
    "data_gen": "icrl.data_gen",
    "models": "icrl.models",
    "train": "icrl.train",
    "eval": "icrl.eval",
}
FLOORS = {"icrl": 1, "icrl.data_gen": 2, "icrl.models": 2, "icrl.eval": 3, "icrl.train": 4}
LATE = {"torch", "transformers", "accelerate", "deepspeed", "datasets", "wandb", "pandas", "scipy", "matplotlib"}
EXTRAS = {"gymnasium", "numpy", "mujoco", "metaworld", "minigrid", "xminigrid", "dm_control", "jax", "einops", "rich"}
MAY_CLIMB_LATE = ("icrl/__init__.py", "icrl/cli.py", "icrl/commands/")
"""Commands are run from the lowest floor: what they need of higher ones is imported when they run."""


def sources() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def package_of(module: str) -> str:
    """The floor's package that a dotted name belongs to."""
    return max((name for name in FLOORS if module == name or module.startswith(name + ".")), key=len, default="")


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    """(module, relative level) of every import below a node."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


def at_import_time(tree: ast.Module) -> list[tuple[str, int]]:
    """The imports that run when the module is imported: not those in functions or under TYPE_CHECKING."""
    found = []
    for node in tree.body:
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not typing_only and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found += imports(node)
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_absolute_and_point_down(path):
    """Kills: an import that climbs a floor, a relative import, a bare `models` that a user's folder shadows."""
    folder = path.relative_to(ROOT).parts[0]
    here = FLOORS[FOLDERS[folder]]
    tree, may_climb = ast.parse(path.read_text()), str(path.relative_to(ROOT)).startswith(MAY_CLIMB_LATE)
    for module, level in imports(tree):
        assert level == 0, f"relative import of {module!r}"
        assert module.partition(".")[0] not in set(FOLDERS) - {"icrl"}, f"bare import of {module!r}"
    for module, _ in at_import_time(tree) if may_climb else imports(tree):
        target = package_of(module)
        if target and target != FOLDERS[folder]:
            assert FLOORS[target] < here, f"{module!r} is not below floor {here}"


def test_floor_one_imports_nothing_slow():
    """Kills: a module-level `import torch` that makes `icrl --help` take seconds."""
    for path in sorted((ROOT / "icrl").rglob("*.py")):
        late = {module.partition(".")[0] for module, _ in at_import_time(ast.parse(path.read_text()))} & LATE
        assert not late, f"{path.relative_to(ROOT)} imports {late} when it is imported"


def test_importing_icrl_and_help_load_neither_torch_nor_transformers():
    """Kills: the same through a chain of imports."""
    code = (
        "import sys, icrl, icrl.cli, icrl.models.options, icrl.train.config, icrl.eval.config\n"
        "import icrl.data_gen.generate\n"
        "icrl.cli.main(['--help'])\n"
        "print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_every_package_is_listed():
    """Kills: a new sub-package that works from the checkout and is missing from the wheel."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = set()
    for folder, name in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            present.add(".".join([name, *init.parent.relative_to(ROOT / folder).parts]))
    assert listed == present


def module_of(path: Path) -> str:
    """The dotted name of a source file."""
    folder, *inside = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[folder], *inside]).removesuffix(".__init__")


def graph() -> dict[str, set[str]]:
    """The project's modules that each of them imports, in functions and for type checkers too."""
    paths = {module_of(path): path for path in sources()}
    found: dict[str, set[str]] = {}
    for module, path in paths.items():
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= inside & set(paths) or {node.module or ""}
        found[module] = (named & set(paths)) - {module}
    return found


def circle(imports_of: dict[str, set[str]]) -> list[str]:
    """A way from a module back to itself, or nothing."""
    left = dict(imports_of)
    while leaves := [module for module, named in left.items() if not named & set(left)]:
        for module in leaves:
            del left[module]
    if not left:
        return []
    way = [min(left)]
    while way[-1] not in way[:-1]:
        way.append(min(left[way[-1]] & set(left)))
    return way[way.index(way[-1]) :]


def test_no_import_goes_in_a_circle():
    """Kills: two modules that know each other, be it in a function or for a type checker: neither is read alone."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert circle(graph()) == []


def test_rooms_of_families_know_the_kit_alone():
    """Kills: a kit that knows a kind of family, a room that needs another room's code, names that import families."""
    for module, named in graph().items():
        room = module.removeprefix("icrl.envs").split(".")[1:2]
        if module.startswith("icrl.envs"):
            rooms = {tuple(other.split(".")[2:3]) for other in named if other.startswith("icrl.envs.")}
            assert rooms <= {tuple(room), *([("kit",)] if room else [])}, f"{module} imports from {rooms}"


def test_no_file_shadows_a_library():
    """Kills: `train/deepspeed.py`, which a script run from that folder would import for the library."""
    names = {path.stem for path in sources()}
    assert not names & (LATE | EXTRAS | set(sys.stdlib_module_names) - {"__main__", "__init__"})


def test_the_wheel_holds_only_icrl_and_runs_beside_a_users_own_models(tmp_path):
    """Kills: a top-level `models` in the wheel, a preset left out of it, an import that a user's folder shadows."""
    checkout = tmp_path / "checkout"
    for name in [*FOLDERS, "pyproject.toml", "README.md", "LICENSE"]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        checkout.mkdir(exist_ok=True)
        copy(ROOT / name, checkout / name)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", tmp_path, checkout]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True, text=True)
    wheel = next(tmp_path.glob("icrl-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"icrl"}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml") and "__pycache__" not in path.parts:
                inside = Path(*package.split("."), path.relative_to(ROOT / folder))
                assert str(inside) in names, f"{inside} is not in the wheel"
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "models" / "__init__.py").write_text("raise ImportError('the user\\'s own package')\n")
    code = "import icrl.models.agent, icrl; print(icrl.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "home", env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(tmp_path / "site" / "icrl" / "__init__.py")


@pytest.mark.parametrize(("given", "found"), [(None, "passive"), ("active", "active")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(given, found):
    """Kills: training beside another process that slows to a third, since threads spin at every barrier."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    code = "import icrl, os, sys; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.strip() == found


def test_every_file_of_the_architectures_page_is_there():
    """Kills: a picture of how things were; a stage of the pipeline that the page leaves out."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"\b(?:icrl|data_gen|models|train|eval|tests)/[\w/]+(?:\.py|/)", page))
    assert len(named) > 50
    assert [name for name in named if not (ROOT / name).exists()] == []
    mains = {f"{module.removeprefix('icrl.').replace('.', '/')}.py" for module, _ in COMMANDS.values()}
    assert {"data_gen/generate.py", "train/train.py", "eval/evaluate.py"} <= mains & named


MAINS = [
    "data_gen/generate.py", "data_gen/inspect_dataset.py", "train/train.py", "eval/evaluate.py",
    "icrl/commands/tasks.py",
]  # fmt: skip


@pytest.mark.parametrize("main", MAINS)
def test_a_main_is_a_page_of_numbered_steps(main):
    """Kills: a main into which everything grows back."""
    assert len((ROOT / main).read_text().splitlines()) < 200
