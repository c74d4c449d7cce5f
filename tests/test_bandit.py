"""Bandits against closed forms, and the agents that know nothing against published exact values."""

import numpy as np
import pytest

from icrl.abilities import bayes_play
from icrl.data_gen.record import record
from icrl.envs import make_family
from icrl.envs.bandits.gittins import (
    BayesOptimum,
    bayes_optimal_value,
    bernoulli_gittins_returns,
    gaussian_gittins_bonus,
    gaussian_gittins_returns,
    gittins_arms,
    gittins_indices,
)
from icrl.errors import UsageError
from icrl.seeding import Streams, stream_keys
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


@pytest.mark.slow
@pytest.mark.parametrize(("num_arms", "value", "error"), [(5, 409.4, 1.0), (10, 442.1, 1.0), (50, 465.2, 1.0)])
def test_golden_returns_of_the_gittins_rule_over_500_pulls(num_arms, value, error):
    """Kills: a grid of subsidies that is too coarse for long trials."""
    total_N = bernoulli_gittins_returns(500, num_arms, Streams(stream_keys(0, "test", np.arange(8000)))).sum(axis=1)
    standard_error = np.hypot(total_N.std() / np.sqrt(8000), error)
    # UCB1 earns 405.8 on five arms: it must not pass.
    assert total_N.mean() == pytest.approx(value, abs=2 * standard_error)


RL2 = [
    (10, 5, "thompson", 5.7),
    (10, 10, "thompson", 5.5),
    (10, 50, "thompson", 5.2),
    (100, 5, "thompson", 74.7),
    (100, 10, "thompson", 76.7),
    (100, 50, "thompson", 64.5),
    (500, 5, "thompson", 402.0),
    (500, 10, "thompson", 429.5),
    (500, 50, "thompson", 427.2),
    (10, 5, "ucb1", 6.7),
    (10, 10, "ucb1", 6.7),
    (10, 50, "ucb1", 6.6),
    (100, 5, "ucb1", 78.0),
    (100, 10, "ucb1", 82.4),
    (100, 50, "ucb1", 84.3),
    (500, 5, "ucb1", 405.8),
    (500, 10, "ucb1", 437.1),
    (500, 50, "ucb1", 457.6),
    (10, 5, "empirical-mean", 6.6),
    (10, 10, "empirical-mean", 6.6),
    (10, 50, "empirical-mean", 6.5),
    (100, 5, "empirical-mean", 74.8),
    (100, 10, "empirical-mean", 77.1),
    (100, 50, "empirical-mean", 78.0),
    (500, 5, "empirical-mean", 380.6),
    (500, 10, "empirical-mean", 395.0),
    (500, 50, "empirical-mean", 402.8),
]
OPTIONS = {
    "thompson": {},
    "ucb1": {"exploration": 0.2, "prior": True},
    "empirical-mean": {"prior": True, "first_of_equals": True},
}


@pytest.mark.parametrize(
    ("pulls", "num_arms", "learner", "value"),
    [pytest.param(*row, marks=[pytest.mark.slow] if row[0] > 100 or row[1] > 10 else []) for row in RL2],
)
def test_golden_returns_of_the_learners(pulls, num_arms, learner, value):
    """Kills: a prior that is left out, ties at random where the published greedy rule takes the first.

    The published values are means over 1,000 bandits, printed to one decimal place.
    """
    trials = 2000 if pulls < 500 else 1000
    family = make_family("bernoulli-bandit", num_arms=num_arms, train=1, validation=0, test=trials)
    tasks = family.split(0).test
    columns = record(
        family, tasks, learner, OPTIONS[learner], episodes=pulls, keep_every=1, seed=0, index=range(trials)
    )
    arm_NT = columns.actions.reshape(trials, pulls).astype(np.int64)
    mean_NK = family.means(tasks)
    earned_N = np.take_along_axis(mean_NK, arm_NT, axis=1).sum(axis=1)
    regret_N = pulls * mean_NK.max(axis=1) - earned_N
    payment_N = columns.rewards.reshape(trials, pulls).sum(axis=1)
    standard_error = np.hypot(payment_N.std() / np.sqrt(1000), regret_N.std() / np.sqrt(trials))
    assert pulls * num_arms / (num_arms + 1) - regret_N.mean() == pytest.approx(value, abs=0.05 + 3.5 * standard_error)


