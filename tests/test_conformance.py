"""The conformance test itself: every promise that a family can break is found out. And `icrl show`."""

from math import inf

import numpy as np
import pytest

from icrl import cli
from icrl.checks import Failure
from icrl.commands.check_family import check_family
from icrl.commands.show import show
from icrl.envs import FAMILIES, make_family
from icrl.envs.grids.dark_room import DarkRoom, DarkRoomEnv
from icrl.envs.kit.conformance.checks import CHECKS, Subject
from icrl.errors import UsageError
from icrl.tasks import Anchors, Split


class Room(DarkRoom):
    """A sound family to break: `fault` says how."""

    name = "room"
    fault = ""

    def __init__(self, *, size: int = 4, horizon: int = 6, validation: int = 2, test: int = 5, hold=()):
        super().__init__(size=size, horizon=horizon, validation=validation, test=test)
        self.options = {"size": size, "horizon": horizon, "validation": validation, "test": test, "hold": []}
        if self.fault == "hidden option":
            self.options = self.options | {"horizon": 7}
        if self.fault in ("deaf to hold", "no hold"):
            self.axes = ("reward", "start")
        if hold and self.fault == "no hold":
            raise UsageError("an axis cannot be held")

    def split(self, seed):
        split = super().split(np.random.default_rng().integers(1000) if self.fault == "global split" else seed)
        if self.fault == "wrong sizes":
            split = Split(split.seed, split.train[1:], split.validation, split.test, split.ood)
        return split

    def make(self, tasks, seed, index=None):
        return RoomEnv(self, tasks, 0 if self.fault == "unused seed" else seed, index)

    def anchors(self, tasks):
        found = super().anchors(tasks)
        if "anchor" in self.fault:
            return Anchors(found.random + 0.5, found.optimum, measured="measured" in self.fault)
        return found

    def draw(self, axes, task, history):
        if self.fault != "no picture":
            super().draw(axes, task, history)


class RoomEnv(DarkRoomEnv):
    def __init__(self, family, *args):
        super().__init__(family, *args)
        self.fault = family.fault

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None if self.fault == "stubborn reset" else seed)

    def _advance(self, actions):
        rewards, terminated = super()._advance(actions)
        if self.fault == "one task":
            rewards = rewards * 0
        if self.fault in ("unused seed", "stubborn reset"):
            rewards = rewards + self.streams.uniform().astype(np.float32)
        if self.fault == "cut":
            self._cut_N = self.steps >= 2
        if self.fault == "type":
            rewards = rewards.astype(np.int64)
        if self.fault == "global generator":
            rewards += np.random.default_rng().random(len(rewards)).astype(np.float32)
        if self.fault == "batch sum":
            rewards += np.float32(rewards.sum())
        return rewards, terminated

    def _observe(self):
        seen = super()._observe()
        if self.fault == "outside":
            return seen + 9
        if self.fault == "view":
            self.kept = getattr(self, "kept", seen)
            self.kept[:] = seen
            return self.kept
        return seen

    def step(self, actions):
        if self.fault == "any action":
            actions = np.zeros(self.num_envs, np.int64)
        *answer, info = super().step(actions)
        if self.fault == "no final":
            info = {}
        if self.fault == "both":
            answer[2] = answer[2] | answer[3]
        if self.fault == "endless":
            answer[3] = np.zeros_like(answer[3])
            info = {}
        return *answer, info


@pytest.fixture
def room(monkeypatch):
    monkeypatch.setitem(FAMILIES._entries, "room", Room)
    yield
    Room.fault = ""


def test_a_sound_family_passes(room, capsys):
    """Kills: a check that fails what is right."""
    assert cli.main(["check-family", "room", "--option", "size=5"]) == 0
    assert f"all {len(CHECKS)} checks passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("type", "spaces"),
        ("outside", "spaces"),
        ("no final", "spaces"),
        ("global generator", "seeding"),
        ("unused seed", "seeding"),
        ("stubborn reset", "seeding"),
        ("batch sum", "lanes_are_independent"),
        ("both", "endings"),
        ("endless", "endings"),
        ("cut", "endings"),
        ("view", "arrays_are_given_away"),
        ("any action", "wrong_actions"),
        ("one task", "tasks_differ"),
        ("global split", "splits"),
        ("wrong sizes", "splits"),
        ("hidden option", "rebuilding"),
        ("deaf to hold", "axes"),
        ("no hold", "axes"),
        ("wrong anchor", "anchors"),
        ("wrong measured anchor", "anchors"),
        ("no picture", "drawing"),
    ],
)
def test_a_broken_promise_is_found(room, monkeypatch, fault, check):
    """Kills: a check that passes whatever it is given."""
    monkeypatch.setattr(Room, "fault", fault)
    named = next(c for c in CHECKS if c.__name__ == check)
    with pytest.raises(Failure):
        named(Subject("room", seconds=inf))
    if fault in ("type", "wrong anchor"):
        assert check_family("room", show=lambda line: None) == [check]


def test_the_optimum_of_an_expert_is_the_experts(room, monkeypatch):
    """Kills: a check that asks a family for a kind of policy that it does not have."""
    monkeypatch.setattr(Room, "policy_kinds", ("expert",))
    next(c for c in CHECKS if c.__name__ == "anchors")(Subject("room", seconds=inf))


def test_show_makes_a_picture(tmp_path):
    """Kills: a picture that needs a screen; a suffix that matplotlib does not know; a half-written file."""
    for out in ("room.png", "room.svg"):
        assert show("dark-room", tmp_path / out, options={"size": 5}, tasks=2).stat().st_size > 3000
    assert show("bernoulli-bandit", tmp_path / "arms.png", policy="random", tasks=2).is_file()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dark-room", "--out", "room.jpeg"], "ends in .png, .svg, .pdf"),
        (["dark-room", "--policy", "best"], "choose from optimal, random"),
        (["dark-room", "--split", "tset"], "did you mean 'test'"),
        (["dark-room", "--tasks", "0"], "tasks=0 is too small"),
        (["dark-room", "--episodes", "0"], "episodes=0 is too small"),
        (["dark-room", "--option", "size"], "expected NAME=VALUE"),
        (["dark-room", "--option", "sise=3"], "did you mean 'size'"),
    ],
)
def test_wrong_calls_of_show(arguments, message, tmp_path, monkeypatch, capsys):
    """Kills: a traceback, or a file, where the call was wrong."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["show", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_family_without_several_axes_says_why_it_holds_none():
    """Kills: hold=… taken by a family that varies one thing, which would leave a single task."""
    with pytest.raises(UsageError, match="hold"):
        make_family("dark-room", hold=["reward"])
