"""Held-out tasks that do what training tasks do are found, and sound families are left in peace."""

import gymnasium as gym
import numpy as np
import pytest
from family_pipeline import pipeline

from icrl.checks import Failure
from icrl.envs import FAMILIES
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.conformance.checks import CHECKS, Subject
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter, ParametricFamily
from icrl.eval.summary import tasks_in_words
from icrl.held_out import compare, leak


class Walk(BatchedEnv):
    """A walk on a line; what a task's numbers do is the kind's."""

    def __init__(self, family, tasks, seed, index):
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self.kind = family.kind
        self.p_NP = np.array([family.applied([task.params[name] for name in family.parameters]) for task in tasks])
        self.x = np.zeros(len(tasks))

    def _start(self, lanes):
        self.x[lanes] = self.streams.uniform(lanes) if self.kind == "dynamics" else 0

    def _advance(self, actions):
        p, sign = self.p_NP, actions - 1.0
        rewards = np.zeros(self.num_envs)
        if self.kind == "bernoulli":
            arm = np.minimum(actions, p.shape[1] - 1)
            rewards = self.streams.uniform() < p[np.arange(len(p)), arm]
        elif self.kind == "dynamics":
            self.x = np.clip(self.x + 0.1 * sign * p.sum(axis=1), -50, 50)
            rewards = rewards - 1
        else:
            moved = sign if self.kind != "sparse" else sign * (0.5 + self.streams.uniform())
            self.x = np.clip(self.x + moved, -50, 50)
            distance = np.abs(self.x - p.sum(axis=1))
            rewards = (distance < 0.5) * 1.0 if self.kind == "sparse" else -distance / 100
            if self.kind == "costly":
                rewards = (distance < 0.5) - 0.1 * np.abs(sign)
        return rewards.astype(np.float32), np.zeros(self.num_envs, bool)

    def _observe(self):
        return self.x[:, None].astype(np.float32)


def family(kind, parameters, applied=lambda p: p, horizon=20, **options):
    """A family of walks whose tasks' numbers pass through `applied` on their way to the environment."""
    cls = type("Walks", (ParametricFamily,), {
        "name": "walks", "source": "a test", "kind": kind, "horizon": horizon, "parameters": parameters,
        "axes": ("dynamics",) if kind == "dynamics" else (), "policy_kinds": (),
        "observation_space": gym.spaces.Box(-50, 50, (1,), np.float32), "action_space": gym.spaces.Discrete(3),
        "applied": staticmethod(lambda p: np.array(applied(np.array(p, np.float64)), np.float64)),
        "make": lambda self, tasks, seed, index=None: Walk(self, tasks, seed, index),
        **dict.fromkeys(("anchors", "reference_policy", "draw")),
    })  # fmt: skip
    return cls(**options)


def ranged(kind, low, high, count=1, **more):
    axis = "dynamics" if kind == "dynamics" else "reward"
    return {f"p{i}": Parameter(axis, low, high, default=low, **more) for i in range(count)}


ROUNDED = {
    "int": np.trunc,
    "round": np.round,
    "a decimal": lambda p: np.round(p, 1),
    "halves": lambda p: p // 0.5,
    "sign": lambda p: np.sign(p - 2),
    "a floor": lambda p: np.maximum(p, 2),
    "a ceiling": lambda p: np.minimum(p, 1.5),
    "a clip": lambda p: np.clip(p, 1, 2),
    "ignored": lambda p: p * 0 + 1,
}


@pytest.mark.parametrize("rounding", ROUNDED)
@pytest.mark.parametrize("kind", ["dense", "dynamics", "bernoulli"])
def test_numbers_that_become_one_are_found(rounding, kind):
    """Kills: held-out tasks whose numbers differ and which are trained on all the same, in rewards, in dynamics or in
    chances, of few tasks or of many, whatever rounds or cuts off."""
    rng = np.random.default_rng([len(kind), len(rounding)])
    change = ROUNDED[rounding]
    applied = (lambda p: np.clip(change(p) / 5, 0, 1)) if kind == "bernoulli" else change
    low, high = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(3.5, 6))
    count = 2 if rounding in ("int", "round", "halves") and rng.random() < 0.5 else 1
    sizes = {"train": int(rng.integers(200, 5000)), "validation": 3, "test": int(rng.integers(5, 15))}
    made = family(kind, ranged(kind, low, high, count), applied, **sizes)
    told = leak(made, made.split(0), seconds=np.inf)
    assert told is not None
    assert "integer=True" in told
    assert "\n" not in told


