"""Histories lived one lane at a time in a plain loop: what batches of any kind must give."""

import numpy as np

from icrl.data_gen.learners import make_learner
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.seeding import derive_seed
from icrl.tasks import lane_numbers


def learned_alone(family, task, learner, options, episodes, seed, number) -> dict[str, np.ndarray]:
    """Every transition of a learner on one task."""
    index = np.array([number])
    actor = make_learner(learner, options, LearnerSetting(family, [task], episodes, seed, index))
    return _lived(family.make([task], seed, index), actor.act, actor.learn, episodes)


def rolled_out_alone(family, task, agent, episodes, seed, which_seed, prompt=None) -> dict[str, np.ndarray]:
    """Every transition of an agent on one task, in a rollout's lane (which_seed, task)."""
    index, base = lane_numbers([which_seed], [task]), derive_seed(seed, "evaluation")
    agent.reset(1, seed=base, index=index, prompts=None if prompt is None else [prompt])

    def observe(observation, action, reward, terminated, truncated, following):
        agent.observe(reward, terminated, truncated)

    return _lived(family.make([task], base, index), agent.act, observe, episodes)


def _lived(env, act, learn, episodes) -> dict[str, np.ndarray]:
    rows = {name: [] for name in ("observations", "actions", "rewards", "terminated", "truncated", "episode")}
    finals, (observation, _) = [], env.reset()
    while len(finals) < episodes:
        action = env.played(act(observation))
        following, reward, terminated, truncated, info = env.step(action)
        reward = reward.astype(np.float32)  # As it is stored.
        done = bool(terminated[0] or truncated[0])
        after = info["final_obs"] if done else following
        learn(observation, action, reward, terminated, truncated, after)
        answer = (observation[0], action[0], reward[0], terminated[0], truncated[0], len(finals))
        for column, value in zip(rows.values(), answer, strict=True):
            column.append(value)
        if done:
            finals.append(after[0])
        observation = following
    env.close()
    return {name: np.array(column) for name, column in rows.items()} | {"final_observations": np.array(finals)}


def check_equal(history, alone, keep_every: int = 1) -> None:
    """The history is, value for value, what was lived alone, every `keep_every`-th episode of it."""
    rows = alone["episode"] % keep_every == 0
    for name, values in alone.items():
        expected = values[::keep_every] if name == "final_observations" else values[rows]
        np.testing.assert_array_equal(getattr(history, name), expected, err_msg=name)


def check_goes_on(env, whole, fewer, rng, steps: int = 60) -> None:
    """Of two equal learners one lets go of lanes at random moments, and acts in the others as the whole one does."""
    lanes, (observations, _) = np.arange(env.num_envs), env.reset()
    for _ in range(steps):
        actions = whole.act(observations)
        np.testing.assert_array_equal(fewer.act(observations[lanes]), actions[lanes])
        following, rewards, terminated, truncated, info = env.step(actions)
        done = terminated | truncated
        after = following.copy()
        if done.any():
            after[done] = info["final_obs"][done]
        answer = (observations, actions, rewards, terminated, truncated, after)
        whole.learn(*answer)
        fewer.learn(*(values[lanes] for values in answer))
        observations = following
        if len(lanes) > 1 and rng.random() < 0.15:
            stay = np.sort(rng.choice(len(lanes), rng.integers(1, len(lanes)), replace=False))
            fewer.keep(stay)
            lanes = lanes[stay]
    assert len(lanes) < env.num_envs, "no lane has left"
