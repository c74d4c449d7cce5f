"""What all point robots share: a point on a plane without edges, steered to a goal that it does not see.

A step moves the point by the action, two numbers from -0.1 to 0.1, so that it is √2 times as fast along the diagonals.
The reward is for where a step ends. `icrl.envs.plane.point_robot` has the protocols of the papers.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.parametric import Parameter, ParametricFamily
from icrl.envs.plane import walk as plane_walk
from icrl.envs.plane.walk import STEP
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import Streams, stream_keys
from icrl.tasks import AXES, Anchors, Axis, ReferencePolicy, Task, check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

OOD_WIND = 0.05
"""Speed of the wind in the out-of-distribution set "wind": half of the largest action along an axis."""


class PointFamily(ParametricFamily):
    """What the four protocols share: starts, wind, out-of-distribution sets, exact anchors.

    Args:
        horizon: steps of an episode.
        start: "fixed" at (0, 0), "task" at a place of each task's own, "episode" at a new place in every episode;
            those are uniform in a square around (0, 0).
        wind: above 0 every task has a wind that moves the point at every step, each of its two components uniform on
            ±wind; below 0.1.
        options: `train`, `validation`, `test`, `hold` and `hole` as in `ParametricFamily`.
    """

    picture_shows = (
        "The path runs from dark to bright; the star is the goal, which is not observed. Training goals "
        "lie within the dashed line, or on it."
    )
    axes: tuple[Axis, ...] = ("reward", "dynamics", "start")
    goal_parameters: Mapping[str, Parameter]
    """What says where the goal is."""
    goal_ood_sets: Mapping[str, str]
    """The out-of-distribution sets of goals: name, and in a few words where they are."""
    start_half = 0.5
    """Half the side of the square of starts."""
    radius: float | None = None
    """The reward is 1 - distance up to here and 0 beyond; None where it is -distance everywhere."""
    within: float | None = None
    """An episode ends where both coordinates are nearer to the goal than this; None where it does not."""

    def __init__(self, *, horizon: int, start: str, wind: float, **options: Any) -> None:
        check_count("horizon", horizon, at_least=1)
        if not 0 <= wind < STEP:
            raise UsageError(f"wind={wind}: expected at least 0, and less than the largest action, {STEP}")
        parameters = dict(self.goal_parameters)
        if start == "task":
            half = self.start_half
            parameters |= {f"start_{axis}": Parameter("start", -half, half, default=0.0) for axis in "xy"}
        if wind:
            parameters |= {f"wind_{axis}": Parameter("dynamics", -wind, wind, default=0.0) for axis in "xy"}
        self.parameters = parameters
        super().__init__(**options)
        self._own_axes(start)
        self.horizon = horizon
        self.starts_anew = start == "episode" and "start" in self.axes
        self.ood_sets = {**self._own_ood_sets(), **{k: v for k, v in self.ood_sets.items() if k == "hole"}}
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Box(-STEP, STEP, (2,), np.float32)

    def _own_axes(self, start: str) -> None:
        """Of the axes that a point robot can have, those that these options give it."""
        varied = {self.parameters[name].axis for name in self.varied} | ({"start"} if start == "episode" else set())
        self.axes = tuple(axis for axis in AXES if axis in self.axes and axis in varied)

    def _own_ood_sets(self) -> dict[str, str]:
        sets = dict(self.goal_ood_sets) if "reward" in self.axes else {}
        if "start" in self.axes:
            half = self.start_half
            sets["other-start"] = f"starts outside the square of ±{half:g}, inside that of ±{half + 0.5:g}"
        else:
            sets["other-start"] = f"each task starts at its own place, ±{self.start_half:g}, rather than at (0, 0)"
        if "dynamics" not in self.axes:
            sets["wind"] = f"a wind moves the point by {OOD_WIND:g} at every step"
        return sets

    def _tasks(self, numbers: NDArray[np.int64], seed: int, where: str) -> list[Task]:
        tasks = super()._tasks(numbers, seed, where if where == "hole" else "range")
        if where in ("range", "hole"):
            return tasks
        streams = Streams(stream_keys(seed, f"{self.name} {where}", numbers))
        return [Task(t.id, t.params | own) for t, own in zip(tasks, self._outside(where, streams), strict=True)]

    def _outside(self, where: str, streams: Streams) -> list[dict[str, float]]:
        """What sets each task of an out-of-distribution set apart: parameters that replace its own."""
        if where == "wind":
            angle = 2 * np.pi * streams.uniform()
            place = OOD_WIND * np.stack((np.cos(angle), np.sin(angle)), axis=1)
            return _named("wind", place)
        if where == "other-start":
            half = self.start_half
            inner = (half, half + 0.5) if "start" in self.axes else (0.0, half)
            return _named("start", _in_frame(streams, *inner))
        raise ValueError(f"{self.name} has no set {where!r}")

    def goals(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """Shape `(N, 2)`."""
        return _places("goal", tasks)

    def starts(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """Where the tasks' episodes start, shape `(N, 2)`; NaN where every episode starts elsewhere."""
        return _places("start", tasks, np.nan if self.starts_anew else 0.0)

    def wind(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """What every step adds, shape `(N, 2)`."""
        return _places("wind", tasks)

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "PointEnv":
        return PointEnv(self, tasks, seed, index)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """Exact: the optimum and the zero action in closed form, random by quadrature over the sums of its steps."""
        goal_N2, start_N2, wind_N2 = self.goals(tasks), self.starts(tasks), self.wind(tasks)
        random_N, optimum_N, zero_N = np.empty((3, len(tasks)))
        anew_N = np.isnan(start_N2).any(axis=1)
        for lanes, anchors_of in ((~anew_N, self._anchors_from_place), (anew_N, self._anchors_from_square)):
            if lanes.any():
                offset_N2 = goal_N2[lanes] - np.nan_to_num(start_N2[lanes])
                random_N[lanes], optimum_N[lanes], zero_N[lanes] = anchors_of(offset_N2, wind_N2[lanes])
        return Anchors(random_N, optimum_N, zero_N)

    def _anchors_from_place(self, offset_N2, wind_N2) -> tuple[NDArray, NDArray, NDArray]:
        """Random, optimum and zero action where an episode starts in one place."""
        optimum_N = self._return_of_path(plane_walk.shortest_offsets(offset_N2, wind_N2, self.horizon))
        zero_N = self._return_of_path(plane_walk.drifting_offsets(offset_N2, wind_N2, self.horizon))
        if self.radius is not None:
            close_KN = plane_walk.random_closeness(offset_N2, wind_N2, self.horizon, self.radius)
            return close_KN.sum(axis=0), optimum_N, zero_N
        lost_N = plane_walk.random_distances(offset_N2, wind_N2, self.horizon).sum(axis=0)
        if self.within is not None:
            # An episode that ends at the goal is spared what the random steps from there would have cost.
            hit_KN = plane_walk.first_hits(offset_N2, wind_N2, self.horizon, self.within)
            wind_W2, which_N = np.unique(wind_N2, axis=0, return_inverse=True)
            from_goal_KN = plane_walk.random_distances(np.zeros_like(wind_W2), wind_W2, self.horizon)[:, which_N]
            spared_KN = np.concatenate((np.zeros((1, len(lost_N))), np.cumsum(from_goal_KN, axis=0)[:-1]))[::-1]
            lost_N = lost_N - (hit_KN * spared_KN).sum(axis=0)
        return -lost_N, optimum_N, zero_N

    def _anchors_from_square(self, goal_N2, wind_N2) -> tuple[NDArray, NDArray, NDArray]:
        """The same, averaged over starts in the square; of the reward -distance, and without an early end."""
        low_N2, high_N2 = goal_N2 - self.start_half, goal_N2 + self.start_half
        random_N = -plane_walk.random_distances_from_box(low_N2, high_N2, wind_N2, self.horizon).sum(axis=0)
        step_K11 = np.arange(1, self.horizon + 1)[:, None, None]
        wind_KN2 = step_K11 * wind_N2
        optimum_KN = plane_walk.mean_distance_from_box(
            *np.broadcast_arrays(low_N2, high_N2, STEP * step_K11 + wind_KN2, STEP * step_K11 - wind_KN2)
        )
        zero_KN = plane_walk.mean_distance_from_box(low_N2 - wind_KN2, high_N2 - wind_KN2, 0.0, 0.0)
        return random_N, -optimum_KN.sum(axis=0), -zero_KN.sum(axis=0)

    def _return_of_path(self, offset_KN2: NDArray[np.float64]) -> NDArray[np.float64]:
        reward_KN = self.reward_at(np.hypot(offset_KN2[..., 0], offset_KN2[..., 1]))
        if self.within is not None:
            there_KN = (np.abs(offset_KN2) < self.within).all(axis=2)
            # The step that comes there still counts.
            reward_KN = np.where(np.cumsum(there_KN, axis=0) - there_KN > 0, 0.0, reward_KN)
        return reward_KN.sum(axis=0)

    def reward_at(self, distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """The reward of a step that ends at that distance from the goal, in an array of the same shape."""
        return -distance if self.radius is None else np.where(distance <= self.radius, 1.0 - distance, 0.0)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return StraightToGoal(self.goals(tasks), self.wind(tasks))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.plane.drawing import draw_plane

        draw_plane(axes, self.where_goals_are(), self.goals([task])[0], self.radius, history)

    @abstractmethod
    def where_goals_are(self) -> NDArray[np.float64]:
        """A line around or through the goals of the training tasks, shape `(points, 2)`, for pictures."""


def _places(name: str, tasks: Sequence[Task], default: float = 0.0) -> NDArray[np.float64]:
    place_N2 = [[task.params.get(f"{name}_{axis}", default) for axis in "xy"] for task in tasks]
    return np.array(place_N2, np.float64).reshape(-1, 2)


def _named(name: str, place_N2: NDArray[np.float64]) -> list[dict[str, float]]:
    return [{f"{name}_x": x, f"{name}_y": y} for x, y in place_N2.tolist()]


def _in_frame(streams: Streams, inner: float, outer: float) -> NDArray[np.float64]:
    """Places, one per stream, uniform in the square of ±outer without that of ±inner: `(N, 2)`."""
    place_N2 = outer * (2 * streams.uniform_block(2).T - 1)
    while len(inside := np.flatnonzero(np.abs(place_N2).max(axis=1) < inner)):
        place_N2[inside] = outer * (2 * np.stack([streams.uniform(inside) for _ in range(2)], axis=1) - 1)
    return place_N2


class SquareGoals(PointFamily):
    """Goals uniform in a square around (0, 0), of half the side `goal_half`."""

    goal_half: float

    @property
    def goal_parameters(self) -> Mapping[str, Parameter]:
        half = self.goal_half
        return {f"goal_{axis}": Parameter("reward", -half, half, default=half / 2) for axis in "xy"}

    @property
    def goal_ood_sets(self) -> Mapping[str, str]:
        half = self.goal_half
        return {"extrapolation": f"goals outside the square of ±{half:g}, inside that of ±{half + 0.5:g}"}

    def _outside(self, where: str, streams: Streams) -> list[dict[str, float]]:
        if where == "extrapolation":
            return _named("goal", _in_frame(streams, self.goal_half, self.goal_half + 0.5))
        return super()._outside(where, streams)

    def where_goals_are(self) -> NDArray[np.float64]:
        return self.goal_half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)], np.float64)


