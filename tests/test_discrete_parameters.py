"""Whole numbers and choices as parameters: dealt out without repetition, split without overlap."""

import json

import gymnasium as gym
import numpy as np
import pytest

from icrl.envs import FAMILIES
from icrl.envs.kit.conformance.checks import CHECKS, Subject
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter, ParametricFamily
from icrl.errors import UsageError

VALUES = (
    Parameter("reward", choices=["red", "green", "blue"], default="red"),
    Parameter("reward", choices=[[0, 1], [1, 0], None, 2.5], default=None, beyond=["far"]),
    Parameter("dynamics", 3, 17, default=4, integer=True, beyond=(18, 20)),
    Parameter("dynamics", 1, 300, default=1, integer=True, log=True),
    Parameter("reward", -2, 2, default=0, integer=True),
    Parameter("start", 1, 10**9, default=7, integer=True),
    Parameter("start", choices=range(2000), default=0),
)
CONTINUOUS = Parameter("reward", 0.0, 1.0, default=0.5, beyond=(1.0, 2.0))


def family(parameters: dict, **options) -> ParametricFamily:
    """Only its tasks are of interest."""
    cls = type("Drawn", (ParametricFamily,), {
        "name": "drawn", "source": "a test", "horizon": 5, "parameters": parameters,
        **dict.fromkeys(("make", "anchors", "reference_policy", "draw")),
    })  # fmt: skip
    return cls(**options)


def combination(task) -> str:
    return json.dumps(task.params)


@pytest.mark.parametrize("seed", range(25))
def test_no_combination_is_dealt_out_twice(seed):
    """Kills: a whole number or a choice that is in train and in test; values that are no int or no choice; held-out
    tasks that change with the amount of training data or of validation tasks; combinations that are never met."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(VALUES), rng.integers(1, 4), replace=False)
    parameters = {f"p{i}": VALUES[i] for i in chosen}
    if seed % 5 == 4:
        parameters["c"] = CONTINUOUS
    left = np.prod([float(p.count or np.inf) for p in parameters.values()])
    test, validation = 1, int(rng.integers(0, 2))
    train = int(min(left - test - validation, 3000))
    if train < 1:
        validation, train = 0, int(left) - 1
    made = family(parameters, train=train, validation=validation, test=test)
    split = made.split(seed)
    everything = [task for name in split.names for task in split.named(name)]
    assert len({combination(task) for task in everything}) == len(everything)
    assert len({task.id for task in everything}) == len(everything)
    assert [len(split.named(name)) for name in ("train", "validation", "test")] == [train, validation, test]
    for name, parameter in parameters.items():
        values = [task.params[name] for task in (*split.train, *split.validation, *split.test)]
        if parameter.choices is not None:
            assert all(value in parameter.choices for value in values)
        elif parameter.integer:
            assert {type(value) for value in values} == {int}
            assert parameter.low <= min(values) <= max(values) <= parameter.high
        beyond = [task.params[name] for task in split.ood.get("extrapolation", ())]
        if parameter.beyond and parameter.count:
            ends = parameter.beyond
            assert all(value in ends if parameter.choices else ends[0] <= value <= ends[1] for value in beyond)
    if left <= 3000:
        assert len(split.train) + validation + test == left, "every combination is met"
    fewer = family(parameters, train=max(1, train // 3), validation=0, test=test).split(seed)
    assert fewer.test == split.test
    fewer = family(parameters, train=max(1, train // 3), validation=validation, test=test).split(seed)
    assert (fewer.test, fewer.validation, fewer.ood) == (split.test, split.validation, split.ood)
    assert json.loads(json.dumps([task.params for task in everything])) == [task.params for task in everything]


def test_a_thousand_million_combinations():
    """Kills: a list of all combinations; a draw that repeats itself among many."""
    thousand = Parameter("reward", 0, 999, default=0, integer=True)
    made = family({"a": thousand, "b": thousand, "c": thousand}, train=5000, validation=50, test=100)
    values = np.array([list(task.params.values()) for task in made.split(0).train])
    np.testing.assert_allclose(values.mean(axis=0), 499.5, atol=20)
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.06
    wide = Parameter("reward", 0, 1100, default=0, integer=True)
    crowded = family({"a": wide, "b": wide}, train=150_000, validation=0, test=10)
    assert len({combination(task) for task in crowded.split(1).train}) == 150_000


@pytest.mark.parametrize(("wide", "first"), [(300, 0.12), (3_000_000, 0.0465)])
def test_a_logarithmic_whole_number(wide, first):
    """Kills: log ignored where combinations are dealt out, or where they are drawn; ln 2 / ln (wide + 1) are 1."""
    made = family(
        {"n": Parameter("reward", 1, wide, default=1, integer=True, log=True), "c": CONTINUOUS},
        train=4000, validation=0, test=1,
    )  # fmt: skip
    ones = np.mean([task.params["n"] == 1 for task in made.split(0).train])
    assert ones == pytest.approx(first, abs=0.02)
    alone = family({"n": made.parameters["n"]}, train=50, validation=0, test=1)
    assert np.median([task.params["n"] for task in alone.split(0).train]) < wide / 4


@pytest.mark.parametrize("seed", range(12))
def test_the_hole_of_whole_numbers(seed):
    """Kills: a hole that shares a value's edge with training; a hole of more or less than its share."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 60, rng.integers(1, 3))
    parameters = {f"n{i}": Parameter("reward", 0, int(size), default=0, integer=True) for i, size in enumerate(sizes)}
    if mixed := seed % 3 == 2:
        parameters["c"] = CONTINUOUS
    hole = float(rng.uniform(0.1, 0.6))
    try:
        made = family(parameters, train=2, validation=0, test=1, hole=hole)
    except UsageError:
        return  # No whole number lies in the middle.
    left = made._num_combinations("range")
    made = family(parameters, train=3000 if mixed else left - 1, validation=0, test=1, hole=hole)
    split = made.split(seed)
    seen = np.array([list(task.params.values()) for task in (*split.train, *split.test)])
    inside = np.ones(len(seen), bool)
    for column, name in enumerate(parameters):
        held_out = [task.params[name] for task in split.ood["hole"]]
        span = (np.arange(sizes[column] + 1) + 0.5) / (sizes[column] + 1) if name != "c" else None
        width = hole ** (1 / len(parameters))
        u = span[seen[:, column].astype(int)] if name != "c" else seen[:, column]
        inside &= np.abs(u - 0.5) <= width / 2
        kept = span[held_out] if name != "c" else np.array(held_out)
        assert (np.abs(kept - 0.5) <= width / 2 + 1e-6).all()
    assert not inside.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(choices=["a"], default="a"), "at least two"),
        (dict(choices="abc", default="a"), "a list of values"),
        (dict(choices=[1, 1.0], default=1), "twice"),
        (dict(choices=[[1], [1]], default=1), "twice"),
        (dict(choices=[1, {2}], default=1), "not a JSON value"),
        (dict(choices=[1, float("nan")], default=1), "not a JSON value"),
        (dict(choices=[1, 2], low=0, high=1, default=1), "choices and a range"),
        (dict(choices=[1, 2], integer=True, default=1), "choices and a range"),
        (dict(choices=[1, 2], default=1, beyond=[2]), "none of 1, 2"),
        (dict(choices=[1, 2]), "no default"),
        (dict(default=1), "no values"),
        (dict(low=0.5, high=3, default=1, integer=True), "low=0.5"),
        (dict(low=0, high=3, default=1.5, integer=True), "default=1.5"),
        (dict(low=0, high=3, default=0, integer=True, beyond=(3, 5)), "overlaps"),
        (dict(low=0, high=3, default=0, integer=True, log=True), "log scale"),
        (dict(low=0, high=2**50, default=0, integer=True), "at most"),
        *[({**dict(low=0, high=3, default=0, beyond=(4, 5), integer=whole), name: value}, "finite number")
          for name in ("low", "high", "default") for value in (float("inf"), float("nan"), "x", 1j)
          for whole in (False, True)],
        *[(dict(low=0, high=3, default=0, beyond=(4, value)), "finite number") for value in (float("inf"), "x")],
        (dict(low=[0, 1], high=[1, 2], default=0), "finite number"),
    ],
)  # fmt: skip
def test_impossible_values_are_refused(wrong, message):
    """Kills: a choice that JSON changes, one that stands twice, half a whole number; a traceback."""
    with pytest.raises(UsageError, match=message) as caught:
        Parameter("reward", **wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(8))
