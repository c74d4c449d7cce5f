"""MiniGrid's families: the package's rules and view, tasks apart by layout, and the shortest way."""

import numpy as np
import pytest

minigrid = pytest.importorskip("minigrid")

from icrl.envs import FAMILIES, make_family  # noqa: E402
from icrl.envs.mini_grid.shortest_way import ShortestWays  # noqa: E402
from icrl.errors import UsageError  # noqa: E402

NAMES = [name for name in FAMILIES if name.startswith("minigrid")]
SMALL = {"train": 15, "validation": 3, "test": 8}


def seen(observation) -> np.ndarray:
    """The package's observation as ours."""
    return np.append(observation["image"].ravel(), observation["direction"]).astype(np.int64)


def follow(family, tasks, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, list]:
    """Return and steps of the optimal policy's first episode, some actions replaced by random ones; and how it saw
    the state: whether the true cell was among those that it thought possible."""
    env, policy = family.make(tasks, seed=0), family.reference_policy("optimal", tasks)
    generator = np.random.default_rng(0)
    observations, _ = env.reset()
    total, steps, running = np.zeros(len(tasks)), np.zeros(len(tasks), int), np.ones(len(tasks), bool)
    found = []
    while running.any():
        actions = policy.act(observations)
        for lane, task in enumerate(tasks):
            ways = family.ways(task)
            cells = ways.cells_C2[ways.states(policy._possible[lane]).cell]
            found.append((cells == env.cells[lane]).all(axis=1).any())
        random = generator.integers(0, 7, len(tasks))
        actions = np.where(generator.random(len(tasks)) < noise, random, actions)
        observations, rewards, terminated, truncated, _ = env.step(actions)
        policy.observe(rewards, terminated, truncated)
        total, steps = total + rewards * running, steps + running
        running &= ~(terminated | truncated)
    return total, steps, found


@pytest.mark.parametrize("name", NAMES)
def test_a_lane_is_the_packages_environment(name):
    """Kills: another view, a wall that hides too much, a door or key of other rules, a reward of another step."""
    family = make_family(name, **SMALL)
    split = family.split(0)
    tasks = [*split.test[:5], *split.ood["larger"][:1]]
    rooms = [family.build({k: v for k, v in task.params.items() if k != "layout"}) for task in tasks]
    for room in rooms:
        room.max_steps = family.horizon
    env = family.make(tasks, seed=0)
    observations, _ = env.reset()
    for task, room, observation in zip(tasks, rooms, observations, strict=True):
        assert np.array_equal(observation, seen(room.reset(seed=task.params["layout"])[0]))
    policy, generator = family.reference_policy("optimal", tasks), np.random.default_rng(0)
    chance = np.array([3, 3, 6, 3, 1, 4, 1]) / 21
    for step in range(400):
        actions = generator.choice(7, len(tasks), p=chance)
        if step < 60:  # The shortest way ends episodes with a reward, which chance seldom does.
            actions = policy.act(observations)
        observations, rewards, terminated, truncated, info = env.step(actions)
        policy.observe(rewards, terminated, truncated)
        last = np.where((terminated | truncated)[:, None], info["final_obs"], observations) if info else observations
        for lane, (task, room) in enumerate(zip(tasks, rooms, strict=True)):
            observation, reward, ended, cut, _ = room.step(int(actions[lane]))
            assert np.array_equal(last[lane], seen(observation)), (step, lane)
            assert rewards[lane] == np.float32(reward)
            assert (terminated[lane], truncated[lane]) == (ended, cut and not ended)
            if ended or cut:
                assert np.array_equal(observations[lane], seen(room.reset(seed=task.params["layout"])[0]))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_the_optimal_policy_takes_as_many_steps_as_promised(name, seed):
    """Kills: ways by other rules than the environment's, an optimum that nobody can earn, a layout without a way."""
    family = make_family(name, **SMALL)
    tasks = family.split(seed).test
    promised = np.array([family.ways(task).length() for task in tasks], float)
    total, steps, found = follow(family, tasks)
    assert np.array_equal(steps, promised)
    assert total == pytest.approx(1 - 0.9 * promised / family.horizon, rel=1e-6)
    anchors = family.anchors(tasks)
    assert anchors.optimum == pytest.approx(total, rel=1e-6)
    assert (anchors.random < anchors.optimum).all()
    assert all(found)


