"""Random tabular MDPs and their learners against RL²'s numbers, plain enumeration and the prior's moments."""

import json
from itertools import product

import numpy as np
import pytest

from icrl.data_gen.learners import make_learner
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.data_gen.record import record, record_histories
from icrl.envs import make_family
from icrl.envs.mdp.tabular import START_STATE, optimal_values
from icrl.errors import UsageError
from icrl.tasks import Task

EPISODES = (10, 25, 50, 75, 100)
RANDOM = (100.1, 250.2, 499.7, 749.9, 999.4)
TOTALS = {
    # Published by RL², whose reward prior for both is N(0, 1): see docs/families/tabular-mdp.md.
    "published PSRL": ("psrl", {"prior_mean": 0.0}, (138.1, 408.8, 904.4, 1417.1, 1939.5)),
    "published OPSRL": ("opsrl", {"prior_mean": 0.0}, (144.1, 425.2, 930.7, 1449.2, 1973.9)),
    "PSRL": ("psrl", {}, (133.4, 404.1, 903.3, 1420.8, 1945.0)),
    "greedy": ("posterior-greedy", {}, (149.5, 424.9, 897.3, 1375.1, 1854.7)),
}


def totals(learner, options, mdps, episodes):
    """Reward of all episodes up to each, shape `(mdps, episodes)`."""
    family = make_family("tabular-mdp", train=1, validation=0, test=mdps)
    tasks = family.split(0).test
    columns = record(family, tasks, learner, options, episodes=episodes, keep_every=1, seed=0, index=range(mdps))
    return columns.rewards.reshape(mdps, episodes, 10).sum(axis=2).cumsum(axis=1)


def check_totals(name, mdps, sizes):
    learner, options, published = TOTALS[name]
    found = totals(learner, options, mdps, max(sizes))
    for episodes, expected in zip(EPISODES, published, strict=True):
        if episodes in sizes:
            total = found[:, episodes - 1]
            # The reference numbers are means of about 1,000 MDPs: they have an error of their own.
            error = total.std() * np.sqrt(1 / mdps + 1 / 1000)
            assert total.mean() == pytest.approx(expected, abs=3 * error), episodes


@pytest.mark.parametrize(("name", "mdps"), [("PSRL", 500), ("greedy", 1000), ("published PSRL", 500)])
def test_learners_earn_what_is_published(name, mdps):
    """Kills: a posterior of the wrong width, a plan that ignores the horizon, a last transition not learned from."""
    check_totals(name, mdps, sizes=(10, 25))


def test_optimistic_sampling_earns_what_is_published():
    """Kills: an envelope over the wrong axis, or over a single sample. 10 episodes."""
    check_totals("published OPSRL", 300, sizes=(10,))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TOTALS))
def test_learners_earn_what_is_published_over_long_trials(name):
    """Kills: a learner that stops learning after the episodes that the quick tests see. 25 to 100 episodes."""
    check_totals(name, 500 if "OPSRL" in name else 2000, sizes=(25, 50, 75, 100))


def test_golden_returns():
    """Kills: an off-by-one in the horizon, a start elsewhere, transitions that favour a state: 21.8 and 10 n."""
    family = make_family("tabular-mdp", train=1, validation=0, test=5000)
    anchors = family.anchors(family.split(0).test)
    assert anchors.optimum.mean() == pytest.approx(21.8, abs=0.05 + 3 * anchors.optimum.std() / 5000**0.5)
    for episodes, expected in zip(EPISODES, RANDOM, strict=True):
        error = anchors.random.std() * np.sqrt(1 / 5000 + 1 / 1000)
        assert episodes * anchors.random.mean() == pytest.approx(expected, abs=3 * episodes * error)


def value_of(plan, reward, rows, state, step):
    """Return of a plan `(H, S)` from a state on, by plain recursion."""
    if step == len(plan):
        return 0.0
    action = plan[step][state]
    future = sum(rows[state, action, z] * value_of(plan, reward, rows, z, step + 1) for z in range(len(rows)))
    return reward[state, action] + future


def test_the_optimum_is_the_best_of_all_plans():
    """Kills: a policy that may not depend on the step; a maximum over states; transposed transitions."""
    family = make_family("tabular-mdp", states=2, actions=3, horizon=3, train=1, validation=0, test=3)
    for task in family.split(0).test:
        reward, rows = family.mean_rewards([task])[0], family.transitions([task])[0]
        plans = product(product(range(3), repeat=2), repeat=3)
        best = max(value_of(plan, reward, rows, START_STATE, 0) for plan in plans)
        assert family.anchors([task]).optimum[0] == pytest.approx(best, abs=1e-12)
        assert optimal_values(reward[None], rows[None], 3)[0, 0, START_STATE].max() == pytest.approx(best, abs=1e-12)


def test_the_environment_follows_its_tables():
    """Kills: rewards without noise, rows read as columns, a last state that is never reached."""
    family = make_family("tabular-mdp", states=3, actions=2, horizon=50, noise=0.5)
    task = family.split(0).test[0]
    lanes = 4000
    env = family.make([task] * lanes, seed=0)
    state, _ = env.reset()
    assert (state == START_STATE).all()
    generator = np.random.default_rng(0)
    counts, rewards = np.zeros((3, 2, 3)), np.zeros((3, 2, 2))
    for _ in range(49):
        action = generator.integers(0, 2, lanes)
        following, reward, *_ = env.step(action)
        np.add.at(counts, (state, action, following), 1)
        np.add.at(rewards, (state, action, 0), reward)
        np.add.at(rewards, (state, action, 1), reward**2)
        state = following
    visits = counts.sum(axis=2)
    assert visits.min() > 1000
    found = counts / visits[..., None]
    expected = family.transitions([task])[0]
    assert np.abs((found - expected) / np.sqrt(expected * (1 - expected) / visits[..., None])).max() < 4.5
    mean = rewards[..., 0] / visits
    assert np.abs((mean - family.mean_rewards([task])[0]) * np.sqrt(visits) / 0.5).max() < 4.5
    assert np.sqrt(rewards[..., 1] / visits - mean**2) == pytest.approx(0.5, rel=0.1)


