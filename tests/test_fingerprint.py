"""A family that has changed since data of it were recorded is noticed, whatever was changed; nothing else is."""

import json

import numpy as np
import pytest

from icrl.data_gen.config import GenerateConfig
from icrl.data_gen.plan import make_plan
from icrl.envs import FAMILIES, make_family
from icrl.errors import DatasetError
from icrl.fingerprint import difference, take
from icrl.stored_family import changes

CART = """
import gymnasium as gym
import numpy as np
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter


class Env(gym.Env):
    observation_space = gym.spaces.Box(-9.0, 9.0, (3,), np.float32)
    action_space = gym.spaces.Discrete(3)
    gain, push = 1.0, 0.5

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1.0, 1.0)
        self.speed = 0.0
        return self.seen(), {}

    def step(self, action):
        self.speed = 0.9 * self.speed + self.push * (action - 1) + self.np_random.normal(0.0, 0.1)
        self.place = np.clip(self.place + 0.3 * self.speed, -8.0, 8.0)
        reward = self.gain * float(abs(self.place) < 0.5)
        return self.seen(), reward, bool(abs(self.place) > 4.0), False, {}

    def seen(self):
        return np.array([self.place, self.speed, 0.25], np.float32)


class Cart(GymnasiumFamily):
    name, source, horizon = "cart", "a test", 12
    parameters = {
        "gain": Parameter("reward", low=0.5, high=2.0, default=1.0),
        "push": Parameter("dynamics", low=0.2, high=1.0, default=0.5, beyond=(1.0, 1.5)),
    }

    def make_env(self):
        return Env()

    def apply(self, env, params):
        env.gain, env.push = params["gain"], params["push"]
"""
ROOMS = """
import gymnasium as gym
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter


class Env(gym.Env):
    observation_space = gym.spaces.Discrete(9)
    action_space = gym.spaces.Discrete(2)
    gain, push = 1.0, 0.5

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 4
        return self.place, {}

    def step(self, action):
        step = 2 * action - 1 if self.np_random.uniform() < self.push else 0
        self.place = int(min(max(self.place + step, 0), 8))
        return self.place, self.gain * float(self.place == 0), self.place == 8, False, {}


class Rooms(GymnasiumFamily):
    name, source, horizon = "rooms", "a test", 30
    parameters = {
        "gain": Parameter("reward", low=0.5, high=2.0, default=1.0),
        "push": Parameter("dynamics", low=0.5, high=1.0, default=0.75),
    }

    def make_env(self):
        return Env()

    def apply(self, env, params):
        env.gain, env.push = params["gain"], params["push"]
"""
FAMILY_SOURCES = {"Cart": CART, "Rooms": ROOMS}
# Of each kind: the text that is replaced in one family or the other, and by what, with a number drawn for {x}.
EDITS = {
    "reward's sign": ("self.gain * float", "-self.gain * float", 0, 0),
    "reward's scale": ("self.gain * float", "{x} * self.gain * float", 1.01, 30),
    "reward's small scale": ("self.gain * float", "{x} * self.gain * float", 0.001, 0.99),
    "reward's offset": ("self.gain * float", "{x} + self.gain * float", 0.01, 5),
    "horizon": ('a test", ', 'a test", 1', 0, 0),
    "low": ("low=0.5", "low={x}", 0.05, 0.4),
    "high": ("high=2.0", "high={x}", 1.2, 4),
    "a logarithm": ("high=2.0", "high=2.0, log=True", 0, 0),
    "default": ("default=1.0", "default={x}", 0.6, 0.99),
    "an axis": ('"reward"', '"start"', 0, 0),
    "a parameter's name": ('"push": Parameter', '"shove": Parameter', 0, 0),
    "a new parameter": ("    parameters = {", '    parameters = {\n        "z": Parameter("start", 0, 1, 0),', 0, 0),
    "beyond": ("beyond=(1.0, 1.5)", "beyond=(1.0, {x})", 1.6, 3),
    "no beyond": (", beyond=(1.0, 1.5)", "", 0, 0),
    "observations' count": ("(3,), np", "(4,), np", 0, 0),
    "observations' number": ("Discrete(9)", "Discrete(1{i})", 0, 9),
    "observations' bounds": ("Box(-9.0", "Box(-{x}", 9.5, 20),
    "actions' count": ("action_space = gym.spaces.Discrete(", "action_space = gym.spaces.Discrete(1", 0, 0),
    "dynamics": ("0.9 * self.speed", "{x} * self.speed", 0.3, 0.85),
    "dynamics of a step": ("0.3 * self.speed", "{x} * self.speed", 0.305, 0.6),
    "noise": ("normal(0.0, 0.1)", "normal(0.0, {x})", 0.11, 0.5),
    "direction": ("2 * action - 1", "1 - 2 * action", 0, 0),
    "chance": ("self.np_random.uniform() < self.push", "self.np_random.uniform() < {x} * self.push", 0.3, 0.8),
    "an earlier end": ("> 4.0", "> {x}", 1.0, 2.5),
    "no end": ("self.place == 8, False", "False, False", 0, 0),
    "a cut": (", False, {}", ", self.np_random.uniform() < {x}, {}", 0.1, 0.9),
    "another end": ("self.place == 8,", "self.place == 7,", 0, 0),
    "start": ("uniform(-1.0, 1.0)", "uniform(-1.0, {x})", 1.1, 2),
    "start's place": ("self.place = 4", "self.place = 3", 0, 0),
    "apply forgets": ('env.gain, env.push = params["gain"], params', "env.push = params", 0, 0),
    "apply rounds": ('= params["gain"],', '= round(params["gain"]),', 0, 0),
    "apply scales": ('params["push"]\n', '{x} * params["push"]\n', 0.5, 0.9),
    "apply swaps": ("env.gain, env.push = params", "env.push, env.gain = params", 0, 0),
    "what is seen": ("[self.place, self.speed", "[self.speed, self.place", 0, 0),
    "a constant that is seen": ("self.speed, 0.25]", "self.speed, {x}]", 0.26, 2),
    "the goal": ("abs(self.place) < 0.5", "abs(self.place) < {x}", 0.7, 2),
    "the goal's cell": ("self.place == 0", "self.place == {i}", 1, 7),
}
NO_EDITS = {
    "as it was": ("", ""),
    "a comment": ("    def step", "    # A step.\n    def step"),
    "a docstring": ("    def seen(self):", '    def seen(self):\n        """What is seen."""'),
    "a name inside": ("speed", "velocity"),
    "a name of its own": ("self.place", "self.where"),
    "a class's name": ("Env(", "World("),
    "an order": ("name, source, horizon = ", "lanes_at_once = 7\n    name, source, horizon = "),
    "rounding": ("self.gain * float", "(1 + 3e-8) * self.gain * float"),
    "another library's sum": ("0.3 * self.speed", "(0.1 * self.speed + 0.2 * self.speed)"),
}


