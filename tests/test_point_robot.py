"""The point robots' rules and anchors against published numbers, hand-worked ones and plain simulations."""

from functools import partial
from math import inf

import numpy as np
import pytest

from icrl.envs import make_family
from icrl.envs.kit.conformance.checks import CHECKS, Subject
from icrl.envs.kit.measured import measured_returns
from icrl.envs.kit.simple_policies import UniformActions, ZeroAction
from icrl.envs.plane import walk as plane_walk
from icrl.envs.plane.family import OOD_WIND
from icrl.errors import UsageError
from icrl.tasks import Task

NAMES = ("point-robot", "point-robot-sparse", "navigation-2d", "semicircle")
OPTIONS = (
    ("point-robot", {"hold": ["start"]}),
    ("point-robot", {"start": "task", "wind": 0.05, "hole": 0.4}),
    ("point-robot-sparse", {"radius": 0.5, "wind": 0.02, "hole": 0.3}),
    ("point-robot-sparse", {"reward": "dense", "start": "task"}),
    ("navigation-2d", {"wind": 0.03, "start": "task"}),
    ("semicircle", {"wind": 0.03, "hold": ["reward"]}),
)


def rewards_of(family, task: Task, actions) -> list[float]:
    env = family.make([task], seed=0)
    env.reset()
    return [float(env.step(np.array([action], np.float32))[1][0]) for action in actions]


def expect_earned(family, tasks, stated, policy, episodes: int) -> None:
    """The anchor is the mean return of the policy, within five standard errors and the rounding of float32.

    One episode stands for all where nothing is random.
    """
    difference = measured_returns(family, tasks, policy, episodes) - stated[:, None]
    if episodes == 1:
        assert difference[:, 0] == pytest.approx(np.zeros(len(tasks)), abs=1e-5 * max(1.0, np.abs(stated).max()))
        return
    # Where few episodes earn anything, their standard error says little: one more or less is the least error.
    error = difference.std() / np.sqrt(difference.size) + (family.radius is not None) / difference.size
    assert abs(difference.mean()) < 5 * error + 1e-5 * max(1.0, np.abs(stated).max())


def test_golden_returns_of_the_semicircle():
    """Kills: a policy that goes straight (-4.01) or as fast as along one axis (-4.5); the best earns -3.84 of -100."""
    angles = (np.arange(200) + 0.5) * (np.pi / 200)
    anchors = make_family("semicircle").anchors([Task(i, {"angle": angle}) for i, angle in enumerate(angles)])
    assert anchors.optimum.mean() == pytest.approx(-3.8408, abs=1e-4)
    assert anchors.zero_action == pytest.approx(np.full(200, -100.0))


def test_a_step_by_hand():
    """Kills: a reward for where a step began, a squared distance, an action that is not clipped."""
    family = make_family("semicircle")
    task = Task(0, {"angle": 0.0})
    assert rewards_of(family, task, [(0.1, 0.0), (5.0, 0.0), (0.0, 0.0)]) == pytest.approx([-0.9, -0.8, -0.8])
    windy = Task(0, {"angle": 0.0, "wind_x": 0.05, "wind_y": 0.0})
    assert rewards_of(family, windy, [(0.0, 0.0), (0.1, 0.0)]) == pytest.approx([-0.95, -0.8])


def test_the_sparse_reward_by_hand():
    """Kills: a reward of -distance inside the disc, a disc that pays outside its radius."""
    family = make_family("point-robot-sparse")
    rewards = rewards_of(family, Task(0, {"angle": np.pi / 2}), [(0.0, 0.095)] * 9)
    assert rewards == pytest.approx([0.0] * 8 + [0.855])


def test_navigation_ends_at_the_goal_and_not_before():
    """Kills: an episode that goes on at the goal, and one that ends with one coordinate near."""
    task = Task(0, {"goal_x": 0.1, "goal_y": 0.2})
    for ends in (True, False):
        family = make_family("navigation-2d", ends_at_goal=ends)
        env = family.make([task], seed=0)
        env.reset()
        first = env.step(np.array([[0.1, 0.1]]))
        assert first[1][0] == pytest.approx(-0.1)
        assert not first[2][0]
        last = env.step(np.array([[0.0, 0.095]]))
        assert bool(last[2][0]) is ends
        assert not last[3][0]
        assert last[0][0] == pytest.approx([0.0, 0.0] if ends else [0.1, 0.195])


