"""Pendulum: a motor too weak to lift a pendulum swings it up and holds it, on gymnasium's own numbers or others."""

from collections.abc import Mapping, Sequence
from math import pi
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.classic.family import ClassicControl, ClassicEnv, ClassicExpert, gains
from icrl.envs.kit.angles import wrapped
from icrl.envs.kit.parametric import Parameter
from icrl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

LARGEST_SPEED, LARGEST_TORQUE, SECONDS_A_STEP = 8.0, 2.0, 0.05
TORQUE_COST, SPEED_COST, REACH, HOLDING = 0.05, 0.02, 4.0, 0.95
"""Of the expert's regulator, found by trial: costs beside that of the angle, the demand at which it takes over
in units of the largest torque, and the share of that torque that it leans on."""
FEATURES = ("cosine", "sine", "angular_velocity")
BOUNDS = np.array([1.0, 1.0, LARGEST_SPEED], np.float32)


class Pendulum(ClassicControl):
    """Pendulum-v1 with other pendulums and gravities, and another angle to hold it at.

    A step costs `wrapped(angle - target)² + 0.1 · speed² + 0.001 · torque²`, all before it; angle 0 is upright.
    """

    picture_shows = (
        "Angle against speed, from dark to bright, with the pendulum on the way; the line is the angle that "
        "costs nothing."
    )
    name = "pendulum"
    source = "gymnasium's Pendulum-v1; length and mass as in Packer et al. 2018 (generalization in deep RL)"
    horizon = 200
    features = FEATURES
    native_space = gym.spaces.Box(-BOUNDS, BOUNDS, dtype=np.float32)
    action_space = gym.spaces.Box(-LARGEST_TORQUE, LARGEST_TORQUE, (1,), np.float32)
    parameters: Mapping[str, Parameter] = {
        "length": Parameter("dynamics", 0.75, 1.25, default=1.0, beyond=(1.25, 1.5)),
        "mass": Parameter("dynamics", 0.75, 1.25, default=1.0, beyond=(1.25, 1.5)),
        "gravity": Parameter("dynamics", 7.0, 12.0, default=10.0),
        "target": Parameter("reward", -pi / 2, pi / 2, default=0.0, beyond=(pi / 2, pi)),
        **gains(*FEATURES),
        "start_angle": Parameter("start", -pi, pi, default=0.0),
        "start_spread": Parameter("start", 0.1, 0.5, default=pi),
    }

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "PendulumEnv":
        return PendulumEnv(self, tasks, seed, index)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> "PendulumExpert":
        self.check_policy_kind(kind)
        return PendulumExpert(self, tasks)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.classic.drawing import draw_pendulum

        draw_pendulum(axes, task, *self.shown_features(task, history))


class PendulumEnv(ClassicEnv):
    """One pendulum per lane. As in gymnasium, whatever the torque alone goes into is computed in float32."""

    vouched = True
    per_lane = ("_pull_N", "_motor_N", "_target_N", "_centre_N", "_spread_N", "_angle_N", "_speed_N")

    def __init__(self, family: Pendulum, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> None:
        super().__init__(family, tasks, seed, index)
        length_N, mass_N = family.values("length", tasks), family.values("mass", tasks)
        self._pull_N = 3 * family.values("gravity", tasks) / (2 * length_N)
        self._motor_N = (3.0 / (mass_N * length_N**2)).astype(np.float32)
        self._target_N = family.values("target", tasks)
        self._centre_N, self._spread_N = family.values("start_angle", tasks), family.values("start_spread", tasks)
        self._angle_N, self._speed_N = np.zeros(len(tasks)), np.zeros(len(tasks))

    def _start(self, lanes: NDArray[np.int64]) -> None:
        share, self._speed_N[lanes] = 2 * self.streams.uniform_block(2, lanes) - 1
        self._angle_N[lanes] = self._centre_N[lanes] + self._spread_N[lanes] * share

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        torque, angle, speed = actions[:, 0], self._angle_N, self._speed_N
        cost = wrapped(angle - self._target_N) ** 2 + 0.1 * speed**2 + np.float32(0.001) * np.square(torque)
        faster = speed + (self._pull_N * np.sin(angle) + self._motor_N * torque) * SECONDS_A_STEP
        self._speed_N = np.clip(faster, -LARGEST_SPEED, LARGEST_SPEED)
        self._angle_N = angle + self._speed_N * SECONDS_A_STEP
        return -cost.astype(np.float32), np.zeros(self.num_envs, bool)

    def _features(self) -> NDArray[np.float64]:
        return np.stack((np.cos(self._angle_N), np.sin(self._angle_N), self._speed_N))


class PendulumExpert(ClassicExpert):
    """Swings up by energy and holds the pendulum as near to the target as the motor can.

    The linear-quadratic regulator of that angle, in closed form, takes over where it asks
    for no more than `REACH` times the motor's torque; until then the motor pushes the way the pendulum swings while
    its energy is below that of standing upright, and against it above. A target in the lower half needs no swing-up.
    """

    per_lane = ("_weight_N", "_inertia_N", "_upper_N", "_hold_N", "_stiffness_N", "_damping_N")

    def __init__(self, family: Pendulum, tasks: Sequence[Task]) -> None:
        super().__init__(family, tasks)
        length_N, mass_N = family.values("length", tasks), family.values("mass", tasks)
        target_N = family.values("target", tasks)
        self._weight_N = mass_N * family.values("gravity", tasks) * length_N / 2
        self._inertia_N = mass_N * length_N**2 / 3
        lean_N = np.minimum(HOLDING * LARGEST_TORQUE / self._weight_N, 1.0)
        hold_N = np.arcsin(np.clip(np.sin(target_N), -lean_N, lean_N))
        self._upper_N = np.cos(target_N) >= 0
        self._hold_N = np.where(self._upper_N, hold_N, np.pi - hold_N)
        fall_N, motor_N = self._weight_N * np.cos(self._hold_N) / self._inertia_N, 1 / self._inertia_N
        self._stiffness_N = (fall_N + np.sqrt(fall_N**2 + motor_N**2 / TORQUE_COST)) / motor_N
        self._damping_N = (
            np.sqrt(2 * self._stiffness_N * motor_N + motor_N**2 * SPEED_COST / TORQUE_COST) / motor_N
        )  # fmt: skip

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        cosine, sine, speed = self._seen(observations)
        error = wrapped(np.arctan2(sine, cosine) - self._hold_N)
        holding = -self._weight_N * np.sin(self._hold_N) - self._stiffness_N * error - self._damping_N * speed
        energy = self._inertia_N * speed**2 / 2 + self._weight_N * (cosine - 1)
        swinging = LARGEST_TORQUE * np.where(energy < 0, 1.0, -1.0) * np.where(speed >= 0, 1.0, -1.0)
        near = (np.abs(holding) < REACH * LARGEST_TORQUE) | ~self._upper_N
        torque = np.clip(np.where(near, holding, swinging), -LARGEST_TORQUE, LARGEST_TORQUE)
        return torque[:, None].astype(np.float32)
