"""One suite over every task family: what `BatchedEnv` and `TaskFamily` promise, each family keeps."""

import json
import time

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from matplotlib.figure import Figure

from icrl.envs import FAMILIES, make_family
from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.tasks import SPLIT_NAMES

NAMES = list(FAMILIES)
GRIDS = [name for name in NAMES if name.startswith(("dark-room", "key-to-door"))]


def lanes_of(name: str, num_lanes: int):
    """The family, and its test tasks repeated to that many lanes."""
    family = make_family(name)
    test = family.split(0).test
    return family, [test[i % len(test)] for i in range(num_lanes)]


def random_actions(family, steps: int, num_lanes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, family.action_space.n, (steps, num_lanes))


def roll(env, actions_TN) -> dict[str, np.ndarray]:
    """Steps through the actions: observations (T+1, N, …), the rest (T, N); final_obs is 0 where no episode ended."""
    observations, _ = env.reset()
    rows = {"observations": [observations], "rewards": [], "terminated": [], "truncated": [], "final_obs": []}
    for actions in actions_TN:
        observations, rewards, terminated, truncated, info = env.step(actions)
        final = np.zeros_like(observations)
        if info:
            final[info["_final_obs"]] = info["final_obs"][info["_final_obs"]]
            assert np.array_equal(info["_final_obs"], terminated | truncated)
        else:
            assert not (terminated | truncated).any()
        values = (observations, rewards, terminated, truncated, final)
        for key, value in zip(rows, values, strict=True):
            rows[key].append(value)
    return {key: np.array(value) for key, value in rows.items()}


def record(family, task, episodes: int) -> LearningHistory:
    """A uniformly random agent's history on one task."""
    env = family.make([task], seed=0)
    out = roll(env, random_actions(family, episodes * family.horizon, 1))
    done = (out["terminated"] | out["truncated"])[:, 0]
    starts = np.flatnonzero(np.concatenate(([True], done[:-1])))
    episode = np.cumsum(np.concatenate(([0], done[:-1])))
    return LearningHistory(
        observations=out["observations"][:-1, 0],
        actions=random_actions(family, episodes * family.horizon, 1)[:, 0],
        rewards=out["rewards"][:, 0],
        terminated=out["terminated"][:, 0],
        truncated=out["truncated"][:, 0],
        episode=episode.astype(np.int32),
        step_in_episode=(np.arange(len(done)) - starts[episode]).astype(np.int32),
        final_observations=out["final_obs"][done, 0],
        task_id=task.id,
        task_params=task.params,
        learner="random",
        learner_seed=0,
    )


