"""Rollouts of a transformer in which lanes are done at different times: each is what it would be alone."""

from functools import partial

import numpy as np
import pytest
from lanes_alone import check_equal, rolled_out_alone
from small_models import CONTEXT, make_model
from test_agent import make_history, play

from icrl.data_gen.record import record_histories
from icrl.envs import make_family
from icrl.envs.kit.pool import make_pooled
from icrl.errors import UsageError
from icrl.eval.rollout import rollout
from icrl.models.agent import InContextAgent
from icrl.spaces import space_to_dict


def agent_of(family, context_length=12) -> InContextAgent:
    """A tiny one whose weights are as large as trained ones, and whose context is soon full."""
    spec = {
        "observation_space": space_to_dict(family.observation_space),
        "action_space": space_to_dict(family.action_space),
        "horizon": family.horizon,
    }
    return InContextAgent(make_model(spec=spec, context_length=context_length))


class WithoutKeep:
    """The agent as one that cannot let go of lanes: all of them go on to the end."""

    def __init__(self, agent):
        self.reset, self.act, self.observe = agent.reset, agent.act, agent.observe


@pytest.mark.parametrize(("name", "prompted", "workers"), [
    ("dark-room-macro", False, 1), ("dark-room-macro", True, 2), ("cartpole", True, 1), ("watermaze", False, 1),
    ("watermaze", True, 2),
])  # fmt: skip
def test_a_rolled_out_lane_is_what_it_would_be_if_nobody_left(name, prompted, workers):
    """Kills: a context, a last transition, or random numbers of another lane once some have left, with contexts that
    are equally long or not, and full or not; a lane of the pool that gets another's actions."""
    options = {"horizon": 30} if name == "watermaze" else {}
    family = make_family(name, **options)
    tasks, agent, seeds = family.split(0).test[:4], agent_of(family), 10
    lanes = [(s, n) for s in range(seeds) for n in range(4)]
    prompts = None
    if prompted:
        some = record_histories(family, [tasks[n] for _, n in lanes], "random", {}, episodes=1, seed=3)
        prompts = [None if lane % 3 == 2 else history for lane, history in enumerate(some)]
    make = partial(make_pooled, name, options, workers=workers) if workers > 1 else None
    settings = {"episodes": 2, "seeds": seeds, "seed": 9, "prompts": prompts, "record": lanes}
    found = rollout(family, tasks, agent, **settings, make=make)
    expected = rollout(family, tasks, WithoutKeep(agent), **settings)
    assert found.env_steps < expected.env_steps == len(lanes) * max(map(len, expected.histories.values()))
    np.testing.assert_array_equal(found.returns, expected.returns)
    for lane, history in expected.histories.items():
        for column in ("observations", "actions", "rewards", "terminated", "step_in_episode", "final_observations"):
            np.testing.assert_array_equal(getattr(found.histories[lane], column), getattr(history, column))
    if family.action_space.shape == ():
        # Alone a product of matrices is rounded otherwise, which continuous actions would show.
        for s, n in lanes[::7]:
            prompt = prompts[s * 4 + n] if prompts else None
            check_equal(found.histories[s, n], rolled_out_alone(family, tasks[n], agent, 2, 9, s, prompt))


@pytest.mark.parametrize("lengths", [[0] * 36, [3, 0, 25, 12, 1, 11, 13, 2, 30] * 4], ids=["equal", "unequal"])
def test_an_agent_goes_on_with_the_lanes_that_are_left(lengths):
    """Kills: keys and values, tokens, streams or last transitions selected by another index than the rest; a copy
    that is made while half of the lanes are still there, or never."""
    rng, numbers = np.random.default_rng(0), 100 - np.arange(36)
    prompts = [make_history(length, seed=n) for n, length in enumerate(lengths)]
    whole, fewer = InContextAgent(make_model()), InContextAgent(make_model())
    for agent in (whole, fewer):
        agent.reset(len(numbers), seed=3, index=numbers, prompts=prompts)
    lanes = np.arange(len(numbers))
    for step in range(5 * CONTEXT):
        observations = rng.integers([9, 7], size=(len(numbers), 2))
        rewards, done = rng.random(len(numbers)), rng.random(len(numbers)) < 0.2
        np.testing.assert_array_equal(fewer.act(observations[lanes]), whole.act(observations)[lanes])
        for agent, some in ((whole, np.arange(len(numbers))), (fewer, lanes)):
            agent.observe(rewards[some], done[some], np.zeros(len(some), bool))
        if step % 5 == 4 and len(lanes) > 1:
            stay = np.sort(rng.permutation(len(lanes))[max(1, len(lanes) // 3) :])
            fewer.keep(stay)
            lanes = lanes[stay]
            held = fewer._actor._state.keys_BHCE[1].shape[0]
            assert len(lanes) <= held < max(2 * len(lanes), 2 * 16)
    assert len(lanes) == 1
    assert held == 16


def test_lanes_are_let_go_of_between_an_answer_and_the_next_action():
    """Kills: answers that are due for lanes which are gone; a lane that there is not."""
    agent = InContextAgent(make_model())
    with pytest.raises(UsageError, match=r"agent\.reset"):
        agent.keep([0])
    play(agent, [1, 2, 3], 2)
    with pytest.raises(UsageError, match="there are 3"):
        agent.keep([1, 3])
    agent.act(np.zeros((3, 2), np.int64))
    with pytest.raises(UsageError, match=r"agent\.observe"):
        agent.keep([0])
