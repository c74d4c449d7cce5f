"""MountainCar: a car too weak for the hill swings out of the valley, on gymnasium's own numbers or others."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.classic.family import ClassicControl, ClassicEnv, ClassicExpert, GappedParameter, gains
from icrl.envs.kit.parametric import Parameter
from icrl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

LEFT_WALL, RIGHT_WALL, LARGEST_SPEED = -1.2, 0.6, 0.07
VALLEY = -np.pi / 6
"""Where the ground is lowest."""
CREST_MARGIN, TURN_MARGIN = 0.1, 0.01
"""What the expert asks for beyond the energy that would just do, in units of the force; found by trial."""
FEATURES = ("position", "velocity")
LOW, HIGH = (np.array([place, speed], np.float32) for place, speed in ((-1.2, -0.07), (0.6, 0.07)))


class MountainCar(ClassicControl):
    """MountainCar-v0 with other engines and gravities, and the goal elsewhere, maybe on the other hill.

    Every step costs 1. An episode ends at a goal on the right where `position ≥ goal` and `velocity ≥ 0`, at one on
    the left where `position ≤ goal` and `velocity ≤ 0`.
    """

    picture_shows = "The car in its valley, and above it where it is as time goes up; the line is the goal."
    name = "mountain-car"
    source = "Moore 1990, as gymnasium's MountainCar-v0; the variations are this framework's"
    horizon = 200
    features = FEATURES
    native_space = gym.spaces.Box(LOW, HIGH, dtype=np.float32)
    action_space = gym.spaces.Discrete(3)
    parameters: Mapping[str, Parameter] = {
        "force": Parameter("dynamics", 0.0008, 0.0015, default=0.001, beyond=(0.0015, 0.002)),
        "gravity": Parameter("dynamics", 0.002, 0.003, default=0.0025),
        "goal": GappedParameter("reward", -1.15, 0.55, default=0.5, gap=(-1.0, 0.3)),
        **gains(*FEATURES),
        "start_shift": Parameter("start", -0.2, 0.2, default=0.0, beyond=(0.2, 0.3)),
    }

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "MountainCarEnv":
        return MountainCarEnv(self, tasks, seed, index)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> "MountainCarExpert":
        self.check_policy_kind(kind)
        return MountainCarExpert(self, tasks)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.classic.drawing import draw_mountain_car

        draw_mountain_car(axes, task, *self.shown_features(task, history))


class MountainCarEnv(ClassicEnv):
    """One car per lane."""

    vouched = True
    per_lane = ("_force_N", "_gravity_N", "_goal_N", "_shift_N", "_side_N", "_position_N", "_velocity_N")

    def __init__(
        self, family: MountainCar, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None
    ) -> None:
        super().__init__(family, tasks, seed, index)
        self._force_N, self._gravity_N = family.values("force", tasks), family.values("gravity", tasks)
        self._goal_N, self._shift_N = family.values("goal", tasks), family.values("start_shift", tasks)
        self._side_N = np.where(self._goal_N > VALLEY, 1.0, -1.0)
        self._position_N, self._velocity_N = np.zeros(len(tasks)), np.zeros(len(tasks))

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._position_N[lanes] = self._shift_N[lanes] + (-0.6 + 0.2 * self.streams.uniform(lanes))
        self._velocity_N[lanes] = 0.0

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        self._position_N, self._velocity_N = rolled(
            self._position_N, self._velocity_N, actions - 1, self._force_N, self._gravity_N
        )
        terminated = arrived(self._position_N, self._velocity_N, self._goal_N, self._side_N)
        return np.full(self.num_envs, -1.0, np.float32), terminated

    def _features(self) -> NDArray[np.float64]:
        return np.stack((self._position_N, self._velocity_N))


def rolled(position, velocity, push, force, gravity) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position and velocity one step later; `push` is -1, 0 or 1. All arguments broadcast."""
    velocity = velocity + (push * force + np.cos(3 * position) * -gravity)
    velocity = np.clip(velocity, -LARGEST_SPEED, LARGEST_SPEED)
    position = np.clip(position + velocity, LEFT_WALL, RIGHT_WALL)
    return position, np.where((position == LEFT_WALL) & (velocity < 0), 0.0, velocity)


def arrived(position, velocity, goal, side) -> NDArray[np.bool_]:
    """Whether an episode ends here; `side` is 1 for a goal on the right, -1 for one on the left."""
    return (side * (position - goal) >= 0) & (side * velocity >= 0)


class MountainCarExpert(ClassicExpert):
    """Swings up by energy, with as few and as early turns as the task's engine and gravity allow.

    Under a constant push the energy that counts the push as a slope of its own is constant. Pushed towards the goal,
    the car gets there if that energy is above the highest ground on its way; pushed away, it will turn high enough
    for this on the other side if the energy of that push is above another threshold; and so on: a ladder of three
    thresholds, whose lowest rung that holds says which way to push. Where none does, it is pushed the way it rolls.
    """

    per_lane = ("_force_N", "_gravity_N", "_side_N", ("_need_KN", 1))

    def __init__(self, family: MountainCar, tasks: Sequence[Task]) -> None:
        super().__init__(family, tasks)
        self._force_N, self._gravity_N = family.values("force", tasks), family.values("gravity", tasks)
        goal_N = family.values("goal", tasks)
        self._side_N = np.where(goal_N > VALLEY, 1.0, -1.0)
        self._need_KN = self._ladder(goal_N)

    def _ladder(self, goal_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """The thresholds, shape `(3, N)`: of pushing towards the goal, away from it, and towards it again."""
        ground_X = np.linspace(LEFT_WALL, RIGHT_WALL, 721)
        side_N1, force_N1 = self._side_N[:, None], self._force_N[:, None]
        height_NX, slope_NX = self._gravity_N[:, None] * np.sin(3 * ground_X) / 3, force_N1 * side_N1 * ground_X
        towards_NX, away_NX = height_NX - slope_NX, height_NX + slope_NX
        ahead_NX = side_N1 * (ground_X - VALLEY)
        on_the_way = (ahead_NX >= 0) & (ahead_NX <= side_N1 * (goal_N[:, None] - VALLEY))
        rungs = [np.where(on_the_way, towards_NX, -np.inf).max(axis=1) + CREST_MARGIN * self._force_N]
        for turns_at, now_NX, then_NX in ((ahead_NX <= 0, away_NX, towards_NX), (ahead_NX >= 0, towards_NX, away_NX)):
            enough = turns_at & (then_NX >= rungs[-1][:, None])
            nearest_N = np.where(enough, np.abs(ahead_NX), np.inf).argmin(axis=1)
            need_N = now_NX[np.arange(len(goal_N)), nearest_N] + TURN_MARGIN * self._force_N
            rungs.append(np.where(enough.any(axis=1), need_N, np.inf))
        return np.stack(rungs)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        position, velocity = self._seen(observations)
        height, push = self._gravity_N * np.sin(3 * position) / 3, self._force_N * self._side_N
        pull = -self._gravity_N * np.cos(3 * position)
        # The environment's velocity is that of half a step ago: half a step of acceleration makes the energy constant.
        towards = (velocity + (pull + push) / 2) ** 2 / 2 + height - push * position
        away = (velocity + (pull - push) / 2) ** 2 / 2 + height + push * position
        holds = np.stack((towards, away, towards)) >= self._need_KN
        rung = np.where(holds.argmax(axis=0) == 1, -self._side_N, self._side_N)
        move = np.where(holds.any(axis=0), rung, np.where(velocity >= 0, 1.0, -1.0))
        return (move + 1).astype(np.int64)