@pytest.mark.parametrize("name", NAMES)
def test_spaces_hold_what_the_environment_returns(name):
    """Kills: an observation outside the declared space, a reward of another type, an undeclared autoreset."""
    family, tasks = lanes_of(name, 7)
    env = family.make(tasks, seed=0)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert env.num_envs == 7
    out = roll(env, random_actions(family, 2 * family.horizon + 3, 7))
    for observation in [*out["observations"], *out["final_obs"]]:
        assert env.observation_space.contains(observation)
        assert all(family.observation_space.contains(lane) for lane in observation)
    assert out["rewards"].dtype == np.float32
    assert out["rewards"].shape == out["terminated"].shape == out["truncated"].shape
    assert out["terminated"].dtype == out["truncated"].dtype == bool


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_run(name):
    """Kills: a global generator, state that survives a reset, a seed that is accepted and ignored."""
    family, tasks = lanes_of(name, 5)
    actions = random_actions(family, 3 * family.horizon, 5)
    first = roll(family.make(tasks, seed=3), actions)
    env = family.make(tasks, seed=4)
    other = roll(env, actions)
    env.reset(seed=3)
    again = roll(family.make(tasks, seed=3), actions)
    for key in first:
        assert np.array_equal(first[key], again[key]), key
    if not name.startswith("dark-room"):  # a Dark Room draws nothing
        assert any(not np.array_equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_reset_with_a_seed_restarts_the_streams(name):
    """Kills: `reset(seed=…)` that keeps drawing from where it was."""
    family, tasks = lanes_of(name, 5)
    env = family.make(tasks, seed=1)
    env.reset()
    env.step(random_actions(family, 1, 5)[0])
    seeded, _ = env.reset(seed=9)
    fresh, _ = family.make(tasks, seed=9).reset()
    assert np.array_equal(seeded, fresh)


@pytest.mark.parametrize("name", NAMES)
def test_a_lane_behaves_alike_alone_and_among_a_thousand(name):
    """Kills: random numbers that depend on the batch: a history would change with the number of workers."""
    family, tasks = lanes_of(name, 1000)
    actions = random_actions(family, min(2 * family.horizon, 120), 1000)
    crowd = roll(family.make(tasks, seed=5), actions)
    for lane in (0, 417, 999):
        alone = roll(family.make([tasks[lane]], seed=5, index=[lane]), actions[:, lane : lane + 1])
        for key in crowd:
            assert np.array_equal(crowd[key][:, lane], alone[key][:, 0]), key


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_ends_once_and_for_one_reason(name):
    """Kills: terminated and truncated together, an episode past the horizon, one cut short without a reason."""
    family, tasks = lanes_of(name, 50)
    out = roll(family.make(tasks, seed=0), random_actions(family, 4 * family.horizon, 50))
    assert not (out["terminated"] & out["truncated"]).any()
    steps = np.zeros(50, int)
    for terminated, truncated in zip(out["terminated"], out["truncated"], strict=True):
        steps += 1
        assert np.array_equal(truncated, (steps == family.horizon) & ~terminated)
        steps[terminated | truncated] = 0
        assert (steps < family.horizon).all()


@pytest.mark.parametrize("name", GRIDS)
def test_final_obs_is_where_the_episode_really_ended(name):
    """Kills: the next episode's first observation passed off as the last one of this episode."""
    family, tasks = lanes_of(name, 40)
    longer = dict(family.options, horizon=family.horizon + 1)
    if "ends_at_door" in longer:
        longer["ends_at_door"] = False
    uncut = make_family(name, **longer)
    policy = family.reference_policy("optimal", tasks)
    env, reference = family.make(tasks, seed=2), uncut.make(tasks, seed=2)
    observations, _ = env.reset()
    reference.reset()
    running = np.ones(40, bool)
    for _ in range(family.horizon):
        actions = policy.act(observations)
        observations, rewards, terminated, truncated, info = env.step(actions)
        expected = reference.step(actions)[0]
        policy.observe(rewards, terminated, truncated)
        ended = running & (terminated | truncated)
        if ended.any():
            assert np.array_equal(info["final_obs"][ended], expected[ended])
        running &= ~ended
        assert np.array_equal(observations[running], expected[running])
    assert not running.any()


@pytest.mark.parametrize("name", NAMES)
def test_returned_arrays_are_left_alone_by_later_steps(name):
    """Kills: a view into the environment's state, which a recorder would see change under its hands."""
    family, tasks = lanes_of(name, 6)
    env = family.make(tasks, seed=0)
    first, _ = env.reset()
    kept, copies = [first], [first.copy()]
    for actions in random_actions(family, family.horizon + 2, 6):
        *arrays, info = env.step(actions)
        kept += [*arrays, *info.values()]
        copies += [array.copy() for array in (*arrays, *info.values())]
    assert all(np.array_equal(array, copy) for array, copy in zip(kept, copies, strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [[-1, 0], [0, 99], [0], [0.0, 1.0]], ids=["negative", "large", "few", "float"])
def test_wrong_actions_are_refused(name, wrong):
    """Kills: action -1 silently taken as the last action."""
    family, tasks = lanes_of(name, 2)
    env = family.make(tasks, seed=0)
    env.reset()
    with pytest.raises(ValueError, match="action"):
        env.step(np.array(wrong))


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_disjoint_and_a_function_of_the_seed(name):
    """Kills: test tasks that were trained on; a split that differs between the recording and the evaluation."""
    family = make_family(name)
    split = family.split(0)
    assert {key: len(split.named(key)) for key in SPLIT_NAMES} == family.num_tasks
    for key in (lambda task: task.id, lambda task: json.dumps(task.params)):
        parts = [{key(task) for task in split.named(part)} for part in SPLIT_NAMES]
        assert sum(map(len, parts)) == sum(family.num_tasks.values()) == len(set.union(*parts))
    assert make_family(name).split(0) == split
    assert family.split(1).test != split.test


@pytest.mark.parametrize("name", NAMES)
def test_fewer_validation_tasks_leave_the_test_tasks_alone(name):
    """Kills: two protocols whose scores are compared although they are tested on different tasks."""
    family = make_family(name)
    without = make_family(name, **dict(family.options, validation=0))
    assert without.split(0).test == family.split(0).test
    assert without.num_tasks["validation"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_name_and_options_rebuild_the_family(name):
    """Kills: an option that is not written to the provenance, or that JSON does not bring back."""
    family = make_family(name)
    again = make_family(family.name, **json.loads(json.dumps(family.options)))
    assert again.options == family.options
    assert again.label == family.label
    assert (again.horizon, again.num_tasks) == (family.horizon, family.num_tasks)
    assert (again.observation_space, again.action_space) == (family.observation_space, family.action_space)
    assert again.split(7) == family.split(7)
    task = family.split(7).test[0]
    assert json.loads(json.dumps(task.params)) == task.params


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
def test_anchors_are_what_the_policies_earn(name, epsilon):
    """Kills: anchors of other rules than the environment's; a reference policy that is not optimal."""
    num_lanes = 20_000 if make_family(name).horizon == 1 else 2_000
    family, tasks = lanes_of(name, num_lanes)
    env, policy = family.make(tasks, seed=0), family.reference_policy("optimal", tasks)
    generator = np.random.default_rng(1)
    observations, _ = env.reset()
    total, running = np.zeros(num_lanes), np.ones(num_lanes, bool)
    for _ in range(family.horizon):
        explore = generator.random(num_lanes) < epsilon
        anything = generator.integers(0, family.action_space.n, num_lanes)
        actions = np.where(explore, anything, policy.act(observations))
        observations, rewards, terminated, truncated, _ = env.step(actions)
        policy.observe(rewards, terminated, truncated)
        total += rewards * running
        running &= ~(terminated | truncated)
    expected = family.noisy_return(tasks, epsilon)
    standard_error = (total - expected).std() / np.sqrt(num_lanes)
    assert abs((total - expected).mean()) <= 4 * standard_error + 1e-9
    anchors = family.anchors(tasks)
    assert np.array_equal(anchors.random, family.noisy_return(tasks, 1.0))
    assert np.array_equal(anchors.optimum, family.noisy_return(tasks, 0.0))
    assert (anchors.random <= anchors.optimum).all()


@pytest.mark.parametrize("name", NAMES)
def test_draw_makes_a_picture_of_every_group(name):
    """Kills: a drawing that needs a screen, or that fails on a block of episodes."""
    family = make_family(name)
    task = family.split(0).test[0]
    episodes = 40 if family.horizon == 1 else 4
    history = record(family, task, episodes)
    groups = family.episode_groups(len(history.final_observations), pictures=3)
    assert len(groups) == 3
    assert groups[0].start == 0
    assert groups[-1].stop == len(history.final_observations)
    figure = Figure()
    for axes, group in zip(figure.subplots(1, 3), groups, strict=True):
        family.draw(axes, task, history.take_episodes(group))
        assert axes.has_data()
    figure.canvas.draw()


def test_unknown_names_and_options_are_refused():
    """Kills: a misspelt option that is dropped without a word, and a whole study run on defaults."""
    with pytest.raises(UsageError, match="did you mean 'dark-room'"):
        make_family("darkroom")
    with pytest.raises(UsageError, match=r"did you mean 'horizon'.*choose from size, horizon"):
        make_family("dark-room", horizn=20)
    with pytest.raises(UsageError, match="expected int"):
        make_family("dark-room", size="9")
    with pytest.raises(UsageError, match="expected int"):
        make_family("dark-room", size=True)
    with pytest.raises(UsageError, match="expected bool"):
        make_family("key-to-door", ends_at_door=1)
    with pytest.raises(UsageError, match="choose from 'dense', 'once'"):
        make_family("dark-room", reward="sparse")
    with pytest.raises(UsageError, match="choose from optimal"):
        make_family("dark-room").reference_policy("best", [])
    assert make_family("gaussian-bandit", noise=1).options["noise"] == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_a_thousand_lanes_take_no_loop_over_lanes(name):
    """Kills: Python per lane. The floor is 2 million steps a second and the usual rate is twenty times that."""
    family, tasks = lanes_of(name, 1000)
    env, actions = family.make(tasks, seed=0), random_actions(family, 100, 1000)
    env.reset()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        for row in actions:
            env.step(row)
        seconds.append(time.perf_counter() - start)
    assert actions.size / min(seconds) > 2e6
