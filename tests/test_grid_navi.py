"""GridNavi's rules and anchors; its Bayes-optimal value against the published one and against plain recursion."""

import numpy as np
import pytest

from icrl.envs import make_family
from icrl.envs.grids.cells import DOWN, LEFT, RIGHT, STAY, UP
from icrl.envs.grids.grid_navi import far_goals
from icrl.envs.grids.grid_navi_belief import best_search
from icrl.errors import UsageError
from icrl.tasks import SPLIT_NAMES, Task


def all_tasks(family):
    split = family.split(0)
    return [task for name in SPLIT_NAMES for task in split.named(name)]


def test_golden_returns():
    """Kills: a goal that also costs the step, a goal next to the start, an off-by-one: the oracle earns 11.071."""
    family = make_family("grid-navi")
    tasks = all_tasks(family)
    assert len(tasks) == 21
    goals = {tuple(task.params["goal"]) for task in tasks}
    assert goals.isdisjoint({(0, 0), (0, 1), (1, 0), (1, 1)})
    anchors = family.anchors(tasks)
    assert anchors.optimum.mean() == pytest.approx(11.071, abs=5e-4)
    distance = np.array([sum(goal) for goal in (task.params["goal"] for task in tasks)])
    assert anchors.optimum == pytest.approx((16 - distance) - 0.1 * (distance - 1))


def test_the_bayes_optimal_trial():
    """Kills: an agent that knows the goal, or that forgets where it was not: 37.214 = 4.000 + 3 · 11.071."""
    found = make_family("grid-navi").bayes_optimal(4)
    assert found[0] == pytest.approx(4.0, abs=1e-3)
    assert found[1:] == pytest.approx(11.0714, abs=1e-3)
    assert found.sum() == pytest.approx(37.214, abs=1e-3)


def by_recursion(size, goals, horizon, episodes):
    """The Bayes-optimal return of the trial by plain maximisation over actions, belief by belief."""
    moves = {UP: (-1, 0), RIGHT: (0, 1), DOWN: (1, 0), LEFT: (0, -1), STAY: (0, 0)}
    known: dict = {}

    def value(episode, step, cell, left):
        """Of what is to come, where the goal is one of `left`: a single one that was stood on is marked found."""
        if episode == episodes:
            return 0.0
        if step == horizon:
            return value(episode + 1, 0, (0, 0), left)
        key = (episode, step, cell, left)
        if key not in known:
            known[key] = max(after(episode, step, cell, left, move) for move in moves.values())
        return known[key]

    def after(episode, step, cell, left, move):
        there = tuple(min(max(x + d, 0), size - 1) for x, d in zip(cell, move, strict=True))
        total = 0.0
        if there in left:
            share = 1 / len(left)
            total += share * (1.0 + value(episode, step + 1, there, frozenset([there])))
            others = left - {there}
        else:
            share, others = 0.0, left
        if others:
            total += (1 - share) * (-0.1 + value(episode, step + 1, there, others))
        return total

    return value(0, 0, (0, 0), frozenset(goals))


@pytest.mark.parametrize(("horizon", "episodes"), [(3, 1), (3, 3), (4, 2), (5, 2), (7, 1), (8, 2)])
def test_the_search_is_optimal(horizon, episodes):
    """Kills: a bound that is too low, a greedy order. Plain recursion knows of no order, route or bound."""
    family = make_family("grid-navi", size=3, horizon=horizon, validation=0, test=1)
    assert len(family.goals) == 5
    expected = by_recursion(3, family.goals, horizon, episodes)
    assert family.bayes_optimal(episodes).sum() == pytest.approx(expected, abs=1e-9)


def test_the_search_is_optimal_where_time_is_short():
    """Kills: an order that looks good in its first episode only. 4×4 cells, 12 goals, 6 steps."""
    family = make_family("grid-navi", size=4, horizon=6, validation=0, test=1)
    assert len(family.goals) == 12
    expected = by_recursion(4, family.goals, 6, 2)
    assert family.bayes_optimal(2).sum() == pytest.approx(expected, abs=1e-9)


