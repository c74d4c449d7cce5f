"""Watermaze: a swimmer in a round pool looks for a platform that it cannot see, and finds it again from the cues.

The pool is a disc of radius 1. An action is a velocity, two numbers from -1 to 1 shortened to length 1, and moves the
swimmer by a tenth of it; at the wall it is put back onto the rim. Four cues stand at the wall, a quarter turn apart,
and are told apart. It is Morris's water maze, which papers on in-context reinforcement learning play in three
dimensions from pixels, in two dimensions and without pixels.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.measured import measured_return
from icrl.envs.kit.parametric import Parameter, ParametricFamily
from icrl.envs.kit.simple_policies import UniformActions
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import Streams, stream_keys
from icrl.tasks import AXES, Anchors, Axis, ReferencePolicy, Task, check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

SPEED = 0.1
"""The longest way that a step takes the swimmer."""
NUM_CUES = 4
NEAREST, FARTHEST = 0.25, 0.75
"""Distances of the training tasks' platforms from the centre."""
WIDEST = 0.2
"""The largest platform: it then leaves the centre free, and lies inside the pool."""


class Watermaze(ParametricFamily):
    """A hidden platform somewhere in the pool: its first step on the platform pays 1 and ends the episode.

    Args:
        horizon: steps of an episode.
        platform: radius of the platform.
        reward: "once", or "dense": every step that ends on the platform pays 1, and the episode goes on.
        observation: "cues" is the distance to each of the four cues; "position" is the place in the cues' frame, whose
            x-axis points at the first of them.
        start: "centre", or "rim": every episode starts at a new place on the rim.
        turn_cues: above 0 every task turns the cues around the pool by an angle of its own, uniform on ±turn_cues
            degrees, at most 180. Actions are not turned with them.
        options: `train`, `validation`, `test`, `hold` and `hole` as in `ParametricFamily`.
    """

    picture_shows = (
        "The swimmer's way from dark to bright; the disc is the hidden platform, black marks stand on the walls."
    )
    name = "watermaze"
    source = "after Laskin et al. 2022 (Algorithm Distillation) and Zisman et al. 2024 (AD-epsilon); defined here"
    axes: tuple[Axis, ...] = ("reward", "observation", "start")
    anchor_episodes = 100
    """Episodes of each task that the anchor of the random policy is averaged over."""

    def __init__(
        self,
        *,
        horizon: int = 50,
        platform: float = 0.1,
        reward: Literal["once", "dense"] = "once",
        observation: Literal["cues", "position"] = "cues",
        start: Literal["centre", "rim"] = "centre",
        turn_cues: float = 0.0,
        train: int = 1_000,
        **options: Any,
    ) -> None:
        check_count("horizon", horizon, at_least=1)
        if not 0 < platform <= WIDEST:
            raise UsageError(f"platform={platform}: expected a radius above 0 and up to {WIDEST}")
        if not 0 <= turn_cues <= 180:
            raise UsageError(f"turn_cues={turn_cues}: expected degrees from 0 to 180")
        self.parameters: Mapping[str, Parameter] = {
            "distance": Parameter("reward", NEAREST, FARTHEST, default=0.5, beyond=(FARTHEST, 1.0 - platform)),
            "direction": Parameter("reward", -np.pi, np.pi, default=0.0),
        }
        if turn_cues:
            half = np.deg2rad(turn_cues)
            self.parameters |= {"cue_turn": Parameter("observation", -half, half, default=0.0)}
        super().__init__(train=train, **options)
        varied = {self.parameters[name].axis for name in self.varied} | ({"start"} if start == "rim" else set())
        self.axes = tuple(axis for axis in AXES if axis in self.axes and axis in varied)
        self.horizon, self.platform, self.reward = horizon, float(platform), reward
        self.sees_cues, self.from_rim = observation == "cues", "start" in self.axes
        self._add_ood_sets()
        # The largest distance that float32 can make of 2, the pool's width, and of the rim.
        low, high, count = (0.0, 2.001, NUM_CUES) if self.sees_cues else (-1.001, 1.001, 2)
        self.observation_space = gym.spaces.Box(low, high, (count,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def _add_ood_sets(self) -> None:
        sets = {}
        if "extrapolation" in self.ood_sets:
            sets["extrapolation"] = (
                f"platforms {FARTHEST:g} to {1 - self.platform:g} from the centre rather than {NEAREST:g} to "
                f"{FARTHEST:g}"
            )
        where = "half way to the wall rather than on the rim" if self.from_rim else "on the rim rather than the centre"
        sets["other-start"] = f"each task starts at its own place, {where}"
        if "observation" not in self.axes:
            sets["turned-cues"] = "the cues are turned around the pool, by any angle"
        self.ood_sets = {**sets, **{name: what for name, what in self.ood_sets.items() if name == "hole"}}

    def _tasks(self, numbers: NDArray[np.int64], seed: int, where: str) -> list[Task]:
        tasks = super()._tasks(numbers, seed, where if where in ("hole", "extrapolation") else "range")
        if where not in ("other-start", "turned-cues"):
            return tasks
        angles = 2 * np.pi * Streams(stream_keys(seed, f"{self.name} {where}", numbers)).uniform() - np.pi
        if where == "turned-cues":
            return [Task(t.id, t.params | {"cue_turn": a}) for t, a in zip(tasks, angles.tolist(), strict=True)]
        places = (0.5 if self.from_rim else 1.0) * _directions(angles)
        return [
            Task(t.id, t.params | {"start_x": x, "start_y": y})
            for t, (x, y) in zip(tasks, places.tolist(), strict=True)
        ]

    def platforms(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """The platforms' centres, shape `(N, 2)`."""
        return self.values("distance", tasks)[:, None] * _directions(self.values("direction", tasks))

    def starts(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """Where the tasks' episodes start, shape `(N, 2)`; NaN where every episode starts elsewhere on the rim."""
        default = np.nan if self.from_rim else 0.0
        place_N2 = [[task.params.get(key, default) for key in ("start_x", "start_y")] for task in tasks]
        return np.array(place_N2, np.float64).reshape(-1, 2)

    def cues(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """Where the cues stand, shape `(N, 4, 2)`."""
        turn_N = np.array([task.params.get("cue_turn", 0.0) for task in tasks], np.float64)
        return _directions(turn_N[:, None] + np.arange(NUM_CUES) * (2 * np.pi / NUM_CUES))

    def places(self, observations: NDArray, cue_N42: NDArray[np.float64]) -> NDArray[np.float64]:
        """The swimmer's places, shape `(N, 2)`, from what it observes and where the cues stand."""
        seen = observations.astype(np.float64)
        if self.sees_cues:
            # The squared distances to two cues that face each other differ by 4 times the place along their line.
            seen = (seen[:, 2:] ** 2 - seen[:, :2] ** 2) / 4
        return seen[:, :1] * cue_N42[:, 0] + seen[:, 1:] * cue_N42[:, 1]

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "WatermazeEnv":
        return WatermazeEnv(self, tasks, seed, index)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """Random is measured. The optimum and the action zero are exact: the mean over starts where they are many."""
        random_N = measured_return(self, tasks, partial(UniformActions, self), self.anchor_episodes)
        far_N = _lengths(self.platforms(tasks) - self.starts(tasks))
        # Who starts on the rim starts in the water; who starts on the platform and stays is paid as often as it pays.
        zero_N = np.where(far_N <= self.platform, self.horizon if self.reward == "dense" else 1.0, 0.0)
        return Anchors(random_N, self._optimum(tasks), zero_N, measured=True)

    def _optimum(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """By the straight line: what is nearer than the platform's radius and k steps is on it after k steps."""
        reach_1K = (self.platform + SPEED * np.arange(1, self.horizon + 1))[None]
        far_N1 = _lengths(self.platforms(tasks) - self.starts(tasks))[:, None]
        from_centre_N1 = self.values("distance", tasks)[:, None]
        # Of the rim that share is near enough.
        cosine_NK = (1 + from_centre_N1**2 - reach_1K**2) / (2 * from_centre_N1)
        share_NK = np.arccos(np.clip(cosine_NK, -1.0, 1.0)) / np.pi
        there_NK = np.where(np.isnan(far_N1), share_NK, far_N1 <= reach_1K)
        return there_NK.sum(axis=1) if self.reward == "dense" else there_NK[:, -1].astype(np.float64)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return StraightToPlatform(self, self.platforms(tasks), self.cues(tasks))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.plane.drawing import draw_pool

        cue_142 = self.cues([task])
        places = (self.places(history.observations, cue_142), self.places(history.final_observations, cue_142))
        draw_pool(axes, self.platforms([task])[0], self.platform, cue_142[0], history, places)


def _directions(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of the circle of radius 1, shape `(*angles.shape, 2)`."""
    return np.stack((np.cos(angles), np.sin(angles)), axis=-1)


class WatermazeEnv(BatchedEnv):
    """One pool per lane. It draws at random only where episodes start anew: one number for each start.

    Args:
        family: gives the rules.
        tasks: one per lane.
        seed, index: as in `TaskFamily.make`.
    """

    vouched = True
    per_lane = ("_platform_N2", "_start_N2", "_anew_N", "_cue_N42", "_place_N2")

    def __init__(
        self, family: Watermaze, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._platform_N2, self._start_N2 = family.platforms(tasks), family.starts(tasks)
        self._radius_squared, self._once = family.platform**2, family.reward == "once"
        self._anew_N = np.isnan(self._start_N2).any(axis=1)
        self._cue_N42, self._sees_cues = family.cues(tasks), family.sees_cues
        self._place_N2 = np.zeros((len(tasks), 2))

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._place_N2[lanes] = self._start_N2[lanes]
        anew = lanes[self._anew_N[lanes]]
        if len(anew):
            self._place_N2[anew] = _directions(2 * np.pi * self.streams.uniform(anew))

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        action_N2 = actions.astype(np.float64)
        self._place_N2 += action_N2 * (SPEED / np.maximum(1.0, _lengths(action_N2)))[:, None]
        self._place_N2 /= np.maximum(1.0, _lengths(self._place_N2))[:, None]
        x_N, y_N = (self._place_N2 - self._platform_N2).T
        there_N = x_N * x_N + y_N * y_N <= self._radius_squared
        return there_N.astype(np.float32), there_N if self._once else np.zeros(self.num_envs, bool)

    def _observe(self) -> NDArray:
        x_N1, y_N1 = self._place_N2[:, :1], self._place_N2[:, 1:]
        cue_x_N4, cue_y_N4 = self._cue_N42[..., 0], self._cue_N42[..., 1]
        if self._sees_cues:
            return np.sqrt((x_N1 - cue_x_N4) ** 2 + (y_N1 - cue_y_N4) ** 2).astype(np.float32)
        return (x_N1 * cue_x_N4[:, :2] + y_N1 * cue_y_N4[:, :2]).astype(np.float32)


def _lengths(vector_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    x_N, y_N = vector_N2.T
    return np.sqrt(x_N * x_N + y_N * y_N)


class StraightToPlatform(PerLane):
    """The optimal policy of a known platform: by the straight line to its centre, then on the spot.

    Args:
        family: says how to read an observation.
        platform_N2: centres, shape `(N, 2)`.
        cue_N42: where the cues stand.
    """

    per_lane = ("_platform_N2", "_cue_N42")

    def __init__(self, family: Watermaze, platform_N2: NDArray[np.float64], cue_N42: NDArray[np.float64]) -> None:
        self._family, self._platform_N2, self._cue_N42 = family, platform_N2, cue_N42

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        way_N2 = (self._platform_N2 - self._family.places(observations, self._cue_N42)) / SPEED
        return (way_N2 / np.maximum(1.0, _lengths(way_N2))[:, None]).astype(np.float32)

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: the cues say it all."""
