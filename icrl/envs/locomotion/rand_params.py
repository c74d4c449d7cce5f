"""Locomotion on an unknown body: every mass, inertia, friction and damping of it is scaled (`icrl[mujoco]`)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import mujoco  # noqa: F401  (gymnasium's own complaint would not name the extra)
import numpy as np
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
from numpy.typing import NDArray

from icrl.envs.kit.parametric import Parameter
from icrl.envs.locomotion.family import Lean, MujocoFamily
from icrl.errors import UsageError
from icrl.seeding import Streams, stream_keys
from icrl.tasks import Axis, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

COLUMNS = {"mass": "body_mass", "inertia": "body_inertia", "friction": "geom_friction", "damping": "dof_damping"}
BASES = {"mass": 1.5, "inertia": 1.5, "friction": 1.5, "damping": 1.3}


class Hopper(Lean, HopperEnv):
    pass


class Walker(Lean, Walker2dEnv):
    pass


class RandParams(MujocoFamily):
    """v5's reward on a body whose every mass, inertia and friction is multiplied by 1.5^e and every damping by 1.3^e.

    A task has an exponent e of its own for each of those numbers, in four lists that follow MuJoCo's order: one mass
    and three inertias for each body, three frictions for each shape, one damping for each degree of freedom. Numbers
    that are 0, such as the mass of the ground, stay 0.

    Args:
        horizon, train, validation, test: as in `MujocoFamily`; "extrapolation" has exponents from 3 to 4 either way.
        hold: "start" leaves out v5's noise at reset.
    """

    picture_shows = "Forward speed, and its mean over a while."
    axes: tuple[Axis, ...] = ("dynamics", "start")
    columns = tuple(COLUMNS.values())
    parameters = MappingProxyType(
        {name: Parameter("dynamics", -3.0, 3.0, default=0.0, beyond=(3.0, 4.0)) for name in COLUMNS}
    )
    velocity_at: int
    """Where the forward velocity stands in an observation."""

    def __init__(
        self, *, horizon: int = 200, train: int = 40, validation: int = 10, test: int = 10, **options: Any
    ) -> None:
        if options.get("hole"):
            raise UsageError(f"{self.name} has no hole: hardly a task has all of its exponents in one; leave it 0")
        super().__init__(horizon=horizon, train=train, validation=validation, test=test, **options)
        self.ood_sets["extrapolation"] = "every exponent from 3 to 4 or from -4 to -3, rather than -3 to 3"

    def _more_sets(self) -> dict[str, str]:
        return {}

    def _tasks(self, numbers: NDArray[np.int64], seed: int, where: str) -> list[Task]:
        params: list[dict[str, list[float]]] = [{} for _ in numbers]
        for name, parameter in self.parameters.items():
            streams = Streams(stream_keys(seed, f"{self.name} {name}", numbers))
            u = streams.uniform_block(self._original[COLUMNS[name]].size)
            if where == "extrapolation":
                exponents = np.copysign(parameter.beyond_at(np.abs(2 * u - 1)), u - 0.5)
            else:
                exponents = parameter.at(u)
            for row, column in zip(params, exponents.T.tolist(), strict=True):
                row[name] = column
        return [Task(int(number), row) for number, row in zip(numbers, params, strict=True)]

    def factors(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            column: BASES[name] ** np.reshape(params[name], self._original[column].shape)
            for name, column in COLUMNS.items()
        }

    def rewards(self, params, action_NA, told) -> NDArray[np.float64]:
        return told["reward"]

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.locomotion.drawing import draw_speed

        draw_speed(axes, history.observations[:, self.velocity_at], history)


class HopperRandParams(RandParams):
    """Hop forward on an unknown body: see `RandParams`."""

    name = "hopper-rand-params"
    source = "Rakelly et al. 2019 (PEARL), after Rothfuss et al. 2019 (ProMP)"
    body = Hopper
    velocity_at = 5


class WalkerRandParams(RandParams):
    """Walk forward on an unknown body: see `RandParams`."""

    name = "walker-rand-params"
    source = "Rakelly et al. 2019 (PEARL), after Rothfuss et al. 2019 (ProMP)"
    body = Walker
    velocity_at = 8
