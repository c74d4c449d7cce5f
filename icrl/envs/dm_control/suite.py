"""One environment of DeepMind's control suite whose bodies and goals are a task's, as a gymnasium environment.

The bodies are the suite's own XML with a few numbers changed, compiled anew, so that MuJoCo works out all that follows
from them. Rewards are the suite's own functions; where a task moves the goal, they see the motion relative to it.
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import NDArray

from icrl.envs.dm_control.bodies import change_body
from icrl.errors import UsageError

with warnings.catch_warnings():
    # Without a screen its window library complains; nothing is rendered here.
    warnings.simplefilter("ignore", UserWarning)
    from dm_control.rl import control
    from dm_control.suite import cartpole, cheetah, pendulum, reacher, walker

HELD_START_SEED = 0

# MuJoCo says so for every cheetah that is compiled: its mass is set as the suite sets it, bit for bit.
logging.getLogger("absl").addFilter(lambda record: "settotalmass" not in record.getMessage())


class _CartpolePhysics(cartpole.Physics):
    origin = 0.0

    def cart_position(self):
        return super().cart_position() - self.origin


class _Cartpole(cartpole.Balance):
    """The swing-up at `target` on the rail instead of its middle."""

    def __init__(self, params: Mapping[str, float], random: np.random.RandomState) -> None:
        super().__init__(swing_up=True, sparse=False, random=random)
        self._target = params["target"]

    def get_reward(self, physics):
        physics.origin = self._target
        try:
            return super().get_reward(physics)
        finally:
            physics.origin = 0.0


class _Pendulum(pendulum.SwingUp):
    def __init__(self, params: Mapping[str, float], random: np.random.RandomState) -> None:
        super().__init__(random=random)


class _Reacher(reacher.Reacher):
    """The easy reacher with the task's target, which it does not show."""

    def __init__(self, params: Mapping[str, float], random: np.random.RandomState) -> None:
        super().__init__(target_size=0.05, random=random)
        angle, radius = params["target_angle"], params["target_radius"]
        self._target = (radius * np.sin(angle), radius * np.cos(angle))

    def initialize_episode(self, physics):
        super().initialize_episode(physics)
        physics.named.model.geom_pos["target", ["x", "y"]] = self._target

    def get_observation(self, physics):
        shown = super().get_observation(physics)
        del shown["to_target"]
        return shown


class _WalkerPhysics(walker.Physics):
    mirror = np.inf

    def horizontal_velocity(self):
        speed = super().horizontal_velocity()
        return min(speed, 2 * self.mirror - speed)


class _Walker(walker.PlanarWalker):
    """Walking at `speed`: so much above it counts as so much below."""

    def __init__(self, params: Mapping[str, float], random: np.random.RandomState) -> None:
        super().__init__(move_speed=params["speed"], random=random)
        self._target = params["speed"]

    def get_reward(self, physics):
        physics.mirror = self._target
        return super().get_reward(physics)


class _CheetahPhysics(cheetah.Physics):
    target = 10.0

    def speed(self):
        speed = super().speed()
        # The suite pays for the share of 10 m/s; here it is that of the target, and as much too fast is as bad.
        return min(speed, 2 * self.target - speed) * (10.0 / self.target)


class _Cheetah(cheetah.Cheetah):
    """Running at `speed`: so much above it counts as so much below."""

    def __init__(self, params: Mapping[str, float], random: np.random.RandomState) -> None:
        super().__init__(random=random)
        self._target = params["speed"]

    def get_reward(self, physics):
        physics.target = self._target
        return super().get_reward(physics)


_DOMAINS: dict[str, tuple[Any, Any, Any, float | None]] = {
    "cartpole": (cartpole, _CartpolePhysics, _Cartpole, None),
    "pendulum": (pendulum, pendulum.Physics, _Pendulum, None),
    "reacher": (reacher, reacher.Physics, _Reacher, None),
    "walker": (walker, _WalkerPhysics, _Walker, 0.025),
    "cheetah": (cheetah, _CheetahPhysics, _Cheetah, None),
}
"""Of each domain: its module, physics, task, and the seconds of a step where it is not MuJoCo's own time step."""


class SuiteEnv(gym.Env):
    """An environment of the suite, its observations joined to one vector, its steps without a time limit.

    Args:
        domain: "cartpole", "pendulum", "reacher", "walker" or "cheetah".
        params: the task's numbers; `become` changes them.
        one_start: whether all episodes start from one state.
    """

    def __init__(self, domain: str, params: Mapping[str, float], *, one_start: bool) -> None:
        self._module, self._physics_class, self._task_class, self._seconds = _DOMAINS[domain]
        self._domain, self._one_start = domain, one_start
        self.become(params)
        low, high = self._control.action_spec().minimum, self._control.action_spec().maximum
        self.action_space = gym.spaces.Box(low.astype(np.float32), high.astype(np.float32))
        size = sum(int(np.prod(spec.shape)) for spec in self._control.observation_spec().values())
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def become(self, params: Mapping[str, float]) -> None:
        """Makes this the environment of a task, to be reset before it is stepped."""
        xml, assets = self._module.get_model_and_assets()
        tree = ElementTree.fromstring(xml)
        change_body(self._domain, tree, params)
        self._physics = _compiled(self._physics_class, ElementTree.tostring(tree, encoding="unicode"), assets)
        self._params = dict(params)
        self._seed(HELD_START_SEED)

    def _seed(self, seed: int) -> None:
        task = self._task_class(self._params, np.random.RandomState(seed))
        self._control = control.Environment(self._physics, task, control_timestep=self._seconds)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        if self._one_start:
            self._seed(HELD_START_SEED)
        elif seed is not None:
            self._seed(seed)
        return self._joined(self._control.reset().observation), {}

    def step(self, action: NDArray):
        after = self._control.step(np.asarray(action, np.float64))
        return self._joined(after.observation), float(after.reward), after.discount == 0.0, False, {}

    @staticmethod
    def _joined(parts: Mapping[str, Any]) -> NDArray[np.float32]:
        return np.concatenate([np.ravel(part) for part in parts.values()]).astype(np.float32)


def _compiled(physics_class: Any, xml: str, assets: Mapping[str, Any]) -> Any:
    try:
        return physics_class.from_xml_string(xml, assets)
    except AttributeError as error:
        raise UsageError(
            f"this dm_control does not know mujoco {mujoco.__version__} ({error}): pip install 'mujoco>=3.17,<4'"
        ) from error
