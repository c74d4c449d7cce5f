"""The Dark Rooms' rules and anchors against published and hand-worked numbers."""

import numpy as np
import pytest

from icrl.envs import make_family
from icrl.envs.grids.cells import DOWN, LEFT, RIGHT, STAY, UP, cell_positions, next_cells, way_to
from icrl.errors import UsageError
from icrl.tasks import SPLIT_NAMES, Task


def all_tasks(family):
    split = family.split(0)
    return [task for name in SPLIT_NAMES for task in split.named(name)]


def value_iteration(size: int, goal: int, horizon: int) -> np.ndarray:
    """Optimal number of visits by plain maximisation, from every cell: knows nothing of shortest paths."""
    value = np.zeros(size * size)
    for _ in range(horizon):
        value = (value + (np.arange(size * size) == goal))[next_cells(size)].max(axis=1)
    return value


def test_moves_and_walls():
    """Kills: swapped axes, a wall that wraps round, a stay that moves."""
    next_SA = next_cells(3)
    assert next_SA[4].tolist() == [1, 5, 7, 3, 4]
    assert next_SA[0].tolist() == [0, 1, 3, 0, 0]
    assert next_SA[8, [UP, RIGHT, DOWN, LEFT, STAY]].tolist() == [5, 8, 8, 7, 8]
    assert cell_positions(3)[5].tolist() == [1, 2]


@pytest.mark.parametrize("size", [2, 5])
def test_the_way_to_a_goal_is_a_shortest_path(size):
    """Kills: a transposed table of goals and cells, a detour."""
    distance = np.abs(cell_positions(size)[:, None] - cell_positions(size)[None]).sum(axis=2)
    here = np.broadcast_to(np.arange(size * size), (size * size, size * size)).copy()
    goal = np.arange(size * size)[:, None]
    for steps in range(2 * size):
        assert np.array_equal(here == goal, distance <= steps)
        here = next_cells(size)[here, way_to(size)[goal, here]]


def test_golden_returns_of_the_9x9_room():
    """Kills: an off-by-one in the horizon or in which step's cell pays: 16.54 optimal, 0.25 random, 6.34 at ε = .5."""
    family = make_family("dark-room")
    tasks = all_tasks(family)
    assert len(tasks) == 81
    anchors = family.anchors(tasks)
    assert anchors.optimum.mean() == pytest.approx(16.5432, abs=1e-4)
    assert anchors.random.mean() == pytest.approx(0.2469, abs=1e-4)
    assert family.noisy_return(tasks, 0.5).mean() == pytest.approx(6.34, abs=0.005)


def test_golden_returns_of_the_10x10_room():
    """Kills: another start or horizon than the Decision-Pretrained Transformer's: 91.99 optimal, 1.00 random."""
    family = make_family("dark-room-dpt")
    anchors = family.anchors(all_tasks(family))
    assert anchors.optimum.mean() == pytest.approx(91.99, abs=1e-9)
    assert anchors.random.mean() == pytest.approx(1.00, abs=0.005)


def test_golden_return_of_the_permuted_room():
    """Kills: a permutation applied where its inverse belongs, or a goal elsewhere: 83 is optimal for every wiring."""
    family = make_family("dark-room-dpt-permuted")
    tasks = all_tasks(family)
    assert len(tasks) == 120
    assert np.array_equal(family.anchors(tasks).optimum, np.full(120, 83.0))
    env, policy = family.make(tasks, seed=0), family.reference_policy("optimal", tasks)
    observations, _ = env.reset()
    total = np.zeros(120)
    for _ in range(family.horizon):
        observations, rewards, *_ = env.step(policy.act(observations))
        total += rewards
    assert np.array_equal(total, np.full(120, 83.0))


def test_a_wiring_says_what_each_button_does():
    """Kills: the task's parameters read the wrong way round by someone who only has the dataset."""
    family = make_family("dark-room-dpt-permuted")
    env = family.make([Task(0, {"meaning": [RIGHT, DOWN, LEFT, STAY, UP]})], seed=0)
    env.reset()
    positions = [env.step(np.array([button]))[0][0].tolist() for button in (0, 1, 2, 3, 4)]
    assert positions == [[0, 1], [1, 1], [1, 0], [1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("name", "options", "tasks"),
    [
        ("dark-room", {}, (60, 5, 16)),
        ("dark-room", {"validation": 0}, (65, 0, 16)),
        ("dark-room-hard", {}, (220, 11, 58)),
        ("dark-room-dpt", {}, (72, 8, 20)),
        ("dark-room-dpt-permuted", {}, (90, 10, 20)),
    ],
)
def test_protocols_count_their_tasks(name, options, tasks):
    """Kills: a split of another size than the protocol that a score is compared under."""
    assert tuple(make_family(name, **options).num_tasks.values()) == tasks


@pytest.mark.parametrize(("size", "horizon", "start"), [(3, 4, "centre"), (4, 9, "corner"), (5, 2, "centre")])
def test_the_optimum_is_value_iterations(size, horizon, start):
    """Kills: an anchor of a policy that is not the best one, or goals out of reach counted as reached."""
    family = make_family("dark-room", size=size, horizon=horizon, start=start, test=1, validation=1)
    tasks = all_tasks(family)
    start_cell = 0 if start == "corner" else (size // 2) * (size + 1)
    expected = [value_iteration(size, goal, horizon)[start_cell] for goal in family.goal_cells(tasks)]
    assert family.anchors(tasks).optimum == pytest.approx(np.array(expected))


def test_the_hard_room_pays_once_an_episode_and_again_in_the_next():
    """Kills: a goal that pays on every step, or that is spent for good after the first episode."""
    family = make_family("dark-room-hard", horizon=4)
    env = family.make([Task(0, {"goal": [8, 9]})], seed=0)
    env.reset()
    for _ in range(2):
        rewards = [float(env.step(np.array([action]))[1][0]) for action in (RIGHT, STAY, LEFT, RIGHT)]
        assert rewards == [1.0, 0.0, 0.0, 0.0]


def test_the_hard_rooms_random_anchor_is_a_probability():
    """Kills: expected visits reported where the goal pays once. Worked by hand: one step, goal next door."""
    family = make_family("dark-room-hard", horizon=1)
    tasks = [Task(0, {"goal": [8, 9]}), Task(1, {"goal": [8, 8]}), Task(2, {"goal": [0, 0]})]
    assert family.anchors(tasks).random == pytest.approx([0.2, 0.2, 0.0])
    hard = make_family("dark-room-hard")
    dense = make_family("dark-room-hard", reward="dense")
    assert (hard.anchors(tasks).random < dense.anchors(tasks).random).all()
    assert np.array_equal(hard.anchors(all_tasks(hard)).optimum, np.ones(289))


def test_goals_reach_every_cell_once():
    """Kills: a goal that no split holds, so that 81 goals are 80."""
    goals = {tuple(task.params["goal"]) for task in all_tasks(make_family("dark-room"))}
    assert goals == {(row, column) for row in range(9) for column in range(9)}


def test_options_out_of_range_are_refused():
    """Kills: an empty training split, a room without cells."""
    with pytest.raises(UsageError, match="none of the 9 tasks to train on"):
        make_family("dark-room", size=3, validation=5, test=4)
    with pytest.raises(UsageError, match="size=1"):
        make_family("dark-room", size=1)
    with pytest.raises(UsageError, match="test=0"):
        make_family("dark-room", test=0)
    with pytest.raises(UsageError, match="validation=-1"):
        make_family("dark-room", validation=-1)
