"""Bandits against closed forms, and the agents that know nothing against published exact values."""

import numpy as np
import pytest

from icrl.envs import make_family
from icrl.envs.gittins import bayes_optimal_value, gittins_arms, gittins_indices
from icrl.errors import UsageError
from icrl.tasks import Task


@pytest.mark.parametrize("num_arms", [5, 10, 50])
def test_golden_oracle_and_random_returns(num_arms):
    """Kills: means that are not uniform: the best of k is k/(k+1) on average, a random arm 1/2 (RL² protocol)."""
    family = make_family("bernoulli-bandit", num_arms=num_arms, train=20_000)
    anchors = family.anchors(family.split(0).train)
    sem = 1 / np.sqrt(20_000)
    assert anchors.optimum.mean() == pytest.approx(num_arms / (num_arms + 1), abs=4 * anchors.optimum.std() * sem)
    assert anchors.random.mean() == pytest.approx(0.5, abs=4 * anchors.random.std() * sem)


@pytest.mark.parametrize(("num_arms", "value"), [(5, 6.660), (10, 6.714), (50, 6.714)])
def test_golden_bayes_optimal_values_of_10_pulls(num_arms, value):
    """Kills: a wrong posterior, a budget that is off by one."""
    assert bayes_optimal_value(10, num_arms) == pytest.approx(value, abs=5e-4)


def test_bayes_optimal_value_by_hand():
    """Kills: an arm never tried that cannot be chosen. Two pulls: 1/2, then 2/3 after a success or 1/2 after none."""
    assert bayes_optimal_value(1, 2) == pytest.approx(1 / 2)
    assert bayes_optimal_value(2, 2) == pytest.approx(1 / 2 + (2 / 3 + 1 / 2) / 2)


def play_gittins(pulls: int, num_arms: int, trials: int) -> np.ndarray:
    """Total reward of each trial of the Gittins rule on random bandits, shape (N,)."""
    family = make_family("bernoulli-bandit", num_arms=num_arms, train=1, validation=0, test=trials)
    env = family.make(family.split(0).test, seed=1)
    env.reset()
    indices = gittins_indices(pulls)
    successes_NK = np.zeros((trials, num_arms), np.int64)
    failures_NK = np.zeros((trials, num_arms), np.int64)
    total_N, lane_N = np.zeros(trials), np.arange(trials)
    for left in range(pulls, 0, -1):
        arm_N = gittins_arms(indices, left, successes_NK, failures_NK)
        reward_N = env.step(arm_N)[1]
        successes_NK[lane_N, arm_N] += reward_N > 0
        failures_NK[lane_N, arm_N] += reward_N == 0
        total_N += reward_N
    return total_N


@pytest.mark.parametrize(
    ("pulls", "num_arms", "trials", "value", "error"),
    [
        (10, 5, 20_000, 6.660, 0.0),
        (10, 10, 20_000, 6.714, 0.0),
        (100, 5, 20_000, 78.69, 0.08),
        (100, 10, 10_000, 83.66, 0.08),
        (100, 50, 4_000, 85.47, 0.08),
    ],
)
def test_golden_returns_of_the_gittins_rule(pulls, num_arms, trials, value, error):
    """Kills: an index of the wrong number of pulls left, successes swapped with failures.

    `error` is the standard error of the published value, which was simulated too.
    """
    total_N = play_gittins(pulls, num_arms, trials)
    standard_error = np.hypot(total_N.std() / np.sqrt(trials), error)
    assert total_N.mean() == pytest.approx(value, abs=4 * standard_error)


def test_gittins_indices_by_hand():
    """Kills: a coarse grid. One pull left: the mean. Two left, a new arm: λ = 1/2 + 1/2 (2/3 - λ), so λ = 5/9."""
    indices = gittins_indices(4)
    assert [table.shape for table in indices] == [(0, 0), (4, 4), (3, 3), (2, 2), (1, 1)]
    assert indices[1][:2, :2] == pytest.approx(np.array([[1 / 2, 1 / 3], [2 / 3, 1 / 2]]), abs=1e-9)
    assert indices[2][0, 0] == pytest.approx(5 / 9, abs=1e-4)
    assert indices[4][0, 0] > indices[3][0, 0] > indices[2][0, 0]


