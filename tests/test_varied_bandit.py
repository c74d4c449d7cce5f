"""Bandits with action sets of varying size, against Headless-AD's regrets."""

import numpy as np
import pytest

from icrl.abilities import bayes_play
from icrl.data_gen.record import record
from icrl.envs import make_family
from icrl.errors import UsageError
from icrl.tasks import Task

PULLS = 300


@pytest.fixture(scope="module")
def family():
    return make_family("headless-bandit", train=4_000, test=500)


@pytest.fixture(scope="module")
def many():
    """With so many bandits that the training set and the inverse one, 4 apart, are not taken for each other."""
    return make_family("headless-bandit", train=5_000, test=5_000)


@pytest.fixture(scope="module")
def split(family):
    return family.split(0)


def pulled(family, tasks, learner, pulls, **options):
    """Arms, shape (N, pulls)."""
    lanes = range(len(tasks))
    columns = record(family, tasks, learner, options, episodes=pulls, keep_every=1, seed=0, index=lanes)
    return columns.actions.reshape(len(tasks), pulls).astype(np.int64)


@pytest.mark.parametrize(
    ("name", "regret"),
    [
        ("train", 127.1),
        ("inverse", 123.0),
        ("20-arms", 136),
        ("30-arms", 141),
        ("40-arms", 143),
        ("50-arms", 144),
    ],
)
def test_golden_random_regrets(many, name, regret):
    """Kills: missing arms that a random policy pulls, the shift of the wrong set. Regrets over 300 pulls."""
    anchors = many.anchors(many.split(0).named(name)[:5000])
    regret_N = PULLS * (anchors.optimum - anchors.random)
    # Most published figures are whole numbers, and averages over bandits as well.
    assert regret_N.mean() == pytest.approx(regret, abs=0.6 + 2 * regret_N.std() / np.sqrt(5000))


@pytest.mark.parametrize(
    ("name", "regret"),
    [
        ("test", 21.9),
        ("inverse", 21.5),
        pytest.param("20-arms", 31.3, marks=pytest.mark.slow),
        pytest.param("30-arms", 40.3, marks=pytest.mark.slow),
        pytest.param("40-arms", 47.7, marks=pytest.mark.slow),
        ("50-arms", 55.1),
    ],
)
def test_golden_thompson_regrets(family, split, name, regret):
    """Kills: a learner that tries arms which pay nothing, which costs a pull each at least."""
    tasks = split.named(name)[:200]
    mean_NK = family.means(tasks)
    earned_N = np.take_along_axis(mean_NK, pulled(family, tasks, "thompson", PULLS), axis=1).sum(axis=1)
    regret_N = PULLS * mean_NK.max(axis=1) - earned_N
    assert regret_N.mean() == pytest.approx(regret, abs=4 * 2**0.5 * regret_N.std() / np.sqrt(len(tasks)))


@pytest.mark.parametrize(
    ("learner", "options"),
    [
        ("thompson", {}),
        ("ucb1", {}),
        ("ucb1", {"prior": True}),
        ("empirical-mean", {}),
        ("empirical-mean", {"prior": True, "first_of_equals": True}),
        ("random", {}),
        ("optimal", {}),
    ],
)
def test_missing_arms_are_never_pulled(family, split, learner, options):
    """Kills: an arm that was never pulled, hence of infinite score, though the task does not have it."""
    tasks = split.test[:100]
    assert (pulled(family, tasks, learner, 60, **options) < family.valid_actions(tasks)[:, None]).all()


def test_the_number_of_arms_is_observed_and_the_missing_ones_pay_nothing(family):
    """Kills: padding that pays, a number that is off by one."""
    tasks = [Task(0, {"means": [1.0, 1.0]}), Task(1, {"means": [1.0] * 5})] * 50
    env = family.make(tasks, seed=0)
    observations, _ = env.reset()
    assert observations.tolist() == [2, 5] * 50
    for arm, paid in ((0, [1, 1]), (1, [1, 1]), (2, [0, 1]), (4, [0, 1]), (5, [0, 0]), (49, [0, 0])):
        observations, rewards, terminated, _, _ = env.step(np.full(100, arm))
        assert rewards.tolist() == paid * 50
        assert terminated.all()
        assert observations.tolist() == [2, 5] * 50


def test_arms_and_halves_of_the_sets(family, split):
    """Kills: a number of arms that is not uniform on 4 … 20, sets of another size than their name says."""
    count_N = family.valid_actions(split.train)
    assert set(count_N.tolist()) == set(range(4, 21))
    assert count_N.mean() == pytest.approx(12, abs=4 * count_N.std() / np.sqrt(len(count_N)))
    for name in ("train", "test", "inverse"):
        best_N = family.means(split.named(name)).argmax(axis=1) % 2
        assert best_N.mean() == pytest.approx(0.05 if name == "inverse" else 0.95, abs=0.04)
    even_N = family.means(split.ood["uniform"])[:, 0]
    assert (even_N.min(), even_N.max()) == pytest.approx((0, 1), abs=0.02)
    for arms in (20, 30, 40, 50):
        tasks = split.ood[f"{arms}-arms"]
        assert set(family.valid_actions(tasks).tolist()) == {arms}
        assert family.means(tasks)[:, :arms].mean() == pytest.approx(0.5, abs=0.02)


def test_options(family):
    """Kills: sets that do not fit the action space, ranges the wrong way round."""
    small = make_family("headless-bandit", largest=30, train=5, validation=0, test=5)
    assert list(small.ood_sets) == ["inverse", "uniform", "20-arms", "30-arms"]
    assert set(small.split(0).ood) == set(small.ood_sets)
    assert int(small.action_space.n) == 30
    with pytest.raises(UsageError, match="out of order"):
        make_family("headless-bandit", min_arms=9, max_arms=8)
    with pytest.raises(UsageError, match="out of order"):
        make_family("headless-bandit", largest=10)
    assert bayes_play(family, 10) is None
