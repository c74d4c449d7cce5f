"""Measures and intervals against numbers worked out by hand."""

import numpy as np
import pytest

from icrl.data_gen.record import record_histories
from icrl.envs import make_family
from icrl.eval.bootstrap import resample
from icrl.eval.measures import comparable, describe, iqm, measure, normalise, pull_regret, summarise
from icrl.history import LearningHistory
from icrl.tasks import Anchors


def test_the_four_measures():
    """Kills: last5 of the first five, a gain of the wrong sign, an auc that is a sum."""
    returns = np.array([[[1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]]])
    found = {name: value.item() for name, value in measure(returns).items()}
    assert found == {"zero_shot": 1.0, "last5": 8.0, "gain": 7.0, "auc": 43.0 / 7.0}


def test_fewer_than_five_episodes():
    """Kills: an empty slice, whose mean is NaN."""
    assert measure(np.array([[[1.0, 3.0]]]))["last5"].item() == 2.0


def test_iqm_cuts_a_quarter_at_either_end():
    """Kills: a trim over one axis only, or of half the values at each end."""
    values = np.array([[100.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, -100.0]])
    assert iqm(values) == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_normalised_by_each_tasks_own_anchors():
    """Kills: anchors averaged over tasks before dividing, and a division by zero where random is already optimal."""
    anchors = Anchors(random=np.array([0.0, 1.0, 2.0]), optimum=np.array([10.0, 3.0, 2.0]))
    returns = np.array([[[0.0, 5.0], [1.0, 3.0], [2.0, 2.0]]])
    np.testing.assert_allclose(normalise(returns, anchors), [[[0.0, 0.5], [0.0, 1.0], [1.0, 1.0]]])


def test_resampled_means_are_means_over_drawn_seeds_and_tasks():
    """Kills: tasks drawn apart for each seed, weights that do not sum to one, axes swapped."""
    values = np.random.default_rng(0).normal(size=(3, 4, 2))
    draws = resample(3, 4, 200, seed=0)
    np.testing.assert_allclose(draws.seed_BS.sum(axis=1), 1.0)
    np.testing.assert_allclose(draws.task_BN.sum(axis=1), 1.0)
    counts_s, counts_n = np.rint(draws.seed_BS * 3).astype(int), np.rint(draws.task_BN * 4).astype(int)
    for b in range(5):
        picked = values[np.repeat(np.arange(3), counts_s[b])][:, np.repeat(np.arange(4), counts_n[b])]
        np.testing.assert_allclose(draws.means(values)[b], picked.mean(axis=(0, 1)))


def test_the_interval_covers_the_draw_of_tasks():
    """Kills: an interval over seeds alone, which is empty where the seeds agree and the tasks differ.

    For N tasks of variance v, all seeds alike, the mean's standard error is sqrt(v / N).
    """
    task_values = np.random.default_rng(1).normal(size=400)
    found = describe(np.tile(task_values, (5, 1)), resample(5, 400, 4000, seed=0))
    half_width = 1.96 * task_values.std() / np.sqrt(400)
    assert found["ci_high"] - found["mean"] == pytest.approx(half_width, rel=0.1)
    assert found["mean"] - found["ci_low"] == pytest.approx(half_width, rel=0.1)


def test_the_interval_is_a_function_of_the_seed():
    """Kills: a bootstrap seed that is accepted and ignored."""
    returns = np.random.default_rng(2).normal(size=(3, 5, 7))
    first, again, other = (summarise(returns, resample(3, 5, 500, seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_optimum_has_no_regret_where_every_pull_offers_other_arms():
    """Kills: a regret by the payments, whose luck is no regret; the mean over contexts in place of each."""
    family = make_family("contextual-linear-bandit", train=1, validation=0, test=3)
    tasks = family.split(0).test
    histories = record_histories(family, tasks, "optimal", {}, episodes=20)
    optimum = family.anchors(tasks).optimum
    assert np.abs(pull_regret(family, tasks, histories, optimum)).max() < 1e-6
    random = pull_regret(family, tasks, record_histories(family, tasks, "random", {}, episodes=2000), optimum)
    assert (random >= 0).all()
    np.testing.assert_allclose(random.mean(axis=1), optimum - family.anchors(tasks).random, atol=0.1)


def test_a_script_that_random_actions_match_is_no_measure():
    """Kills: a full score for any agent where the scripted expert earns no more than random actions."""
    family, anchors = make_family("cartpole"), Anchors(random=np.array([10.0, 1.0]), optimum=np.array([9.0, 5.0]))
    assert family.best_policy == "scripted expert"
    assert not comparable(family, anchors).known
    fine = Anchors(random=np.array([8.0, 1.0]), optimum=np.array([9.0, 5.0]))
    assert comparable(family, fine) is fine
    assert comparable(make_family("dark-room"), anchors) is anchors


def test_regret_counts_the_arms_mean_not_its_payment():
    """Kills: a regret that is below zero where an arm happened to pay well."""
    family = make_family("bernoulli-bandit", num_arms=3, test=1, train=1, validation=1)
    (task,) = family.split(0).test
    task.params["means"][:] = [0.2, 0.9, 0.5]
    history = LearningHistory(
        observations=np.zeros(4, np.uint8), actions=np.array([0, 1, 2, 1]),
        rewards=np.array([1, 1, 1, 0], np.float32), terminated=np.ones(4, bool), truncated=np.zeros(4, bool),
        episode=np.arange(4, dtype=np.int32), step_in_episode=np.zeros(4, np.int32),
        final_observations=np.zeros(4, np.uint8), task_id=task.id, task_params=task.params,
        learner="x", learner_seed=0,
    )  # fmt: skip
    np.testing.assert_allclose(pull_regret(family, [task], [history], np.array([0.9])), [[0.7, 0.0, 0.4, 0.0]])
