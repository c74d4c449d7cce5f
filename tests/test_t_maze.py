"""The Passive T-Maze against its paper's returns, and against a plain scalar simulation of its rules."""

import numpy as np
import pytest

from icrl.envs import make_family
from icrl.envs.grids.t_maze import DOWN, LEFT, RIGHT, UP
from icrl.errors import UsageError
from icrl.tasks import Task


class ScalarTMaze:
    """The rules in words, one maze, one episode."""

    def __init__(self, length, goal):
        self.length, self.goal, self.x, self.y, self.time = length, goal, 0, 0, 0

    def step(self, action):
        self.time += 1
        if action == RIGHT and self.x < self.length and self.y == 0:
            self.x += 1
        elif action == LEFT and self.x > 0 and self.y == 0:
            self.x -= 1
        elif action in (UP, DOWN) and self.x == self.length:
            self.y = max(-1, min(1, self.y + (1 if action == UP else -1)))
        if self.time == self.length + 1:
            return float(self.y == self.goal), True
        return (-1 / self.length if self.x < self.time else 0.0), False


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_it_follows_its_rules(length):
    """Kills: a penalty in the last step, a wall that is none, an arm that pays for the other's cue."""
    family = make_family("passive-t-maze", length=length, cues=3, validation=0, test=1)
    tasks = [*family.split(0).train] * 60
    env = family.make(tasks, seed=1)
    cue, _ = env.reset()
    plain = [ScalarTMaze(length, 1 if t.params["meaning"][c] else -1) for t, c in zip(tasks, cue, strict=True)]
    generator = np.random.default_rng(0)
    paid = 0
    for step in range(length + 1):
        # Mostly to the right, so that the junction is reached.
        chances = (0.88, 0.04, 0.04, 0.04) if step < length else (0.1, 0.4, 0.1, 0.4)
        action = generator.choice(4, size=len(tasks), p=chances)
        following, reward, terminated, truncated, info = env.step(action)
        seen = info.get("final_obs", following)
        for lane, maze in enumerate(plain):
            expected, done = maze.step(action[lane])
            assert reward[lane] == np.float32(expected)
            assert terminated[lane] == done
            place = 3 if maze.x < length else {0: 4, 1: 5, -1: 6}[maze.y]
            assert seen[lane] == place
        assert not truncated.any()
        paid += (reward == 1).sum()
    assert paid > 10
    assert (following < 3).all(), "the next episode begins with a cue"


@pytest.mark.parametrize("length", [1, 10, 300])
def test_the_optimum_is_one(length):
    """Kills: a policy that reads the cue again at the junction, or that keeps the last episode's."""
    family = make_family("passive-t-maze", length=length)
    tasks = family.split(0).test
    assert np.array_equal(family.anchors(tasks).optimum, np.ones(len(tasks)))
    env, policy = family.make(tasks, seed=0), family.reference_policy("optimal", tasks)
    observation, _ = env.reset()
    total = np.zeros(len(tasks))
    for _ in range(3 * (length + 1)):
        observation, *answer = env.step(policy.act(observation))
        policy.observe(*answer[:3])
        total += answer[0]
    assert np.array_equal(total, np.full(len(tasks), 3.0))


def test_guessing_at_the_junction_is_worth_a_half():
    """Kills: arms of unequal odds. To the right and always up: chance, over all tasks and episodes."""
    family = make_family("passive-t-maze", length=4)
    tasks = [*family.split(0).train, *family.split(0).validation, *family.split(0).test] * 100
    env = family.make(tasks, seed=0)
    env.reset()
    total = sum(env.step(np.full(len(tasks), UP if step == 4 else RIGHT))[1] for step in range(5))
    assert total.mean() == pytest.approx(0.5, abs=4 * 0.5 / len(tasks) ** 0.5)
    assert family.bayes_optimal(1) == pytest.approx([0.5])


