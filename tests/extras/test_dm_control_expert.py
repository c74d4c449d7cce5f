"""The scripted experts of DMControl's cartpole, pendulum and reacher: what they earn, and that they know the task."""

import warnings
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

with warnings.catch_warnings():
    # Without a screen its window library complains.
    warnings.simplefilter("ignore")
    pytest.importorskip("dm_control.suite")

from scipy.linalg import solve_continuous_are

from icrl.envs import make_family
from icrl.envs.dm_control.expert import STIFFNESS, capsule_inertia, regulator
from icrl.errors import UsageError
from icrl.tasks import Task

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

FLOORS = {"dmc-cartpole-swingup": (780, 650), "dmc-pendulum-swingup": (750, 500), "dmc-reacher": (965, 930)}
"""What the expert earns at least, as a mean over eight tasks: in the range, and in the set "extrapolation"."""


def family_of(name: str):
    return make_family(name, train=8, validation=2, test=8)


def returns(family, tasks: list[Task], believed: list[Task]) -> np.ndarray:
    """Of the first episode on each task, by the expert of the believed ones: shape `(N,)`."""
    expert = family.reference_policy("expert", believed)
    total_N = np.zeros(len(tasks))
    with closing(family.make(tasks, seed=5)) as env:
        observations, _ = env.reset()
        for _ in range(family.horizon):
            observations, rewards, terminated, truncated, _ = env.step(expert.act(observations))
            expert.observe(rewards, terminated, truncated)
            total_N += rewards
    return total_N


@pytest.mark.parametrize("name", FLOORS)
def test_it_earns_most_of_what_there_is(name):
    """Kills: a push the wrong way, x taken for y, an unwrapped angle, gains that let the pole fall at other masses."""
    family = family_of(name)
    split = family.split(3)
    for tasks, floor in zip((split.test, split.ood["extrapolation"]), FLOORS[name], strict=True):
        assert returns(family, tasks, tasks).mean() > floor


@pytest.mark.parametrize(
    ("name", "wrong", "lost"),
    [
        ("dmc-cartpole-swingup", lambda p: {"target": -p["target"]}, 50),
        ("dmc-cartpole-swingup", lambda p: {"pole_length": 2.0 - p["pole_length"]}, 20),
        ("dmc-pendulum-swingup", lambda p: {"length": 1.0 - p["length"], "mass": 2.0 - p["mass"]}, 100),
        ("dmc-reacher", lambda p: {"target_angle": p["target_angle"] + np.pi}, 800),
        ("dmc-reacher", lambda p: {"target_radius": 0.25 - p["target_radius"]}, 100),
    ],
)
def test_it_earns_less_where_it_takes_the_task_for_another(name, wrong, lost):
    """Kills: an expert that ignores the target, or a body's numbers, and does as well without them."""
    family = family_of(name)
    tasks = family.split(3).test
    believed = [replace(task, params={**task.params, **wrong(task.params)}) for task in tasks]
    assert returns(family, tasks, tasks).mean() > returns(family, tasks, believed).mean() + lost


@pytest.mark.parametrize("name", FLOORS)
def test_lanes_do_not_influence_each_other(name):
    """Kills: gains or poses of one lane that are used for another, one pose chosen for all lanes."""
    family = family_of(name)
    tasks = family.split(3).test
    seen_TNO = np.random.default_rng(0).normal(size=(20, len(tasks), *family.observation_space.shape))
    together = family.reference_policy("expert", tasks)
    alone = [family.reference_policy("expert", [task]) for task in tasks]
    for seen_NO in seen_TNO.astype(np.float32):
        actions = together.act(seen_NO)
        assert actions.dtype == np.float32
        assert all(family.action_space.contains(action) for action in actions)
        singly = np.concatenate([one.act(seen_NO[n : n + 1]) for n, one in enumerate(alone)])
        np.testing.assert_allclose(actions, singly, atol=1e-5)


def test_the_regulator_solves_its_riccati_equation():
    """Kills: the growing half of the eigenvectors, a cost that is not the state's, gains of a transposed matrix."""
    generator = np.random.default_rng(0)
    costs, push_cost = (1.0, 0.5, 2.0, 0.1), 3.0
    motion_NSS, push_NS = generator.normal(size=(6, 4, 4)), generator.normal(size=(6, 4))
    gain_NS = regulator(motion_NSS, push_NS, costs, push_cost)
    for motion, push, gain in zip(motion_NSS, push_NS, gain_NS, strict=True):
        solution = solve_continuous_are(motion, push[:, None], np.diag(costs), [[push_cost]])
        assert gain == pytest.approx(push @ solution / push_cost)
        assert np.linalg.eigvals(motion - np.outer(push, gain)).real.max() < 0


def test_the_pole_is_as_heavy_to_turn_as_mujocos():
    """Kills: a thin rod in place of the suite's capsule, so that the pole gets too little energy to stand."""
    family = family_of("dmc-cartpole-swingup")
    for task in family.split(3).test[:3]:
        env = family.make_env()
        family.apply(env, task.params)
        inertia = task.params["pole_mass"] * capsule_inertia(np.array([task.params["pole_length"]]), 0.045)[0]
        assert env._physics.named.model.body_inertia["pole_1", 1] == pytest.approx(inertia)


def test_both_poses_of_the_arm_put_the_finger_on_the_target_and_the_nearer_one_counts():
    """Kills: one way to bend mirrored, a bend beyond the wrist's stop, a target out of reach as NaN, one pose only."""
    family = family_of("dmc-reacher")
    split = family.split(3)
    for task in (*split.test, *split.ood["extrapolation"]):
        env = family.make_env()
        family.apply(env, task.params)
        env.reset(seed=0)
        expert = family.reference_policy("expert", [task])
        for shoulder, wrist in zip(expert._shoulder_2N[:, 0], expert._wrist_2N[:, 0], strict=True):
            env._physics.named.data.qpos[["shoulder", "wrist"]] = shoulder, wrist
            env._physics.forward()
            assert abs(wrist) < env._physics.named.model.jnt_range["wrist", 1]
            assert env._physics.finger_to_target_dist() < 0.04
            off_by = 0.02
            action = expert.act(np.array([[shoulder + off_by + 2 * np.pi, wrist - off_by, 0, 0]], np.float32))[0]
            assert action == pytest.approx(np.array([-1, 1]) * STIFFNESS * off_by, abs=1e-4)


def test_families_without_an_expert_say_so():
    """Kills: an AttributeError where somebody asks for the walker's expert."""
    for name in ("dmc-walker-speed", "dmc-cheetah-speed"):
        family = family_of(name)
        assert family.policy_kinds == ()
        with pytest.raises(UsageError, match="no reference policy 'expert'"):
            family.reference_policy("expert", family.split(0).test)
