"""What is no number, or of no space, does not pass through the agent, and never comes out of it."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from small_models import make_model

from icrl.envs.kit.answers import Answers
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.stepping import Watching, lived
from icrl.errors import CheckpointError, FamilyError, UsageError
from icrl.history import LearningHistory
from icrl.models.agent import InContextAgent
from icrl.spaces import space_to_dict
from icrl.tasks import Task

SEEN = gym.spaces.Box(-9, 9, (2,))
ACTIONS = [gym.spaces.Discrete(3), gym.spaces.Box(-2, 5, (2,), np.int32), gym.spaces.Box(-1, 1, (), np.float64)]


def ready(actions: gym.Space = ACTIONS[0], lanes: int = 3, **reset) -> InContextAgent:
    spec = {"observation_space": space_to_dict(SEEN), "action_space": space_to_dict(actions), "horizon": 5}
    agent = InContextAgent(make_model(fresh=True, spec=spec, n_layer=1, n_head=1, width=8, context_length=8))
    agent.reset(lanes, **reset)
    return agent


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 9.5])
def test_an_observation_is_refused_with_its_lane_and_step(wrong):
    """Kills: NaN that comes out as an action of NaN, or as 0."""
    agent, zeros, no = ready(), np.zeros((3, 2)), np.zeros(3, bool)
    agent.act(zeros)
    agent.observe(np.zeros(3), no, no)
    zeros[2, 1] = wrong
    with pytest.raises(
        UsageError, match=r"^lane 2, step 1 of its episode: the observation \[0.0, .*\] with .*expected"
    ):
        agent.act(zeros)


@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, None, "1", 1j])
def test_an_answer_is_refused_with_its_lane_and_step(column, wrong):
    """Kills: a reward of NaN in every later token; a flag that is not one."""
    agent, answer = ready(), [[0.0, 0.0, 0.0], [False] * 3, [False] * 3]
    agent.act(np.zeros((3, 2)))
    answer[column][1] = wrong
    name = ("rewards", "terminated", "truncated")[column]
    what = "lane 1, step 0 of its episode: " if isinstance(wrong, float) else ""
    with pytest.raises(UsageError, match=f"^{what}{name} has .*expected"):
        agent.observe(*answer)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("observations", np.nan, "prompt 1, step 2: observations hold .*nan, not finite"),
        ("observations", 10.0, r"prompt 1, step 2: observations hold .*not of Box\(2\): expected -9.0 to 9.0"),
        ("rewards", np.inf, "prompt 1, step 2: the reward is inf"),
        ("actions", 3, r"prompt 1, step 2: actions hold 3, not of Discrete\(3\): expected 0 to 2"),
    ],
)
def test_a_prompt_is_refused_with_its_lane_and_step(name, wrong, message):
    """Kills: a context that begins with NaN."""
    columns = {"observations": np.zeros((4, 2), np.float32), "actions": np.zeros(4, int), "rewards": np.zeros(4)}
    columns[name][2] = wrong
    no = np.zeros(4, bool)
    prompt = LearningHistory(
        **columns, terminated=no, truncated=no, episode=np.zeros(4, int), step_in_episode=np.arange(4),
        final_observations=np.zeros((0, 2)), task_id=0, task_params={}, learner="x", learner_seed=0,
    )  # fmt: skip
    with pytest.raises(UsageError, match=message):
        ready(prompts=[None, prompt, None])


@pytest.mark.parametrize("actions", ACTIONS, ids=str)
def test_outputs_that_are_not_finite_are_no_action(actions):
    """Kills: a diverged model that acts, with NaN or always the first action."""
    agent = ready(actions)
    for weights in agent.model.parameters():
        torch.nn.init.constant_(weights, torch.nan)
    with pytest.raises(CheckpointError, match=r"^lane 0, step 0 of .*: the model's outputs are not finite"):
        agent.act(np.zeros((3, 2)))


@pytest.mark.parametrize("actions", ACTIONS, ids=str)
def test_its_actions_are_of_the_space(actions):
    """Kills: 4.007 for an environment of whole numbers, or float32 for one of doubles."""
    agent, no, rng = ready(actions), np.zeros(3, bool), np.random.default_rng(0)
    for _ in range(12):
        found = agent.act(rng.uniform(-9, 9, (3, 2)))
        assert found.dtype == actions.dtype
        assert all(
            actions.contains(np.asarray(action) if isinstance(actions, gym.spaces.Box) else action) for action in found
        )
        agent.observe(rng.normal(size=3), no, no)


class Wild(BatchedEnv):
    """Somebody's own, in NumPy: answers what it is told to from its second step on."""

    def __init__(self, answer: dict, space: gym.Space = SEEN) -> None:
        super().__init__(space, gym.spaces.Discrete(2), 3, 4, seed=0)
        self.answer, self.t = answer, 0

    def _start(self, lanes):
        pass

    def _advance(self, actions):
        self.t += 1
        late = self.answer if self.t == 2 else {}
        return late.get("rewards", np.zeros(3, np.float32)), late.get("terminated", np.zeros(3, bool))

    def _observe(self):
        return (
            self.answer["observations"]
            if self.t == 2 and "observations" in self.answer
            else np.zeros((3, 2), np.float32)
        )


class Still:
    def act(self, observations):
        return np.zeros(len(observations), int)

    def observe(self, *answer):
        pass


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            {"observations": np.float32([[0, 0], [0, 10], [0, 0]])},
            r"task 11 .*the observation \[0.0, 10.0\] with 10.0",
        ),
        ({"observations": np.float32([[0, 0], [0, 0], [0, np.nan]])}, "task 12 .*not finite"),
        ({"observations": np.zeros((3, 3))}, r"task 10 .*step 2: .*of shape \(3,\): expected the shape \(2,\)"),
        ({"observations": np.zeros((2, 2))}, "task 10 .*step 2: .*expected one for each lane"),
        ({"rewards": np.float32([0, np.nan, 0])}, "task 11 .*, step 2: the reward nan is not finite"),
        ({"rewards": np.zeros((3, 1))}, "task 10 .*step 2: .*expected one number for each lane"),
        ({"rewards": np.zeros(3, complex)}, "task 10 .*step 2: .*expected one number for each lane"),
    ],
)
def test_a_vectorised_environment_is_checked_too(answer, message):
    """Kills: values of a family in NumPy, which nothing stood before."""

    class Family:
        name, observation_space = "wild", SEEN

    answers = Answers(Family, [Task(number, {"x": number}) for number in (10, 11, 12)])
    with pytest.raises(FamilyError, match=f"^wild, {message}"):
        list(lived(Wild(answer), Watching(Still()), 1, answers))
