"""Source learners against published regrets, exact returns, and a plain scalar Q-learning."""

import numpy as np
import pytest

from icrl.data_gen.learners import LEARNERS, learners_for, make_learner
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.data_gen.record import record, record_histories
from icrl.envs import make_family
from icrl.errors import UsageError


def regret(family, learner: str, pulls: int, bandits: int, **options) -> tuple[float, float]:
    """Mean cumulative regret over held-out bandits, and its standard error."""
    tasks = family.split(0).test[:bandits]
    columns = record(family, tasks, learner, options, episodes=pulls, keep_every=1, seed=0, index=range(len(tasks)))
    means = family.means(tasks)
    arms = columns.actions.reshape(len(tasks), pulls).astype(int)
    lost = (means.max(axis=1, keepdims=True) - np.take_along_axis(means, arms, axis=1)).sum(axis=1)
    return lost.mean(), lost.std() / np.sqrt(len(lost))


@pytest.mark.parametrize(
    ("learner", "expected", "options"),
    [
        ("thompson", 9.45, {"prior": True}),
        ("ucb1", 10.61, {"exploration": 1.0, "log_time": False}),
        ("empirical-mean", 17.9, {}),
        ("random", 166.4, {}),
    ],
)
def test_gaussian_bandit_regrets_are_the_published_ones(learner, expected, options):
    """Kills: a posterior of the wrong width, a greedy learner that explores. DPT: 5 arms, σ = .3, 500 pulls."""
    mean, error = regret(make_family("gaussian-bandit", test=2000), learner, 500, 2000, **options)
    assert mean == pytest.approx(expected, abs=4 * error)


def test_thompson_and_ucb_on_uniform_bernoulli_bandits():
    """Kills: a Beta posterior with pulls for failures. Thompson, 300 pulls: 20 uniform arms 31.3, 30 arms 40.3."""
    for arms, expected in ((20, 31.3), (30, 40.3)):
        family = make_family("bernoulli-bandit", num_arms=arms, train=1, validation=0, test=1000)
        mean, error = regret(family, "thompson", 300, 1000)
        assert mean == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize(
    ("learner", "arms", "expected", "options"),
    [
        ("thompson", 10, 76.7, {}),
        ("ucb1", 5, 78.0, {"exploration": 0.15, "prior": True}),
        ("ucb1", 10, 82.4, {"exploration": 0.15, "prior": True}),
        ("ucb1", 50, 84.3, {"exploration": 0.15, "prior": True}),
    ],
)
def test_rewards_of_100_pulls_are_those_of_rl2(learner, arms, expected, options):
    """Kills: a bonus that uses the arm's own count for t; 50 arms that must each be pulled once."""
    family = make_family("bernoulli-bandit", num_arms=arms, train=1, validation=0, test=2000)
    mean, error = regret(family, learner, 100, 2000, **options)
    # The published rewards are means of 1,000 bandits, whose optimum 100 k / (k + 1) has no such error here.
    assert 100 * arms / (arms + 1) - mean == pytest.approx(expected, abs=4 * error * 3**0.5)


def test_the_papers_bonus_explores_too_much_for_short_trials():
    """Kills: an exploration constant that is ignored."""
    family = make_family("bernoulli-bandit", num_arms=10, train=1, validation=0, test=1000)
    assert regret(family, "ucb1", 100, 1000)[0] > 2 * regret(family, "ucb1", 100, 1000, exploration=0.2)[0]


class ScalarQLearning:
    """The textbook's update, one task at a time, in plain Python."""

    def __init__(self, step_size, discount):
        self.table, self.step_size, self.discount = {}, step_size, discount

    def value(self, cell, action):
        return self.table.get((cell, action), 0.0)

    def learn(self, cell, action, reward, terminated, following):
        future = 0.0 if terminated else max(self.value(following, a) for a in range(5))
        target = reward + self.discount * future
        self.table[cell, action] = self.value(cell, action) + self.step_size * (target - self.value(cell, action))


