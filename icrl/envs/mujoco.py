"""Locomotion with hidden speeds, directions and goals, on the bodies of gymnasium's v5 environments.

The extra `icrl[mujoco]`. A body is built once per lane; its reward is the task's, computed from the velocity that the
body itself reports. Observations are those of v5 without contact forces.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import mujoco  # noqa: F401  (gymnasium imports it late: a missing extra is to be named at once)
import numpy as np

from icrl.envs.gymnasium_family import GymnasiumFamily
from icrl.envs.parametric import Parameter
from icrl.errors import UsageError
from icrl.seeding import Streams, stream_keys
from icrl.tasks import Axis, Split, Task, check_count, ood_numbers, split_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

HEAVIER = 1.5
"""The factor of every body's mass in the out-of-distribution set "heavier"."""


def squared(action: np.ndarray) -> float:
    """‖a‖². Not by a BLAS product, whose last bits depend on where in memory the action lies."""
    return float(np.square(action, dtype=np.float64).sum())


class TaskReward(gym.Wrapper):
    """A body whose reward is a family's: `family.reward(params, reward, action, info)`."""

    def __init__(self, env: gym.Env, family: "MujocoFamily") -> None:
        super().__init__(env)
        self.family, self.params = family, {}
        self.mass, self.inertia = env.model.body_mass.copy(), env.model.body_inertia.copy()

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, self.family.reward(self.params, reward, action, info), terminated, truncated, info


class MujocoFamily(GymnasiumFamily):
    """One of gymnasium's bodies with a reward of its own; the mass of a task is 1 but in the set "heavier".

    Args:
        horizon: steps of an episode.
        train, validation, test, hold, hole: as in `ParametricFamily`; "start" held leaves out v5's noise at reset.
    """

    axes: tuple[Axis, ...] = ("reward", "start")
    body: str
    """The environment's id in gymnasium."""
    body_options: Mapping[str, Any] = {}
    horizon = 200
    anchor_tasks, anchor_episodes = 20, 5
    heavier = True
    """Whether there is the set "heavier"."""

    def __init__(self, *, horizon: int | None = None, **options: Any) -> None:
        horizon = type(self).horizon if horizon is None else horizon
        check_count("horizon", horizon, at_least=1)
        self._still = "start" in options.get("hold", ())
        super().__init__(**options)
        self.options["horizon"] = self.horizon = horizon
        if self.heavier:
            self.ood_sets["heavier"] = f"all bodies {HEAVIER:g} times as heavy"

    def split(self, seed: int) -> Split:
        numbers = np.arange(sum(self.num_tasks.values()))
        tasks = self._tasks(numbers, seed, "range")
        ood = {}
        for position, name in enumerate(self.ood_sets):
            where = "range" if name == "heavier" else name
            found = self._tasks(ood_numbers(position, self.num_tasks["test"]), seed, where)
            ood[name] = [Task(task.id, task.params | {"mass": HEAVIER}) for task in found] if where != name else found
        return split_numbers(numbers, self.num_tasks, tasks.__getitem__, seed, ood)

    def make_env(self) -> TaskReward:
        noise = {"reset_noise_scale": 0.0} if self._still else {}
        env = gym.make(self.body, disable_env_checker=True, **self.body_options, **noise).unwrapped
        return TaskReward(env, self)

    def apply(self, env: TaskReward, params: Mapping[str, Any]) -> None:
        env.params = params
        factor = params.get("mass", 1.0)
        env.unwrapped.model.body_mass[:] = factor * env.mass
        env.unwrapped.model.body_inertia[:] = factor * env.inertia

    @abstractmethod
    def reward(self, params: Mapping[str, Any], reward: float, action: np.ndarray, info: Mapping[str, Any]) -> float:
        """The task's reward of a step.

        Args:
            params: of the task.
            reward: v5's own.
            action: as it was taken.
            info: v5's, with `x_velocity` and so on in metres a second.
        """


