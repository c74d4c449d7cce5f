"""Mistakes in a family of a user's own: each is one line that says what to fix, from every command."""

import sys

import pytest

from icrl import cli

SWING = """
import gymnasium as gym
import numpy as np
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter

class Env(gym.Env):
    observation_space = gym.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    gain = 1.0
    def reset(self, *, seed=None, options=None):
        return self.seen(), {}
    def step(self, action):
        return self.seen(), self.gain, False, False, {}
    def seen(self):
        return np.zeros(2, np.float32)

class Swing(GymnasiumFamily):
    name, source, horizon, env = "swing", "a test", 3, Env
    parameters = {"gain": Parameter("reward", 0.5, 2.0, default=1.0)}
    def make_env(self):
        return self.env()
    def apply(self, env, params):
        env.gain = params["gain"]
"""
MISTAKES = {
    "a misspelt parameter": (
        "def apply(self, env, params): env.gain = params['gian']",
        "KeyError: 'gian' (swing.py, line",
    ),
    "an unknown environment": (
        "def make_env(self): return gym.make('Pendulm-v1')",
        "NameNotFound: Environment `Pendulm`",
    ),
    "no environment": ("def make_env(self): pass", "make_env gave None, expected a gymnasium environment"),
    "a range alone": ("parameters = {'gain': (0.5, 2.0)}", "swing: gain of its parameters is not"),
    "an axis that is none": ("axes = ('rewards',)", "expected a tuple of reward, dynamics, observation, start"),
    "no episode": ("horizon = 0", "has the horizon 0: expected the number of steps"),
    "an option that is lost": (
        "def __init__(self, *, size=3, **options): super().__init__(**options); self.options = {'train': 9}",
        "leaves validation, test, hold, hole, size out of self.options",
    ),
    "no policy": ("policy_kinds = ('expert',)", "states policy_kinds and defines no reference_policy"),
    "an old step": (
        "class env(Env):\n        def step(self, action): return self.seen(), 1.0, False, {}",
        "expected (observation, reward,",
    ),
    "an old reset": (
        "class env(Env):\n        def reset(self, **k): return self.seen()",
        "expected (observation, info)",
    ),
    "an old reset's arguments": (
        "class env(Env):\n        def reset(self): return self.seen(), {}",
        "it must give (obs",
    ),
    "a shape": (
        "class env(Env):\n        def seen(self): return np.zeros(3)",
        "of shape (3,): expected the shape (2,)",
    ),
    "a reward in an array": (
        "class env(Env):\n        def step(self, action): return self.seen(), np.ones(1), False, False, {}",
        "gives the reward array([1.]): expected one number",
    ),
    "a fraction": (
        "class env(Env):\n        observation_space = gym.spaces.Discrete(4)\n        def seen(self): return 2.7",
        "shows 2.7: expected integers",
    ),
    "no sample": (
        "class env(Env):\n        observation_space = gym.spaces.Dict(a=gym.spaces.Discrete(4))\n"
        "        def seen(self): return {}",
        "shows {}: expected a sample of Dict('a': Discrete(4))",
    ),
    "no space": ("class env(gym.Env): pass", "states no observation_space"),
    "no number": (
        "class env(Env):\n        def step(self, action): return self.seen(), float('nan'), False, False, {}",
        "not finite",
    ),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize(("code", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_everywhere(here, code, message, capsys):
    """Kills: a traceback through this framework for a mistake in somebody's class; a check that passes it; what a
    failed recording leaves behind."""
    (here / "swing.py").write_text(f"{SWING}\n    {code}\n")
    make = ["generate", "--family", "swing.py:Swing", "--learner", "random", "--episodes", "2", "--workers", "1"]
    for command in (["check-family", "swing.py:Swing"], ["tasks", "swing.py:Swing"], [*make, "--out", "new/data"]):
        if command[0] == "generate" and "policy_kinds" in code:
            continue  # Random actions need no policy of the family's.
        assert cli.main(command) in (1, 2)
        told = capsys.readouterr()
        last = told.err.splitlines()[-1]
        assert last.startswith("icrl: ")
        assert message in (told.out + last if command[0] == "check-family" else last)
    assert [path.name for path in here.iterdir() if path.name != "__pycache__"] == ["swing.py"]


def test_a_failing_worker_names_the_line_and_leaves_the_users_folder(here, capsys):
    """Kills: the remote traceback of a worker process; a folder of the user's that is removed with what was begun."""
    wrong = "env.gain = params['gian' if multiprocessing.parent_process() else 'gain']"
    (here / "swing.py").write_text(f"import multiprocessing{SWING}\n    def apply(self, env, params): {wrong}\n")
    (here / "data").mkdir()
    make = ["generate", "--family", "swing.py:Swing", "--learner", "random", "--episodes", "2", "--workers", "2"]
    assert cli.main([*make, "--histories_per_shard", "5000", "--out", "data"]) == 1
    assert "KeyError: 'gian' (swing.py, line 26)" in capsys.readouterr().err
    assert list((here / "data").iterdir()) == []


def test_the_traceback_can_be_had(here, monkeypatch):
    """Kills: one line where the author needs the way to it."""
    (here / "swing.py").write_text(f"{SWING}\n    def apply(self, env, params): env.gain = params['gian']\n")
    monkeypatch.setenv("ICRL_TRACEBACK", "1")
    with pytest.raises(KeyError, match="gian"):
        cli.main(["tasks", "swing.py:Swing"])


def test_a_sound_one_passes(here, capsys):
    """Kills: a check that fails what is right, a single reward and nothing to see among it."""
    (here / "swing.py").write_text(SWING)
    assert cli.main(["check-family", "swing.py:Swing"]) == 0, capsys.readouterr().out