@pytest.mark.parametrize("name", ["dark-room", "key-to-door-ad-eps"])
def test_q_learning_equals_a_plain_scalar_implementation(name):
    """Kills: a lane that writes into another's table, a bootstrap on termination, none on truncation."""
    family = make_family(name)
    tasks = family.split(0).train[:7]
    env = family.make(tasks, 0)
    setting = LearnerSetting(family, tasks, 60, 0, np.arange(7))
    learner = make_learner("q-learning", {"step_size": 0.3, "discount": 0.8}, setting)
    plain = [ScalarQLearning(0.3, 0.8) for _ in tasks]
    observations, _ = env.reset()
    for _ in range(1500):
        actions = learner.act(observations)
        following, rewards, terminated, truncated, info = env.step(actions)
        successors = np.where((terminated | truncated)[:, None], info.get("final_obs", following), following)
        learner.learn(observations, actions, rewards, terminated, truncated, successors)
        for lane, reference in enumerate(plain):
            cell, after = tuple(observations[lane]), tuple(successors[lane])
            reference.learn(cell, actions[lane], float(rewards[lane]), terminated[lane], after)
        observations = following
    table = learner.table.reshape(7, 9, 9, 5)
    for lane, reference in enumerate(plain):
        for (cell, action), value in reference.table.items():
            assert table[lane][cell][action] == pytest.approx(value, abs=1e-12)
    assert table.max() > 0


def test_q_learning_ends_at_the_optimum():
    """Kills: an exploration schedule that never ends; ties that are always broken towards the same action."""
    family = make_family("dark-room")
    tasks = family.split(0).train
    histories = record_histories(
        family, tasks * 10, "q-learning", {"explore_fraction": 0.5}, episodes=400, keep_every=21, seed=1
    )
    returns = np.stack([history.episode_returns() for history in histories])
    assert returns[:, 0].mean() == pytest.approx(family.anchors(tasks).random.mean(), abs=0.15)
    assert returns[:, -1].mean() > 0.98 * family.anchors(tasks).optimum.mean()


def test_noise_distillation_follows_its_schedule():
    """Kills: noise that never falls. ε = .5 around the optimum is worth 6.34 on 9×9 Dark Room over all goals."""
    family = make_family("dark-room", validation=0, test=80)
    tasks = [*family.split(0).train, *family.split(0).test] * 30
    half = record_histories(
        family, tasks, "noise-distillation", {"final_epsilon": 0.5, "final_fraction": 1.0}, episodes=2, keep_every=1
    )
    returns = np.stack([history.episode_returns() for history in half])
    assert returns[:, 1].mean() == pytest.approx(6.34, abs=4 * returns[:, 1].std() / np.sqrt(len(returns)))
    falling = record_histories(family, tasks, "noise-distillation", {"final_fraction": 0.2}, episodes=10, keep_every=1)
    returns = np.stack([history.episode_returns() for history in falling]).mean(axis=0)
    assert returns[0] == pytest.approx(0.25, abs=0.06)
    assert returns[-2:].tolist() == pytest.approx([16.54] * 2, abs=0.01)


@pytest.mark.parametrize("arms", [2, 127, 128, 200, 300])
def test_q_learning_explores_any_number_of_actions(arms):
    """Kills: a count of the actions in eight bits, which from 128 on makes one action of them all."""
    family = make_family("bernoulli-bandit", num_arms=arms, train=100, validation=0, test=1)
    tasks = family.split(0).train
    columns = record(family, tasks, "q-learning", {}, episodes=60, keep_every=1, seed=0, index=range(100))
    first = columns.actions.reshape(100, 60)[:, :12]
    assert len(set(first.ravel())) > 0.95 * arms
    assert first.max() == arms - 1
    # Every action equally likely at first: the mean of 1,200 draws within four standard errors.
    assert first.mean() == pytest.approx((arms - 1) / 2, abs=4 * arms / np.sqrt(12 * 1200) + 0.2)