def test_maml_and_pearl_count_their_tasks():
    """Kills: another task count, horizon or range of goals than the protocol that a score is compared under."""
    dense, sparse = make_family("point-robot"), make_family("point-robot-sparse")
    assert [family.num_tasks["train"] for family in (dense, sparse)] == [80, 80]
    assert [family.num_tasks["test"] for family in (dense, sparse)] == [20, 20]
    horizons = {name: make_family(name).horizon for name in NAMES}
    assert horizons == {"point-robot": 20, "point-robot-sparse": 20, "navigation-2d": 100, "semicircle": 100}
    for name, half in (("point-robot", 1.0), ("navigation-2d", 0.5)):
        family = make_family(name, train=4000)
        goal_N2 = family.goals(family.split(0).train)
        assert np.abs(goal_N2).max() == pytest.approx(half, abs=0.01)
        assert np.abs(goal_N2.mean(axis=0)).max() < 0.05 * half
    for name in ("point-robot-sparse", "semicircle"):
        goal_N2 = make_family(name).goals(make_family(name).split(0).train)
        assert np.hypot(*goal_N2.T) == pytest.approx(np.ones(len(goal_N2)))
        assert goal_N2[:, 1].min() >= 0


def test_navigation_without_action_by_formula():
    """Kills: goals from another square: 100 times the mean distance from the centre of a square of side 1."""
    family = make_family("navigation-2d", ends_at_goal=False, horizon=4)
    places = (np.arange(20) + 0.5) / 20 - 0.5
    anchors = family.anchors([Task(0, {"goal_x": x, "goal_y": y}) for x in places for y in places])
    assert 25 * anchors.zero_action.mean() == pytest.approx(-50 * (np.sqrt(2) + np.arcsinh(1)) / 3, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wind", [0.0, 0.04])
def test_the_anchors_of_every_set_are_earned(name, wind):
    """Kills: anchors that leave out a wind, a start or a far goal; conformance looks at the test tasks only."""
    family = make_family(name, test=20, wind=wind)
    split = family.split(0)
    for where in ("test", *family.ood_sets):
        tasks = list(split.named(where))
        anchors = family.anchors(tasks)
        assert not anchors.measured
        optimal = lambda lanes, streams: family.reference_policy("optimal", lanes)  # noqa: E731
        many = 500 if family.starts_anew else 1
        expect_earned(family, tasks, anchors.optimum, optimal, many)
        expect_earned(family, tasks, anchors.zero_action, partial(ZeroAction, family), many)
        expect_earned(family, tasks, anchors.random, partial(UniformActions, family), 300)
        assert (anchors.optimum > np.maximum(anchors.random, anchors.zero_action)).all()


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_other_options_keep_the_contract(name, options):
    """Kills: an option that breaks the splits, the axes, the anchors or the picture."""
    subject = Subject(name, options, seconds=inf)
    for check in CHECKS:
        check(subject)


def test_no_path_beats_the_optimum():
    """Kills: a closed form of a policy that is not the best. 20,000 disturbed ones per task, under wind too."""
    generator = np.random.default_rng(0)
    for wind in (0.0, 0.06):
        family = make_family("point-robot", start="task", wind=wind, horizon=8, test=10)
        tasks = list(family.split(0).test)
        lanes = [task for task in tasks for _ in range(2000)]
        best_N = np.repeat(family.anchors(tasks).optimum, 2000)
        env, policy = family.make(lanes, seed=0), family.reference_policy("optimal", lanes)
        seen, _ = env.reset()
        total_N = np.zeros(len(lanes))
        noise_N1 = generator.choice([0.0, 0.003, 0.03, 0.1], len(lanes))[:, None]
        for _ in range(family.horizon):
            seen, rewards, *_ = env.step(policy.act(seen) + noise_N1 * generator.normal(size=(len(lanes), 2)))
            total_N += rewards
        assert (total_N <= best_N + 1e-5).all()
        assert total_N[noise_N1[:, 0] == 0] == pytest.approx(best_N[noise_N1[:, 0] == 0], abs=1e-5)


def test_the_mean_over_a_box_by_hand():
    """Kills: a wrong sign or factor in the closed form: corner and centre of the unit square, and a far box."""
    corner = (np.sqrt(2) + np.arcsinh(1)) / 3
    zeros, ones = np.zeros((1, 2)), np.ones((1, 2))
    assert plane_walk.mean_distance_from_box(zeros, ones, 0.0, 0.0) == pytest.approx(corner)
    assert plane_walk.mean_distance_from_box(-ones, ones, 0.0, 0.0) == pytest.approx(corner)
    assert plane_walk.mean_distance_from_box(-ones, ones, 1.0, 1.0) == pytest.approx(0.0)
    # Along x the goal is reached from everywhere; along y half of the box is left, at a mean of 1/4.
    ahead = np.array([[2.0, 0.5]])
    assert plane_walk.mean_distance_from_box(-ones, ones, ahead, ahead) == pytest.approx(0.125)
    grid = (np.arange(400) + 0.5) / 400
    x, y = np.meshgrid(0.3 + grid, -2.0 + grid)
    far = plane_walk.mean_distance_from_box(np.array([[0.3, -2.0]]), np.array([[1.3, -1.0]]), 0.1, 0.2)
    assert far == pytest.approx(np.hypot(x - 0.1, -y - 0.2).mean(), abs=1e-5)


def test_the_density_of_a_sum_of_steps():
    """Kills: a density that is one step late or has another width: it is 1, spread by k/3 of a step, as it must."""
    points, density_KG = plane_walk.walk_density(100)
    width = points[1] - points[0]
    # The box of the first step counts its two edges in full: one cell too many.
    assert density_KG[0].sum() * width == pytest.approx(1 + 1 / 64)
    assert density_KG[1:].sum(axis=1) * width == pytest.approx(np.ones(99), abs=1e-4)
    variance_K = (density_KG * points**2).sum(axis=1)[1:] * width
    assert variance_K == pytest.approx(0.01 / 3 * np.arange(2, 101), rel=1e-3)


def test_random_distances_of_one_step_by_formula():
    """Kills: a quadrature off its density: the mean over a square of ±0.1 is 0.1 · (√2 + asinh 1) / 3."""
    zeros = np.zeros((1, 2))
    first = plane_walk.random_distances(zeros, zeros, 3)[0, 0]
    assert first == pytest.approx(0.1 * (np.sqrt(2) + np.arcsinh(1)) / 3, abs=1e-4)


def test_starts_and_goals_of_the_other_sets_lie_outside():
    """Kills: an out-of-distribution set that overlaps the training tasks."""
    dense, sparse = make_family("point-robot", test=200), make_family("point-robot-sparse", test=200)
    tasks = dense.split(0).ood
    assert np.abs(dense.goals(tasks["extrapolation"])).max(axis=1).min() >= 1.0
    assert np.abs(dense.goals(tasks["other-start"])).max() <= 1.0
    assert np.abs(dense.starts(tasks["other-start"])).max(axis=1).min() >= 1.0
    assert np.hypot(*dense.wind(tasks["wind"]).T) == pytest.approx(np.full(200, OOD_WIND))
    tasks = sparse.split(0).ood
    assert sparse.goals(tasks["extrapolation"])[:, 1].max() < 0
    assert np.hypot(*sparse.goals(tasks["farther"]).T).min() >= 1.25
    assert np.abs(sparse.starts(tasks["other-start"])).max() <= 0.5
    holed = make_family("point-robot-sparse", hole=0.5, train=500).split(0)
    assert all(abs(task.params["angle"] - np.pi / 2) > np.pi / 4 for task in holed.train)
    assert all(abs(task.params["angle"] - np.pi / 2) <= np.pi / 4 for task in holed.ood["hole"])


def test_starts_are_drawn_anew_or_held():
    """Kills: one start for all episodes of a task where each has its own; a held start that moves."""
    for options, places in (({}, 5), ({"start": "task"}, 1), ({"hold": ["start"]}, 1)):
        family = make_family("point-robot", **options)
        env = family.make(family.split(0).test[:1], seed=0)
        starts = [env.reset()[0][0]]
        for _ in range(4 * family.horizon):
            seen, _, _, truncated, _ = env.step(np.zeros((1, 2)))
            if truncated[0]:
                starts.append(seen[0])
        assert len({tuple(start) for start in starts}) == places
        assert np.abs(starts).max() <= 1.0
    assert (np.array(starts) == 0.0).all()


def test_axes_follow_the_options():
    """Kills: a family that says it varies what its options fix."""
    assert make_family("point-robot").axes == ("reward", "start")
    assert make_family("semicircle").axes == ("reward",)
    assert make_family("semicircle", wind=0.05, start="task").axes == ("reward", "dynamics", "start")
    assert make_family("semicircle", wind=0.05, hold=["reward"]).axes == ("dynamics",)
    assert make_family("semicircle", hold=["dynamics"]).axes == ("reward",)
    held = make_family("navigation-2d", wind=0.05, hold=["dynamics"])
    assert not held.wind(held.split(0).train).any()
    with pytest.raises(UsageError, match="leaves one task"):
        make_family("semicircle", hold=["reward"])
    with pytest.raises(UsageError, match="leaves one task"):
        make_family("point-robot", hold=["reward"])


def test_options_out_of_range_are_refused():
    """Kills: a wind that no action holds against, for which the closed form would be wrong; a disc without end."""
    with pytest.raises(UsageError, match=r"wind=0\.1"):
        make_family("semicircle", wind=0.1)
    with pytest.raises(UsageError, match="wind=-1"):
        make_family("semicircle", wind=-1)
    with pytest.raises(UsageError, match=r"radius=1\.5"):
        make_family("point-robot-sparse", radius=1.5)
    with pytest.raises(UsageError, match="horizon=0"):
        make_family("point-robot", horizon=0)
    with pytest.raises(UsageError, match="choose from 'episode', 'task'"):
        make_family("point-robot", start="fixed")
    with pytest.raises(UsageError, match="choose from optimal"):
        make_family("point-robot").reference_policy("best", [])
