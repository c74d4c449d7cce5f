"""Scripted experts of the control suite's cartpole, pendulum and reacher: they know the task, one lane per task.

Each sees what an agent sees and takes the rest from the task's numbers. They are good policies, not optimal ones.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.angles import wrapped
from icrl.envs.kit.parametric import ParametricFamily
from icrl.lanes import PerLane
from icrl.tasks import Task

GRAVITY, POLE_RADIUS, BALL_RADIUS, HAND_LENGTH = 9.81, 0.045, 0.05, 0.12
LARGEST_FORCE = 10.0
"""Of the suite's models, in SI units; no task changes them. The pendulum's largest torque is 1 N·m."""
PUMP, CENTRING, BRAKING = 16.0, 2.3, 1.9
BALANCE_COSTS, PUSH_COST, CAUGHT = (4.0, 0.25, 5.0, 0.9), 22.0, 2.8
"""Of the cartpole's expert: accelerations that it wants of the cart, for the pole's missing energy and back to the
target; what its regulator counts for the state and for the push; the push, 1 being the largest, that the pole alone
may ask for when the regulator takes over. Found by a random search on 160 training tasks of split 1 and, with less
weight, 60 of its set "extrapolation"."""
HOLD_COSTS, TORQUE_COST, REACH, SHORTFALL = (1.0, 0.01), 0.005, 5.0, 15.0
"""Of the pendulum's expert: what its regulator counts for the state and for the torque; the torque at which it takes
over; the torque per joule that is missing. Found by a random search on 200 training tasks of split 1 and 100 of its
set "extrapolation"; the return hardly depends on them."""
STIFFNESS, BRAKE, FURTHEST_BEND = 8.0, 0.4, 2.6
"""Of the reacher's expert: shares of the largest torque per radian and per rad/s, and the furthest that it bends the
wrist, short of its stop at 2.79. Chosen among a dozen on 100 training tasks of split 1 and 40 of its set
"extrapolation"; the return hardly depends on them."""


class _SeesAll(PerLane):
    per_lane = ()

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: an observation says all that moves."""


class SuiteCartpoleExpert(_SeesAll):
    """Swings the pole up by its energy, then balances it above the target by a linear-quadratic regulator.

    While the pole lacks energy the cart is accelerated the way that adds to it, and drawn to the target; the force for
    that acceleration allows for the pole's pull. The regulator is that of the task's own cart and pole.
    """

    per_lane = ("_target_N", "_total_N", "_moment_N", "_inertia_N", ("_gain_4N", 1))

    def __init__(self, family: ParametricFamily, tasks: Sequence[Task]) -> None:
        length_N, pole_N = family.values("pole_length", tasks), family.values("pole_mass", tasks)
        self._target_N = family.values("target", tasks)
        self._total_N = pole_N + family.values("cart_mass", tasks)
        self._moment_N = pole_N * length_N / 2
        self._inertia_N = pole_N * (length_N**2 / 4 + capsule_inertia(length_N, POLE_RADIUS))
        whole_N = self._total_N * self._inertia_N - self._moment_N**2
        # Of the state: place, velocity, angle from upright, its velocity.
        motion_N44, push_N4 = np.zeros((len(tasks), 4, 4)), np.zeros((len(tasks), 4))
        motion_N44[:, 0, 1] = motion_N44[:, 2, 3] = 1.0
        motion_N44[:, 1, 2] = -GRAVITY * self._moment_N**2 / whole_N
        motion_N44[:, 3, 2] = GRAVITY * self._moment_N * self._total_N / whole_N
        push_N4[:, 1] = LARGEST_FORCE * self._inertia_N / whole_N
        push_N4[:, 3] = -LARGEST_FORCE * self._moment_N / whole_N
        self._gain_4N = regulator(motion_N44, push_N4, BALANCE_COSTS, PUSH_COST).T

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        place, cosine, sine, velocity, spin = observations.astype(np.float64).T
        away, angle, gain_4N = place - self._target_N, np.arctan2(sine, cosine), self._gain_4N
        for_pole = gain_4N[2] * angle + gain_4N[3] * spin
        balancing = -(gain_4N[0] * away + gain_4N[1] * velocity + for_pole)

        # The pole's energy about its hinge, 0 where it rests upright and -2 where it hangs.
        energy = self._inertia_N * spin**2 / (2 * self._moment_N * GRAVITY) + cosine - 1
        wanted = PUMP * energy * np.abs(cosine) * np.where(spin * cosine >= 0, 1.0, -1.0)
        wanted = wanted - CENTRING * away - BRAKING * velocity
        spin_up = self._moment_N * (GRAVITY * sine - wanted * cosine) / self._inertia_N
        force = self._total_N * wanted + self._moment_N * (spin_up * cosine - spin**2 * sine)

        near = (np.abs(for_pole) < CAUGHT) & (cosine > 0)
        push = np.clip(np.where(near, balancing, force / LARGEST_FORCE), -1.0, 1.0)
        return push[:, None].astype(np.float32)