def test_the_search_can_be_walked():
    """Kills: a value that no agent in the environment earns."""
    family = make_family("grid-navi")
    tasks = sorted(all_tasks(family), key=lambda task: task.id)
    order = best_search(5, family.goals, family.horizon, 4).order
    env = family.make(tasks, seed=0)
    cell, _ = env.reset()
    known = np.full((21, 2), -1)
    returns = np.zeros((21, 4))
    for episode in range(4):
        route = [np.array(family.goals[goal]) for goal, at, _ in order if at == episode + 1]
        place = np.zeros(21, int)
        for _ in range(family.horizon):
            aims = np.array([route[min(i, len(route) - 1)] if route else cell[n] for n, i in enumerate(place)])
            aims = np.where(known[:, :1] >= 0, known, aims)
            down, right = (aims - cell).T
            action = np.select([down > 0, down < 0, right > 0, right < 0], [DOWN, UP, RIGHT, LEFT], STAY)
            following, reward, _, _, info = env.step(action)
            stood = info.get("final_obs", following)
            known[reward == 1] = stood[reward == 1]
            place += np.all(stood == aims, axis=1)
            returns[:, episode] += reward
            cell = following
    assert returns.mean(axis=0) == pytest.approx(family.bayes_optimal(4), abs=1e-5)
    # On five of the goals it is that agent's return on those five, not its mean over all.
    few = list(family.split(0).test)
    earned = returns[[tasks.index(task) for task in few]].mean(axis=0)
    assert earned == pytest.approx(family.bayes_optimal(4, few), abs=1e-5)
    assert (earned <= family.anchors(few).optimum.mean() + 1e-5).all()
    assert (family.bayes_optimal(4) > family.anchors(few).optimum.mean()).any()


def test_a_search_that_is_too_long_is_given_up(monkeypatch):
    """Kills: an hour of search, or a value that is not exact."""
    monkeypatch.setattr("icrl.envs.grids.grid_navi_belief.MOST_NODES", 20)
    assert make_family("grid-navi", horizon=9).bayes_optimal(3) is None


def test_the_random_anchor_by_hand():
    """Kills: a start that counts as a step. One step: 1 in 5 actions leads to a goal next door, 3 stay at (0, 0)."""
    family = make_family("grid-navi", horizon=1)
    split = family.split(0)
    near = {tuple(task.params["goal"]): task for task in split.ood["near"]}
    random = family.anchors([near[0, 1], near[0, 0], near[1, 1]]).random
    assert random == pytest.approx([0.2 - 0.1 * 0.8, 0.6 - 0.1 * 0.4, -0.1])


def test_sets_from_outside():
    """Kills: an out-of-distribution goal that training has seen from the same start, in the same room."""
    family = make_family("grid-navi", largest=7)
    split = family.split(0)
    assert {tuple(task.params["goal"]) for task in split.ood["near"]} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert len(split.ood["other-start"]) == 21
    assert all(max(task.params["goal"]) >= 5 for task in split.ood["larger"])
    assert len(split.ood["larger"]) == 24
    wide = make_family("grid-navi", largest=12)
    reachable = wide.anchors(wide.split(0).ood["larger"])
    assert (reachable.optimum > reachable.random).all()
    default = make_family("grid-navi").split(0)
    assert (split.train, split.test) == (default.train, default.test)
    assert "larger" not in default.ood


def test_rooms_of_two_sizes_stand_in_one_batch():
    """Kills: the walls of one room around another; an anchor of the wrong room."""
    family = make_family("grid-navi", largest=7)
    tasks = [Task(0, {"goal": [4, 4], "start": [0, 0], "size": size}) for size in (5, 7)]
    env = family.make(tasks, seed=0)
    env.reset()
    for _ in range(9):
        cell, *_ = env.step(np.array([DOWN, DOWN]))
    assert cell.tolist() == [[4, 0], [6, 0]]
    split = family.split(0)
    mixed = [split.train[0], split.ood["larger"][0], split.train[1]]
    together = family.anchors(mixed).random
    np.testing.assert_allclose(together, [family.anchors([task]).random[0] for task in mixed], rtol=1e-12)
    assert together[1] < together[0]


def test_far_goals_keep_their_distance():
    """Kills: an exclusion by walking distance, which would let the diagonal neighbour in."""
    assert len(far_goals(5, (0, 0))) == 21
    assert len(far_goals(5, (2, 2))) == 16


def test_options_out_of_range_are_refused():
    """Kills: a room without goals, an empty training split."""
    with pytest.raises(UsageError, match="size=2"):
        make_family("grid-navi", size=2)
    with pytest.raises(UsageError, match="none of the 21 goals"):
        make_family("grid-navi", test=21)
    with pytest.raises(UsageError, match="largest=4"):
        make_family("grid-navi", largest=4)
