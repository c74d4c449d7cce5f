"""CartPole: a cart is pushed left or right under a pole that must not fall, on gymnasium's own numbers or others."""

from collections.abc import Mapping, Sequence
from math import pi
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.classic.family import ClassicControl, ClassicEnv, ClassicExpert, gains
from icrl.envs.kit.parametric import Parameter
from icrl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

CART_MASS, SECONDS_A_STEP = 1.0, 0.02
LARGEST_POSITION, LARGEST_ANGLE = 2.4, 12 * 2 * pi / 360
COSTS, PUSH_COST, ROUNDS = (4.0, 0.03, 1.5, 0.22), 0.06, 20
FAR, FORESIGHT, FALLING = 0.57, 0.2, 0.2
"""Of the expert, found by trial: what its regulator counts for the state and the push, how far off it sees the target,
and the angle in so many seconds from which it only saves the pole."""
FEATURES = ("position", "velocity", "angle", "angular_velocity")
BOUNDS = np.array([2 * LARGEST_POSITION, np.inf, 2 * LARGEST_ANGLE, np.inf], np.float32)


class CartPole(ClassicControl):
    """CartPole-v1 with other poles, pushes and gravities, and a place on the rail that pays best.

    A step earns `max(0, 1 - slope · |x - target|)`, x being the cart's position after it.
    """

    picture_shows = (
        "Time goes down: where the cart is, and its pole, its lean tripled; the line is the place that pays best."
    )
    name = "cartpole"
    source = (
        "Barto, Sutton and Anderson 1983, as gymnasium's CartPole-v1; force, length and mass as in Packer et al. 2018 "
        "(generalization in deep RL)"
    )
    horizon = 500
    features = FEATURES
    native_space = gym.spaces.Box(-BOUNDS, BOUNDS, dtype=np.float32)
    action_space = gym.spaces.Discrete(2)
    parameters: Mapping[str, Parameter] = {
        "length": Parameter("dynamics", 0.25, 0.75, default=0.5, beyond=(0.75, 1.0)),
        "pole_mass": Parameter("dynamics", 0.05, 0.5, default=0.1, beyond=(0.5, 1.0)),
        "force": Parameter("dynamics", 5.0, 15.0, default=10.0, beyond=(15.0, 20.0)),
        "gravity": Parameter("dynamics", 7.0, 12.0, default=9.8, beyond=(12.0, 15.0)),
        "target": Parameter("reward", -1.0, 1.0, default=0.0, beyond=(1.0, 1.5)),
        "slope": Parameter("reward", 0.5, 1.0, default=0.0),
        **gains(*FEATURES),
        "start_position": Parameter("start", -1.0, 1.0, default=0.0, beyond=(1.0, 1.5)),
        "start_angle": Parameter("start", -0.05, 0.05, default=0.0),
    }

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "CartPoleEnv":
        return CartPoleEnv(self, tasks, seed, index)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> "CartPoleExpert":
        self.check_policy_kind(kind)
        return CartPoleExpert(self, tasks)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.classic.drawing import draw_cartpole

        draw_cartpole(axes, task, *self.shown_features(task, history))


