"""One suite over every task family that needs no extra: what `TaskFamily` and `BatchedEnv` promise, each keeps."""

from math import inf

import numpy as np
import pytest

from icrl.commands.tasks import definition, describe_family, shipped
from icrl.envs import FAMILIES, make_family
from icrl.envs.kit.conformance.checks import CHECKS, Subject
from icrl.errors import UsageError

NAMES = [name for name in FAMILIES if not FAMILIES.extra(name)]
GRIDS = [name for name in NAMES if name.startswith(("dark-room", "key-to-door")) and "macro" not in name]


@pytest.fixture(scope="module")
def subjects():
    """One subject per family, so that a family is built once; none is stepped less often on a busy machine."""
    made: dict[str, Subject] = {}
    return lambda name: made.setdefault(name, Subject(name, seconds=inf, part=0.1))


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract(subjects, name, check):
    """Kills: whatever `icrl check-family` finds; tests/test_conformance.py shows that it does."""
    check(subjects(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_tasks_of_it_keep_the_contract(name):
    """Kills: an anchor that is off by less than a few tasks show; one lane among a thousand that moves another."""
    for check in CHECKS:
        check(Subject(name, seconds=inf))


@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_defines_it_as_this_release_does(name):
    """Kills: a listing of a definition that has changed since; run `python benchmarks/catalogue.py` then."""
    then = shipped()[name]
    for key, value in definition(name, make_family(name)).items():
        assert then[key] == value, key


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_is_that_of_this_release(name):
    """Kills: anchors in the listing that the family no longer has; run `python benchmarks/catalogue.py` then."""
    then, now = shipped()[name], describe_family(name)
    for key, value in now.items():
        if key == "anchors":
            for anchor, numbers in value.items():
                assert then[key][anchor] == pytest.approx(numbers, rel=1e-6, abs=1e-9), anchor
        else:
            assert then[key] == value, key


@pytest.mark.parametrize("name", NAMES)
def test_a_family_has_unseen_tasks_of_another_kind(name):
    """Kills: a family without an out-of-distribution set that its default spaces hold."""
    split = make_family(name).split(0)
    assert split.ood
    for tasks in split.ood.values():
        assert not {repr(task.params) for task in tasks} & {repr(task.params) for task in split.train}


@pytest.mark.parametrize("name", GRIDS)
def test_final_obs_is_where_the_episode_really_ended(name):
    """Kills: the next episode's first observation passed off as the last one of this episode."""
    family, tasks = make_family(name), Subject(name).lanes(40)
    longer = dict(family.options, horizon=family.horizon + 1)
    if "ends_at_door" in longer:
        longer["ends_at_door"] = False
    if longer.get("reward") == "ends":
        longer["reward"] = "once"
    uncut = make_family(name, **longer)
    policy = family.reference_policy("optimal", tasks)
    env, reference = family.make(tasks, seed=2), uncut.make(tasks, seed=2)
    observations, _ = env.reset()
    reference.reset()
    running = np.ones(40, bool)
    for _ in range(family.horizon):
        actions = policy.act(observations)
        observations, rewards, terminated, truncated, info = env.step(actions)
        expected = reference.step(actions)[0]
        policy.observe(rewards, terminated, truncated)
        ended = running & (terminated | truncated)
        if ended.any():
            assert np.array_equal(info["final_obs"][ended], expected[ended])
        running &= ~ended
        assert np.array_equal(observations[running], expected[running])
    assert not running.any()


def test_unknown_names_and_options_are_refused():
    """Kills: a misspelt option that is dropped without a word, and a whole study run on defaults."""
    with pytest.raises(UsageError, match="did you mean 'dark-room'"):
        make_family("darkroom")
    with pytest.raises(UsageError, match=r"did you mean 'horizon'.*choose from size, horizon"):
        make_family("dark-room", horizn=20)
    with pytest.raises(UsageError, match="expected int"):
        make_family("dark-room", size="9")
    with pytest.raises(UsageError, match="expected int"):
        make_family("dark-room", size=True)
    with pytest.raises(UsageError, match="expected bool"):
        make_family("key-to-door", ends_at_door=1)
    with pytest.raises(UsageError, match="choose from 'dense', 'once'"):
        make_family("dark-room", reward="sparse")
    with pytest.raises(UsageError, match="choose from optimal"):
        make_family("dark-room").reference_policy("best", [])
    for name, noise in (("gaussian-bandit", np.nan), ("linear-bandit", np.inf), ("tabular-mdp", np.nan)):
        with pytest.raises(UsageError, match="standard deviation"):
            make_family(name, noise=noise)
    assert make_family("gaussian-bandit", noise=1).options["noise"] == 1.0
