"""Mazes: what is a maze, what is seen of it, the shortest way, and the exact value of wandering."""

from collections import deque

import numpy as np
import pytest

from icrl.data_gen.record import record_histories
from icrl.envs import make_family
from icrl.envs.grids.maze_layouts import distances, from_text, nth_cell, random_mazes, rank_of, to_text
from icrl.errors import UsageError
from icrl.seeding import Streams, stream_keys
from icrl.tasks import Task

CORRIDOR = Task(
    0, {"walls": "#######/#.....#/#.###.#/#.#.#.#/#.#.#.#/#.#...#/#######", "goal": [1, 3], "start": [1, 1]}
)
"""Size 7: the goal two steps to the right of the start, a dead end downwards, and a longer way to the right."""


def streams(count: int, seed: int = 0) -> Streams:
    return Streams(stream_keys(seed, "test", np.arange(count)))


def shortest(walls: list[str], goal: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Breadth-first search by hand, cell by cell."""
    found, waiting = {goal: 0}, deque([goal])
    while waiting:
        row, column = waiting.popleft()
        for cell in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if walls[cell[0]][cell[1]] == "." and cell not in found:
                found[cell] = found[row, column] + 1
                waiting.append(cell)
    return found


@pytest.mark.parametrize("size", [5, 7, 11])
def test_a_maze_has_one_way_between_any_two_cells(size):
    """Kills: loops or islands; a search that stops before every room was visited."""
    rooms = size // 2
    free_NSS = random_mazes(streams(50), size)
    assert (free_NSS.sum(axis=(1, 2)) == 2 * rooms**2 - 1).all()
    assert free_NSS[:, 1::2, 1::2].all()
    assert not free_NSS[:, ::2, ::2].any()
    for text in to_text(free_NSS):
        assert len(shortest(text.split("/"), (1, 1))) == 2 * rooms**2 - 1


def test_every_maze_of_four_rooms_is_drawn_equally_often():
    """Kills: a turn that is never taken. Four rooms in a square have 4 mazes, one for each wall that stays."""
    texts = to_text(random_mazes(streams(4000), 5))
    counts = np.unique(texts, return_counts=True)[1]
    assert len(counts) == 4
    assert (abs(counts - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)).all()


def test_opened_walls_make_loops_and_leave_the_border():
    """Kills: a hole in the border, a corner post that vanishes, an "open" maze that is none."""
    free_NSS = random_mazes(streams(200), 9, opened=0.25)
    assert (free_NSS.sum(axis=(1, 2)) >= 2 * 16).all()
    assert not free_NSS[:, ::2, ::2].any()
    assert not (free_NSS[:, 0] | free_NSS[:, -1] | free_NSS[:, :, 0] | free_NSS[:, :, -1]).any()
    # 24 places between rooms, 15 of them open already: a quarter of the other 9 is opened.
    assert abs(free_NSS.sum(axis=(1, 2)).mean() - 31 - 2.25) < 0.4


def test_distances_are_those_of_a_search_cell_by_cell():
    """Kills: a way through a wall or a corner; axes swapped; a maze that is smaller than its neighbours."""
    texts = [*to_text(random_mazes(streams(5), 9, opened=0.3)), *to_text(random_mazes(streams(5, 1), 7))]
    goals = [(1, 1), (3, 5), (7, 7), (7, 1), (5, 3), (1, 1), (3, 5), (5, 5), (5, 1), (5, 3)]
    found = distances(from_text(texts), np.array(goals))
    for distance_SS, text, goal in zip(found, texts, goals, strict=True):
        by_hand = shortest(text.split("/"), goal)
        assert {cell: distance_SS[cell] for cell in by_hand} == by_hand
        assert (distance_SS < 1000).sum() == len(by_hand)


def test_cells_are_counted_row_by_row():
    """Kills: a goal inside a wall, a cell that is never drawn."""
    free_NSS = random_mazes(streams(3), 7)
    for rank, cell in enumerate(np.argwhere(free_NSS[1])):
        assert nth_cell(free_NSS, np.full(3, rank))[1].tolist() == cell.tolist()
    assert rank_of(free_NSS, (5, 5)).tolist() == [2 * 9 - 2] * 3


def test_the_window_shows_walls_and_goal_around_the_agent():
    """Kills: a window that is mirrored, turned, or shifted by one; a goal shown or hidden against the rule."""
    for show, seen in ((True, 2), (False, 0)):
        family = make_family("maze", size=7, view=2, show_goal=show, train=10, validation=0, test=5)
        env = family.make([CORRIDOR], seed=0)
        observations, _ = env.reset()
        assert observations.reshape(5, 5).tolist() == [
            [1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1],
            [1, 1, 0, 0, seen],
            [1, 1, 0, 1, 1],
            [1, 1, 0, 1, 0],
        ]


def test_moves_and_walls():
    """Kills: actions that mean other moves than in the other grids; a wall that one walks through."""
    family = make_family("maze", size=7, view=1, train=10, validation=0, test=5)
    env = family.make([CORRIDOR] * 5, seed=0)
    env.reset()
    observations, rewards, terminated, *_ = env.step(np.arange(5))
    assert not rewards.any()
    assert not terminated.any()
    at_start, right, down = [1, 1, 1, 1, 0, 0, 1, 0, 1], [1, 1, 1, 0, 0, 2, 0, 1, 1], [1, 0, 0, 1, 0, 1, 1, 0, 1]
    assert observations.tolist() == [at_start, right, down, at_start, at_start]
    _, rewards, *_ = env.step(np.ones(5, int))
    assert rewards.tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("reward", ["dense", "ends"])
def test_anchors_by_hand(reward):
    """Kills: an off-by-one in the horizon, a wander that is not the uniform one; typed in by hand for 3 steps.

    From the start the actions right and down move, three stay. To reach the goal in two steps: right, right, 1/25.
    In three: a wasted step first (3/5 at the start, or up, down, stay in the passage 3/5), 2 · 3/5 · 1/25 more. At the
    goal a dense reward comes again with up, down and stay, 3/5.
    """
    family = make_family("maze", size=7, horizon=3, reward=reward, train=10, validation=0, test=5)
    anchors = family.anchors([CORRIDOR])
    late = 2 * 3 / 5 / 25
    assert anchors.random[0] == pytest.approx(1 / 25 + late + (1 / 25 * 3 / 5 if reward == "dense" else 0))
    assert anchors.optimum[0] == (2 if reward == "dense" else 1)


def test_the_goal_ends_the_episode_where_it_should():
    """Kills: a dense maze that ends at the goal, one that goes on where it ends."""
    for reward, ends in (("dense", False), ("ends", True)):
        family = make_family("maze", size=7, reward=reward, train=10, validation=0, test=5)
        env = family.make([CORRIDOR], seed=0)
        env.reset()
        env.step(np.array([1]))
        _, rewards, terminated, *_ = env.step(np.array([1]))
        assert (rewards[0], terminated[0]) == (1.0, ends)


def test_the_optimal_policy_finds_its_way_through_noise():
    """Kills: a policy that believes it stands where its own actions would have led, and runs into walls."""
    family = make_family("maze")
    tasks = family.split(0).test
    anchors = family.anchors(tasks)
    clean = record_histories(family, tasks, "optimal", {}, episodes=2)
    np.testing.assert_array_equal([h.episode_returns()[1] for h in clean], anchors.optimum)
    constant = {"final_epsilon": 0.3, "final_fraction": 1.0}
    noisy = record_histories(family, tasks, "noise-distillation", constant, episodes=6)
    mean = np.mean([h.episode_returns()[1:].mean() for h in noisy])
    assert mean > 0.5 * anchors.optimum.mean()
    assert mean < 0.9 * anchors.optimum.mean()


def test_held_axes_keep_their_defaults():
    """Kills: `hold` that is stored and does nothing."""
    options = {"train": 200, "validation": 10, "test": 20}
    for axis, key, default in (("dynamics", "walls", None), ("reward", "goal", [9, 9]), ("start", "start", [1, 1])):
        split = make_family("maze", hold=[axis], **options).split(0)
        tasks = (*split.train, *split.validation, *split.test)
        values = {repr(task.params[key]) for task in tasks}
        assert len(values) == 1
        assert default is None or values == {repr(default)}
        assert len({repr(task.params) for task in tasks}) == 230
        assert all(task.params["goal"] != task.params["start"] for task in tasks)
    with pytest.raises(UsageError, match="more than the 48 tasks"):
        make_family("maze", hold=["dynamics", "start"])
    other = make_family("maze", hold=["dynamics"], **options).split(1)
    assert other.test[0].params["walls"] == make_family("maze", hold=["dynamics"]).split(0).train[0].params["walls"]


def test_small_mazes_run_out_with_a_message():
    """Kills: a split that hangs, or holds one task twice, where there are no more mazes."""
    with pytest.raises(UsageError, match="ask for fewer tasks"):
        make_family("maze", size=5, hold=["reward", "start"]).split(0)
    with pytest.raises(UsageError, match="odd"):
        make_family("maze", size=10)


def test_every_goal_is_within_reach():
    """Kills: a task whose optimum is 0, which no return can be measured against."""
    family = make_family("maze", horizon=12, reward="ends", train=300)
    split = family.split(0)
    for name in split.names:
        assert (family.anchors(split.named(name)).optimum == 1).all()


def test_open_mazes_have_shorter_ways_and_larger_ones_longer():
    """Kills: sets that are drawn as the training tasks are."""
    family = make_family("maze")
    split = family.split(0)
    mean = {name: family.anchors(split.named(name)).optimum.mean() for name in split.names}
    assert mean["larger"] + 4 < mean["test"] < mean["open"] - 4
    assert {task.params["walls"].index("/") for task in split.ood["larger"]} == {15}