@pytest.mark.parametrize("name", ["minigrid-four-rooms", "minigrid-door-key", "minigrid-key-corridor"])
def test_the_policy_finds_its_way_back_when_its_actions_are_replaced(name):
    """Kills: a policy that loses track of where it is, or of the key, once noise has acted for it."""
    family = make_family(name, **SMALL)
    total, _, found = follow(family, family.split(0).test, noise=0.5)
    assert all(found)
    assert (total > 0).all()


def test_the_way_through_an_empty_room_is_its_distance_and_its_turns():
    """Kills: a shortest path that is not: in an empty room it can be counted by hand."""
    family = make_family("minigrid-empty-random")
    split = family.split(0)
    for task in (*split.train, *split.test):
        layout = family.layout(task)
        right, down = 6 - layout.position[0], 6 - layout.position[1]
        # Facing right or down, where there is some way to go: one turn if there are two ways, else none.
        wanted = [direction for direction, way in ((0, right), (1, down)) if way]
        turns = min(
            (first - layout.direction) % 4 if (first - layout.direction) % 4 < 3 else 1 for first in wanted
        ) + (len(wanted) - 1)
        assert family.ways(task).length() == right + down + turns
    assert len({family.layout(task).key for part in split.names for task in split.named(part)}) == 160


def test_no_layout_is_in_two_splits():
    """Kills: splits that are apart by seed only: of 2,000 seeds of this room there are 42 layouts."""
    family = make_family("minigrid-lava-crossing", crossings=1, train=20, validation=5, test=15)
    split = family.split(0)
    keys = [family.layout(task).key for name in ("train", "validation", "test") for task in split.named(name)]
    assert len(set(keys)) == 40
    with pytest.raises(UsageError, match="only about 42 layouts"):
        make_family("minigrid-lava-crossing", crossings=1, train=40).split(0)


def test_more_training_layouts_leave_the_test_layouts_alone():
    """Kills: a study with more training tasks that is tested on other tasks."""
    few, many = (make_family("minigrid-door-key", train=train, test=5).split(3) for train in (5, 50))
    assert few.test == many.test
    assert few.train == many.train[:5]


@pytest.mark.parametrize("name", ["minigrid-door-key", "minigrid-multi-room"])
def test_the_start_can_be_held(name):
    """Kills: a held start that is behind the locked door, or not the first cell."""
    family = make_family(name, **SMALL, hold=["start"])
    assert "start" not in family.axes
    for task in family.split(0).test:
        layout = family.layout(task)
        assert layout.direction == 0
        assert ShortestWays(layout).length() is not None
        if name == "minigrid-door-key":
            assert layout.position in ((1, 1), (2, 1), (1, 2))


def test_options_out_of_range_are_refused():
    """Kills: an environment whose rules are not the ones played, an axis that is not held without a word."""
    with pytest.raises(UsageError, match="not one of those understood"):
        make_family("minigrid", env="MiniGrid-Dynamic-Obstacles-5x5-v0")
    with pytest.raises(UsageError, match="registers no environment"):
        make_family("minigrid", env="MiniGrid-Nowhere-v0")
    with pytest.raises(UsageError, match="only start can be held"):
        make_family("minigrid-four-rooms", hold=["reward"])
    with pytest.raises(UsageError, match="odd"):
        make_family("minigrid-lava-crossing", size=8)
    with pytest.raises(UsageError, match="larger=8"):
        make_family("minigrid-door-key", larger=8)