class HalfCircleGoals(PointFamily):
    """Goals on the upper half of the circle of radius 1 around (0, 0); the angle is counted from the x-axis."""

    goal_parameters: Mapping[str, Parameter] = {"angle": Parameter("reward", 0.0, np.pi, default=np.pi / 2)}
    goal_ood_sets: Mapping[str, str] = {
        "extrapolation": "goals on the lower half of the circle",
        "farther": "goals at a distance of 1.25 to 1.5 rather than 1",
    }

    def _outside(self, where: str, streams: Streams) -> list[dict[str, float]]:
        if where == "extrapolation":
            return [{"angle": angle} for angle in (-np.pi * (1.0 - streams.uniform())).tolist()]
        if where == "farther":
            return [{"radius": radius} for radius in (1.25 + 0.25 * streams.uniform()).tolist()]
        return super()._outside(where, streams)

    def goals(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        angle_N = np.array([task.params["angle"] for task in tasks], np.float64)
        radius_N = np.array([task.params.get("radius", 1.0) for task in tasks], np.float64)
        return np.stack((radius_N * np.cos(angle_N), radius_N * np.sin(angle_N)), axis=1)

    def where_goals_are(self) -> NDArray[np.float64]:
        angle = np.linspace(0.0, np.pi, 100)
        return np.stack((np.cos(angle), np.sin(angle)), axis=1)


class PointEnv(BatchedEnv):
    """One point per lane. It draws at random only where episodes start anew: two numbers for each start.

    Args:
        family: gives the rules.
        tasks: one per lane.
        seed, index: as in `TaskFamily.make`.
    """

    vouched = True
    per_lane = ("_goal_N2", "_start_N2", "_wind_N2", "_anew_N", "_place_N2")

    def __init__(
        self, family: PointFamily, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._goal_N2, self._start_N2, self._wind_N2 = family.goals(tasks), family.starts(tasks), family.wind(tasks)
        self._anew_N = np.isnan(self._start_N2).any(axis=1)
        self._start_half = family.start_half
        self._reward_at, self._within = family.reward_at, family.within
        self._place_N2 = np.zeros((len(tasks), 2))

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._place_N2[lanes] = self._start_N2[lanes]
        anew = lanes[self._anew_N[lanes]]
        if len(anew):
            for axis in range(2):
                self._place_N2[anew, axis] = self._start_half * (2.0 * self.streams.uniform(anew) - 1.0)

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        self._place_N2 += actions
        self._place_N2 += self._wind_N2
        x_N, y_N = (self._place_N2 - self._goal_N2).T
        reward_N = self._reward_at(np.sqrt(x_N * x_N + y_N * y_N)).astype(np.float32)
        if self._within is None:
            return reward_N, np.zeros(self.num_envs, bool)
        return reward_N, (np.abs(x_N) < self._within) & (np.abs(y_N) < self._within)

    def _observe(self) -> NDArray:
        return self._place_N2.astype(np.float32)


class StraightToGoal(PerLane):
    """The optimal policy of a known goal: along both axes at once as fast as they go, then on the spot.

    Args:
        goal_N2, wind_N2: of each lane, shape `(N, 2)`.
    """

    per_lane = ("_aim_N2",)

    def __init__(self, goal_N2: NDArray[np.float64], wind_N2: NDArray[np.float64]) -> None:
        self._aim_N2 = goal_N2 - wind_N2

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        return np.clip(self._aim_N2 - observations, -STEP, STEP).astype(np.float32)

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: the position says it all."""