def test_the_bayes_optimum_pull_by_pull():
    """Kills: rewards that are counted at the wrong pull. By hand: 1/2, then 2/3 after a success or 1/2 after none."""
    assert BayesOptimum(2, 2).returns() == pytest.approx([1 / 2, (2 / 3 + 1 / 2) / 2])
    family = make_family("bernoulli-bandit")
    assert family.bayes_optimal(10).sum() == pytest.approx(bayes_optimal_value(10, 10), abs=1e-12)
    assert family.bayes_rule(10) == "Bayes-optimal"


def test_the_gittins_rule_as_the_bayes_optimal_reference():
    """Kills: a curve of other pulls than asked for, a value that is measured apart from the rule's own."""
    family = make_family("bernoulli-bandit", num_arms=5)
    curve = family.bayes_optimal(100)
    assert curve.shape == (100,)
    assert curve[0] == pytest.approx(0.5, abs=1e-9)
    assert curve.sum() == pytest.approx(78.69, abs=4 * np.hypot(0.08, 0.08))
    assert "Gittins" in family.bayes_rule(100)
    # Where the optimum is known the rule must not beat it, and loses next to nothing.
    total_N = bernoulli_gittins_returns(10, 5, Streams(stream_keys(0, "test", np.arange(20_000)))).sum(axis=1)
    assert total_N.mean() == pytest.approx(6.660, abs=4 * total_N.std() / np.sqrt(20_000))


@pytest.mark.parametrize("pulls", [10, 100])
@pytest.mark.parametrize("name", ["bernoulli-bandit", "gaussian-bandit"])
def test_the_bayes_agent_on_given_tasks(name, pulls):
    """Kills: the mean over the prior beside a model's return on three tasks, above the optimum of the three."""
    family = make_family(name, num_arms=5)
    tasks = family.split(0).test
    best_N = family.anchors(tasks).optimum
    few = [tasks[n] for n in np.argsort(best_N)[:3]]
    curve = family.bayes_optimal(pulls, few)
    assert curve.shape == (pulls,)
    assert curve.max() < np.sort(best_N)[:3].mean() < family.bayes_optimal(pulls).max()
    assert curve[0] == pytest.approx(family.means(few).mean(), abs=4 * 0.5 / np.sqrt(4000))
    # Over many tasks it is the mean over the prior again, but for the luck of their draw.
    many = family.bayes_optimal(pulls, tasks).sum()
    spread = pulls * best_N.std() / np.sqrt(len(tasks))
    assert many == pytest.approx(family.bayes_optimal(pulls).sum(), abs=4 * spread)


def test_no_bayes_optimum_is_claimed_where_there_is_none():
    """Kills: the value of another prior, hours of dynamic programming, a division by a noise of 0."""
    for family, pulls in (
        (make_family("adversarial-bandit"), 10),
        (make_family("bernoulli-bandit", favoured="odd"), 10),
        (make_family("bernoulli-bandit"), 501),
        (make_family("gaussian-bandit", noise=0.0), 10),
        (make_family("linear-bandit"), 10),
    ):
        assert bayes_play(family, pulls) is None


def test_gaussian_gittins_bonus_by_hand():
    """Kills: a step of the posterior of the wrong width. One pull left: nothing to learn for.

    Two left: b = s E max(0, z - b / s) with s = 1 / sqrt(ν (ν + 1)), so b / s solves c = φ(c) - c Φ(-c): c = 0.27600.
    """
    for nu in (0.4, 1.08, 20.0):
        bonus_MT = gaussian_gittins_bonus(3, nu)
        assert bonus_MT[1] == pytest.approx(0.0, abs=1e-9)
        for t in (0, 1):
            nu_t = nu + t
            assert bonus_MT[2, t] * np.sqrt(nu_t * (nu_t + 1)) == pytest.approx(0.2760, abs=3e-4)
        assert bonus_MT[3, 0] > bonus_MT[2, 0]


def test_gaussian_gittins_bonus_shrinks_with_the_posterior():
    """Kills: numerical diffusion, which would widen the posterior's steps where they are small."""
    fine, coarse = gaussian_gittins_bonus(40, 1.08, points=1401), gaussian_gittins_bonus(40, 1.08)
    valid = np.arange(41)[:, None] <= 40 - np.arange(40)
    assert np.abs(fine - coarse)[valid].max() < 1e-3
    assert (np.diff(fine[20, :20]) < 0).all()