@pytest.fixture(scope="module", params=FAMILY_SOURCES)
def recorded(request, tmp_path_factory):
    """A family's class, its source, and the plan of a recording of it, through JSON as it is read back."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "own.py").write_text(FAMILY_SOURCES[request.param])
    options = {"train": 20, "validation": 3, "test": 8}
    config = GenerateConfig(
        family=f"{folder / 'own.py'}:{request.param}", learner="random", episodes=2, family_options=options
    )
    return request.param, FAMILY_SOURCES[request.param], make_plan(config, folder / "data")


def rebuilt(cls: str, source: str, folder, plan):
    folder.mkdir(parents=True)
    (folder / "own.py").write_text(source)
    return make_family(f"{folder / 'own.py'}:{cls}", **json.loads(json.dumps(plan.provenance.family_options)))


def test_every_edit_is_noticed(recorded, tmp_path):
    """Kills: an evaluation against another task than the one that was recorded, with exit code 0."""
    cls, source, plan = recorded
    missed, tried = [], 0
    for number, (name, (old, new, low, high)) in enumerate(EDITS.items()):
        if old not in source:
            continue
        rng = np.random.default_rng([7, number])
        for draw in range(3 if "{" in new else 1):
            x = rng.uniform(low, high)
            text = new.replace("{x}", f"{x:.4f}").replace("{i}", str(rng.integers(low, high + 1)))
            family = rebuilt(cls, source.replace(old, text, 1), tmp_path / f"{number}-{draw}", plan)
            told, tried = changes(family, plan.provenance, plan.split), tried + 1
            if told is None:
                missed.append((name, text))
            else:
                assert "\n" not in told
                assert len(told) < 300
    assert not missed
    assert tried > 30


def test_what_is_no_edit_is_not(recorded, tmp_path, monkeypatch):
    """Kills: a user who is refused for a comment, a moved file, another processor, or another folder."""
    cls, source, plan = recorded
    monkeypatch.chdir(tmp_path)
    for number, (old, new) in enumerate(NO_EDITS.values()):
        family = rebuilt(cls, source.replace(old, new), tmp_path / str(number), plan)
        assert changes(family, plan.provenance, plan.split) is None, new
    sizes = {"train": 50, "validation": 0, "test": 30}
    family = make_family(f"{tmp_path / '0' / 'own.py'}:{cls}", **sizes)
    assert changes(family, plan.provenance, plan.split) is None


def test_one_number_among_many_is_noticed(tmp_path):
    """Kills: an observation of which most was never looked at, or drowned in one large number."""
    rng = np.random.default_rng(3)
    seen = "np.array([self.place, self.speed, 0.25], np.float32)"
    scales = (10.0 ** rng.integers(-1, 6, 40)).tolist()
    wide = f"(np.array({scales}) * np.sin(self.place + np.arange(40))).astype(np.float32)"
    source = CART.replace(seen, wide).replace("Box(-9.0, 9.0, (3,)", "Box(-1e6, 1e6, (40,)")
    (tmp_path / "own.py").write_text(source)
    config = GenerateConfig(family=f"{tmp_path / 'own.py'}:Cart", learner="random", episodes=2)
    plan = make_plan(config, tmp_path / "data")
    assert changes(rebuilt("Cart", source, tmp_path / "same", plan), plan.provenance, plan.split) is None
    for place in rng.choice(40, 8, replace=False):
        other = f"({wide} * (1 + 0.5 * (np.arange(40) == {place}))).astype(np.float32)"
        family = rebuilt("Cart", source.replace(wide, other), tmp_path / str(place), plan)
        assert "observation" in changes(family, plan.provenance, plan.split)


@pytest.mark.parametrize("name", [name for name in FAMILIES if not FAMILIES.extra(name)])
def test_a_built_in_family_does_what_it_did(name):
    """Kills: a fingerprint that is not the same twice, or that JSON does not bring back."""
    family = make_family(name)
    split = family.split(0)
    tasks = {task.id: task for part in split.names for task in split.named(part)}
    assert difference(json.loads(json.dumps(take(family, split))), make_family(name), tasks) is None


def test_small_differences_may_grow_but_not_at_once():
    """Kills: a later release refused for what chaos made of a last bit; one that differs at once passed."""
    family = make_family("acrobot")
    split = family.split(0)
    tasks = {task.id: task for part in split.names for task in split.named(part)}
    then = take(family, split)
    rows = then["observations"][0].split(" | ")
    for place, noticed in ((len(rows) - 1, False), (3, True)):
        other = [*rows[:place], " ".join("0.5" for _ in rows[place].split()), *rows[place + 1 :]]
        changed = {**then, "observations": [" | ".join(other), *then["observations"][1:]]}
        assert (difference(changed, family, tasks) is not None) == noticed


def test_a_family_that_draws_from_a_global_generator_is_not_refused(tmp_path):
    """Kills: a family that never does the same twice, and is therefore said to have changed."""
    source = ROOMS.replace("import gym", "import numpy\nimport gym", 1)
    source = source.replace("self.np_random.uniform()", "numpy.random.default_rng().uniform()")
    (tmp_path / "own.py").write_text(source)
    config = GenerateConfig(family=f"{tmp_path / 'own.py'}:Rooms", learner="random", episodes=2)
    plan = make_plan(config, tmp_path / "data")
    assert set(plan.provenance.behaviour) == {"parameters"}
    assert changes(make_family(config.family), plan.provenance, plan.split) is None


def test_damage_is_one_line():
    """Kills: a traceback, or a roll of a billion steps, for a provenance.json that was edited."""
    family = make_family("dark-room")
    split = family.split(0)
    tasks = {task.id: task for part in split.names for task in split.named(part)}
    then = take(family, split)
    rng = np.random.default_rng(0)
    strange = [None, -1, 10**9, 2.5, "x", [], {}, [None], ["1 x"], [["1"]], True]
    for key in then:
        for value in strange:
            if key == "lanes" and value in ([], {}):
                continue  # No lanes: nothing to compare.
            with pytest.raises(DatasetError, match="are damaged"):
                difference({**then, key: value}, family, tasks)
        if isinstance(then[key], list):
            less = [*then[key]]
            del less[rng.integers(len(less))]
            with pytest.raises(DatasetError, match="are damaged"):
                difference({**then, key: less}, family, tasks)


@pytest.mark.parametrize("name", ["dark-room", "key-to-door", "bernoulli-bandit", "tabular-mdp", "passive-t-maze"])
def test_tasks_of_another_family_are_one_line(name):
    """Kills: a KeyError out of a family that is stepped on the tasks of another one."""
    family = make_family(name)
    then = take(family, family.split(0))
    own = {key for task in family.split(0).test for key in task.params}
    for other in ("dark-room", "key-to-door", "bernoulli-bandit", "tabular-mdp", "passive-t-maze", "point-robot"):
        split = make_family(other).split(0)
        if own <= {key for task in split.test for key in task.params}:
            continue
        tasks = {task.id: task for part in split.names for task in split.named(part)}
        for lanes in (then["lanes"], [task.id for task in split.test[: len(then["lanes"])]]):
            with pytest.raises(DatasetError, match="do not belong together"):
                difference({**then, "lanes": lanes}, family, tasks)


def test_what_a_slow_family_does_late_is_noticed(tmp_path):
    """Kills: a roll that stops long before the end of an episode, where much is paid, since a step takes long."""
    source = "import time\n" + CART.replace("self.speed = 0.9", "time.sleep(0.002)\n        self.speed = 0.9", 1)
    source = source.replace('horizon = "cart", "a test", 12', 'horizon = "cart", "a test", 40')
    source = source.replace("return self.seen(), {}", "self.t = 0\n        return self.seen(), {}", 1)
    source = source.replace("        reward = ", "        self.t += 1\n        reward = ", 1)
    source = source.replace("bool(abs(self.place) > 4.0)", "False", 1)
    (tmp_path / "own.py").write_text(source)
    config = GenerateConfig(family=f"{tmp_path / 'own.py'}:Cart", learner="random", episodes=2)
    plan = make_plan(config, tmp_path / "data")
    assert changes(make_family(config.family), plan.provenance, plan.split) is None
    for step in np.random.default_rng(0).integers(20, 41, size=3):
        edited = source.replace("float(abs(self.place) < 0.5)", f"float(abs(self.place) < 0.5) + (self.t == {step})")
        assert edited != source
        (tmp_path / "own.py").write_text(edited)
        assert "the reward of" in changes(make_family(config.family), plan.provenance, plan.split), step