def test_the_prior_has_its_moments():
    """Kills: gamma variates of the wrong shape; out-of-distribution sets that are not out."""
    family = make_family("tabular-mdp", train=1, validation=0, test=500)
    split = family.split(0)
    for tasks, mean, alpha in ((split.test, 1, 1), (split.ood["sparse"], 1, 0.1), (split.ood["extrapolation"], 2, 1)):
        reward, rows = family.mean_rewards(tasks), family.transitions(tasks)
        assert reward.mean() == pytest.approx(mean, abs=4 / reward.size**0.5)
        assert reward.std() == pytest.approx(1, abs=0.02)
        assert rows.sum(axis=3) == pytest.approx(1, abs=1e-12)
        assert rows.mean(axis=(0, 1, 2)) == pytest.approx(0.1, abs=0.01)
        assert rows.var() == pytest.approx(0.1 * 0.9 / (10 * alpha + 1), rel=0.02)


def test_parameters_alone_make_the_mdp():
    """Kills: tables that depend on the split's seed, the task's number or its place in a batch."""
    family = make_family("tabular-mdp", train=2, validation=0, test=30)
    tasks = family.split(3).test
    stored = Task(999, json.loads(json.dumps(tasks[17].params)))
    assert np.array_equal(family.mean_rewards(tasks)[17], family.mean_rewards([stored])[0])
    assert np.array_equal(family.transitions(tasks)[17], family.transitions([stored])[0])
    assert np.array_equal(family.anchors(tasks).optimum[17:18], family.anchors([stored]).optimum)


def test_more_training_tasks_leave_the_held_out_ones():
    """Kills: scores on other test tasks because the training set grew."""
    small, large = (make_family("tabular-mdp", train=train, test=50).split(0) for train in (5, 500))
    assert small.test == large.test
    assert small.validation == large.validation


@pytest.mark.parametrize("axis", ["reward", "dynamics"])
def test_a_held_part_is_the_same_in_all_tasks(axis):
    """Kills: `hold` that is only recorded; a set from outside an axis that does not vary."""
    family = make_family("tabular-mdp", hold=[axis], train=5, validation=2, test=5)
    tasks = [*family.split(0).train, *family.split(1).test]
    tables = {"reward": family.mean_rewards(tasks), "dynamics": family.transitions(tasks)}
    for name, table in tables.items():
        same = np.array_equal(table, np.broadcast_to(table[:1], table.shape))
        assert same == (name == axis)
    assert list(family.ood_sets) == (["sparse"] if axis == "reward" else ["extrapolation"])


def test_learners_know_what_is_held():
    """Kills: a learner that explores rewards which its tasks share. Greedy knows them from the first step on."""
    family = make_family("tabular-mdp", hold=["reward"], train=1, validation=0, test=500)
    tasks = family.split(0).test
    for learner in ("posterior-greedy", "psrl", "opsrl"):
        histories = record_histories(family, tasks, learner, {}, episodes=1)
        first = np.array([history.rewards[0] for history in histories])
        # All episodes start in the same state, where the best reward of the shared table is known.
        if learner == "posterior-greedy":
            best = family.mean_rewards(tasks[:1])[0, START_STATE].max()
            assert first.mean() == pytest.approx(best, abs=0.2)
        assert np.mean([history.rewards.sum() for history in histories]) > family.anchors(tasks).random.mean() + 5


@pytest.mark.parametrize("learner", ["psrl", "opsrl", "posterior-greedy"])
def test_a_learner_does_not_depend_on_its_batch(learner):
    """Kills: random numbers or tables shared between lanes."""
    family = make_family("tabular-mdp", train=40, validation=0, test=1)
    tasks = family.split(0).train
    together = record_histories(family, tasks, learner, {}, episodes=12, seed=5)
    alone = record_histories(family, tasks[31:32], learner, {}, episodes=12, seed=5, index=[31])[0]
    for column in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(together[31], column), getattr(alone, column))


def test_wrong_options_are_refused():
    """Kills: a noiseless posterior that divides by zero; nothing left to vary; a planner on something else."""
    with pytest.raises(UsageError, match="noise=0"):
        make_family("tabular-mdp", noise=0)
    with pytest.raises(UsageError, match="varies nothing"):
        make_family("tabular-mdp", hold=["reward", "dynamics"])
    with pytest.raises(UsageError, match="states=1"):
        make_family("tabular-mdp", states=1)
    room, family = make_family("dark-room"), make_family("tabular-mdp", train=1, test=1)
    with pytest.raises(UsageError, match="dark-room is not one"):
        make_learner("psrl", {}, LearnerSetting(room, room.split(0).train[:2], 5, 0, np.arange(2)))
    with pytest.raises(UsageError, match="samples=0"):
        make_learner("opsrl", {"samples": 0}, LearnerSetting(family, family.split(0).train, 5, 0, np.arange(1)))
