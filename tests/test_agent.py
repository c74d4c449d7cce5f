"""The agent's contract: reset, act, observe; prompts; independence of the lanes; errors in words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import BEFORE, CONTEXT, make_model, nothing_before, window_of

from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.models.agent import InContextAgent
from icrl.transitions import Transitions

EPISODE = 5


class Lane:
    """A deterministic environment of one lane: where it goes and what it pays are functions of its number."""

    def __init__(self, number: int) -> None:
        self.number, self.state, self.t = number, number, 0

    def observe(self) -> np.ndarray:
        return np.array([self.state % 9, self.state // 9 % 7])

    def step(self, action: int) -> tuple[float, bool, bool]:
        self.state = (5 * self.state + 3 * int(action) + self.number) % 61
        self.t += 1
        terminated = self.state % 11 == 0
        truncated = self.t % EPISODE == 0 and not terminated
        return (self.state % 3) / 2, terminated, truncated


def play(agent: InContextAgent, numbers: list[int], steps: int, start: bool = True) -> np.ndarray:
    """Actions `(steps, N)` in the lanes of those numbers."""
    lanes = [Lane(number) for number in numbers]
    if start:
        agent.reset(len(lanes), seed=3, index=numbers)
    actions = []
    for _ in range(steps):
        actions.append(agent.act(np.stack([lane.observe() for lane in lanes])))
        rewards, terminated, truncated = zip(
            *(lane.step(a) for lane, a in zip(lanes, actions[-1], strict=True)), strict=True
        )
        agent.observe(np.array(rewards), np.array(terminated), np.array(truncated))
    return np.stack(actions)


def make_history(T: int, seed: int = 0, done_at_end: bool = True) -> LearningHistory:
    rng = np.random.default_rng(seed)
    done = np.arange(T) % EPISODE == EPISODE - 1
    if T:
        done[-1] = done_at_end
    starts = np.concatenate(([0], np.flatnonzero(done) + 1))
    episode = np.searchsorted(starts, np.arange(T), side="right") - 1
    return LearningHistory(
        observations=rng.integers([9, 7], size=(T, 2)).astype(np.uint8),
        actions=rng.integers(5, size=T).astype(np.uint8),
        rewards=rng.random(T).astype(np.float32),
        terminated=np.zeros(T, bool),
        truncated=done,
        episode=episode.astype(np.int32),
        step_in_episode=(np.arange(T) - starts[episode]).astype(np.int32),
        final_observations=np.zeros((int(done.sum()), 2), np.uint8),
        task_id=0, task_params={}, learner="random", learner_seed=seed,
    )  # fmt: skip


def watched(agent: InContextAgent) -> list[Transitions]:
    """What the agent's actor is given to act on, from now on."""
    seen, act = [], agent._actor.act
    agent._actor.act = lambda now: seen.append(now) or act(now)
    return seen


def test_a_lane_acts_the_same_alone_and_in_any_batch():
    """Kills: sampling from one shared stream, a lane that sees its neighbours' context."""
    agent = InContextAgent(make_model())
    together = play(agent, [4, 0, 7, 2, 9], 40)
    for column, number in enumerate([4, 0, 7, 2, 9]):
        assert np.array_equal(play(agent, [number], 40)[:, 0], together[:, column])
    assert np.array_equal(play(agent, [9, 2, 7], 40), together[:, [4, 3, 2]])


def test_reset_forgets_and_the_seed_decides():
    """Kills: a context, or a random stream, that outlives a reset."""
    agent = InContextAgent(make_model())
    first = play(agent, [1, 2], 30)
    assert np.array_equal(play(agent, [1, 2], 30), first)
    agent.reset(2, seed=4, index=[1, 2])
    assert not np.array_equal(play(agent, [1, 2], 30, start=False), first)


def test_what_the_agent_reads_is_what_a_history_would_give():
    """Kills: a step, done flag or reward that acting builds otherwise than training does."""
    agent = InContextAgent(make_model())
    lane, rows = Lane(3), []
    agent.reset(1, seed=0)
    seen, steps = watched(agent), 0
    for _ in range(CONTEXT):
        observation = lane.observe()
        action = agent.act(observation[None])
        reward, terminated, truncated = lane.step(action[0])
        agent.observe(np.array([reward]), np.array([terminated]), np.array([truncated]))
        rows.append((observation, action[0], reward, terminated, truncated, steps))
        steps = 0 if terminated or truncated else steps + 1
    assert any(row[3] for row in rows)
    assert any(row[4] for row in rows)
    none = [5, 0.0, True, False]
    for t, now in enumerate(seen):
        observation, *_, step = rows[t]
        assert (now.observations[0, 0].tolist(), now.steps.tolist()) == (observation.tolist(), [[step]])
        assert [getattr(now.before, name).item() for name in BEFORE] == (list(rows[t - 1][1:5]) if t else none)
        assert {getattr(now, name).shape for name in BEFORE} == {(1, 0)}
        assert now.lengths.tolist() == [1]