def test_gaussian_rewards_have_the_stated_mean_and_noise():
    """Kills: a variance passed for a standard deviation, noise shared between lanes."""
    family = make_family("gaussian-bandit")
    assert (family.num_arms, family.noise) == (5, 0.3)
    task = Task(0, {"means": [0.1, 0.2, 0.3, 0.4, 0.5]})
    env = family.make([task] * 40_000, seed=0)
    env.reset()
    rewards = env.step(np.full(40_000, 2))[1]
    assert rewards.mean() == pytest.approx(0.3, abs=4 * 0.3 / 200)
    assert rewards.std() == pytest.approx(0.3, rel=0.02)
    assert len(np.unique(rewards)) > 39_000


def test_a_pull_is_an_episode():
    """Kills: a bandit that is truncated instead of terminated, so that a learner bootstraps from nothing."""
    family = make_family("bernoulli-bandit")
    env = family.make(family.split(0).test[:3], seed=0)
    env.reset()
    for _ in range(3):
        _, rewards, terminated, truncated, info = env.step(np.zeros(3, np.int64))
        assert terminated.all()
        assert not truncated.any()
        assert info["_final_obs"].all()
        assert set(rewards.tolist()) <= {0.0, 1.0}


def test_golden_random_regret_of_the_odd_and_even_shift():
    """Kills: good arms on the wrong side of the shift: 127.1 over 300 pulls in training, 123.0 in testing.

    Both are means over 4 to 20 arms, from a simulation; exactly they are 127.26 and 122.84.
    """
    regret = {"train": [], "test": []}
    for num_arms in range(4, 21):
        family = make_family("bernoulli-bandit", num_arms=num_arms, favoured="odd", train=4_000, test=4_000)
        for name, values in regret.items():
            anchors = family.anchors(family.split(0).named(name))
            values.append(300 * (anchors.optimum - anchors.random).mean())
    assert np.mean(regret["train"]) == pytest.approx(127.26, abs=0.6)
    assert np.mean(regret["test"]) == pytest.approx(122.84, abs=0.6)


@pytest.mark.parametrize(("num_arms", "regret"), [(20, 136), (30, 141), (40, 143), (50, 144)])
def test_golden_random_regret_of_uniform_arms(num_arms, regret):
    """Kills: a number of arms that is not the number asked for (Headless-AD's larger sets, 300 pulls)."""
    family = make_family("bernoulli-bandit", num_arms=num_arms, test=10_000)
    anchors = family.anchors(family.split(0).test)
    assert 300 * (anchors.optimum - anchors.random).mean() == pytest.approx(regret, abs=1.0)


def test_favoured_arms():
    """Kills: halves that overlap, a share of tasks other than 95%."""
    family = make_family("bernoulli-bandit", num_arms=6, favoured="odd", train=4_000, validation=50, test=4_000)
    split = family.split(0)
    for tasks, share in ((split.train, 0.95), (split.test, 0.05)):
        is_high_NK = family.means(tasks) >= 0.5
        odd_is_good_N = is_high_NK[:, 1]
        assert np.array_equal(is_high_NK, np.where(odd_is_good_N[:, None], [0, 1] * 3, [1, 0] * 3))
        assert odd_is_good_N.mean() == pytest.approx(share, abs=0.02)


def test_more_training_tasks_leave_the_held_out_ones_alone():
    """Kills: two sizes of training set that are tested on different bandits."""
    small, large = (make_family("bernoulli-bandit", train=train).split(3) for train in (10, 500))
    assert small.test == large.test
    assert small.validation == large.validation
    assert small.train == large.train[:10]


def test_blocks_of_pulls_cover_the_trial():
    """Kills: pulls that no picture shows, or that two show."""
    family = make_family("gaussian-bandit")
    groups = family.episode_groups(100, pictures=6)
    assert np.concatenate([np.arange(100)[group] for group in groups]).tolist() == list(range(100))
    assert max(group.stop - group.start for group in groups) <= 17
    assert family.episode_groups(2, pictures=6) == [slice(0, 1), slice(1, 2)]


def test_options_out_of_range_are_refused():
    """Kills: one arm, negative noise."""
    with pytest.raises(UsageError, match="num_arms=1"):
        make_family("bernoulli-bandit", num_arms=1)
    with pytest.raises(UsageError, match="noise=-1"):
        make_family("gaussian-bandit", noise=-1.0)
