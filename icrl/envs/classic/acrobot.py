"""Acrobot: two links hang from a pivot and swing up by a torque between them, on gymnasium's own numbers or others."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.classic.family import ClassicControl, ClassicEnv, ClassicExpert, gains
from icrl.envs.kit.parametric import Parameter
from icrl.lanes import PerLane
from icrl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

SECONDS_A_STEP, GRAVITY = 0.2, 9.8
LARGEST_SPEEDS = np.array([4 * np.pi, 9 * np.pi])
WEIGHTS = (-1.42, 0.4, -0.44, -1.14, -0.32, -0.62)
"""Of the expert, found by random search on the training tasks."""
FEATURES = ("cosine_1", "sine_1", "cosine_2", "sine_2", "velocity_1", "velocity_2")
BOUNDS = np.array([1.0, 1.0, 1.0, 1.0, *LARGEST_SPEEDS], np.float32)


class Acrobot(ClassicControl):
    """Acrobot-v1 with other links, and another height to reach.

    Every step costs 1 but the one that ends the episode: where the tip is higher above the pivot than `height`.
    """

    picture_shows = (
        "The two links as time goes from dark to bright, at the end of an episode; the line is the height to reach."
    )
    name = "acrobot"
    source = (
        "Sutton 1996, as gymnasium's Acrobot-v1; lengths, masses and inertia as in Packer et al. 2018 "
        "(generalization in deep RL)"
    )
    horizon = 500
    features = FEATURES
    native_space = gym.spaces.Box(-BOUNDS, BOUNDS, dtype=np.float32)
    action_space = gym.spaces.Discrete(3)
    anchor_episodes = 10
    parameters: Mapping[str, Parameter] = {
        "length_1": Parameter("dynamics", 0.75, 1.25, default=1.0, beyond=(1.25, 1.5)),
        "length_2": Parameter("dynamics", 0.75, 1.25, default=1.0, beyond=(1.25, 1.5)),
        "mass_1": Parameter("dynamics", 0.75, 1.25, default=1.0, beyond=(1.25, 1.5)),
        "mass_2": Parameter("dynamics", 0.75, 1.25, default=1.0, beyond=(1.25, 1.5)),
        "inertia": Parameter("dynamics", 0.75, 1.25, default=1.0, beyond=(1.25, 1.5)),
        "height": Parameter("reward", 0.5, 1.25, default=1.0),
        **gains(*FEATURES),
        "start_angle_1": Parameter("start", -0.5, 0.5, default=0.0, beyond=(0.5, 0.8)),
        "start_angle_2": Parameter("start", -0.5, 0.5, default=0.0, beyond=(0.5, 0.8)),
    }

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "AcrobotEnv":
        return AcrobotEnv(self, tasks, seed, index)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> "AcrobotExpert":
        self.check_policy_kind(kind)
        return AcrobotExpert(self, tasks)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.classic.drawing import draw_acrobot

        draw_acrobot(axes, task, *self.shown_features(task, history))


class Links(PerLane):
    """The two links of each lane and how they move: the equations of Sutton and Barto's book, as in gymnasium.

    The terms are added and multiplied in gymnasium's order, so that a chaotic swing stays with gymnasium's for long:
    a step differs in the last bit at most, where gymnasium's scalar `x**2` is rounded otherwise than `x * x`.
    """

    per_lane = (
        "length_1", "length_2", "mass_2", "inertia", "_own_1", "_own_2", "_centre_2_squared", "_arms_squared",
        "_arms", "_coupling", "_weight_1", "_weight_2",
    )  # fmt: skip

    def __init__(self, family: Acrobot, tasks: Sequence[Task]) -> None:
        self.length_1, self.length_2 = family.values("length_1", tasks), family.values("length_2", tasks)
        mass_1, mass_2 = family.values("mass_1", tasks), family.values("mass_2", tasks)
        centre_1, centre_2 = self.length_1 / 2, self.length_2 / 2
        self.mass_2, self.inertia = mass_2, family.values("inertia", tasks)
        self._own_1, self._own_2 = mass_1 * centre_1**2, mass_2 * centre_2**2
        self._centre_2_squared = centre_2**2
        self._arms_squared, self._arms = self.length_1**2 + centre_2**2, self.length_1 * centre_2
        self._coupling = mass_2 * self.length_1 * centre_2
        self._weight_1 = (mass_1 * centre_1 + mass_2 * self.length_1) * GRAVITY
        self._weight_2 = mass_2 * centre_2 * GRAVITY

    def derivative(self, state: NDArray[np.float64], torque: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the state (angle 1, angle 2, velocity 1, velocity 2), shape `(4, N)`."""
        angle_1, angle_2, spin_1, spin_2 = state
        cosine, sine = np.cos(angle_2), np.sin(angle_2)
        d1 = self._own_1 + self.mass_2 * (self._arms_squared + 2 * self._arms * cosine) + self.inertia + self.inertia
        d2 = self.mass_2 * (self._centre_2_squared + self._arms * cosine) + self.inertia
        phi2 = self._weight_2 * np.cos(angle_1 + angle_2 - np.pi / 2)
        phi1 = (
            -self._coupling * np.square(spin_2) * sine
            - 2 * self._coupling * spin_2 * spin_1 * sine
            + self._weight_1 * np.cos(angle_1 - np.pi / 2)
            + phi2
        )
        ratio = d2 / d1
        gain_2 = (torque + ratio * phi1 - self._coupling * np.square(spin_1) * sine - phi2) / (
            self._own_2 + self.inertia - np.square(d2) / d1
        )
        return np.stack((spin_1, spin_2, -(d2 * gain_2 + phi1) / d1, gain_2))

    def moved(self, state: NDArray[np.float64], torque: NDArray[np.float64]) -> NDArray[np.float64]:
        """The state one step later: one step of the Runge-Kutta method of order 4."""
        half = SECONDS_A_STEP / 2
        k1 = self.derivative(state, torque)
        k2 = self.derivative(state + half * k1, torque)
        k3 = self.derivative(state + half * k2, torque)
        k4 = self.derivative(state + SECONDS_A_STEP * k3, torque)
        state = state + SECONDS_A_STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        angles = state[:2]
        while (np.abs(angles) > np.pi).any():
            angles = np.where(angles > np.pi, angles - 2 * np.pi, angles)
            angles = np.where(angles < -np.pi, angles + 2 * np.pi, angles)
        state[:2] = angles
        state[2:] = np.clip(state[2:], -LARGEST_SPEEDS[:, None], LARGEST_SPEEDS[:, None])
        return state

    def height(self, state: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the tip above the pivot."""
        return -self.length_1 * np.cos(state[0]) - self.length_2 * np.cos(state[1] + state[0])


class AcrobotEnv(ClassicEnv):
    """One pair of links per lane."""

    vouched = True
    per_lane = ("_links", "_height_N", ("_start_4N", 1), ("_state_4N", 1))

    def __init__(self, family: Acrobot, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> None:
        super().__init__(family, tasks, seed, index)
        self._links = Links(family, tasks)
        self._height_N = family.values("height", tasks)
        self._start_4N = np.zeros((4, len(tasks)))
        self._start_4N[0], self._start_4N[1] = (
            family.values("start_angle_1", tasks), family.values("start_angle_2", tasks)
        )  # fmt: skip
        self._state_4N = self._start_4N.copy()

    def _start(self, lanes: NDArray[np.int64]) -> None:
        noise_4L = -0.1 + 0.2 * self.streams.uniform_block(4, lanes)
        # Gymnasium's starts are of float32.
        self._state_4N[:, lanes] = (self._start_4N[:, lanes] + noise_4L).astype(np.float32)

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        self._state_4N = self._links.moved(self._state_4N, actions - 1.0)
        terminated = self._links.height(self._state_4N) > self._height_N
        return np.where(terminated, np.float32(0), np.float32(-1)), terminated

    def _features(self) -> NDArray[np.float64]:
        cosines, sines = np.cos(self._state_4N[:2]), np.sin(self._state_4N[:2])
        return np.stack((cosines[0], sines[0], cosines[1], sines[1], self._state_4N[2], self._state_4N[3]))


class AcrobotExpert(ClassicExpert):
    """Full torque either way, by the sign of a weighted sum of velocities and sines: one rule for all links.

    It pumps energy into the swing of the first link. It does not know the optimum, which nobody has written down.
    """

    per_lane = ()

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        cosine_1, sine_1, cosine_2, sine_2, velocity_1, velocity_2 = self._seen(observations)
        terms = (velocity_1, velocity_2, sine_1, sine_2, cosine_1 * velocity_1, cosine_2 * velocity_2)
        total = sum(weight * term for weight, term in zip(WEIGHTS, terms, strict=True))
        return np.where(total > 0, 2, 0)
