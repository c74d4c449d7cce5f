"""The watermaze's rules and optimum against hand-worked numbers and plain simulations."""

from math import inf

import numpy as np
import pytest

from icrl.envs import make_family
from icrl.envs.kit.conformance.checks import CHECKS, Subject
from icrl.envs.kit.measured import measured_return, measured_returns
from icrl.envs.kit.simple_policies import ZeroAction
from icrl.errors import UsageError
from icrl.tasks import Task

EAST = Task(0, {"distance": 0.5, "direction": 0.0})
OPTIONS = (
    {"observation": "position", "start": "rim", "turn_cues": 180.0, "hole": 0.3},
    {"reward": "dense", "start": "rim"},
    {"turn_cues": 30.0, "hold": ["reward"]},
)


def started(task: Task, **options):
    env = make_family("watermaze", **options).make([task], seed=0)
    return env, env.reset()[0][0]


def test_swimming_by_hand():
    """Kills: a step along a diagonal that is longer than one along an axis, a wall that bounces or lets through."""
    env, seen = started(EAST, observation="position", reward="dense")
    assert seen.tolist() == [0.0, 0.0]
    assert env.step(np.array([[0.0, -0.5]]))[0][0] == pytest.approx([0.0, -0.05])
    assert env.step(np.array([[-1.0, 1.0]]))[0][0] == pytest.approx([-0.1 / np.sqrt(2), 0.1 / np.sqrt(2) - 0.05])
    for _ in range(12):
        seen = env.step(np.array([[0.0, 7.0]]))[0][0]
    assert np.hypot(*seen) == pytest.approx(1.0)
    along = env.step(np.array([[-1.0, 0.0]]))[0][0]
    assert np.hypot(*along) == pytest.approx(1.0)
    assert along[0] < seen[0]


def test_the_platform_pays_on_its_disc():
    """Kills: a platform of another radius, pay for where a step began, an episode that goes on after "once"."""
    near = Task(0, {"distance": 0.45, "direction": np.pi})
    for reward, paid in (("once", [0, 0, 0, 1]), ("dense", [0, 0, 0, 1, 1, 0])):
        env, _ = started(near, reward=reward)
        answers = [env.step(np.array([[-1.0, 0.0]])) for _ in paid]
        assert [int(rewards[0]) for _, rewards, *_ in answers] == paid
        assert [bool(terminated[0]) for _, _, terminated, *_ in answers] == [reward == "once" and p for p in paid]


def test_what_is_seen_by_hand():
    """Kills: cues in another order or place, and cues that turn the other way than the task says."""
    _, seen = started(EAST)
    assert seen == pytest.approx([1.0, 1.0, 1.0, 1.0])
    env, _ = started(EAST)
    assert env.step(np.array([[1.0, 0.0]]))[0][0] == pytest.approx([0.9, np.sqrt(1.01), 1.1, np.sqrt(1.01)])
    turned = Task(0, {**EAST.params, "cue_turn": np.pi / 2})
    env, _ = started(turned)
    assert env.step(np.array([[1.0, 0.0]]))[0][0] == pytest.approx([np.sqrt(1.01), 1.1, np.sqrt(1.01), 0.9])
    env, _ = started(turned, observation="position")
    assert env.step(np.array([[1.0, 0.0]]))[0][0] == pytest.approx([0.0, -0.1], abs=1e-7)


@pytest.mark.parametrize("observation", ["cues", "position"])
def test_places_are_read_back_from_what_is_seen(observation):
    """Kills: a policy and a picture that misread the observation, turned cues above all."""
    family = make_family("watermaze", observation=observation, turn_cues=180.0, start="rim")
    tasks = family.split(0).test
    env = family.make(tasks, seed=0)
    seen, _ = env.reset()
    generator = np.random.default_rng(0)
    for _ in range(20):
        np.testing.assert_allclose(family.places(seen, family.cues(tasks)), env._place_N2, atol=1e-6)
        seen = env.step(generator.uniform(-1, 1, (len(tasks), 2)))[0]


def test_the_optimum_by_hand():
    """Kills: a step too many or too few: 0.5 away, a platform of radius 0.1 is reached by the fourth step of 50."""
    for distance, steps in ((0.49, 4), (0.51, 5), (0.25, 2)):
        task = Task(0, {"distance": distance, "direction": 1.0})
        assert make_family("watermaze", reward="dense").anchors([task]).optimum == pytest.approx(51 - steps)
        assert make_family("watermaze").anchors([task]).optimum == pytest.approx(1.0)
        assert make_family("watermaze", horizon=steps - 1).anchors([task]).optimum == pytest.approx(0.0)
        assert make_family("watermaze", horizon=steps).anchors([task]).optimum == pytest.approx(1.0)


