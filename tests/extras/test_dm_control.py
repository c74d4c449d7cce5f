"""DMControl's families: the suite itself at the default numbers, bodies as the task says, goals that are hidden."""

import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    # Without a screen its window library complains.
    warnings.simplefilter("ignore")
    suite = pytest.importorskip("dm_control.suite")

from matplotlib.figure import Figure

from icrl.envs import FAMILIES, make_family
from icrl.envs.dm_control.suite import SuiteEnv
from icrl.envs.kit.episodes import policy_history, uniform_policy
from icrl.errors import UsageError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

NAMES = [name for name in FAMILIES if FAMILIES.extra(name) == "dmc"]
SUITE_TASKS = {
    "cartpole": ("swingup", {"target": 0.0}),
    "pendulum": ("swingup", {}),
    "reacher": ("easy", {"target_angle": 0.0, "target_radius": 0.125}),
    "walker": ("walk", {"speed": 1.0}),
    "cheetah": ("run", {"speed": 10.0}),
}


def family_of(name: str, **options):
    return make_family(name, **{"train": 5, "validation": 2, "test": 3, "horizon": 40, **options})


def env_of(name: str, **params) -> SuiteEnv:
    """The family's environment at its defaults but for these parameters, after its first reset."""
    family = family_of(name)
    env = family.make_env()
    family.apply(env, {**{key: parameter.default for key, parameter in family.parameters.items()}, **params})
    env.reset(seed=0)
    return env


