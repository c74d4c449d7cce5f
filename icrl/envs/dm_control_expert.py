"""Scripted experts of the control suite's cartpole, pendulum and reacher, which know the task: one lane per task.

Each reads what an agent sees, and works out its gains from the task's numbers. None is optimal.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from icrl.envs.parametric import ParametricFamily
from icrl.tasks import Task

GRAVITY = 9.81
FORCE, POLE_RADIUS, RAIL_END = 10.0, 0.045, 1.8
PUMP, SLOWEST_PUMP, CENTRING, BRAKING, ROOM = 20.0, 0.0, 4.0, 2.0, 0.5
BALANCE_COSTS, PUSH_COST, FAR, CAUGHT = (4.0, 0.5, 4.0, 0.5), 2.0, 0.6, 1.5
"""Of the cartpole."""
BALL_RADIUS = 0.05
HOLD_COSTS, TORQUE_COST, REACH, SHORTFALL = (1.0, 0.05), 0.05, 2.0, 10.0
"""Of the pendulum."""
MOTOR, HAND_LENGTH, LIMB_RADIUS, DENSITY = 0.05, 0.12, 0.01, 1000.0
WRIST_LIMIT, STIFFNESS, BRAKE, AHEAD = 2.6, 20.0, 0.9, 0.1
"""Of the reacher."""


def wrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same angles from -π to π."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def regulator(
    motion_NSS: NDArray[np.float64], push_NS: NDArray[np.float64], costs: Sequence[float], push_cost: float
) -> NDArray[np.float64]:
    """Gains of the linear-quadratic regulator, shape `(N, S)`: the push `-gain · state` is optimal.

    The state moves by `motion · state + push · u` a second, which costs `costs · state² + push_cost · u²`. The decaying
    half of the eigenvectors of the Hamiltonian matrix gives the solution of its Riccati equation.
    """
    size = len(costs)
    cost_NSS = np.broadcast_to(np.diag(costs), motion_NSS.shape)
    reach_NSS = push_NS[:, :, None] * push_NS[:, None, :] / push_cost
    hamiltonian = np.block([[motion_NSS, -reach_NSS], [-cost_NSS, -motion_NSS.swapaxes(1, 2)]])
    values, vectors = np.linalg.eig(hamiltonian)
    decaying = np.argsort(values.real, axis=1)[:, None, :size]
    vectors = np.take_along_axis(vectors, decaying, axis=2)
    riccati_NSS = (vectors[:, size:] @ np.linalg.inv(vectors[:, :size])).real
    return np.einsum("ns,nst->nt", push_NS, riccati_NSS) / push_cost


class _Expert:
    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: an observation says it all."""


class SuiteCartpoleExpert(_Expert):
    def __init__(self, family: ParametricFamily, tasks: Sequence[Task]) -> None:
        length_N, self._pole_N = family.values("pole_length", tasks), family.values("pole_mass", tasks)
        self._target_N = family.values("target", tasks)
        self._total_N = self._pole_N + family.values("cart_mass", tasks)
        self._moment_N = self._pole_N * length_N / 2
        self._inertia_N = self._moment_N * length_N / 2 + self._pole_N * _rod(length_N, POLE_RADIUS)
        self._middle_N = np.clip(self._target_N, -RAIL_END + ROOM, RAIL_END - ROOM)
        whole_N = self._total_N * self._inertia_N - self._moment_N**2
        motion_N44, push_N4 = np.zeros((len(tasks), 4, 4)), np.zeros((len(tasks), 4))
        motion_N44[:, 0, 1] = motion_N44[:, 2, 3] = 1.0
        motion_N44[:, 1, 2] = -(self._moment_N**2) * GRAVITY / whole_N
        motion_N44[:, 3, 2] = self._total_N * self._moment_N * GRAVITY / whole_N
        push_N4[:, 1], push_N4[:, 3] = FORCE * self._inertia_N / whole_N, -FORCE * self._moment_N / whole_N
        self._gain_4N = regulator(motion_N44, push_N4, BALANCE_COSTS, PUSH_COST).T

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        place, cosine, sine, velocity, spin = observations.astype(np.float64).T
        gain_4N, angle = self._gain_4N, np.arctan2(sine, cosine)
        away = np.clip(place - self._target_N, -FAR, FAR)
        balancing = -(gain_4N[0] * away + gain_4N[1] * velocity + gain_4N[2] * angle + gain_4N[3] * spin)
        # Energy of the pole about its hinge, 0 at rest upright, in units of what lifts it from the side to the top.
        energy = self._inertia_N * spin**2 / (2 * self._moment_N * GRAVITY) + cosine - 1
        pump = PUMP * energy * np.where(spin * cosine >= 0, 1.0, -1.0) * np.abs(cosine)
        wanted = pump - CENTRING * (place - self._middle_N) - BRAKING * velocity
        # The force that gives the cart this acceleration whatever the pole does.
        carried = self._moment_N * (cosine * (self._moment_N * (GRAVITY * sine - cosine * wanted)) / self._inertia_N)
        swinging = (self._total_N * wanted + carried - self._moment_N * spin**2 * sine) / FORCE
        caught = np.abs(gain_4N[2] * angle + gain_4N[3] * spin) < CAUGHT
        push = np.clip(np.where(caught & (cosine > 0), balancing, swinging), -1.0, 1.0)
        return push[:, None].astype(np.float32)


class SuitePendulumExpert(_Expert):
    def __init__(self, family: ParametricFamily, tasks: Sequence[Task]) -> None:
        length_N, mass_N = family.values("length", tasks), family.values("mass", tasks)
        self._damping_N = family.values("damping", tasks)
        self._weight_N = mass_N * GRAVITY * length_N
        self._inertia_N = mass_N * (length_N**2 + 0.4 * BALL_RADIUS**2)
        motion_N22, push_N2 = np.zeros((len(tasks), 2, 2)), np.zeros((len(tasks), 2))
        motion_N22[:, 0, 1] = 1.0
        motion_N22[:, 1, 0], motion_N22[:, 1, 1] = self._weight_N / self._inertia_N, -self._damping_N / self._inertia_N
        push_N2[:, 1] = 1 / self._inertia_N
        self._gain_2N = regulator(motion_N22, push_N2, HOLD_COSTS, TORQUE_COST).T

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        cosine, sine, spin = observations.astype(np.float64).T
        holding = -(self._gain_2N[0] * np.arctan2(sine, cosine) + self._gain_2N[1] * spin)
        energy = self._inertia_N * spin**2 / 2 + self._weight_N * (cosine - 1)
        swinging = self._damping_N * spin - SHORTFALL * energy * np.where(spin >= 0, 1.0, -1.0)
        torque = np.clip(np.where(np.abs(holding) < REACH, holding, swinging), -1.0, 1.0)
        return torque[:, None].astype(np.float32)


def _rod(length, radius):
    """Moment of inertia of a capsule about its middle, across its length, per mass."""
    ends = 4 * radius / 3
    tube = (3 * radius**2 + length**2) / 12
    caps = 0.4 * radius**2 + length**2 / 4 + 3 * length * radius / 8
    return (length * tube + ends * caps) / (length + ends)
