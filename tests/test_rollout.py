"""Rollouts reproduce the families' exact anchors, count a fixed number of episodes, and depend on the seed alone."""

import numpy as np
import pytest

from icrl.envs import make_family
from icrl.errors import UsageError
from icrl.eval.rollout import rollout
from icrl.seeding import Streams, stream_keys


class RandomAgent:
    """Uniform over the actions, one stream per lane."""

    def __init__(self, num_actions):
        self.num_actions = num_actions
        self.prompts = None

    def reset(self, num_envs, seed=0, index=None, prompts=None):
        self.streams = Streams(stream_keys(seed, "action", np.arange(num_envs) if index is None else index))
        self.prompts = prompts

    def act(self, observations):
        return self.streams.integers(self.num_actions)

    def observe(self, rewards, terminated, truncated):
        assert rewards.shape == terminated.shape == truncated.shape == (len(self.streams),)


class OptimalAgent:
    """The family's optimal policy, told which task each lane is (lanes are seed-major)."""

    def __init__(self, family, tasks):
        self.family, self.tasks = family, list(tasks)

    def reset(self, num_envs, seed=0, index=None, prompts=None):
        assert num_envs % len(self.tasks) == 0
        self.policy = self.family.reference_policy("optimal", self.tasks * (num_envs // len(self.tasks)))

    def act(self, observations):
        return self.policy.act(observations)

    def observe(self, rewards, terminated, truncated):
        self.policy.observe(rewards, terminated, truncated)


def test_a_random_agent_earns_the_exact_random_anchor():
    """Kills: a dropped or doubled reward, a first step that is lost at a reset, a lane credited to another task."""
    family = make_family("dark-room")
    tasks = family.split(0).test
    result = rollout(family, tasks, RandomAgent(5), episodes=100, seeds=8, seed=3)
    assert result.returns.shape == (8, 16, 100)
    mean_N = result.returns.mean(axis=(0, 2))
    error_N = result.returns.transpose(1, 0, 2).reshape(16, -1).std(axis=1) / np.sqrt(800)
    assert np.all(np.abs(mean_N - family.anchors(tasks).random) < 4 * error_N + 1e-9)


@pytest.mark.parametrize("name", ["dark-room", "key-to-door-ad-eps"])
def test_an_optimal_agent_earns_the_optimum(name):
    """Kills: an episode that is counted before it ended, or a return that goes on into the next episode."""
    family = make_family(name)
    tasks = family.split(0).test[:20]
    returns = rollout(family, tasks, OptimalAgent(family, tasks), episodes=4, seeds=2).returns
    optimum = np.broadcast_to(family.anchors(tasks).optimum[None, :, None], returns.shape)
    np.testing.assert_allclose(returns, optimum, atol=1e-6)


def test_every_lane_completes_the_same_number_of_episodes_though_their_lengths_differ():
    """Kills: tasks with short episodes that count more, and late lanes whose last episodes are left at zero."""
    family = make_family("key-to-door-ad-eps")
    tasks = family.split(0).test[:12]
    seen = []
    result = rollout(
        family, tasks, OptimalAgent(family, tasks), episodes=3, seeds=1, record_seeds=1, advance=seen.append
    )
    lengths = [len(result.histories[0, n]) for n in range(12)]
    assert len(set(lengths)) > 1
    assert all(result.histories[0, n].episode_returns().shape == (3,) for n in range(12))
    assert sum(seen) == 36
    assert result.env_steps == 12 * max(lengths)


def test_the_record_of_a_lane_is_what_the_environment_did():
    """Kills: a record shifted by one against its rewards, or another lane's record."""
    family = make_family("dark-room")
    tasks = family.split(0).test
    result = rollout(family, tasks, RandomAgent(5), episodes=30, seeds=2, record_seeds=2)
    for (s, n), history in result.histories.items():
        np.testing.assert_array_equal(history.episode_returns(), result.returns[s, n])
        assert (history.task_id, history.learner_seed) == (tasks[n].id, s)
        np.testing.assert_array_equal(history.observations[history.step_in_episode == 0], np.full((30, 2), 4))
        after = np.concatenate((history.observations[1:], history.final_observations[-1:]))
        after[np.flatnonzero(history.dones)] = history.final_observations
        np.testing.assert_array_equal(history.rewards > 0, (after == tasks[n].params["goal"]).all(axis=1))
    assert len(result.histories) == 2 * 16


def test_only_the_asked_seeds_are_recorded():
    """Kills: a record of everything, which no memory holds for a long evaluation."""
    family = make_family("bernoulli-bandit")
    result = rollout(family, family.split(0).test[:3], RandomAgent(10), episodes=5, seeds=4, record_seeds=1)
    assert set(result.histories) == {(0, 0), (0, 1), (0, 2)}


def test_results_depend_on_the_seed_and_not_on_the_batch():
    """Kills: random numbers by place in the batch, so that a subset of tasks or a smaller batch scores otherwise."""
    family = make_family("bernoulli-bandit")
    tasks = family.split(0).test[:10]
    returns = rollout(family, tasks, RandomAgent(10), episodes=20, seeds=3, seed=5).returns
    again = rollout(family, tasks, RandomAgent(10), episodes=20, seeds=3, seed=5, max_lanes=7).returns
    subset = rollout(family, tasks[4:6], RandomAgent(10), episodes=20, seeds=3, seed=5).returns
    other = rollout(family, tasks, RandomAgent(10), episodes=20, seeds=3, seed=6).returns
    np.testing.assert_array_equal(returns, again)
    np.testing.assert_array_equal(returns[:, 4:6], subset)
    assert np.any(returns != other)
    assert np.any(returns[0] != returns[1])


def test_each_lane_gets_its_own_prompt():
    """Kills: prompts handed out task-major to seed-major lanes."""
    family = make_family("bernoulli-bandit")
    tasks = family.split(0).test[:3]
    recorded = rollout(family, tasks, RandomAgent(10), episodes=2, seeds=2, record_seeds=2).histories
    prompts = [[recorded[s, n] for n in range(3)] for s in range(2)]
    agent = RandomAgent(10)
    rollout(family, tasks, agent, episodes=1, seeds=2, prompts=prompts)
    assert [(p.learner_seed, p.task_id) for p in agent.prompts] == [(s, task.id) for s in range(2) for task in tasks]


@pytest.mark.parametrize(("wrong", "message"), [({"episodes": 0}, "episodes is 0"), ({"seeds": 0}, "seeds is 0")])
def test_counts_below_one_are_refused(wrong, message):
    """Kills: an empty result that fails later, in a mean of nothing."""
    family = make_family("bernoulli-bandit")
    with pytest.raises(UsageError, match=message):
        rollout(family, family.split(0).test[:2], RandomAgent(10), **{"episodes": 1, **wrong})


def test_a_task_twice_is_refused():
    """Kills: two lanes of one task that share every random number and count as two samples."""
    family = make_family("bernoulli-bandit")
    task = family.split(0).test[0]
    with pytest.raises(UsageError, match="twice"):
        rollout(family, [task, task], RandomAgent(10), episodes=1)