def random_actions(env: SuiteEnv, steps: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_numbers_are_the_suites_own_environment(name):
    """Kills: another time step, a pole of another shape, a reward of our own, a start from another generator."""
    domain = make_family(name).domain
    task, goal = SUITE_TASKS[domain]
    env = env_of(name)
    theirs = suite.load(domain, task, task_kwargs={"random": 7})
    for episode in range(2):
        observation, _ = env.reset(seed=7 if episode == 0 else None)
        answer = theirs.reset()
        if domain == "reacher":  # its target is the task's here
            angle, radius = goal.values()
            place = (radius * np.sin(angle), radius * np.cos(angle))
            theirs.physics.named.model.geom_pos["target", ["x", "y"]] = place
            theirs.physics.forward()
        for action in random_actions(env, 150):
            shown = {key: value for key, value in answer.observation.items() if key != "to_target"}
            flat = np.concatenate([np.ravel(value) for value in shown.values()])
            assert np.array_equal(observation, flat.astype(np.float32))
            observation, reward, terminated, truncated, _ = env.step(action)
            answer = theirs.step(action.astype(np.float64))
            too_fast = domain == "walker" and theirs.physics.horizontal_velocity() > 1.0
            assert too_fast == (reward < answer.reward)
            assert too_fast or reward == answer.reward
            assert not terminated
            assert not truncated


def test_bodies_are_as_the_task_says():
    """Kills: a mass that changes and an inertia that does not, a leg that comes off its knee, an ignored parameter."""
    cartpole = env_of("dmc-cartpole-swingup", pole_length=1.6, pole_mass=0.3, cart_mass=0.5)._physics
    model = cartpole.named.model
    assert model.geom_size["pole_1"][1] == pytest.approx(0.8)
    assert model.body_ipos["pole_1"][2] == pytest.approx(0.8)
    assert (model.body_mass["pole_1"], model.body_mass["cart"]) == pytest.approx((0.3, 0.5))
    usual, heavier = (env_of("dmc-cartpole-swingup", pole_mass=mass)._physics for mass in (0.1, 0.3))
    inertia = [physics.named.model.body_inertia["pole_1"] for physics in (usual, heavier)]
    assert inertia[1] == pytest.approx(3 * inertia[0])

    pendulum = env_of("dmc-pendulum-swingup", length=0.7, mass=1.5, damping=0.2)._physics
    assert (pendulum.named.model.body_mass["pole"], pendulum.named.model.dof_damping["hinge"]) == (1.5, 0.2)
    pendulum.named.data.qpos["hinge"] = np.pi / 2
    pendulum.forward()
    assert abs(pendulum.named.data.qfrc_bias["hinge"]) == pytest.approx(1.5 * 9.81 * 0.7)

    reacher = env_of("dmc-reacher", arm_length=0.14, damping=0.03)._physics
    assert reacher.named.model.body_pos["hand"][0] == 0.14
    assert set(reacher.model.dof_damping) == {0.03}

    masses = [env_of("dmc-walker-speed", mass=mass)._physics.model.body_mass.sum() for mass in (1.0, 1.3)]
    assert masses[1] == pytest.approx(1.3 * masses[0])
    for length in (1.0, 1.2):
        walker = env_of("dmc-walker-speed", leg_length=length)._physics
        data = walker.named.data
        knee, thigh, leg = data.xanchor["left_knee"], data.geom_xpos["left_thigh"], data.geom_xpos["left_leg"]
        assert np.linalg.norm(knee - thigh) == pytest.approx(0.225)
        assert np.linalg.norm(knee - leg) == pytest.approx(0.25 * length)
        assert np.linalg.norm(data.xanchor["left_ankle"] - leg) == pytest.approx(0.25 * length)

    cheetah = env_of("dmc-cheetah-speed", mass=21.0, friction=0.6)._physics
    assert cheetah.model.body_mass.sum() == pytest.approx(21.0)
    while not cheetah.data.ncon:
        cheetah.step()
    # MuJoCo takes the larger of two friction coefficients: what matters is that of the contact.
    assert cheetah.data.contact.friction[0, 0] == 0.6


def test_the_reward_is_for_the_tasks_goal():
    """Kills: a goal that is drawn and not paid for, a speed far above the target that is paid in full."""
    at_target, in_middle = env_of("dmc-cartpole-swingup", target=0.8), env_of("dmc-cartpole-swingup")
    for env, place in ((at_target, 0.8), (in_middle, 0.0)):
        env._physics.named.data.qpos[["slider", "hinge_1"]] = (place, 0.1)
        env._physics.forward()
    paid = [env._control.task.get_reward(env._physics) for env in (at_target, in_middle)]
    assert paid[0] == pytest.approx(paid[1])
    assert at_target._physics.cart_position() == 0.8  # the observation does not shift with the goal

    reacher = env_of("dmc-reacher", target_angle=np.pi / 2, target_radius=0.2)._physics
    assert reacher.named.data.geom_xpos["target", :2] == pytest.approx([0.2, 0.0])

    for name, speed in (("dmc-cheetah-speed", 4.0), ("dmc-walker-speed", 2.0)):
        env = env_of(name, speed=speed)
        physics, task = env._physics, env._control.task
        paid = []
        for actual in (0.75 * speed, speed, 1.25 * speed):
            with physics.reset_context():
                physics.named.data.qvel["rootx"] = actual
            paid.append(task.get_reward(physics))
        assert paid[0] == pytest.approx(paid[2])
        assert paid[0] < paid[1]
    assert pytest.approx(reward_of_cheetah(3.0, target=4.0)) == 0.75
    assert reward_of_cheetah(4.0, target=4.0) == pytest.approx(1.0)
    assert reward_of_cheetah(9.0, target=4.0) == 0.0


def reward_of_cheetah(speed: float, target: float) -> float:
    env = env_of("dmc-cheetah-speed", speed=target)
    with env._physics.reset_context():
        env._physics.named.data.qvel["rootx"] = speed
    return env._control.task.get_reward(env._physics)


@pytest.mark.parametrize("name", [name for name in NAMES if "pendulum" not in name])
def test_the_goal_is_hidden(name):
    """Kills: an observation from which the goal can be read, so that there is nothing to find out."""
    family = family_of(name, hold=["dynamics"])
    tasks = family.split(0).train[:2]
    env = family.make(tasks, 0, index=[4, 4])
    observations = [env.reset()[0]]
    actions = np.repeat(random_actions(family.make_env(), 30)[:, None], 2, axis=1)
    observations += [env.step(action)[0] for action in actions]
    assert tasks[0].params != tasks[1].params
    assert all(np.array_equal(both[0], both[1]) for both in observations)


@pytest.mark.parametrize("name", NAMES)
def test_the_start_is_drawn_afresh_unless_it_is_held(name):
    """Kills: episodes that all start alike, or a held start that moves."""
    for held in (False, True):
        family = family_of(name, horizon=3, hold=["start"] if held else [])
        env = family.make(family.split(0).train[:1] * 2, 0)
        starts = list(env.reset()[0])
        for _ in range(6):
            starts += list(env.step(np.zeros((2, *family.action_space.shape), np.float32))[0])
        starts = np.array(starts)[[0, 1, 6, 7, 12, 13]]
        assert len(np.unique(starts, axis=0)) == (1 if held else 6)


def test_the_arm_is_drawn_where_it_is():
    """Kills: angles taken the wrong way round in the picture."""
    from icrl.envs.dm_control.drawing import draw_reacher

    family = family_of("dmc-reacher")
    task = family.split(0).test[0]
    history = policy_history(family, task, uniform_policy(family, [task], 0), 1, 0, "random")
    axes = Figure().subplots()
    draw_reacher(axes, task, history)
    physics = env_of("dmc-reacher", **task.params)._physics
    physics.named.data.qpos[["shoulder", "wrist"]] = history.final_observations[0][:2]
    physics.forward()
    last = axes.lines[-1].get_xydata()
    assert last[1] == pytest.approx(physics.named.data.xpos["hand", :2], abs=1e-6)
    assert last[2] == pytest.approx(physics.named.data.xpos["finger", :2], abs=1e-6)
    target = physics.named.data.geom_xpos["target", :2]
    assert axes.patches[0].center == pytest.approx(tuple(target))


def test_a_mujoco_that_does_not_fit_is_named(monkeypatch):
    """Kills: an AttributeError about a field of a struct, where two installed versions do not fit."""
    from icrl.envs.dm_control import suite as dm_control_suite

    def refuse(*args):
        raise AttributeError("no attribute 'flex_vertedge'")

    monkeypatch.setattr(dm_control_suite.pendulum.Physics, "from_xml_string", refuse)
    with pytest.raises(UsageError, match=r"mujoco>=3\.17,<4"):
        make_family("dmc-pendulum-swingup")