class CartPoleEnv(ClassicEnv):
    """One cart per lane: rows of the state are position, velocity, angle and angular velocity."""

    vouched = True
    per_lane = (
        "_length_N", "_pole_mass_N", "_gravity_N", "_force_N", "_total_mass_N", "_moment_N", "_target_N",
        "_slope_N", ("_start_4N", 1), ("_state_4N", 1),
    )  # fmt: skip

    def __init__(self, family: CartPole, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> None:
        super().__init__(family, tasks, seed, index)
        self._length_N, self._pole_mass_N = family.values("length", tasks), family.values("pole_mass", tasks)
        self._gravity_N, self._force_N = family.values("gravity", tasks), family.values("force", tasks)
        self._total_mass_N = self._pole_mass_N + CART_MASS
        self._moment_N = self._pole_mass_N * self._length_N
        self._target_N, self._slope_N = family.values("target", tasks), family.values("slope", tasks)
        self._start_4N = np.zeros((4, len(tasks)))
        self._start_4N[0], self._start_4N[2] = (
            family.values("start_position", tasks), family.values("start_angle", tasks)
        )  # fmt: skip
        self._state_4N = self._start_4N.copy()

    def _start(self, lanes: NDArray[np.int64]) -> None:
        noise_4L = -0.05 + 0.1 * self.streams.uniform_block(4, lanes)
        self._state_4N[:, lanes] = self._start_4N[:, lanes] + noise_4L

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        position, velocity, angle, spin = self._state_4N
        cosine, sine = np.cos(angle), np.sin(angle)
        force = np.where(actions, self._force_N, -self._force_N)
        push = (force + self._moment_N * np.square(spin) * sine) / self._total_mass_N
        spin_up = (self._gravity_N * sine - cosine * push) / (
            self._length_N * (4.0 / 3.0 - self._pole_mass_N * np.square(cosine) / self._total_mass_N)
        )
        speed_up = push - self._moment_N * spin_up * cosine / self._total_mass_N
        # In this order, and in place: a place moves by the speed that it had before.
        position += SECONDS_A_STEP * velocity
        velocity += SECONDS_A_STEP * speed_up
        angle += SECONDS_A_STEP * spin
        spin += SECONDS_A_STEP * spin_up
        terminated = (np.abs(position) > LARGEST_POSITION) | (np.abs(angle) > LARGEST_ANGLE)
        rewards = np.maximum(0.0, 1.0 - self._slope_N * np.abs(position - self._target_N))
        return rewards.astype(np.float32), terminated

    def _features(self) -> NDArray[np.float64]:
        return self._state_4N


class CartPoleExpert(ClassicExpert):
    """The linear-quadratic regulator of the task's own cart and pole, rounded to a push left or right.

    It sees the cart no further from the target than `FAR`, so that it does not lean too far on the way; and where the
    pole is about to fall it forgets the target and pushes under the pole.
    """

    per_lane = (("_gain_4N", 1), "_target_N")

    def __init__(self, family: CartPole, tasks: Sequence[Task]) -> None:
        super().__init__(family, tasks)
        names = ("length", "pole_mass", "force", "gravity")
        number_N4 = np.stack([family.values(name, tasks) for name in names], axis=1)
        each_U4, which_N = np.unique(number_N4, axis=0, return_inverse=True)
        self._gain_4N = _regulator(*each_U4.T)[which_N.reshape(-1)].T
        self._target_N = family.values("target", tasks)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        position, velocity, angle, spin = self._seen(observations)
        gain_4N, away = self._gain_4N, np.clip(position - self._target_N, -FAR, FAR)
        push = -(gain_4N[0] * away + gain_4N[1] * velocity + gain_4N[2] * angle + gain_4N[3] * spin)
        soon = angle + FORESIGHT * spin
        return (np.where(np.abs(soon) > FALLING, soon, push) > 0).astype(np.int64)


def _regulator(length, pole_mass, force, gravity) -> NDArray[np.float64]:
    """Gains on the state, shape `(N, 4)`; a push of `-gain · state`, in units of the force, is optimal for `COSTS`.

    The Riccati equation of the linearised step is solved by doubling: each round squares the closed loop.
    """
    total = pole_mass + CART_MASS
    moment = length * (4.0 / 3.0 - pole_mass / total)
    fall, pull = gravity / moment, -pole_mass * length * gravity / (moment * total)
    step_N44 = np.zeros((len(length), 4, 4))
    step_N44[:, 0, 1] = step_N44[:, 2, 3] = 1.0
    step_N44[:, 1, 2], step_N44[:, 3, 2] = pull, fall
    step_N44 = np.eye(4) + SECONDS_A_STEP * step_N44
    push_N41 = np.zeros((len(length), 4, 1))
    push_N41[:, 1, 0] = SECONDS_A_STEP * force * (1 / total + pole_mass * length / (moment * total**2))
    push_N41[:, 3, 0] = -SECONDS_A_STEP * force / (total * moment)
    loop, reach = step_N44, push_N41 @ push_N41.swapaxes(1, 2) / PUSH_COST
    cost = np.broadcast_to(np.diag(COSTS), loop.shape)
    for _ in range(ROUNDS):
        solved = np.linalg.solve(np.eye(4) + reach @ cost, np.concatenate((loop, reach), axis=2))
        transposed, loop_by, reach_by = loop.swapaxes(1, 2), solved[:, :, :4], solved[:, :, 4:]
        cost, reach = cost + transposed @ cost @ loop_by, reach + loop @ reach_by @ transposed
        loop = loop @ loop_by
    weighed = push_N41.swapaxes(1, 2) @ cost
    return (weighed @ step_N44 / (PUSH_COST + weighed @ push_N41))[:, 0]