@pytest.mark.parametrize("length", [1, CONTEXT - 1, CONTEXT, 3 * CONTEXT + 1])
def test_the_action_after_a_prompt_is_that_of_an_uncached_forward(length):
    """Kills: a prompt cut at its old end, read from its beginning only, or off by one transition."""
    model, history = make_model(), make_history(length)
    agent = InContextAgent(model, greedy=True)
    other = make_history(3, seed=1)
    agent.reset(3, prompts=[None, history, other])
    observation = np.array([8, 6])
    action = agent.act(np.stack([observation] * 3))[1]
    whole = Transitions(
        torch.from_numpy(np.concatenate([history.observations, observation[None]]).astype(np.int64))[None],
        torch.from_numpy(history.actions.astype(np.int64))[None],
        torch.from_numpy(history.rewards)[None],
        torch.from_numpy(history.terminated)[None],
        torch.from_numpy(history.truncated)[None],
        torch.from_numpy(np.append(history.step_in_episode, 0).astype(np.int64))[None],
        nothing_before(1), torch.tensor([length + 1]),
    )  # fmt: skip
    start = window_of(model, length)
    if start:
        before = replace(whole.before, **{name: getattr(whole, name)[:, start - 1] for name in BEFORE})
        later = {name: getattr(whole, name)[:, start:] for name in (*BEFORE, "observations", "steps")}
        whole = replace(whole, **later, before=before)
    with torch.inference_mode():
        logits = model(whole)[0, -1]
    assert action == logits.argmax()
    torch.testing.assert_close(_logits_of(agent, history, observation), logits, atol=1e-5, rtol=0)


def _logits_of(agent: InContextAgent, history: LearningHistory, observation: np.ndarray) -> torch.Tensor:
    got = []
    agent.reset(1, prompts=[history])
    act = agent._actor.act
    agent._actor.act = lambda now: got.append(act(now)) or got[0]
    agent.act(observation[None])
    return got[0][0]


def test_an_unfinished_prompt_ends_where_the_environment_begins():
    """Kills: a first step that is told it continues the prompt's last, unfinished episode."""
    agent = InContextAgent(make_model())
    agent.reset(1, prompts=[history := make_history(7, done_at_end=False)])
    seen = watched(agent)
    agent.act(np.zeros((1, 2), int))
    assert seen[0].steps.tolist() == [[0]]
    before = [getattr(seen[0].before, name).item() for name in BEFORE]
    assert before == [history.actions[-1], history.rewards[-1], True, False]


def test_an_empty_prompt_is_no_prompt():
    """Kills: a prompt of no transitions that is read as one."""
    agent = InContextAgent(make_model(), greedy=True)
    agent.reset(2)
    plain = agent.act(np.ones((2, 2), int))
    agent.reset(2, prompts=[make_history(0), None])
    assert np.array_equal(agent.act(np.ones((2, 2), int)), plain)


def test_sampled_actions_follow_the_logits():
    """Kills: a greedy agent that says it samples, and the other way round."""
    model = make_model()
    agent = InContextAgent(model)
    agent.reset(4000)
    observations = np.tile([[3, 3]], (4000, 1))
    shares = np.bincount(agent.act(observations), minlength=5) / 4000
    greedy = InContextAgent(model, greedy=True)
    greedy.reset(4000)
    assert set(greedy.act(observations)) == {shares.argmax()}
    none, no = torch.empty((1, 0)), torch.empty((1, 0), dtype=torch.bool)
    first = Transitions(
        torch.tensor([[[3, 3]]]), none, none, no, no, torch.tensor([[0]]), nothing_before(1), torch.tensor([1])
    )
    with torch.no_grad():
        expected = model(first)[0, 0].softmax(-1).numpy()
    assert np.abs(shares - expected).max() < 0.03  # four standard errors


def test_the_caller_may_keep_and_change_what_it_was_given():
    """Kills: an action array that the agent goes on to read."""
    agent = InContextAgent(make_model())
    agent.reset(2, seed=0)
    actions = agent.act(np.zeros((2, 2), int))
    kept = agent._actions.copy()
    actions[:] = 9
    assert np.array_equal(agent._actions, kept)


def _ready() -> InContextAgent:
    agent = InContextAgent(make_model())
    agent.reset(2)
    return agent


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: InContextAgent(a.model).act(np.zeros((2, 2), int)), r"agent.reset\(num_envs\) is due"),
        (lambda a: a.observe(np.zeros(2), np.zeros(2), np.zeros(2)), r"agent.act\(...\) is due"),
        (lambda a: [a.act(np.zeros((2, 2), int)) for _ in range(2)], r"agent.observe\(...\) is due"),
        (lambda a: a.act(np.zeros((3, 2), int)), r"shape \(3, 2\): expected 2 obs.* of MultiDiscrete\(9, 7\)$"),
        (
            lambda a: a.act(np.full((2, 2), 7)),
            r"lane 0, step 0 .*with 7, not of MultiDiscrete\(9, 7\): expected 0 to 6",
        ),
        (lambda a: a.act(np.full((2, 2), -1)), "with -1, not of"),
        (lambda a: a.act(np.zeros((2, 2))), "expected integers"),
        (lambda a: a.reset(0), "num_envs is 0"),
        (lambda a: a.reset(2, index=[1]), r"index has shape \(1,\)"),
        (lambda a: a.reset(2, prompts=[None]), "got 1 prompts for 2 environments"),
        (
            lambda a: (a.act(np.zeros((2, 2), int)), a.observe(np.zeros(3), np.zeros(2), np.zeros(2))),
            "rewards has shape",
        ),
    ],
)
def test_wrong_calls_say_what_is_due(call, message):
    """Kills: a wrong call that fails inside torch, or worse, does not fail."""
    with pytest.raises(UsageError, match=message):
        call(_ready())


def test_a_prompt_of_another_family_is_refused():
    """Kills: a prompt whose actions or observations the model's tables do not have."""
    history = make_history(6)
    for change, message in [
        ({"actions": np.full(6, 5)}, r"prompt 0, step 0: actions hold 5, not of Discrete\(5\)"),
        ({"observations": np.zeros((6, 3), np.uint8)}, r"shape \(3,\): expected the shape \(2,\)"),
        ({"observations": np.full((6, 2), 8, np.uint8)}, r"not of MultiDiscrete\(9, 7\)"),
    ]:
        wrong = LearningHistory(**(vars(history) | change))
        with pytest.raises(UsageError, match=message):
            _ready().reset(1, prompts=[wrong])