@pytest.mark.parametrize("start", ["centre", "rim"])
@pytest.mark.parametrize("reward", ["once", "dense"])
def test_the_stated_optimum_and_zero_action_are_earned(start, reward):
    """Kills: a mean over the rim that is not the rim's, an anchor of another set than the tasks'."""
    family = make_family("watermaze", start=start, reward=reward, test=30, horizon=12)
    split = family.split(0)
    for where in ("test", *family.ood_sets):
        tasks = split.named(where)
        anchors = family.anchors(tasks)
        zero = measured_return(family, tasks, lambda lanes, streams: ZeroAction(family, lanes), 1)
        assert anchors.zero_action == pytest.approx(zero)
        earned = measured_returns(family, tasks, lambda lanes, _: family.reference_policy("optimal", lanes), 400)
        difference = earned - anchors.optimum[:, None]
        error = difference.std() / np.sqrt(difference.size)
        assert abs(difference.mean()) <= 5 * error + 1e-12
        assert (anchors.random < anchors.optimum + 1e-12).all()


def test_the_measured_random_return_is_repeated_and_near():
    """Kills: an anchor that changes from call to call or with its neighbours. 200,000 others give 0.154."""
    family = make_family("watermaze", test=200)
    tasks = family.split(0).test
    first = family.anchors(tasks)
    assert first.measured
    assert np.array_equal(first.random[50:60], family.anchors(tasks[50:60]).random)
    assert first.random.mean() == pytest.approx(0.154, abs=0.01)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_other_options_keep_the_contract(options):
    """Kills: an option that breaks the splits, the axes, the anchors or the picture."""
    subject = Subject("watermaze", options, seconds=inf)
    for check in CHECKS:
        check(subject)


def test_the_other_sets_lie_outside():
    """Kills: an out-of-distribution set that overlaps the training tasks, or a platform in the wall."""
    family = make_family("watermaze", hole=0.5, train=500, test=200)
    split = family.split(0)
    assert list(split.ood) == ["extrapolation", "other-start", "turned-cues", "hole"]
    far = family.values("distance", split.ood["extrapolation"])
    assert family.values("distance", split.train).max() <= 0.75 <= far.min()
    assert far.max() <= 0.9
    assert np.hypot(*family.starts(split.ood["other-start"]).T) == pytest.approx(np.ones(200))
    assert not any("cue_turn" in task.params for task in split.train)
    assert len({task.params["cue_turn"] for task in split.ood["turned-cues"]}) == 200
    middle = [
        abs(t.params["distance"] - 0.5) <= 0.125 and abs(t.params["direction"]) <= np.pi / 2 for t in split.train
    ]
    assert not any(middle)


def test_axes_and_starts_follow_the_options():
    """Kills: a family that says it varies what its options fix, a held start that moves."""
    assert make_family("watermaze").axes == ("reward",)
    family = make_family("watermaze", start="rim", turn_cues=90)
    assert family.axes == ("reward", "observation", "start")
    env = family.make(family.split(0).test, seed=0)
    starts = []
    for _ in range(2):
        env.reset()
        starts.append(env._place_N2.copy())
    assert np.hypot(*starts[0].T) == pytest.approx(np.ones(100))
    assert (np.abs(starts[0] - starts[1]).max(axis=1) > 0).all()
    held = make_family("watermaze", start="rim", turn_cues=90, hold=["start", "observation"])
    assert held.axes == ("reward",)
    env = held.make(held.split(0).test, seed=0)
    assert (env.reset()[0] == 1.0).all()


def test_options_out_of_range_are_refused():
    """Kills: a platform on which every episode starts, an angle beyond the half turn."""
    with pytest.raises(UsageError, match=r"platform=0\.3"):
        make_family("watermaze", platform=0.3)
    with pytest.raises(UsageError, match="turn_cues=270"):
        make_family("watermaze", turn_cues=270)
    with pytest.raises(UsageError, match="choose from 'once', 'dense'"):
        make_family("watermaze", reward="sparse")
    with pytest.raises(UsageError, match="leaves one task"):
        make_family("watermaze", hold=["reward"])
