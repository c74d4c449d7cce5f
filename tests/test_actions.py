"""Distributions over actions: Discrete and Box, their losses, their draws, and an agent with continuous actions."""

import math

import numpy as np
import pytest
import torch
from small_models import config_of

from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.models.agent import InContextAgent
from icrl.models.model import InContextModel
from icrl.models.parts import distribution_of, make_action_head
from icrl.models.parts.distributions import CATEGORICAL, DIAGONAL_GAUSSIAN
from icrl.models.parts.heads import LOG_STD_HIGH, LOG_STD_LOW
from icrl.transitions import Before, Transitions

ACTIONS = {"kind": "box", "shape": [2], "low": [-1.0, 0.0], "high": [1.0, 10.0]}
OBSERVATIONS = {"kind": "box", "shape": [3], "low": [None] * 3, "high": [None] * 3}


def make_model(seed: int = 0) -> InContextModel:
    torch.manual_seed(seed)
    spec = {"observation_space": OBSERVATIONS, "action_space": ACTIONS, "horizon": 5}
    model = InContextModel(config_of(spec, n_layer=2, n_head=2, width=32, context_length=16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def test_categorical_draws_typed_in():
    """Kills: an inverse of the cumulative distribution that is off by one, or samples an impossible action."""
    logits = torch.tensor([[0.1, 0.2, 0.7]]).log().expand(6, 3)
    uniforms = np.array([[0.0], [0.09], [0.11], [0.29], [0.31], [1 - 2**-53]])
    assert CATEGORICAL.act(logits, uniforms).tolist() == [0, 0, 1, 1, 2, 2]
    assert CATEGORICAL.act(torch.tensor([[1.0, 3.0, 2.0], [5.0, 3.0, 2.0]]), None).tolist() == [1, 0]
    certain = torch.tensor([[-1e9, 0.0, -1e9]]).expand(2, 3)
    assert CATEGORICAL.act(certain, np.array([[0.0], [1 - 2**-53]])).tolist() == [1, 1]


def test_gaussian_draws_typed_in():
    """Kills: a variance taken for a deviation, a draw that is shared by the numbers of an action, infinity at 0."""
    outputs = torch.tensor([[[1.0, -2.0], [math.log(0.5), math.log(3.0)]]]).expand(3, 2, 2)
    # The standard normal's quantiles at .5, .975 and .0013499 are 0, 1.959964 and -3.
    uniforms = np.array([[0.5, 0.975], [0.0013498980316301, 0.5], [0.0, 0.5]])
    drawn = DIAGONAL_GAUSSIAN.act(outputs, uniforms)
    np.testing.assert_allclose(drawn[:2], [[1.0, -2.0 + 3 * 1.959964], [1.0 - 0.5 * 3, -2.0]], rtol=1e-5)
    assert np.isfinite(drawn).all()
    assert drawn.dtype == np.float32
    assert DIAGONAL_GAUSSIAN.act(outputs, None).tolist() == [[1.0, -2.0]] * 3


def test_gaussian_loss_is_that_of_torch_distributions():
    """Kills: a mean over an action's numbers where the likelihood is their sum; padding in the loss."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 3, 2, 2, generator=generator)
    actions = torch.randn(2, 3, 2, generator=generator)
    unseen = torch.tensor([[False, False, True], [False, True, True]])
    log_probability = torch.distributions.Normal(outputs[:, :, 0], outputs[:, :, 1].exp()).log_prob(actions).sum(-1)
    expected = -log_probability[~unseen].mean()
    actions[unseen] = 1e6  # padding may hold anything finite
    loss, metrics = DIAGONAL_GAUSSIAN.loss(outputs, actions, unseen)
    torch.testing.assert_close(loss, expected)
    seen_error = (actions - outputs[:, :, 0]).abs().mean(-1)[~unseen].mean()
    torch.testing.assert_close(metrics["error"], seen_error)
    with pytest.raises(UsageError, match="label_smoothing"):
        DIAGONAL_GAUSSIAN.loss(outputs, actions, unseen, label_smoothing=0.1)
    with pytest.raises(UsageError, match="expected discrete, multi_discrete"):
        distribution_of({"kind": "text"})


def test_the_head_speaks_the_actions_units():
    """Kills: a head that treats a range of 10 as one of 2, so that one number of the action learns slower."""
    head = make_action_head(ACTIONS, 8)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    outputs = head(torch.zeros(1, 1, 8))[0, 0]
    middle = 0.5 * (LOG_STD_LOW + LOG_STD_HIGH)
    torch.testing.assert_close(outputs, torch.tensor([[0.0, 5.0], [middle, middle + math.log(5.0)]]))
    assert make_action_head(dict(ACTIONS, shape=[2, 1]), 8)(torch.zeros(3, 4, 8)).shape == (3, 4, 2, 2, 1)


def test_an_agent_with_continuous_actions_keeps_to_their_bounds_and_to_its_lane():
    """Kills: draws that depend on the batch, an action outside the Box, an agent that is always greedy."""
    model = make_model()
    generator = np.random.default_rng(0)
    observations = generator.normal(size=(30, 50, 3)).astype(np.float32)
    rewards = generator.normal(size=(30, 50)).astype(np.float32)

    def play(lanes: list[int], greedy: bool = False) -> np.ndarray:
        agent = InContextAgent(model, greedy=greedy)
        agent.reset(len(lanes), seed=1, index=lanes)
        actions = []
        for t in range(30):
            actions.append(agent.act(observations[t, lanes]))
            agent.observe(rewards[t, lanes], np.zeros(len(lanes), bool), np.full(len(lanes), t % 5 == 4))
        return np.stack(actions)

    everyone = play(list(range(50)))
    assert everyone.shape == (30, 50, 2)
    assert everyone.dtype == np.float32
    low, high = np.array(ACTIONS["low"]), np.array(ACTIONS["high"])
    assert ((everyone >= low) & (everyone <= high)).all()
    assert ((everyone > low) & (everyone < high)).any()
    np.testing.assert_allclose(play([17]), everyone[:, [17]], atol=1e-4)
    assert np.abs(play([17], greedy=True) - everyone[:, [17]]).max() > 0.1


def test_acting_reads_what_training_reads():
    """Kills: a previous action that is encoded otherwise while acting, after a prompt, or as the first of a window."""
    model = make_model()
    generator = np.random.default_rng(3)
    T = 12
    done = np.arange(T) % 5 == 4
    history = LearningHistory(
        observations=generator.normal(size=(T, 3)).astype(np.float32),
        actions=generator.uniform([-1, 0], [1, 10], (T, 2)).astype(np.float32),
        rewards=generator.normal(size=T).astype(np.float32),
        terminated=np.zeros(T, bool),
        truncated=done,
        episode=(np.arange(T) // 5).astype(np.int32),
        step_in_episode=(np.arange(T) % 5).astype(np.int32),
        final_observations=np.zeros((done.sum(), 3), np.float32),
        task_id=0,
        task_params={},
        learner="random",
        learner_seed=0,
    )
    columns = ("observations", "actions", "rewards", "terminated", "truncated", "step_in_episode")
    yes = torch.ones(1, dtype=torch.bool)
    batch = Transitions(
        *(torch.from_numpy(np.array(getattr(history, name)))[None] for name in columns),
        Before(torch.zeros(1, 2), torch.zeros(1), yes, ~yes), torch.tensor([T]),
    )  # fmt: skip
    with torch.no_grad():
        expected = model(batch)[0, -1, 0].numpy()
    agent = InContextAgent(model, greedy=True)
    agent.reset(1, prompts=[history.take_episodes(slice(0, 2))])
    for t in range(10, T):
        action = agent.act(history.observations[t : t + 1])
        # What the model did is replaced by what the history did, to compare like with like.
        agent._actions = history.actions[t : t + 1].copy()
        agent.observe(history.rewards[t : t + 1], history.terminated[t : t + 1], history.truncated[t : t + 1])
    np.testing.assert_allclose(action[0], np.clip(expected, ACTIONS["low"], ACTIONS["high"]), rtol=2e-4, atol=2e-4)


def test_a_model_with_continuous_actions_comes_back_from_its_files(tmp_path):
    """Kills: bounds of the actions that are lost, or random weights, after `from_pretrained`."""
    model = make_model()
    model.save_pretrained(tmp_path)
    again = InContextModel.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    x = torch.randn(1, 4, 32)
    torch.testing.assert_close(again.net.head["0"](x), model.net.head["0"](x), rtol=0, atol=0)