class SuitePendulumExpert(_SeesAll):
    """Swings up by energy, then holds the pendulum upright by a linear-quadratic regulator.

    The motor pushes the way the pendulum swings until it has the energy of standing upright, and makes good what the
    hinge takes. Were the damping to take more from a swing than the motor gives, the top would never be reached.
    """

    per_lane = ("_damping_N", "_weight_N", "_inertia_N", ("_gain_2N", 1))

    def __init__(self, family: ParametricFamily, tasks: Sequence[Task]) -> None:
        length_N, mass_N = family.values("length", tasks), family.values("mass", tasks)
        self._damping_N = family.values("damping", tasks)
        self._weight_N = mass_N * GRAVITY * length_N
        self._inertia_N = mass_N * (length_N**2 + 0.4 * BALL_RADIUS**2)
        # Of the state: angle from upright, its velocity.
        motion_N22, push_N2 = np.zeros((len(tasks), 2, 2)), np.zeros((len(tasks), 2))
        motion_N22[:, 0, 1] = 1.0
        motion_N22[:, 1, 0] = self._weight_N / self._inertia_N
        motion_N22[:, 1, 1] = -self._damping_N / self._inertia_N
        push_N2[:, 1] = 1 / self._inertia_N
        self._gain_2N = regulator(motion_N22, push_N2, HOLD_COSTS, TORQUE_COST).T

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        cosine, sine, spin = observations.astype(np.float64).T
        holding = -(self._gain_2N[0] * np.arctan2(sine, cosine) + self._gain_2N[1] * spin)
        energy = self._inertia_N * spin**2 / 2 + self._weight_N * (cosine - 1)
        swinging = self._damping_N * spin - SHORTFALL * energy * np.where(spin >= 0, 1.0, -1.0)
        torque = np.clip(np.where(np.abs(holding) < REACH, holding, swinging), -1.0, 1.0)
        return torque[:, None].astype(np.float32)


class SuiteReacherExpert(_SeesAll):
    """Moves both joints at once to where the finger is on the target, by a PD controller each.

    Inverse kinematics gives two such poses, the wrist bent to either side; at every step the one counts whose further
    joint is nearer.
    """

    per_lane = (("_wrist_2N", 1), ("_shoulder_2N", 1))

    def __init__(self, family: ParametricFamily, tasks: Sequence[Task]) -> None:
        arm_N, radius_N = family.values("arm_length", tasks), family.values("target_radius", tasks)
        # The suite counts a target's angle from the y axis, and a joint's the other way round from the x axis.
        bearing_N = np.pi / 2 - family.values("target_angle", tasks)
        cosine_N = (radius_N**2 - arm_N**2 - HAND_LENGTH**2) / (2 * arm_N * HAND_LENGTH)
        bend_N = np.minimum(np.arccos(np.clip(cosine_N, -1.0, 1.0)), FURTHEST_BEND)
        aside_N = np.arctan2(HAND_LENGTH * np.sin(bend_N), arm_N + HAND_LENGTH * np.cos(bend_N))
        self._wrist_2N = np.stack((bend_N, -bend_N))
        self._shoulder_2N = bearing_N - np.stack((aside_N, -aside_N))

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        shoulder, wrist, *speed_JN = observations.astype(np.float64).T
        # The shoulder turns round and round; the wrist stops on both sides.
        left_J2N = np.stack((wrapped(self._shoulder_2N - shoulder), self._wrist_2N - wrist))
        nearer = np.argmin(np.abs(left_J2N).max(axis=0), axis=0)
        left_JN = left_J2N[:, nearer, np.arange(len(nearer))]
        return np.clip(STIFFNESS * left_JN - BRAKE * np.stack(speed_JN), -1.0, 1.0).T.astype(np.float32)


def capsule_inertia(length: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Of a capsule, about an axis across its middle, per mass; `length` is that between the centres of its caps."""
    tube = length * (length**2 / 12 + radius**2 / 4)
    caps = (4 * radius / 3) * (length**2 / 4 + 3 * length * radius / 8 + 2 * radius**2 / 5)
    return (tube + caps) / (length + 4 * radius / 3)


def regulator(
    motion_NSS: NDArray[np.float64], push_NS: NDArray[np.float64], costs: Sequence[float], push_cost: float
) -> NDArray[np.float64]:
    """Gains of the linear-quadratic regulator, shape `(N, S)`: the push `-gain · state` is optimal.

    The state changes by `motion · state + push · u` a second and costs `costs · state² + push_cost · u²`. What solves
    the Riccati equation is read from the decaying half of the eigenvectors of its Hamiltonian matrix.
    """
    size = len(costs)
    cost_NSS = np.broadcast_to(np.diag(costs), motion_NSS.shape)
    reach_NSS = push_NS[:, :, None] * push_NS[:, None, :] / push_cost
    values, vectors = np.linalg.eig(np.block([[motion_NSS, -reach_NSS], [-cost_NSS, -motion_NSS.swapaxes(1, 2)]]))
    decaying = np.argsort(values.real, axis=1)[:, None, :size]
    state_NSS, costate_NSS = np.split(np.take_along_axis(vectors, decaying, axis=2), 2, axis=1)
    solution_NSS = (costate_NSS @ np.linalg.inv(state_NSS)).real
    return (push_NS[:, None] @ solution_NSS)[:, 0] / push_cost


SuiteExpert = SuiteCartpoleExpert | SuitePendulumExpert | SuiteReacherExpert
