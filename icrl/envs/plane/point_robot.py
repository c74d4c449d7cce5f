"""Point robots by paper: PEARL's dense and sparse one, MAML's 2-D navigation, the dense half-circle.

They differ in goals, starts, horizon and reward: their returns are not to be compared. How the point moves is in
`icrl.envs.plane.family`.
"""

from typing import Any, Literal

from icrl.envs.plane.family import HalfCircleGoals, SquareGoals
from icrl.errors import UsageError


class PointRobot(SquareGoals):
    """The dense point robot of PEARL's code: goals and starts uniform on ±1, 20 steps, 80 tasks and 20 to test on.

    Args:
        horizon, start, wind: as in `PointFamily`.
        train, validation, test, hold, hole: as in `ParametricFamily`; with `hold=["start"]` every episode starts at
            (0, 0).
    """

    name = "point-robot"
    source = "Rakelly et al. 2019 (PEARL; point-robot of the released code)"
    goal_half = start_half = 1.0

    def __init__(
        self,
        *,
        horizon: int = 20,
        start: Literal["episode", "task"] = "episode",
        wind: float = 0.0,
        train: int = 80,
        validation: int = 10,
        test: int = 20,
        **options: Any,
    ) -> None:
        super().__init__(
            horizon=horizon, start=start, wind=wind, train=train, validation=validation, test=test, **options
        )


class PointRobotSparse(HalfCircleGoals):
    """The sparse point robot of PEARL: goals on a half-circle, 20 steps from its centre, paid only near the goal.

    Args:
        horizon, start, wind: as in `PointFamily`.
        radius: of the disc around the goal where a step pays 1 - distance.
        reward: "sparse", or "dense" for -distance everywhere, which PEARL learns from in training.
        train, validation, test, hold, hole: as in `ParametricFamily`.
    """

    name = "point-robot-sparse"
    source = "Rakelly et al. 2019 (PEARL)"

    def __init__(
        self,
        *,
        horizon: int = 20,
        radius: float = 0.2,
        reward: Literal["sparse", "dense"] = "sparse",
        start: Literal["fixed", "task"] = "fixed",
        wind: float = 0.0,
        train: int = 80,
        validation: int = 10,
        test: int = 20,
        **options: Any,
    ) -> None:
        if not 0 < radius <= 1:
            raise UsageError(f"radius={radius}: expected a distance above 0 and up to 1, where the reward would be 0")
        super().__init__(
            horizon=horizon, start=start, wind=wind, train=train, validation=validation, test=test, **options
        )
        self.radius = float(radius) if reward == "sparse" else None


class Navigation2d(SquareGoals):
    """The 2-D navigation of MAML: goals uniform on ±0.5, up to 100 steps from (0, 0), reward -distance.

    Args:
        horizon, start, wind: as in `PointFamily`.
        ends_at_goal: an episode terminates where both coordinates are within 0.01 of the goal.
        train, validation, test, hold, hole: as in `ParametricFamily`.
    """

    name = "navigation-2d"
    source = "Finn et al. 2017 (MAML)"
    goal_half = 0.5

    def __init__(
        self,
        *,
        horizon: int = 100,
        ends_at_goal: bool = True,
        start: Literal["fixed", "task"] = "fixed",
        wind: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(horizon=horizon, start=start, wind=wind, **options)
        self.within = 0.01 if ends_at_goal else None


class Semicircle(HalfCircleGoals):
    """The dense half-circle of VariBAD's released code: 100 steps from the centre, reward -distance.

    Args:
        horizon, start, wind: as in `PointFamily`.
        train, validation, test, hold, hole: as in `ParametricFamily`.
    """

    name = "semicircle"
    source = "Zintgraf et al. 2020 (VariBAD; point robot of the released code)"

    def __init__(
        self, *, horizon: int = 100, start: Literal["fixed", "task"] = "fixed", wind: float = 0.0, **options: Any
    ) -> None:
        super().__init__(horizon=horizon, start=start, wind=wind, **options)