def test_q_learning_leaves_actions_alone_that_a_task_lacks():
    """Kills: exploration of actions that do nothing, which dilutes the first episodes below the random anchor."""
    family = make_family("headless-bandit", train=60, validation=0, test=1)
    tasks = family.split(0).train
    columns = record(family, tasks, "q-learning", {}, episodes=200, keep_every=1, seed=0, index=range(60))
    actions = columns.actions.reshape(60, 200)
    assert (actions < family.valid_actions(tasks)[:, None]).all()
    assert len({*actions.ravel().tolist()}) == family.valid_actions(tasks).max()


def test_actions_are_recorded_as_they_were_played(monkeypatch):
    """Kills: an expert's action beyond the bounds, which the environment clips and the model would be trained on."""
    family = make_family("point-robot", horizon=3, train=4, validation=0, test=1)
    optimal = family.reference_policy("optimal", family.split(0).train)
    monkeypatch.setattr(type(optimal), "act", lambda self, observations: np.full((len(observations), 2), 5.0))
    columns = record(family, family.split(0).train, "optimal", {}, episodes=1, keep_every=1, seed=0, index=range(4))
    assert columns.actions.dtype == np.float32
    np.testing.assert_allclose(columns.actions, family.action_space.high[0])


LEARNS = {
    "ucb1": "bernoulli-bandit",
    "thompson": "bernoulli-bandit",
    "empirical-mean": "bernoulli-bandit",
    "expert": "cartpole",
    "zero-action": "point-robot",
    "dpt-roll-in": "gaussian-bandit",
    "lin-thompson": "linear-bandit",
    "lin-ucb": "linear-bandit",
    "psrl": "tabular-mdp",
    "opsrl": "tabular-mdp",
    "posterior-greedy": "tabular-mdp",
}
"""A family that each learner can learn, where it is not key-to-door-ad-eps."""


@pytest.mark.parametrize("name", list(LEARNERS))
def test_a_lane_does_not_depend_on_its_batch(name):
    """Kills: random numbers or tables shared between lanes, which would tie the data to the number of workers."""
    family = make_family(LEARNS.get(name, "key-to-door-ad-eps"))
    tasks = family.split(0).train[:6]
    options = {"episodes": 12, "keep_every": 2, "seed": 5}
    together = record_histories(family, tasks, name, {}, index=[3, 1, 4, 15, 9, 2], **options)
    alone = record_histories(family, tasks[3:4], name, {}, index=[15], **options)[0]
    for column in ("observations", "actions", "rewards", "terminated", "truncated", "episode", "final_observations"):
        np.testing.assert_array_equal(getattr(together[3], column), getattr(alone, column))
    assert set(alone.episode) == {0, 2, 4, 6, 8, 10}


def test_keeping_fewer_episodes_changes_nothing_about_them():
    """Kills: a learner that sees only the kept episodes; a final observation of the episode before."""
    family = make_family("key-to-door-ad-eps")
    tasks = family.split(0).train[:20]
    options = {"final_fraction": 0.5}
    whole = record_histories(family, tasks, "noise-distillation", options, episodes=12, keep_every=1)
    thinned = record_histories(family, tasks, "noise-distillation", options, episodes=12, keep_every=5)
    assert len({len(history) for history in thinned}) > 1, "the lanes must end their episodes apart"
    for full, thin in zip(whole, thinned, strict=True):
        assert full.episode[full.dones].tolist() == list(range(12))
        assert thin.episode[thin.dones].tolist() == [0, 5, 10]
        rows = full.episode % 5 == 0
        for name in ("observations", "actions", "rewards", "terminated", "truncated", "step_in_episode"):
            np.testing.assert_array_equal(getattr(thin, name), getattr(full, name)[rows])
        np.testing.assert_array_equal(thin.final_observations, full.final_observations[[0, 5, 10]])
        # A finished Key-to-Door ends at the door, which no row of the history shows.
        last = full.final_observations[full.terminated[full.dones]]
        assert np.all(last == np.array(full.task_params["door"])), full.task_params