def test_the_gaussian_gittins_rule_beats_thompson_and_ucb():
    """Kills: a rule that explores too long: over 100 pulls its regret is 3.8, Thompson sampling's is 6.0."""
    trials = 2000
    total_N = gaussian_gittins_returns(
        100, 5, 0.3, (1 / 2, 1 / 12), Streams(stream_keys(0, "test", np.arange(trials)))
    )
    assert 100 * 5 / 6 - total_N.sum(axis=1).mean() == pytest.approx(3.80, abs=0.3)


@pytest.mark.parametrize("noise", [0.3, 0.0])
def test_thompson_sampling_with_the_gaussian_prior(noise):
    """Kills: a prior that counts for too many pulls; without noise, arms that are never tried."""
    family = make_family("gaussian-bandit", train=1, validation=0, test=1_000, noise=noise)
    tasks = family.split(0).test
    columns = record(
        family, tasks, "thompson", {"prior": True}, episodes=500, keep_every=1, seed=0, index=range(1_000)
    )
    mean_NK = family.means(tasks)
    arm_NT = columns.actions.reshape(1_000, 500).astype(np.int64)
    regret_N = 500 * mean_NK.max(axis=1) - np.take_along_axis(mean_NK, arm_NT, axis=1).sum(axis=1)
    if noise:
        # Published for 20,000 bandits.
        assert regret_N.mean() == pytest.approx(9.45, abs=3 * regret_N.std() / np.sqrt(1_000))
    else:
        assert regret_N.mean() < 2.5


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
        family = make_family(
            "bernoulli-bandit", num_arms=num_arms, favoured="odd", train=4_000, validation=0, test=2_000
        )
        split = family.split(0)
        for name, values in regret.items():
            anchors = family.anchors(split.named(name))
            values.append(300 * (anchors.optimum - anchors.random).mean())
    assert np.mean(regret["train"]) == pytest.approx(127.26, abs=0.6)
    assert np.mean(regret["test"]) == pytest.approx(122.84, abs=0.7)


@pytest.mark.parametrize(("num_arms", "regret"), [(20, 136), (30, 141), (40, 143), (50, 144)])
def test_golden_random_regret_of_uniform_arms(num_arms, regret):
    """Kills: a number of arms that is not the number asked for (Headless-AD's larger sets, 300 pulls)."""
    family = make_family("bernoulli-bandit", num_arms=num_arms, train=5_000, test=100)
    anchors = family.anchors(family.split(0).train)
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


def test_out_of_distribution_means_stay_in_their_ranges():
    """Kills: a set that is drawn like the tasks to train on."""
    bernoulli, gaussian = make_family("bernoulli-bandit"), make_family("gaussian-bandit")
    for family, name, low, high in (
        (bernoulli, "close", 0.4, 0.6),
        (bernoulli, "rare", 0.0, 0.2),
        (gaussian, "wide", -1.0, 2.0),
        (gaussian, "close", 0.4, 0.6),
    ):
        tasks = family.split(0).ood[name]
        mean_NK = family.means(tasks)
        assert len(tasks) == family.num_tasks["test"]
        assert low <= mean_NK.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < mean_NK.max() <= high
    is_high_NK = bernoulli.means(bernoulli.split(0).ood["odd-arms"]) >= 0.5
    assert np.array_equal(is_high_NK, np.tile([0, 1] * 5, (1000, 1)))


def test_the_adversarial_bandit_is_good_on_the_other_side_in_testing():
    """Kills: a shift the wrong way round; best arm odd in training, even in testing."""
    family = make_family("adversarial-bandit")
    split = family.split(0)
    best = {name: family.means(split.named(name)).argmax(axis=1) % 2 for name in ("train", "validation", "test")}
    assert best["train"].mean() == pytest.approx(0.95, abs=0.01)
    assert best["validation"].mean() == pytest.approx(0.95, abs=0.08)
    assert best["test"].mean() == pytest.approx(0.05, abs=0.03)
    # Five arms on [.5, 1): the best is 1/2 + 5/12 on average, a random arm 1/2.
    anchors = family.anchors(split.test)
    assert (anchors.optimum - anchors.random).mean() == pytest.approx(5 / 12, abs=0.02)
    assert family.options == {"num_arms": 10, "train": 10_000, "validation": 100, "test": 1_000}
