"""How a task family is named: built-in, by its place, by an entry point; and what is said of a name that is wrong."""

import sys
import textwrap
from importlib.util import find_spec

import pytest

from icrl import cli
from icrl.envs import FAMILIES, MissingExtra, make_family
from icrl.errors import UsageError
from icrl.moved import MOVED
from icrl.registry import PlaceRegistry

ROOM = """
    from icrl.envs.grids.dark_room import DarkRoom

    class SmallRoom(DarkRoom):
        name = "small-room"

        def __init__(self, *, size: int = 4, horizon: int = 5, validation: int = 2, test: int = 4):
            super().__init__(size=size, horizon=horizon, validation=validation, test=test)
            self.options = {"size": size, "horizon": horizon, "validation": validation, "test": test}

    not_a_family = 3

    from icrl.envs.kit.gymnasium_family import GymnasiumFamily

    class Half(GymnasiumFamily):
        name, source, horizon, parameters = "half", "a test", 3, {}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of a user's own, with my_rooms.py in it, that Python works in."""
    (tmp_path / "my_rooms.py").write_text(textwrap.dedent(ROOM))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_rooms", None)


@pytest.mark.parametrize("place", ["my_rooms.py:SmallRoom", "my_rooms:SmallRoom"])
def test_a_family_is_found_at_its_place(here, place):
    """Kills: a user's family that only a program which registers it first can name."""
    family = make_family(place, size=5)
    assert family.label == "small-room@1"
    assert family.options["size"] == 5
    assert FAMILIES[place] is FAMILIES[place], "loaded once"
    with pytest.raises(UsageError, match="did you mean 'horizon'"):
        make_family(place, horizn=3)


def test_data_of_a_family_in_a_file_is_made_read_and_trained_on(here, capsys):
    """Kills: a place that worker processes, or `icrl evaluate` in a fresh process, cannot find again."""
    make = ["generate", "--family", "my_rooms.py:SmallRoom", "--learner", "random", "--episodes", "3"]
    assert cli.main([*make, "--out", "data", "--workers", "2", "--histories_per_shard", "4"]) == 0
    assert cli.main(["inspect", "data"]) == 0
    assert "small-room@1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere.py:Room", r"nowhere.py is not there \(from .*\): expected path/file.py:Class"),
        ("my_rooms.py:SmalRoom", r"has no 'SmalRoom' \(it defines SmallRoom"),
        ("my_rooms.py", r"my_rooms.py names no class: expected my_rooms.py:Class \(it defines SmallRoom"),
        ("my_rooms.py:not_a_family", "expected a subclass of icrl.tasks.TaskFamily"),
        ("my_rooms.py:Half", "does not define apply, make_env"),
        ("no_such_package.rooms:Room", "no module 'no_such_package.rooms'"),
        ("dark-rom", "did you mean 'dark-room'.*your own is package.module:Class"),
    ],
)
def test_wrong_names_say_how_to_mend_them(here, place, message, capsys):
    """Kills: a traceback from deep inside importlib for a misspelt path."""
    with pytest.raises(UsageError, match=message):
        make_family(place)
    assert cli.main(["check-family", place]) == 2
    assert capsys.readouterr().err.startswith("icrl: ")


def test_an_import_that_fails_inside_the_users_module_is_not_hidden(here):
    """Kills: «no such module my_rooms» where my_rooms exists and imports something that does not."""
    (here / "broken.py").write_text("\nimport nowhere_to_be_found\n")
    for place, what in (("broken:Room", "broken cannot be imported"), ("broken.py:Room", "broken.py cannot be run")):
        with pytest.raises(UsageError, match=rf"{what}: .*nowhere_to_be_found' \(broken.py, line 2\)$"):
            make_family(place)


def test_entry_points_are_families(here, monkeypatch):
    """Kills: an installed plug-in that the catalogue and `make_family` do not see."""
    monkeypatch.syspath_prepend(here)
    folder = here / "rooms-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: rooms\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        f"[{FAMILIES.group}]\ntiny-room = my_rooms:SmallRoom\nmaze = my_rooms:SmallRoom\n"
    )
    assert "tiny-room" in FAMILIES
    assert "tiny-room" in list(FAMILIES)
    assert make_family("tiny-room", size=6).options["size"] == 6
    assert FAMILIES.hidden() == ["maze"]
    assert make_family("maze").name == "maze"


def test_a_missing_extra_is_one_line_that_names_the_install(capsys, monkeypatch):
    """Kills: a ModuleNotFoundError with a traceback where one package is to be installed."""
    registry = PlaceRegistry(
        "thing", "icrl.things", {"": {}, "magic": {"wand": "icrl_no_such_package.wand:Wand"}}, callable, "a class"
    )
    with pytest.raises(MissingExtra, match=r"^wand needs icrl_no_such_package, .*: pip install 'icrl\[magic\]'$"):
        registry["wand"]
    assert registry.extra("wand") == "magic"
    with pytest.raises(ValueError, match="registered twice"):
        registry.add("wand", object)


def test_a_file_of_an_earlier_release_still_loads(tmp_path):
    """Kills: a user's file, or data that name it, that fails because a module has moved; a second copy of a module,
    whose classes are others than those of the first."""
    (tmp_path / "old.py").write_text(
        textwrap.dedent(ROOM.replace("icrl.envs.grids.", "icrl.envs.").replace(".kit.", "."))
    )
    with pytest.warns(DeprecationWarning, match=r"icrl.envs\.(dark_room|gymnasium_family) is icrl.envs\..* now"):
        family = make_family(f"{tmp_path}/old.py:SmallRoom", size=5)
    from icrl.envs.grids import dark_room

    assert isinstance(family, dark_room.DarkRoom)
    assert sys.modules["icrl.envs.dark_room"] is dark_room
    assert dark_room.__spec__.name == "icrl.envs.grids.dark_room"


def test_the_new_names_of_moved_modules_are_there():
    """Kills: a module that moved again, so that the message sends a user to where nothing is."""
    assert [new for new in MOVED.values() if find_spec(new) is None] == []
