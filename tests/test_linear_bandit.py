"""Linear bandits against closed forms, and their learners against dense linear algebra."""

import numpy as np
import pytest

from icrl.data_gen.learners import make_learner
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.data_gen.record import record, record_histories
from icrl.envs import make_family
from icrl.envs.bandits.linear import expected_largest_normal, inner, normal_pairs, thetas
from icrl.envs.kit.measured import measured_returns
from icrl.envs.kit.simple_policies import UniformActions
from icrl.errors import UsageError

FIXED, CONTEXTUAL = "linear-bandit", "contextual-linear-bandit"


def hull_perimeter(points: np.ndarray) -> float:
    """Of the convex hull of points of the plane."""
    from scipy.spatial import ConvexHull

    return ConvexHull(points).area


def test_optimum_of_fixed_features_in_closed_form():
    """Kills: features drawn again for a split, θ of the wrong length.

    The direction of θ is uniform, so the mean of max φ·θ over directions is the hull's perimeter / 2π, and the mean
    length of N(0, I/2) is sqrt(π) / 2.
    """
    family = make_family(FIXED, train=20_000)
    for seed in (0, 1):
        anchors = family.anchors(family.split(seed).train)
        expected = np.sqrt(np.pi) / 2 * hull_perimeter(family.arm_features) / (2 * np.pi)
        error = anchors.optimum.std() / np.sqrt(20_000)
        assert anchors.optimum.mean() == pytest.approx(expected, abs=4 * error)
        assert anchors.random.mean() == pytest.approx(0.0, abs=4 * anchors.random.std() / np.sqrt(20_000))


def test_all_tasks_share_their_arms_and_theta_is_normal():
    """Kills: features of variance 1 rather than 1/D, features that depend on the number of arms before them."""
    family = make_family(FIXED, num_arms=4_000, dimension=5, train=4_000)
    assert family.arm_features.std() * np.sqrt(5) == pytest.approx(1.0, abs=0.02)
    assert np.array_equal(family.arm_features[:10], make_family(FIXED, dimension=5).arm_features)
    theta_ND = thetas(family.split(0).train, 5)
    assert np.cov(theta_ND.T) * 5 == pytest.approx(np.eye(5), abs=0.1)
    task = family.split(0).train[0]
    assert family.means([task])[0] == pytest.approx(family.arm_features @ task.params["theta"])


@pytest.mark.parametrize(("count", "value"), [(1, 0.0), (2, np.pi**-0.5), (3, 1.5 * np.pi**-0.5), (10, 1.5387527)])
def test_expected_largest_of_some_normal_numbers(count, value):
    """Kills: a tail that is cut off. Known: 1/sqrt(π) of two, 3/(2 sqrt(π)) of three, 1.5387527 of ten."""
    assert expected_largest_normal(count) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("options", [{}, {"num_arms": 3, "dimension": 5}, {"hold": ["start"]}])
def test_contextual_anchors_are_what_the_policies_earn(options):
    """Kills: a best arm by the features of the last pull, a deviation without the 1/sqrt(D)."""
    family = make_family(CONTEXTUAL, train=1, validation=0, test=20, **options)
    tasks = family.split(0).test
    anchors = family.anchors(tasks)
    policies = (
        (anchors.random, lambda lanes, streams: UniformActions(family, lanes, streams)),
        (anchors.optimum, lambda lanes, streams: family.reference_policy("optimal", lanes)),
    )
    for stated, policy in policies:
        earned = measured_returns(family, tasks, policy, 2_000)
        error = earned.std(axis=1) / np.sqrt(2_000)
        assert (np.abs(earned.mean(axis=1) - stated) < 4.5 * error).all()


def test_features_are_drawn_anew_and_paid_for_as_observed():
    """Kills: a reward of the next pull's features, features that two lanes or two pulls share."""
    family = make_family(CONTEXTUAL, noise=0.0, num_arms=4, dimension=3)
    tasks = family.split(0).test
    theta_ND = thetas(tasks, 3)
    env = family.make(tasks, seed=0)
    observations, _ = env.reset()
    seen = [observations]
    for pull in range(50):
        arm_N = np.full(len(tasks), pull % 4)
        mean_NK = inner(family.features(observations), theta_ND)
        observations, rewards, terminated, _, info = env.step(arm_N)
        assert rewards == pytest.approx(mean_NK[:, pull % 4], abs=1e-6)
        assert terminated.all()
        assert np.array_equal(info["final_obs"], seen[-1])
        seen.append(observations)
    feature = np.stack(seen)
    assert len(np.unique(feature)) > 0.99 * feature.size
    flat = feature.reshape(-1, 12).astype(np.float64)
    assert flat.mean() == pytest.approx(0.0, abs=0.01)
    assert np.cov(flat.T) * 3 == pytest.approx(np.eye(12), abs=0.06)


