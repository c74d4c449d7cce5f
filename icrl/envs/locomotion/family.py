"""Locomotion with hidden speeds, directions and goals, on the bodies of gymnasium's v5 environments.

The extra `icrl[mujoco]`. Bodies, starts and observations are v5's, but for contact forces and the like, which are left
out of the observation. The reward is the task's: it is made of what the body itself reports after a step.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv
from numpy.typing import NDArray

from icrl.envs.kit.gymnasium_family import GymnasiumBatch, GymnasiumFamily
from icrl.envs.kit.parametric import Parameter
from icrl.tasks import Axis, Split, Task, check_count, ood_numbers, split_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

HEAVIER = 1.5
"""The factor of every body's mass and inertia in the out-of-distribution set "heavier"."""


@dataclass(frozen=True)
class BothWays(Parameter):
    """A number whose size is drawn from the range, and whose sign is as often minus as plus."""

    def at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.copysign(super().at(np.abs(2 * u - 1)), u - 0.5)

    def beyond_at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.copysign(super().beyond_at(np.abs(2 * u - 1)), u - 0.5)


@dataclass(frozen=True)
class Radius(Parameter):
    """The distance from the middle of a place that is uniform on a ring, or on a disc where `low` is 0."""

    def at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sqrt(self.low**2 + (self.high**2 - self.low**2) * u)

    def beyond_at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = self.beyond
        return np.sqrt(low**2 + (high**2 - low**2) * u)


class Lean:
    """What a v5 environment does without use for any task here is left out; its states and rewards stay the same."""

    contacts = False
    """Whether the reward has a cost of contact forces, which MuJoCo computes when asked only."""

    def do_simulation(self, ctrl: NDArray, n_frames: int) -> None:
        self.data.ctrl[:] = ctrl
        mujoco.mj_step(self.model, self.data, n_frames)
        if self.contacts:
            mujoco.mj_rnePostConstraint(self.model, self.data)


class HalfCheetah(Lean, HalfCheetahEnv):
    """Without a reward of its own."""

    def _get_rew(self, x_velocity: float, action: NDArray) -> tuple[float, dict[str, float]]:
        return 0.0, {}


class Ant(Lean, AntEnv):
    contacts = True


class Humanoid(Lean, HumanoidEnv):
    contacts = True


