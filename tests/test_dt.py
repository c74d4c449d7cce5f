"""Decision Transformer: what its tokens show, that acting is reading on, that a return can be asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import make_model, method_of, random_transitions

from icrl.errors import UsageError
from icrl.models.agent import InContextAgent
from icrl.models.methods.sequence import padding
from icrl.models.spec import Spec
from icrl.transitions import RETURN_TO_GO, returns_to_go

SPACES = {
    "observation_space": {"kind": "multi_discrete", "nvec": [9, 7]},
    "action_space": {"kind": "discrete", "n": 5},
    "horizon": 6,
    "scales": {
        "rewards": {"centre": [0.0], "unit": [1.0]},
        RETURN_TO_GO: {"centre": [0.0], "unit": [4.0], "best": 9.0},
    },
}
KINDS = [(tokens, context) for tokens in ("three", "one") for context in ("many", "one")]
LAYOUTS = [method_of("dt", tokens=tokens, context=context) for tokens, context in KINDS]
NAMES = ["-".join(kind) for kind in KINDS]


def model_of(layout, **options):
    return make_model(spec=Spec(**SPACES), method=layout, **options)


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
def test_an_action_is_predicted_from_what_was_known_when_it_was_chosen(layout):
    """Kills: a head that reads a token too late, which sees the action that it is to predict; one that reads a token
    too early, which does not see the observation."""
    model, batch = model_of(layout), random_transitions(2, 8)
    before = model(batch)
    later = batch.actions.clone()
    later[:, 4] = (later[:, 4] + 1) % 5
    said = model(replace(batch, actions=later))
    torch.testing.assert_close(said[:, :5], before[:, :5])
    assert not torch.allclose(said[:, 5:], before[:, 5:]), "the action is seen from the next step on"
    seen = batch.observations.clone()
    seen[:, 4] = (seen[:, 4] + 1) % 7
    said = model(replace(batch, observations=seen))
    torch.testing.assert_close(said[:, :4], before[:, :4])
    assert not torch.allclose(said[:, 4], before[:, 4]), "the observation is seen at once"
    to_go = batch.extras[RETURN_TO_GO].clone()
    to_go[:, 4] += 1.0
    said = model(replace(batch, extras={RETURN_TO_GO: to_go}))
    torch.testing.assert_close(said[:, :4], before[:, :4])
    assert not torch.allclose(said[:, 4], before[:, 4]), "and so is the return-to-go"


@pytest.mark.parametrize("layout", LAYOUTS[::2], ids=NAMES[::2])
def test_acting_towards_what_was_earned_is_reading_the_history(layout):
    """Kills: a return-to-go that is not lowered by each reward, or not set anew with each episode; a token that acting
    lays out otherwise than training does; a cache that a full context spoils."""
    steps, lanes, length = 18, 2, 4
    model = model_of(layout)
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(lanes, steps))
    dones = np.zeros((lanes, steps), bool)
    dones[:, length - 1 :: length] = True
    # Every episode comes to the same, so that one target is right for all.
    for lane in range(lanes):
        for end in range(length - 1, steps, length):
            rewards[lane, end] += 3.0 - rewards[lane, end - length + 1 : end + 1].sum()
    to_go = np.stack([returns_to_go(r, d) for r, d in zip(rewards, dones, strict=True)])
    to_go[:, steps // length * length :] = 3.0 - np.cumsum(rewards, 1)[:, steps // length * length - 1 : -1] + 12.0
    batch = random_transitions(lanes, steps)
    rewards_BT = torch.from_numpy(rewards.astype(np.float32))
    batch = replace(
        batch, rewards=rewards_BT, terminated=torch.from_numpy(dones), truncated=torch.zeros(lanes, steps) > 0
    )
    batch = replace(batch, steps=torch.arange(steps).expand(lanes, steps) % length)
    batch = replace(batch, before=replace(batch.before, actions=torch.full((lanes,), 5)))
    batch = replace(batch, extras={RETURN_TO_GO: torch.from_numpy((to_go / 4.0).astype(np.float32))})

    agent, said = InContextAgent(model), []
    act = agent._actor.act
    agent._actor.act = lambda now: said.append(act(now)) or said[-1]
    agent.reset(lanes, targets=3.0)
    for t in range(steps):
        agent.act(batch.observations[:, t].numpy())
        agent._actions = batch.actions[:, t].numpy()
        agent.observe(rewards[:, t], dones[:, t], np.zeros(lanes, bool))
        start = model.window_start(t)
        window = batch.map(lambda x, start=start, t=t: x[:, start : t + 1] if x.ndim > 1 else x)
        if start:
            window = replace(window, before=replace(window.before, actions=batch.actions[:, start - 1]))
        torch.testing.assert_close(said[t], model(window)[:, -1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS[1::2], ids=NAMES[1::2])
def test_a_context_of_one_episode_is_emptied_where_it_ends(layout):
    """Kills: the paper's method remembering the episode before; a lane that forgets as another's episode ends."""
    model, lanes = model_of(layout), 2
    batch = random_transitions(lanes, 9)

    def follow(first: int, last: int, ends: dict[int, list[int]], lane=slice(None)):
        agent, said = InContextAgent(model), []
        act = agent._actor.act
        agent._actor.act = lambda now: said.append(act(now)) or said[-1]
        count = len(batch.actions[lane])
        agent.reset(count, targets=3.0)
        for t in range(first, last):
            agent.act(batch.observations[lane, t].numpy())
            agent._actions = batch.actions[lane, t].numpy()
            done = np.isin(np.arange(lanes)[lane], ends.get(t, []))
            agent.observe(batch.rewards[lane, t].numpy(), done, np.zeros(count, bool))
        return torch.stack(said)

    both = follow(0, 9, {3: [0], 5: [1]})
    alone = follow(4, 9, {}, slice(0, 1))
    torch.testing.assert_close(both[4:, 0], alone[:, 0], rtol=1e-4, atol=1e-4)
    other = follow(0, 6, {}, slice(1, 2))
    torch.testing.assert_close(both[:6, 1], other[:, 0], rtol=1e-4, atol=1e-4)


def test_a_lane_is_asked_for_the_best_of_the_data_unless_told_otherwise():
    """Kills: a target that is dropped, or one lane's that all are given."""
    model = model_of(LAYOUTS[2])
    seen = np.zeros((2, 2), np.int64)

    def first(targets):
        agent, said = InContextAgent(model), []
        act = agent._actor.act
        agent._actor.act = lambda now: said.append(act(now)) or said[-1]
        agent.reset(2, targets=targets)
        agent.act(seen)
        return said[0]

    torch.testing.assert_close(first(None), first(9.0))
    torch.testing.assert_close(first([9.0, 1.0])[0], first(9.0)[0])
    torch.testing.assert_close(first([9.0, 1.0])[1], first(1.0)[1])
    assert not torch.allclose(first(1.0), first(9.0))
    with pytest.raises(UsageError, match="expected one finite number, or one for each of 2"):
        InContextAgent(model).reset(2, targets=[1.0, 2.0, 3.0])
    with pytest.raises(UsageError, match="ad takes no target return"):
        InContextAgent(make_model()).reset(2, targets=1.0)