SOUND = {
    "dense": lambda rng: family("dense", ranged("dense", 0.0, float(10 ** rng.uniform(-2, 1.5)))),
    "dynamics": lambda rng: family("dynamics", ranged("dynamics", 0.5, 2.0, int(rng.integers(1, 3)))),
    "chances": lambda rng: family(
        "bernoulli", ranged("bernoulli", 0.0, 1.0, int(rng.integers(1, 4))), horizon=1,
        train=int(rng.integers(20, 10_000)), test=int(rng.integers(1, 60)),
    ),
    "close chances": lambda rng: family("bernoulli", ranged("bernoulli", 0.45, 0.55, int(rng.integers(1, 4)))),
    "sparse": lambda rng: family("sparse", ranged("sparse", -40.0, 40.0), horizon=int(rng.integers(10, 60))),
    "costly": lambda rng: family("costly", ranged("costly", -40.0, 40.0, 1, integer=True), train=70, test=9,
                                 validation=1, horizon=int(rng.integers(45, 60))),
    "whole": lambda rng: family("dense", ranged("dense", 0, 400, integer=True), train=300, test=40, validation=10),
    "two whole": lambda rng: family("dense", {
        "a": Parameter("reward", 0, 30, default=0, integer=True),
        "b": Parameter("reward", choices=[0, 0.01, 0.02, 0.03], default=0),
    }, train=80, test=20, validation=10),
    "one for nothing": lambda rng: family("dense", ranged("dense", 0.0, 5.0, 2), lambda p: p[:1]),
    "one rounded": lambda rng: family("dense", ranged("dense", 0.0, 5.0, 2), lambda p: [p[0], np.round(p[1])]),
}  # fmt: skip


@pytest.mark.parametrize("sound", SOUND)
@pytest.mark.parametrize("seed", range(4))
def test_tasks_that_differ_are_left_in_peace(sound, seed):
    """Kills: an alarm at tasks that are close, at rewards that nobody has met yet, at chances that have not parted
    yet; at the hands of little time, too."""
    made = SOUND[sound](np.random.default_rng(seed))
    assert leak(made, made.split(seed), seconds=(np.inf, 0.3)[seed % 2]) is None


class Arms(gym.Env):
    """Five arms, one pays."""

    observation_space, action_space = gym.spaces.Discrete(1), gym.spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, float(action == self.goal), False, False, {}


class Five(GymnasiumFamily):
    name, source, horizon = "five", "a test", 10
    parameters = {"goal": Parameter("reward", low=0.0, high=5.0, default=0.0)}  # noqa: RUF012
    anchor_episodes = 2

    def make_env(self):
        return Arms()

    def apply(self, env, params):
        env.goal = int(params["goal"])


def test_check_family_finds_a_rounded_goal(monkeypatch):
    """Kills: `check-family` passing a family whose every test task is trained on."""
    monkeypatch.setitem(FAMILIES._entries, "five", Five)
    check = next(check for check in CHECKS if check.__name__ == "held_out")
    with pytest.raises(
        Failure, match=r"(\d+) of \1 test tasks do over .* test task \d+ goal=.* training task \d+ goal="
    ):
        check(Subject("five"))


def test_tasks_of_which_nothing_is_known_are_not_counted():
    """Kills: a goal that nobody reaches, taken for one that all tasks share."""
    made = family("sparse", ranged("sparse", 30.0, 40.0), horizon=10)
    split = made.split(0)
    found = compare(made, {"test": split.test}, split.train)
    assert (found.compared, found.twins) == ({"test": 0}, {"test": []})


def test_recording_and_evaluation_say_so(monkeypatch, tmp_path, capsys):
    """Kills: "tasks it never saw" of test tasks that are training tasks under another number."""
    monkeypatch.setitem(FAMILIES._entries, "five", Five)
    summary = pipeline("five", tmp_path, train=40, validation=1, test=10)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("five: ")]
    assert len(told) == 1
    assert "10 of 10 test tasks" in told[0]
    assert summary["behave_as_trained"] == {"tasks": 2, "of": 2}
    assert summary["result"].startswith(
        "On 2 tasks of the test split, 2 of which do what tasks of its training data do"
    )
    assert "never saw" not in (tmp_path / "run" / "eval" / "report.html").read_text()
    made = tasks_in_words(summary | {"tasks": 50, "behave_as_trained": {"tasks": 16, "of": 20}})
    assert made == "50 tasks of the test split, 16 of the 20 compared do what tasks of its training data do"
    assert tasks_in_words(summary | {"behave_as_trained": {"tasks": 0, "of": 2}}) == "2 tasks it never saw"