def test_wrong_learners_and_options_are_named():
    """Kills: an option that is swallowed; a table over a space that is not countable."""
    bandit, room = make_family("bernoulli-bandit"), make_family("dark-room")

    def make(family, name, **options):
        tasks = family.split(0).train[:2]
        return make_learner(name, options, LearnerSetting(family, tasks, 5, 0, np.arange(2)))

    with pytest.raises(UsageError, match="did you mean 'q-learning'"):
        make(room, "q-learner")
    with pytest.raises(UsageError, match=r"no option 'stepsize' \(did you mean 'step_size'"):
        make(room, "q-learning", stepsize=0.1)
    with pytest.raises(UsageError, match="step_size='a' is a str"):
        make(room, "q-learning", step_size="a")
    with pytest.raises(UsageError, match="dark-room is not one"):
        make(room, "thompson")
    with pytest.raises(UsageError, match="explore_fraction=0"):
        make(bandit, "q-learning", explore_fraction=0)


FAMILIES_OF_ALL_KINDS = [
    "bernoulli-bandit", "headless-bandit", "linear-bandit", "tabular-mdp", "dark-room", "maze", "pendulum",
    "point-robot", "cartpole", "watermaze", "key-to-door", "acrobot",
]  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES_OF_ALL_KINDS)
def test_the_learners_that_a_message_names_can_learn_the_family(name):
    """Kills: advice to take a learner that refuses in its turn; a learner that is left out of it and could."""
    family = make_family(name)
    tasks = family.split(0).train[:2]
    setting = LearnerSetting(family, tasks, 3, 0, np.arange(2))
    fitting = learners_for(family)
    for learner in LEARNERS:
        if not hasattr(LEARNERS[learner], "misfit"):
            continue  # One of another test's own.
        if learner in fitting:
            make_learner(learner, {}, setting)
            continue
        with pytest.raises(UsageError) as caught:
            make_learner(learner, {}, setting)
        advice = str(caught.value).rpartition(": choose ")[2]
        assert advice.split(" or ") == fitting


def test_the_roll_in_of_dpt_pulls_arms_in_every_proportion_and_learns_nothing():
    """Kills: ω that is always small, one p for all histories, a p that follows what was paid.

    With p = (1 - ω) Dir(1) + ω onehot over K arms, E p_k = 1/K. E Σ p² = 2/(K + 1) · E(1 - ω)² + 2/K · E ω (1 - ω) +
    E ω², which for ω uniform on [0, 1] is 1/3 · (2/(K + 1) + 1/K + 1).
    """
    family = make_family("gaussian-bandit", train=1, validation=0, test=4000)
    tasks, pulls = family.split(0).test, 100
    columns = record(family, tasks, "dpt-roll-in", {}, episodes=pulls, keep_every=1, seed=0, index=range(len(tasks)))
    arms = columns.actions.reshape(len(tasks), pulls).astype(int)
    counts = np.stack([(arms == arm).sum(axis=1) for arm in range(5)], axis=1)
    assert counts.mean(axis=0) / pulls == pytest.approx(0.2, abs=0.02)
    # Two different pulls of one history are of one arm with probability Σ p².
    same = (counts * (counts - 1)).sum(axis=1) / (pulls * (pulls - 1))
    assert same.mean() == pytest.approx((2 / 6 + 1 / 5 + 1) / 3, abs=0.015)
    halves = [np.stack([(part == arm).mean(axis=1) for arm in range(5)], axis=1) for part in np.split(arms, 2, axis=1)]
    assert np.abs(halves[0] - halves[1]).max() < 0.5
    best = family.means(tasks).argmax(axis=1)
    assert counts[np.arange(len(tasks)), best].mean() / pulls == pytest.approx(0.2, abs=0.02)


def test_the_roll_in_never_pulls_an_arm_that_a_task_lacks():
    """Kills: data in which an action means nothing."""
    family = make_family("headless-bandit", train=1, validation=0, test=50)
    tasks = family.split(0).test
    columns = record(family, tasks, "dpt-roll-in", {}, episodes=30, keep_every=1, seed=0, index=range(len(tasks)))
    assert (columns.actions.reshape(len(tasks), 30) < family.valid_actions(tasks)[:, None]).all()