@pytest.mark.parametrize("tokens", ["three", "one"])
def test_what_is_asked_for_is_what_is_earned(tokens):
    """Kills: a return-to-go that the model does not read. Arm k of five pays k: of random pulls the model learns to
    pull the arm that pays what was asked."""
    model = make_model(
        spec=Spec(**{**SPACES, "horizon": 1}), method=method_of("dt", tokens=tokens), fresh=True, width=32
    )
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(120):
        batch = random_transitions(16, 8)
        actions = torch.randint(5, (16, 8), generator=generator)
        zeros = torch.zeros(16, 8, dtype=torch.long)
        batch = replace(
            batch, observations=torch.zeros(16, 8, 2, dtype=torch.long), actions=actions, rewards=actions.float(),
            terminated=zeros == 0, truncated=zeros > 0, steps=zeros, extras={RETURN_TO_GO: actions / 4.0},
        )  # fmt: skip
        optimizer.zero_grad()
        model.method.loss(model, batch)[0].backward()
        optimizer.step()
    agent = InContextAgent(model, greedy=True)
    agent.reset(5, targets=np.arange(5.0))
    for _ in range(6):
        pulled = agent.act(np.zeros((5, 2), np.int64))
        assert pulled.tolist() == [0, 1, 2, 3, 4]
        agent.observe(pulled.astype(float), np.ones(5, bool), np.zeros(5, bool))


def test_the_loss_is_of_actions_that_are_there():
    """Kills: padding that is trained on."""
    model, batch = model_of(LAYOUTS[0]), random_transitions(3, 6, lengths=(6, 2, 4))
    log_p = torch.log_softmax(model(batch).float(), -1).gather(-1, batch.actions[..., None])[..., 0]
    expected = -(log_p * ~padding(batch)).sum() / 12
    torch.testing.assert_close(model.method.loss(model, batch)[0], expected)