def test_normal_pairs_are_box_and_mullers():
    """Kills: a sign or a half turn that is lost, so that an angle is never drawn."""
    rng = np.random.default_rng(0)
    radius_share, angle_share = rng.random((2, 5, 1000))
    radius, angle = np.sqrt(-2 * np.log1p(-radius_share)), 2 * np.pi * angle_share
    first, second = np.split(normal_pairs(radius_share, angle_share), 2)
    assert first**2 + second**2 == pytest.approx(radius**2)
    # The same circle, entered at another angle: from -π/2, the right half first, then the left half downwards.
    turned = np.where(angle_share < 0.5, angle - np.pi / 2, np.pi - (angle - 1.5 * np.pi))
    assert first == pytest.approx(radius * np.cos(turned), abs=1e-9)
    assert second == pytest.approx(radius * np.sin(turned), abs=1e-9)


def test_held_features_are_those_of_the_fixed_bandit():
    """Kills: a held axis that goes on varying, a family without tasks."""
    family = make_family(CONTEXTUAL, hold=["start"])
    assert family.axes == ("reward",)
    env = family.make(family.split(0).test[:3], seed=0)
    first, _ = env.reset()
    second = env.step(np.zeros(3, np.int64))[0]
    expected = make_family(FIXED).arm_features.astype(np.float32).ravel()
    assert np.array_equal(first, np.tile(expected, (3, 1)))
    assert np.array_equal(first, second)
    assert family.split(0).test == make_family(CONTEXTUAL).split(0).test
    with pytest.raises(UsageError, match="leaves one task"):
        make_family(CONTEXTUAL, hold=["reward"])
    with pytest.raises(UsageError, match="cannot hold 'dynamics'"):
        make_family(CONTEXTUAL, hold=["dynamics"])


@pytest.mark.parametrize("name", [FIXED, CONTEXTUAL])
def test_out_of_distribution_thetas(name):
    """Kills: sets that are drawn like the tasks to train on."""
    family = make_family(name, train=2_000, test=2_000)
    split = family.split(0)
    length = {key: np.linalg.norm(thetas(split.named(key), 2), axis=1).mean() for key in ("train", *split.ood)}
    assert length["train"] == pytest.approx(np.sqrt(np.pi) / 2, abs=0.05)
    assert length["scaled"] / length["train"] == pytest.approx(2.0, abs=0.15)
    assert length["weak"] / length["train"] == pytest.approx(0.2, abs=0.015)


@pytest.mark.parametrize("name", [FIXED, CONTEXTUAL])
@pytest.mark.parametrize(
    ("learner", "options"), [("lin-thompson", {}), ("lin-ucb", {"exploration": 0.7, "ridge": 2.0})]
)
def test_the_posterior_is_that_of_dense_linear_algebra(name, learner, options):
    """Kills: an update of another lane's matrix, of the arm that was not pulled, a noise that is squared twice."""
    family = make_family(name, dimension=3)
    tasks = family.split(0).train[:6]
    setting = LearnerSetting(family, tasks, 40, 0, np.arange(6))
    agent = make_learner(learner, options, setting)
    prior, noise = (3.0, 0.3**2) if learner == "lin-thompson" else (2.0, 1.0)
    precision_NDD, moment_ND = np.tile(prior * np.eye(3), (6, 1, 1)), np.zeros((6, 3))
    env = family.make(tasks, 0)
    observations, _ = env.reset()
    for _ in range(40):
        actions = agent.act(observations)
        feature_NKD = family.features(observations)
        if learner == "lin-ucb":
            width_NK = np.sqrt(np.einsum("nkd,nde,nke->nk", feature_NKD, np.linalg.inv(precision_NDD), feature_NKD))
            estimate_ND = np.linalg.solve(precision_NDD, moment_ND[:, :, None])[:, :, 0]
            score_NK = np.einsum("nkd,nd->nk", feature_NKD, estimate_ND) + 0.7 * width_NK
            assert np.take_along_axis(score_NK, actions[:, None], 1)[:, 0] == pytest.approx(score_NK.max(axis=1))
        following, rewards, terminated, truncated, _ = env.step(actions)
        agent.learn(observations, actions, rewards, terminated, truncated, following)
        for lane, action in enumerate(actions):
            feature_D = feature_NKD[lane, action]
            precision_NDD[lane] += np.outer(feature_D, feature_D) / noise
            moment_ND[lane] += feature_D * rewards[lane] / noise
        observations = following
    assert agent.covariance_NDD == pytest.approx(np.linalg.inv(precision_NDD), abs=1e-9)
    assert agent.mean_ND == pytest.approx(np.linalg.solve(precision_NDD, moment_ND[:, :, None])[:, :, 0], abs=1e-9)