class MujocoFamily(GymnasiumFamily):
    """One of gymnasium's bodies with a reward of its own.

    The out-of-distribution set "heavier" has tasks like the test tasks, on a body whose masses and inertias are 1.5
    times as large. The optimum is known for no task.

    Args:
        horizon: steps of an episode.
        train, validation, test: number of tasks in each split; the out-of-distribution sets have `test` tasks, but
            "forward-back", which has 2.
        options: `hold` and `hole` as in `ParametricFamily`; with "start" held every episode starts in v5's rest
            position, without its noise.
    """

    axes: tuple[Axis, ...] = ("reward", "start")
    body: Callable[..., MujocoEnv]
    """The v5 environment."""
    body_options: Mapping[str, Any] = MappingProxyType({})
    told: tuple[str, ...] = ()
    """What of v5's `info` the reward is made of."""
    forward_back: tuple[Mapping[str, float], ...] = ()
    """The parameters of the two tasks of the papers that go forward and back, where there are such."""
    anchor_tasks, anchor_episodes = 20, 5

    def __init__(
        self, *, horizon: int = 200, train: int = 100, validation: int = 20, test: int = 30, **options: Any
    ) -> None:
        check_count("horizon", horizon, at_least=1)
        hold = options.get("hold", ())
        self._noise = {"reset_noise_scale": 0.0} if "start" in ([hold] if isinstance(hold, str) else hold) else {}
        super().__init__(train=train, validation=validation, test=test, **options)
        self.horizon = horizon
        # v5 says float64; what it shows is kept as float32.
        low, high = self.observation_space.low, self.observation_space.high
        self.observation_space = gym.spaces.Box(low.astype(np.float32), high.astype(np.float32))
        with closing(self.make_env()) as env:
            self._original = {column: getattr(env.model, column).copy() for column in self.columns}
        self.ood_sets |= self._more_sets()

    columns: tuple[str, ...] = ("body_mass", "body_inertia")
    """What of the model a task may change."""

    def _more_sets(self) -> dict[str, str]:
        sets = {"heavier": f"all bodies {HEAVIER:g} times as heavy"}
        if self.forward_back:
            sets["forward-back"] = "the two tasks of the papers that go forward and back, which none of the others is"
        return sets

    def split(self, seed: int) -> Split:
        numbers = np.arange(sum(self.num_tasks.values()))
        tasks = self._tasks(numbers, seed, "range")
        ood = {}
        for position, name in enumerate(self.ood_sets):
            found = ood_numbers(position, self.num_tasks["test"])
            if name == "forward-back":
                rows = zip(ood_numbers(position, len(self.forward_back)), self.forward_back, strict=True)
                ood[name] = [Task(int(number), dict(params)) for number, params in rows]
            elif name == "heavier":
                drawn = self._tasks(found, seed, "range")
                ood[name] = [Task(task.id, {**task.params, "mass": HEAVIER}) for task in drawn]
            else:
                ood[name] = self._tasks(found, seed, name)
        return split_numbers(numbers, self.num_tasks, tasks.__getitem__, seed, ood)

    def make_env(self) -> MujocoEnv:
        return self.body(**self.body_options, **self._noise)

    def factors(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the task multiplies each of `columns` with."""
        return dict.fromkeys(self.columns, params.get("mass", 1.0))

    def apply(self, env: MujocoEnv, params: Mapping[str, Any]) -> None:
        """From the body as it was made, so that a task leaves nothing behind for the next one."""
        for column, factor in self.factors(params).items():
            getattr(env.model, column)[:] = self._original[column] * factor
        # What MuJoCo derives from masses; at v5's own it gives the very numbers that were there.
        mujoco.mj_setConst(env.model, env.data)

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "MujocoBatch":
        return MujocoBatch(self, tasks, seed, index)

    @abstractmethod
    def rewards(
        self, params: Mapping[str, NDArray], action_NA: NDArray[np.float64], told: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """The tasks' rewards of a step, shape `(N,)`.

        Args:
            params: every parameter of the tasks, `(N,)` each.
            action_NA: as they were taken.
            told: `(N,)` each: v5's own "reward", and what the class names in `told`; metres and seconds.
        """


class MujocoBatch(GymnasiumBatch):
    """One v5 environment per lane; the rewards of all lanes at once."""

    per_lane = ("_params",)

    def __init__(self, family: MujocoFamily, tasks: Sequence[Task], seed: int, index: Sequence[int] | None) -> None:
        super().__init__(family, tasks, seed, index)
        self._family = family
        self._params = {name: family.values(name, tasks) for name in family.parameters}

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        keys, rows = self._family.told, []
        terminated = np.zeros(self.num_envs, bool)
        for lane, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            observation, reward, terminated[lane], _, info = env.step(action)
            self._see(lane, observation)
            rows.append([reward, *[info[key] for key in keys]])
        told = dict(zip(("reward", *keys), np.array(rows, np.float64).T, strict=True))
        rewards = self._family.rewards(self._params, actions.astype(np.float64), told)
        return rewards.astype(np.float32), terminated


def effort(action_NA: NDArray[np.float64]) -> NDArray[np.float64]:
    """‖a‖², shape `(N,)`. By no matrix product: the last bits of that depend on how many lanes there are."""
    return np.square(action_NA).sum(axis=1)


class HalfCheetahVel(MujocoFamily):
    """Run at a hidden speed: −|v − g| − 0.05 ‖a‖², g from 0 to 3 metres a second.

    Args:
        horizon, train, validation, test, options: as in `MujocoFamily`; "extrapolation" has speeds from 3 to 4.
    """

    name = "half-cheetah-vel"
    picture_shows = "Forward speed, and its mean over a while; the line is the speed to run at."
    source = "Rakelly et al. 2019 (PEARL), after Finn et al. 2017 (MAML)"
    body = HalfCheetah
    told = ("x_velocity",)
    parameters = MappingProxyType({"velocity": Parameter("reward", 0.0, 3.0, default=1.5, beyond=(3.0, 4.0))})

    def rewards(self, params, action_NA, told) -> NDArray[np.float64]:
        return -np.abs(told["x_velocity"] - params["velocity"]) - 0.05 * effort(action_NA)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.locomotion.drawing import draw_speed

        draw_speed(axes, history.observations[:, 8], history, target=task.params["velocity"])


class HalfCheetahVelMaml(HalfCheetahVel):
    """The same with g from 0 to 2, and tasks in plenty.

    Args:
        horizon, train, validation, test, options: as in `MujocoFamily`; "extrapolation" has speeds from 2 to 3.
    """

    name = "half-cheetah-vel-maml"
    source = "Finn et al. 2017 (MAML)"
    parameters = MappingProxyType({"velocity": Parameter("reward", 0.0, 2.0, default=1.0, beyond=(2.0, 3.0))})

    def __init__(
        self, *, horizon: int = 200, train: int = 10_000, validation: int = 50, test: int = 100, **options: Any
    ) -> None:
        super().__init__(horizon=horizon, train=train, validation=validation, test=test, **options)


class HalfCheetahDir(MujocoFamily):
    """Run forward or back: g v − 0.05 ‖a‖².

    The papers have two tasks, g = 1 and g = −1, and train and test on both. Two tasks have no disjoint split: here |g|
    is drawn from 0.5 to 1.5 and its sign is either, so that a test task is a direction, and a balance of speed against
    effort, that was not trained on. The papers' two tasks are the set "forward-back".

    Args:
        horizon, train, validation, test, options: as in `MujocoFamily`; "extrapolation" has |g| from 1.5 to 2.5.
    """

    name = "half-cheetah-dir"
    picture_shows = "Forward speed, and its mean over a while; the shade is the way that pays."
    source = "Finn et al. 2017 (MAML); the weights other than 1 and −1 are this framework's"
    body = HalfCheetah
    told = ("x_velocity",)
    parameters = MappingProxyType({"direction": BothWays("reward", 0.5, 1.5, default=1.0, beyond=(1.5, 2.5))})
    forward_back = ({"direction": 1.0}, {"direction": -1.0})

    def rewards(self, params, action_NA, told) -> NDArray[np.float64]:
        return params["direction"] * told["x_velocity"] - 0.05 * effort(action_NA)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.locomotion.drawing import draw_speed

        draw_speed(axes, history.observations[:, 8], history, weight=task.params["direction"])


class AntDir(MujocoFamily):
    """Walk in a hidden direction: the velocity that way, and v5's costs and its bonus for staying upright.

    Args:
        horizon, train, validation, test, options: as in `MujocoFamily`.
    """

    name = "ant-dir"
    picture_shows = "The way over the ground from dark to bright; the arrow is the direction that pays."
    source = "Rothfuss et al. 2019 (ProMP), Rakelly et al. 2019 (PEARL)"
    body = Ant
    body_options = MappingProxyType({"include_cfrc_ext_in_observation": False})
    told = ("x_velocity", "y_velocity", "reward_survive", "reward_ctrl", "reward_contact")
    parameters = MappingProxyType({"angle": Parameter("reward", 0.0, 2 * np.pi, default=0.0)})
    forward_back = ({"angle": 0.0}, {"angle": np.pi})
    forward_weight = 1.0
    """Of the velocity in the reward."""
    velocity_at, seconds = 13, 0.05
    """Where the velocity (x, y) stands in an observation, and how long a step is."""

    def rewards(self, params, action_NA, told) -> NDArray[np.float64]:
        along = np.cos(params["angle"]) * told["x_velocity"] + np.sin(params["angle"]) * told["y_velocity"]
        upright = told["reward_survive"] + told["reward_ctrl"] + told["reward_contact"]
        return self.forward_weight * along + upright

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.locomotion.drawing import draw_way

        velocity = history.observations[:, self.velocity_at : self.velocity_at + 2]
        draw_way(axes, np.cumsum(velocity * self.seconds, axis=0), history, angle=task.params["angle"])


class HumanoidDir(AntDir):
    """Walk upright in a hidden direction: 1.25 times the velocity that way, and v5's costs and bonus.

    Args:
        horizon, train, validation, test, options: as in `MujocoFamily`.
    """

    name = "humanoid-dir"
    source = "Rakelly et al. 2019 (PEARL)"
    body = Humanoid
    body_options = MappingProxyType(
        {
            f"include_{what}_in_observation": False for what in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
        }
    )  # fmt: skip
    forward_back = ()
    velocity_at, seconds, forward_weight = 22, 0.015, 1.25


class AntGoal(MujocoFamily):
    """Walk to a hidden place: −‖position − goal‖₁ − 0.1 ‖a‖² and v5's cost of contact; nothing ends an episode.

    Goals are uniform on a disc of radius 3 around the start. The position is observed.

    Args:
        horizon, train, validation, test, options: as in `MujocoFamily`; "extrapolation" has goals at 3 to 4 metres.
    """

    name = "ant-goal"
    picture_shows = "The way over the ground from dark to bright; the star is the goal."
    source = "Rothfuss et al. 2019 (ProMP), Rakelly et al. 2019 (PEARL)"
    body = Ant
    body_options = MappingProxyType(
        {
            "include_cfrc_ext_in_observation": False,
            "exclude_current_positions_from_observation": False,
            "terminate_when_unhealthy": False,
        }
    )
    told = ("x_position", "y_position", "reward_contact")
    parameters = MappingProxyType(
        {
            "radius": Radius("reward", 0.0, 3.0, default=2.0, beyond=(3.0, 4.0)),
            "angle": Parameter("reward", 0.0, 2 * np.pi, default=0.0),
        }
    )

    def __init__(
        self, *, horizon: int = 200, train: int = 150, validation: int = 20, test: int = 30, **options: Any
    ) -> None:
        super().__init__(horizon=horizon, train=train, validation=validation, test=test, **options)

    def rewards(self, params, action_NA, told) -> NDArray[np.float64]:
        x, y = self.goal(params)
        away = np.abs(told["x_position"] - x) + np.abs(told["y_position"] - y)
        return -away - 0.1 * effort(action_NA) + told["reward_contact"]

    @staticmethod
    def goal(params: Mapping[str, Any]) -> tuple[Any, Any]:
        """The place (x, y), metres from the start."""
        return params["radius"] * np.cos(params["angle"]), params["radius"] * np.sin(params["angle"])

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.locomotion.drawing import draw_way

        draw_way(axes, history.observations[:, :2], history, goal=self.goal(task.params))