def by_enumeration(length, right, up):
    """Expected return of a policy whose actions are drawn apart from each other, over all places and steps."""
    chance, total = {(0, 0): 1.0}, 0.0
    for time in range(1, length + 2):
        following: dict = {}
        for (x, y), p in chance.items():
            for action, q in ((RIGHT, right), (UP, up), (LEFT, 0.25), (DOWN, 0.75 - right - up)):
                maze = ScalarTMaze(length, 1)
                maze.x, maze.y, maze.time = x, y, time - 1
                reward, _ = maze.step(action)
                total += p * q * reward
                following[maze.x, maze.y] = following.get((maze.x, maze.y), 0.0) + p * q
        chance = following
    return total


@pytest.mark.parametrize("length", [1, 2, 5, 10])
def test_the_random_anchor_is_exact(length):
    """Kills: 0.5 stated for an agent that hardly ever reaches the junction."""
    family = make_family("passive-t-maze", length=length)
    tasks = family.split(0).test[:3]
    expected = by_enumeration(length, 0.25, 0.25)
    assert family.anchors(tasks).random == pytest.approx(np.full(3, expected), abs=1e-12)


def test_the_bayes_optimal_agent_remembers_cues():
    """Kills: a prior in which one cue tells of another. An agent that notes what each cue paid, over all tasks."""
    family = make_family("passive-t-maze", length=2, cues=3, validation=0, test=1)
    split = family.split(0)
    tasks = [*split.train, *split.test] * 1000
    env = family.make(tasks, seed=0)
    cue, _ = env.reset()
    lanes, note = np.arange(len(tasks)), np.full((len(tasks), 3), -1)
    earned = np.zeros((5, len(tasks)))
    for episode in range(5):
        env.step(np.full(len(tasks), RIGHT))
        env.step(np.full(len(tasks), RIGHT))
        turn = np.where(note[lanes, cue] == -1, UP, note[lanes, cue])
        following, reward, *_ = env.step(turn)
        note[lanes, cue] = np.where(reward == 1, turn, UP + DOWN - turn)
        earned[episode], cue = reward, following
    error = earned.std(axis=1).max() / len(tasks) ** 0.5
    assert earned.mean(axis=1) == pytest.approx(family.bayes_optimal(5), abs=4 * error)


def test_parameters_say_which_arm_pays():
    """Kills: a meaning that is read the other way round by someone who only has the dataset."""
    family = make_family("passive-t-maze", length=1, cues=2, validation=0, test=1)
    env = family.make([Task(0, {"meaning": [1, 0], "length": 1})] * 50, seed=0)
    cue, _ = env.reset()
    assert set(cue) == {0, 1}
    env.step(np.full(50, RIGHT))
    reward = env.step(np.full(50, UP))[1]
    assert np.array_equal(reward == 1, cue == 0)


def test_other_lengths_are_sets_of_their_own():
    """Kills: a longer maze that is cut off at the shorter one's horizon; test tasks that change with `longest`."""
    plain, family = make_family("passive-t-maze"), make_family("passive-t-maze", longest=25)
    split = family.split(0)
    assert list(plain.ood_sets) == ["shorter"]
    assert plain.split(0).test == split.test
    assert plain.observation_space == family.observation_space
    assert [task.params["meaning"] for task in split.ood["longer"]] == [t.params["meaning"] for t in split.test]
    tasks = [split.test[0], split.ood["shorter"][0], split.ood["longer"][0]]
    env, policy = family.make(tasks, seed=0), family.reference_policy("optimal", tasks)
    observation, _ = env.reset()
    ended = np.zeros(3, int)
    for step in range(1, 27):
        observation, reward, terminated, *_ = env.step(policy.act(observation))
        assert (reward[terminated] == 1).all()
        ended = np.where(terminated & (ended == 0), step, ended)
    assert ended.tolist() == [11, 6, 26]


def test_options_out_of_range_are_refused():
    """Kills: an empty training split; a table of 2^40 tasks."""
    with pytest.raises(UsageError, match="2\\^40 tasks"):
        make_family("passive-t-maze", cues=40)
    with pytest.raises(UsageError, match="none of the 16 tasks"):
        make_family("passive-t-maze", cues=4)
    with pytest.raises(UsageError, match="longest=5"):
        make_family("passive-t-maze", longest=5)
