"""Rollouts against exact anchors, and the independence of lanes."""

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

    def reset(self, num_envs, seed=0, index=None, prompts=None):
        self.streams = Streams(stream_keys(seed, "action", index))

    def act(self, observations):
        return self.streams.integers(self.num_actions)

    def observe(self, rewards, terminated, truncated):
        """Nothing to learn."""


class PolicyAgent:
    """A family's reference policy, with the lanes' tasks known to it."""

    def __init__(self, policy):
        self.policy = policy

    def reset(self, num_envs, seed=0, index=None, prompts=None):
        """Nothing to forget."""

    def act(self, observations):
        return self.policy.act(observations)

    def observe(self, rewards, terminated, truncated):
        self.policy.observe(rewards, terminated, truncated)


FAMILIES = [
    ("dark-room", {}),
    ("dark-room-dpt-permuted", {"size": 5, "horizon": 20}),
    ("key-to-door-ad-eps", {}),
    ("bernoulli-bandit", {"test": 40, "train": 40}),
]


@pytest.mark.parametrize(("name", "options"), FAMILIES, ids=[name for name, _ in FAMILIES])
def test_a_random_agent_earns_the_random_anchor(name, options):
    """Kills: an episode's reward counted twice, dropped at the reset, or credited to the next episode."""
    family = make_family(name, **options)
    tasks = family.split(0).test[:40]
    returns = rollout(family, tasks, RandomAgent(family.action_space.n), episodes=50, seeds=4, seed=1).returns
    assert returns.shape == (4, len(tasks), 50)
    error = returns.mean() - family.anchors(tasks).random.mean()
    within = returns - returns.mean(axis=(0, 2), keepdims=True)
    standard_error = within.std() / np.sqrt(returns.size)
    assert abs(error) < 4 * standard_error


@pytest.mark.parametrize("name", ["dark-room", "dark-room-dpt-permuted", "key-to-door-ad-eps"])
def test_an_optimal_agent_earns_the_optimum(name):
    """Kills: a lane matched with another lane's task, or an episode one step short. Exact where starts are fixed."""
    family = make_family(name)
    tasks = family.split(0).test[:20]
    agent = PolicyAgent(family.reference_policy("optimal", list(tasks) * 2))
    returns = rollout(family, tasks, agent, episodes=3, seeds=2, seed=0).returns
    expected = np.broadcast_to(family.anchors(tasks).optimum[None, :, None], returns.shape)
    np.testing.assert_allclose(returns, expected, rtol=0, atol=1e-9)


def test_a_lane_does_not_depend_on_the_others():
    """Kills: a stream keyed by the place in the batch, so that leaving a task out changes every score after it."""
    family = make_family("key-to-door-ad-eps")
    tasks = family.split(0).test[:6]
    agent = RandomAgent(5)
    options = {"episodes": 8, "seed": 3}
    whole = rollout(family, tasks, agent, seeds=3, **options).returns
    some = rollout(family, [tasks[4], tasks[1]], agent, seeds=2, **options).returns
    np.testing.assert_array_equal(some, whole[:2][:, [4, 1]])
    assert not np.array_equal(whole, rollout(family, tasks, agent, seeds=3, episodes=8, seed=4).returns)


def test_recorded_lanes_are_histories_that_add_up_to_the_returns():
    """Kills: a recording that runs on past the counted episodes, or that keeps the reset's observation as the last."""
    family = make_family("key-to-door-ad-eps")
    tasks = family.split(0).test[:5]
    agent = PolicyAgent(family.reference_policy("optimal", list(tasks) * 2))
    lanes = [(0, 2), (1, 4)]
    result = rollout(family, tasks, agent, episodes=4, seeds=2, seed=0, record=lanes)
    assert set(result.histories) == set(lanes)
    for (s, n), history in result.histories.items():
        np.testing.assert_allclose(history.episode_returns(), result.returns[s, n])
        assert history.task_id == tasks[n].id
        assert history.terminated.sum() == 4
        np.testing.assert_array_equal(history.final_observations, [tasks[n].params["door"]] * 4)


def test_every_episode_is_announced_once():
    """Kills: a progress bar that ends early or overshoots where lanes finish at different times."""
    family = make_family("key-to-door-ad-eps")
    tasks = family.split(0).test[:7]
    seen = []
    rollout(family, tasks, RandomAgent(5), episodes=5, seeds=2, seed=0, advance=seen.append)
    assert sum(seen) == 7 * 5 * 2


def test_no_task_is_refused():
    """Kills: a mean over nothing."""
    family = make_family("dark-room")
    with pytest.raises(UsageError, match="no task"):
        rollout(family, [], RandomAgent(5), episodes=1, seeds=1, seed=0)


class PromptKeeper(RandomAgent):
    """Keeps the prompts that it was given."""

    def reset(self, num_envs, seed=0, index=None, prompts=None):
        super().reset(num_envs, seed, index)
        assert len(prompts) == num_envs
        self.prompts = prompts


def test_each_lane_gets_its_own_prompt():
    """Kills: prompts tiled over the seeds twice, or dealt out task by task to lanes that stand seed by seed."""
    family = make_family("bernoulli-bandit", test=3, train=3, validation=1)
    tasks = family.split(0).test
    lanes = [(s, n) for s in range(2) for n in range(3)]
    recorded = rollout(family, tasks, RandomAgent(10), episodes=2, seeds=2, seed=0, record=lanes).histories
    agent = PromptKeeper(10)
    rollout(family, tasks, agent, episodes=1, seeds=2, seed=0, prompts=[recorded[lane] for lane in lanes])
    assert [(p.learner_seed, p.task_id) for p in agent.prompts] == [(s, tasks[n].id) for s, n in lanes]