class HalfCheetahVel(MujocoFamily):
    """Run at a hidden speed: −|v − g| − 0.05 ‖a‖², g from 0 to 3."""

    name = "half-cheetah-vel"
    source = "Finn et al. 2017 (MAML); 200 steps and speeds to 3 as in Rakelly et al. 2019 (PEARL)"
    body = "HalfCheetah-v5"
    parameters = {"velocity": Parameter("reward", 0.0, 3.0, default=1.5, beyond=(3.0, 4.0))}  # noqa: RUF012

    def reward(self, params, reward, action, info) -> float:
        return -abs(info["x_velocity"] - params["velocity"]) - 0.05 * squared(action)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.mujoco_drawing import draw_speed

        draw_speed(axes, history.observations[:, 8], task.params["velocity"], history)


class HalfCheetahVelMaml(HalfCheetahVel):
    """The same with speeds from 0 to 2 and 100 steps."""

    name = "half-cheetah-vel-maml"
    source = "Finn et al. 2017 (MAML)"
    horizon = 100
    parameters = {"velocity": Parameter("reward", 0.0, 2.0, default=1.0, beyond=(2.0, 3.0))}  # noqa: RUF012


class HalfCheetahDir(MujocoFamily):
    """Run forward or back, by a hidden weight g of the velocity: g v − 0.05 ‖a‖².

    The published tasks are g = 1 and g = −1, trained and tested on alike. Two tasks have no disjoint split, so here g
    is drawn from −1.5 to 1.5: a new task is a direction, and a balance of speed against effort, that was not seen.
    """

    name = "half-cheetah-dir"
    source = "Finn et al. 2017 (MAML); graded directions are ours"
    body = "HalfCheetah-v5"
    parameters = {"direction": Parameter("reward", -1.5, 1.5, default=1.0, beyond=(1.5, 2.5))}  # noqa: RUF012

    def reward(self, params, reward, action, info) -> float:
        return params["direction"] * info["x_velocity"] - 0.05 * squared(action)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.mujoco_drawing import draw_speed

        draw_speed(axes, history.observations[:, 8], None, history)


class AntDir(MujocoFamily):
    """Run in a hidden direction of the plane: the velocity that way, and v5's costs and bonus for staying upright."""

    name = "ant-dir"
    source = "Rothfuss et al. 2019 (ProMP); Rakelly et al. 2019 (PEARL)"
    body = "Ant-v5"
    body_options = {"include_cfrc_ext_in_observation": False}  # noqa: RUF012
    parameters = {"angle": Parameter("reward", 0.0, 2 * np.pi, default=0.0)}  # noqa: RUF012
    velocity_at = 13
    """Where the velocity (x, y) stands in an observation."""

    def reward(self, params, reward, action, info) -> float:
        angle = params["angle"]
        along = np.cos(angle) * info["x_velocity"] + np.sin(angle) * info["y_velocity"]
        return reward - info["reward_forward"] + self.forward_weight * along

    forward_weight = 1.0

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.mujoco_drawing import draw_way

        velocity = history.observations[:, self.velocity_at : self.velocity_at + 2]
        draw_way(axes, np.cumsum(velocity * self.seconds, axis=0), history, angle=task.params["angle"])

    seconds = 0.05
    """Of a step."""


class HumanoidDir(AntDir):
    """Run in a hidden direction of the plane, upright: 1.25 times the velocity that way, and v5's costs and bonus."""

    name = "humanoid-dir"
    body = "Humanoid-v5"
    body_options = {  # noqa: RUF012
        "include_cinert_in_observation": False, "include_cvel_in_observation": False,
        "include_qfrc_actuator_in_observation": False, "include_cfrc_ext_in_observation": False,
    }  # fmt: skip
    velocity_at, seconds, forward_weight = 22, 0.015, 1.25


