"""Dark Rooms and Key-to-Door in their other forms: unseen starts and wirings, a key that is seen, macro actions."""

import numpy as np
import pytest

from icrl.data_gen.record import record_histories
from icrl.envs import make_family
from icrl.envs.grids.dark_room_macro import DarkRoomMacro, macro_paths
from icrl.errors import UsageError
from icrl.tasks import Task


def test_the_test_goals_from_another_start():
    """Kills: «another start» that starts where training does, an anchor that is that of the usual start."""
    family = make_family("dark-room")
    split = family.split(0)
    moved = split.ood["other-start"]
    assert [task.params["goal"] for task in moved] == [task.params["goal"] for task in split.test]
    observations, _ = family.make(moved, seed=0).reset()
    assert (observations == 0).all()
    distance = np.array([sum(task.params["goal"]) for task in moved])
    np.testing.assert_allclose(family.anchors(moved).optimum, np.clip(21 - np.maximum(distance, 1), 0, 20))


def test_episodes_that_begin_anywhere():
    """Kills: cells that no episode begins in, one start for all episodes of a lane, anchors of another start, a start
    from the corner that is none. Under random moves every cell stays as likely as any other."""
    family = make_family("dark-room-dpt", start="anywhere", size=4, horizon=30, validation=2, test=4, largest=5)
    split = family.split(0)
    assert family.axes == ("reward", "start")
    tasks = split.train * 40
    histories = record_histories(family, tasks, "random", {}, episodes=5)
    cells = np.concatenate([history.observations @ np.array([4, 1]) for history in histories])
    starts = np.concatenate([history.observations[::30] @ np.array([4, 1]) for history in histories])
    error = (1 / 16 / len(starts)) ** 0.5
    assert np.bincount(starts, minlength=16) / len(starts) == pytest.approx(1 / 16, abs=5 * error)
    assert np.bincount(cells, minlength=16) / len(cells) == pytest.approx(1 / 16, abs=0.01)
    for policy, anchor in (("random", "random"), ("optimal", "optimum")):
        rewards = [float(h.rewards.sum()) / 5 for h in record_histories(family, tasks, policy, {}, episodes=5)]
        expected = getattr(family.anchors(tasks), anchor)
        assert np.mean(rewards) == pytest.approx(expected.mean(), abs=4 * np.std(rewards) / len(rewards) ** 0.5)
    moved = split.ood["other-start"]
    assert (family.make(moved, seed=0).reset()[0] == 0).all()
    assert family.anchors(moved).optimum.tolist() == [30 - max(sum(task.params["goal"]), 1) + 1 for task in moved]
    # A larger room begins anywhere in all of it.
    begun = family.make(split.ood["larger"] * 60, seed=0).reset()[0]
    assert (begun.min(axis=0).tolist(), begun.max(axis=0).tolist()) == ([0, 0], [4, 4])


def test_a_larger_room_has_its_own_walls_and_centre():
    """Kills: the smaller room's walls in the larger one, a start that is not its centre, the smaller one's anchors."""
    family, narrow = make_family("dark-room", largest=13), make_family("dark-room")
    split = family.split(0)
    assert (split.train, split.test) == (narrow.split(0).train, narrow.split(0).test)
    larger = split.ood["larger"]
    assert all(max(task.params["goal"]) >= 9 for task in larger)
    tasks = [*larger, *split.test]
    env = family.make(tasks, seed=0)
    observations, _ = env.reset()
    assert observations[:, 0].tolist() == [6] * 16 + [4] * 16
    for _ in range(8):
        observations, *_ = env.step(np.full(32, 1))
    assert observations[:, 1].tolist() == [12] * 16 + [8] * 16
    distance = [abs(row - 6) + abs(column - 6) for row, column in (task.params["goal"] for task in larger)]
    anchors, before = family.anchors(tasks), narrow.anchors(split.test)
    assert anchors.optimum[:16].tolist() == (21 - np.array(distance)).tolist()
    np.testing.assert_array_equal(anchors.random[16:], before.random)
    returns = [h.episode_returns()[0] for h in record_histories(family, tasks, "optimal", {}, episodes=1)]
    np.testing.assert_array_equal(returns, anchors.optimum)