def test_thompson_draws_from_its_posterior():
    """Kills: a draw by the covariance instead of its root."""
    family = make_family(FIXED, dimension=2, noise=0.5)
    tasks = [family.split(0).train[0]] * 20_000
    agent = make_learner("lin-thompson", {}, LearnerSetting(family, tasks, 1, 0, np.arange(20_000)))
    # Before any pull: the best arm of a θ from the prior.
    share = np.bincount(agent.act(np.zeros(20_000)), minlength=10) / 20_000
    theta_ND = np.random.default_rng(0).normal(size=(200_000, 2))
    expected = np.bincount((theta_ND @ family.arm_features.T).argmax(axis=1), minlength=10) / 200_000
    assert share == pytest.approx(expected, abs=0.015)


def test_knowing_the_features_is_worth_more_than_half_of_the_regret():
    """Kills: linear learners that do not share what they learn between arms: two unknowns are fewer than ten means."""
    family = make_family(FIXED, train=1, validation=0, test=500)
    tasks = family.split(0).test
    mean_NK = family.means(tasks)

    def regret_N(learner):
        columns = record(family, tasks, learner, {}, episodes=200, keep_every=1, seed=0, index=range(500))
        arm_NT = columns.actions.reshape(500, 200).astype(np.int64)
        return 200 * mean_NK.max(axis=1) - np.take_along_axis(mean_NK, arm_NT, axis=1).sum(axis=1)

    blind_N = regret_N("thompson")
    for learner in ("lin-thompson", "lin-ucb"):
        saved_N = blind_N / 2 - regret_N(learner)
        assert saved_N.mean() > 4 * saved_N.std() / np.sqrt(500)


@pytest.mark.parametrize("name", [FIXED, CONTEXTUAL])
@pytest.mark.parametrize("learner", ["lin-thompson", "lin-ucb"])
def test_a_lane_of_a_learner_does_not_depend_on_its_batch(name, learner):
    """Kills: sums whose order depends on the number of lanes, matrices shared between lanes."""
    family = make_family(name, dimension=4, noise=0.0)
    tasks = family.split(0).train[:50]
    options = {"episodes": 60, "keep_every": 1, "seed": 5}
    together = record_histories(family, tasks, learner, {}, index=range(50), **options)[33]
    alone = record_histories(family, tasks[33:34], learner, {}, index=[33], **options)[0]
    for column in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(together, column), getattr(alone, column))


def test_wrong_use_is_named():
    """Kills: a linear learner let loose on a bandit without features."""
    bandit = make_family("bernoulli-bandit")
    setting = LearnerSetting(bandit, bandit.split(0).train[:2], 5, 0, np.arange(2))
    for learner in ("lin-thompson", "lin-ucb"):
        with pytest.raises(UsageError, match="bernoulli-bandit is not one"):
            make_learner(learner, {}, setting)
    family = make_family(FIXED)
    setting = LearnerSetting(family, family.split(0).train[:2], 5, 0, np.arange(2))
    with pytest.raises(UsageError, match=r"ridge=0\.0"):
        make_learner("lin-ucb", {"ridge": 0.0}, setting)
    with pytest.raises(UsageError, match="exploration=-1"):
        make_learner("lin-ucb", {"exploration": -1.0}, setting)
    for name in (FIXED, CONTEXTUAL):
        with pytest.raises(UsageError, match="dimension=0"):
            make_family(name, dimension=0)
        with pytest.raises(UsageError, match="noise=-1"):
            make_family(name, noise=-1.0)