class AntGoal(MujocoFamily):
    """Walk to a hidden place: −‖position − goal‖₁ − 0.1 ‖a‖² and v5's cost of contact; nothing ends an episode.

    Goals lie evenly on a disc of radius 3. The position is observed.
    """

    name = "ant-goal"
    source = "Rothfuss et al. 2019 (ProMP); Rakelly et al. 2019 (PEARL)"
    body = "Ant-v5"
    body_options = {  # noqa: RUF012
        "include_cfrc_ext_in_observation": False, "exclude_current_positions_from_observation": False,
        "terminate_when_unhealthy": False,
    }  # fmt: skip
    parameters = {  # noqa: RUF012
        "squared_radius": Parameter("reward", 0.0, 9.0, default=4.5, beyond=(9.0, 16.0)),
        "angle": Parameter("reward", 0.0, 2 * np.pi, default=0.0),
    }

    @staticmethod
    def goal(params: Mapping[str, Any]) -> tuple[float, float]:
        """The place (x, y), metres from the start."""
        radius = params["squared_radius"] ** 0.5
        return radius * np.cos(params["angle"]), radius * np.sin(params["angle"])

    def reward(self, params, reward, action, info) -> float:
        x, y = self.goal(params)
        distance = abs(info["x_position"] - x) + abs(info["y_position"] - y)
        return -distance - 0.1 * squared(action) + info["reward_contact"]

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.mujoco_drawing import draw_way

        draw_way(axes, history.observations[:, :2], history, goal=self.goal(task.params))


class HopperRandParams(MujocoFamily):
    """Hop forward on an unknown body: v5's reward, with every mass, inertia, friction and damping scaled.

    A task is one exponent e for each of those numbers, from −3 to 3: mass, inertia and friction are multiplied by
    1.5^e, damping by 1.3^e.
    """

    name = "hopper-rand-params"
    source = "Rakelly et al. 2019 (PEARL), after rand_param_envs; v5's reward"
    body = "Hopper-v5"
    axes = ("dynamics", "start")
    heavier = False
    parameters = {  # noqa: RUF012
        name: Parameter("dynamics", -3.0, 3.0, default=0.0, beyond=(3.0, 4.0))
        for name in ("mass", "inertia", "friction", "damping")
    }
    columns = {"mass": "body_mass", "inertia": "body_inertia", "friction": "geom_friction", "damping": "dof_damping"}  # noqa: RUF012
    bases = {"mass": 1.5, "inertia": 1.5, "friction": 1.5, "damping": 1.3}  # noqa: RUF012
    velocity_at = 5

    def _tasks(self, numbers, seed: int, where: str) -> list[Task]:
        """As the parent's, with a list of exponents for each parameter, each from a stream of its own."""
        if where == "hole":
            raise AssertionError("there is no hole in so many dimensions")
        sizes = self._sizes()
        drawn: list[dict[str, list[float]]] = [{} for _ in numbers]
        for name, size in sizes.items():
            exponents = np.zeros((size, len(numbers)))
            if name in self.varied:
                streams = Streams(stream_keys(seed, f"{self.name} {name}", numbers))
                share, sign = streams.uniform_block(size), streams.uniform_block(size)
                parameter = self.parameters[name]
                exponents = parameter.at(share)
                if where == "extrapolation":
                    exponents = np.where(sign < 0.5, -1, 1) * parameter.beyond_at(share)
            for params, column in zip(drawn, exponents.T.tolist(), strict=True):
                params[name] = column
        return [Task(int(number), params) for number, params in zip(numbers, drawn, strict=True)]

    def _sizes(self) -> dict[str, int]:
        if self._counted is None:
            env = self.make_env()
            type(self)._counted = {
                name: getattr(env.unwrapped.model, column).size for name, column in self.columns.items()
            }
            env.close()
        return self._counted

    _counted: dict[str, int] | None = None

    def __init__(self, **options: Any) -> None:
        if options.get("hole"):
            raise UsageError(
                f"{self.name} has no hole: in so many dimensions hardly a task would be in it; leave it 0"
            )
        super().__init__(**options)

    def apply(self, env: TaskReward, params: Mapping[str, Any]) -> None:
        model = env.unwrapped.model
        if not hasattr(env, "original"):
            env.original = {column: getattr(model, column).copy() for column in self.columns.values()}
        for name, column in self.columns.items():
            original = env.original[column]
            getattr(model, column)[:] = original * self.bases[name] ** np.reshape(params[name], original.shape)

    def reward(self, params, reward, action, info) -> float:
        return reward

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.mujoco_drawing import draw_speed

        draw_speed(axes, history.observations[:, self.velocity_at], None, history)


class WalkerRandParams(HopperRandParams):
    """Walk forward on an unknown body, likewise."""

    name = "walker-rand-params"
    body = "Walker2d-v5"
    velocity_at = 8
    _counted = None