def test_unseen_tasks_can_be_solved_in_time():
    """Kills: a goal 32 steps away in an episode of 20, whose normalised return is 0/0."""
    for name, options in (("dark-room-hard", {}), ("dark-room", {"largest": 31}), ("dark-room-ql-19", {})):
        family = make_family(name, **options)
        for tasks in family.split(0).ood.values():
            assert (family.anchors(tasks).optimum > 0).all()


@pytest.mark.parametrize("name", ["dark-room", "key-to-door", "key-to-door-ad-eps"])
def test_rewired_buttons_make_other_moves(name):
    """Kills: a wiring that the environment ignores, or that the optimal policy does not know."""
    family = make_family(name)
    rewired = family.split(0).ood["permuted"]
    assert all(task.params["meaning"] != [0, 1, 2, 3, 4] for task in rewired)
    plain = [Task(task.id, {k: v for k, v in task.params.items() if k != "meaning"}) for task in rewired]
    for learner in ("optimal", "random"):
        returns = [
            np.array([h.episode_returns().sum() for h in record_histories(family, tasks, learner, {}, episodes=3)])
            for tasks in (rewired, plain)
        ]
        assert np.array_equal(*returns) == (learner == "optimal"), learner


def test_the_key_bit_says_whether_the_key_is_held():
    """Kills: a bit of the next state, or one that survives the episode."""
    family = make_family("key-to-door-markov")
    history = record_histories(family, family.split(0).test[:1], "optimal", {}, episodes=4)[0]
    held = 0
    for t in range(len(history)):
        held = 0 if history.step_in_episode[t] == 0 else held
        assert history.observations[t, 2] == held
        held = int(held or history.rewards[t] > 0)
    assert (history.final_observations[:, 2] == 1).all()


def test_held_starts_are_the_centre():
    """Kills: `hold` that is stored and does nothing; one that leaves a single task."""
    family = make_family("key-to-door", hold=["start"])
    tasks = family.split(0).test
    assert (family.make(tasks, seed=0).reset()[0] == 4).all()
    assert family.axes == ("reward",)
    away = [sum(abs(a - b) for a, b in zip(t.params["key"], (4, 4), strict=True)) for t in tasks]
    assert len(set(away)) > 3
    assert (family.anchors(tasks).optimum == 2).all()
    with pytest.raises(UsageError, match="one task"):
        make_family("key-to-door", hold=["reward"])


def test_published_splits():
    """Kills: another number of goals than the papers train and test on."""
    sizes = {
        "dark-room-dicp": (73, 8), "dark-room-dicp-permuted": (108, 12), "dark-room-ql": (70, 11),
        "dark-room-ql-19": (300, 61), "key-to-door-dicp": (6233, 328), "key-to-door-ql": (1050, 100),
    }  # fmt: skip
    for name, (train, test) in sizes.items():
        num_tasks = make_family(name).num_tasks
        assert (num_tasks["train"] + num_tasks["validation"], num_tasks["test"]) == (train, test)
    ends = make_family("dark-room-ql")
    assert (ends.anchors(ends.split(0).test).optimum == 1).all()


def macro(*moves: int) -> int:
    return int(np.ravel_multi_index(moves, (5, 5, 5)))


def test_macros_make_three_moves():
    """Kills: digits read from the wrong end, a wall that stops the rest of a macro."""
    paths = macro_paths(9)
    assert paths[40, macro(0, 1, 4)].tolist() == [31, 32, 32]  # up, right, stay from the centre
    assert paths[0, macro(0, 3, 2)].tolist() == [0, 0, 9]  # into two walls, then down


def test_a_macro_ends_the_episode_where_it_passes_the_goal():
    """Kills: a goal that counts only at the end of a macro; exact anchors typed in by hand."""
    family = DarkRoomMacro(num_actions=8, largest=75, horizon=2)
    passes, stays = macro(0, 0, 2), macro(4, 4, 4)
    task = Task(0, {"goal": [2, 4], "macros": [passes, stays]})
    env = family.make([task], seed=0)
    env.reset()
    observations, rewards, terminated, _, info = env.step(np.array([0]))
    assert (rewards[0], terminated[0]) == (1.0, True)
    assert info["final_obs"].tolist() == [[2, 4]]
    assert observations.tolist() == [[4, 4]]
    anchors = family.anchors([task, Task(1, {"goal": [0, 0], "macros": [passes, stays]})])
    np.testing.assert_allclose(anchors.random, [0.75, 0.0])
    np.testing.assert_allclose(anchors.optimum, [1.0, 0.0])