def test_too_few_combinations_are_told_with_sizes_that_fit(seed):
    """Kills: overlapping splits, or an error that leaves one guessing, where there are fewer tasks than asked for."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 3000))
    parameters = {"n": Parameter("reward", 1, count, default=1, integer=True)}
    with pytest.raises(UsageError, match=f"has {count:,} combinations of n, train=10000, validation=50") as caught:
        family(parameters)
    fit = dict(part.split("=") for part in str(caught.value).split("such as ")[1].split(", "))
    made = family(parameters, **{name: int(size) for name, size in fit.items()})
    assert sum(made.num_tasks.values()) == count
    made.split(0)


def test_a_hole_among_choices_is_refused():
    """Kills: the middle of categories."""
    with pytest.raises(UsageError, match="colour has choices"):
        family({"colour": VALUES[0], "c": CONTINUOUS}, hole=0.2)


class Arms(gym.Env):
    """One of its arms pays, by its colour."""

    observation_space, action_space = gym.spaces.Discrete(1), gym.spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, float(self.paying[action]), False, False, {}


class ArmsFamily(GymnasiumFamily):
    name, source, horizon = "arms", "a test", 10
    parameters = {  # noqa: RUF012
        "goal": Parameter("reward", 0, 3, default=0, integer=True, beyond=(4, 4)),
        "colour": Parameter("reward", choices=["gold", "silver"], default="gold", beyond=["lead"]),
    }
    anchor_episodes = 10

    def make_env(self):
        return Arms()

    def apply(self, env, params):
        env.paying = [0] * params["goal"] + [{"gold": 3, "silver": 2, "lead": 1}[params["colour"]]] + [0] * 5


def test_a_family_of_choices_keeps_the_contract(monkeypatch):
    """Kills: a check that takes every parameter for a number."""
    monkeypatch.setitem(FAMILIES._entries, "arms", ArmsFamily)
    subject = Subject("arms", {"train": 5, "validation": 1, "test": 2})
    subject.steps_per_second = 20_000.0
    for check in CHECKS:
        check(subject)
    monkeypatch.setattr(ArmsFamily, "apply", lambda self, env, params: setattr(env, "paying", [1, 0, 0, 0, 0]))
    with pytest.raises(Exception, match="behave alike"):
        next(check for check in CHECKS if check.__name__ == "tasks_differ")(subject)