def test_a_picture_follows_every_move_of_a_macro():
    """Kills: a path through walls, or on beyond the goal."""
    family = DarkRoomMacro(num_actions=8, largest=75)
    task = Task(0, {"goal": [2, 4], "macros": [macro(0, 0, 2), macro(1, 2, 4)]})
    history = record_histories(family, [task], "random", {}, episodes=3)[0]
    moves = family.move_by_move(task, history)
    assert len(moves) == 3 * len(history)
    np.testing.assert_array_equal(moves.episode_returns(), history.episode_returns())
    following = np.concatenate((moves.observations[1:], moves.observations[:1]))
    following[moves.dones] = moves.final_observations
    assert (abs(following - moves.observations).sum(axis=1) <= 1).all()
    assert moves.terminated.any()


def test_test_tasks_have_unseen_goals_and_unseen_actions_are_unseen():
    """Kills: a macro of "unseen-actions", or a test goal, that was trained on; another split than 50/75 and 68/13."""
    family = make_family("dark-room-macro", largest=125)
    split = family.split(0)
    macros = {name: {m for task in split.named(name) for m in task.params["macros"]} for name in split.names}
    trained = macros["train"] | macros["validation"] | macros["test"]
    assert (len(trained), len(macros["unseen-actions"]), trained & macros["unseen-actions"]) == (50, 75, set())
    assert macros["unseen-actions"] == macros["unseen-actions-75"]
    assert len(macros["actions-125"]) == 125
    goals = {name: {tuple(task.params["goal"]) for task in split.named(name)} for name in split.names}
    assert [len(goals[name]) for name in ("train", "validation", "test")] == [63, 5, 13]
    assert len(goals["train"] | goals["validation"] | goals["test"]) == 81
    assert all(goals[name] == goals["test"] for name in split.ood)
    assert family.anchors(split.test).optimum.mean() > 0.99
    assert {name: set(family.valid_actions(split.named(name)).tolist()) for name in split.ood} == {
        "unseen-actions": {50}, "unseen-actions-75": {75}, "actions-125": {125},
    }  # fmt: skip
    for wrong in ({"num_actions": 51}, {"largest": 100}):
        with pytest.raises(UsageError, match="expected"):
            DarkRoomMacro(**wrong)


def test_actions_that_a_task_lacks_do_nothing_and_are_not_chosen_at_random():
    """Kills: an action beyond a task's set that makes somebody else's move, or that dilutes the random anchor."""
    wide, narrow = make_family("dark-room-macro", largest=125), make_family("dark-room-macro")
    tasks = narrow.split(0).test
    assert wide.split(0).test == tasks
    np.testing.assert_allclose(wide.anchors(tasks).random, narrow.anchors(tasks).random)
    env = wide.make(tasks, seed=0)
    before, _ = env.reset()
    after, rewards, *_ = env.step(np.full(len(tasks), 50))
    small = make_family("dark-room-macro", num_actions=8, largest=75)
    few = [t for seed in range(4) for t in small.split(seed).test if t.params["goal"] == [4, 4]]
    assert few
    assert (small.reference_policy("optimal", few).act(np.full((len(few), 2), 4)) < small.valid_actions(few)).all()
    at_start = np.array([task.params["goal"] == [4, 4] for task in tasks])
    assert np.array_equal(after, before)
    assert np.array_equal(rewards > 0, at_start)


def test_held_actions_are_one_set_in_one_order():
    """Kills: `hold` that leaves the order to chance; more tasks than goals without a word."""
    counts = {"train": 63, "validation": 5, "test": 13}
    split = make_family("dark-room-macro", hold=["dynamics"], **counts).split(0)
    assert len({tuple(task.params["macros"]) for task in (*split.train, *split.test)}) == 1
    assert {tuple(sorted(t.params["macros"])) for t in split.ood["permuted-actions"]} == {
        tuple(sorted(split.test[0].params["macros"]))
    }
    with pytest.raises(UsageError, match="at most train=63, validation=5, test=13"):
        make_family("dark-room-macro", hold=["dynamics"])
