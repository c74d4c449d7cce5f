"""DeepMind's control suite with varied masses, lengths and goals; it needs `icrl[dmc]`.

The goals are hidden: an observation never tells which speed or place is paid for. The parameters' defaults are the
suite's own numbers.
"""

from collections.abc import Mapping, Sequence
from math import pi
from typing import TYPE_CHECKING

from icrl.envs.dm_control.expert import SuiteCartpoleExpert, SuiteExpert, SuitePendulumExpert, SuiteReacherExpert
from icrl.envs.dm_control.suite import SuiteEnv
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter
from icrl.tasks import Axis, Task, check_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory


class DmcFamily(GymnasiumFamily):
    """A domain of the suite; every episode draws its start as the suite does.

    Args:
        horizon: steps of an episode; the suite's own is 1,000. Every step pays from 0 to 1.
        train, validation, test: tasks of each split; each out-of-distribution set has `test` tasks.
        hold: axes that are as in the suite in all tasks; "start" makes all episodes start from one state.
        hole: as in `ParametricFamily`.
    """

    source = "Tassa et al. 2018 (DeepMind Control Suite); the variations are this framework's"
    axes: tuple[Axis, ...] = ("reward", "dynamics", "start")
    domain: str
    expert: type[SuiteExpert]
    """Of a family whose `policy_kinds` states one."""
    anchor_tasks = 5
    anchor_episodes = 5

    def __init__(
        self,
        *,
        horizon: int = 1000,
        train: int = 10_000,
        validation: int = 50,
        test: int = 100,
        hold: Sequence[str] = (),
        hole: float = 0.0,
    ) -> None:
        check_count("horizon", horizon, at_least=1)
        self.horizon = horizon
        super().__init__(train=train, validation=validation, test=test, hold=hold, hole=hole)

    def make_env(self) -> SuiteEnv:
        defaults = {name: parameter.default for name, parameter in self.parameters.items()}
        return SuiteEnv(self.domain, defaults, one_start="start" not in self.axes)

    def apply(self, env: SuiteEnv, params: Mapping[str, float]) -> None:
        env.become(params)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> SuiteExpert:
        self.check_policy_kind(kind)
        return self.expert(self, tasks)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.dm_control import drawing

        drawing.DRAWINGS[self.domain](axes, task, history)


class DmcCartpole(DmcFamily):
    """A cart swings a pole up and balances it above a place on its rail."""

    name = "dmc-cartpole-swingup"
    picture_shows = "Cart and pole from dark to bright; the line is the place on the rail that pays."
    domain = "cartpole"
    policy_kinds = ("expert",)
    expert = SuiteCartpoleExpert
    parameters: Mapping[str, Parameter] = {
        "target": Parameter("reward", -1.0, 1.0, default=0.0, beyond=(1.0, 1.5)),
        "pole_length": Parameter("dynamics", 0.6, 1.4, default=1.0, beyond=(1.4, 1.8)),
        "pole_mass": Parameter("dynamics", 0.05, 0.2, default=0.1, log=True, beyond=(0.2, 0.4)),
        "cart_mass": Parameter("dynamics", 0.5, 2.0, default=1.0, log=True),
    }


class DmcPendulum(DmcFamily):
    """A motor too weak to lift a pendulum swings it up and balances it."""

    name = "dmc-pendulum-swingup"
    picture_shows = "The pendulum from dark to bright; the bar is the upright that pays."
    domain = "pendulum"
    policy_kinds = ("expert",)
    expert = SuitePendulumExpert
    version = 2
    """Version 1 had damping up to 0.2, which a sixth of its motors could not overcome."""
    axes: tuple[Axis, ...] = ("dynamics", "start")
    parameters: Mapping[str, Parameter] = {
        "length": Parameter("dynamics", 0.35, 0.65, default=0.5, beyond=(0.65, 0.8)),
        "mass": Parameter("dynamics", 0.6, 1.4, default=1.0, beyond=(1.4, 1.8)),
        "damping": Parameter("dynamics", 0.05, 0.12, default=0.1, log=True),
    }


class DmcReacher(DmcFamily):
    """An arm of two links looks for a target that it does not see, and stays there."""

    name = "dmc-reacher"
    picture_shows = "The arm from dark to bright; the disc is the target."
    domain = "reacher"
    policy_kinds = ("expert",)
    expert = SuiteReacherExpert
    parameters: Mapping[str, Parameter] = {
        "target_angle": Parameter("reward", 0.0, 2 * pi, default=0.0),
        "target_radius": Parameter("reward", 0.05, 0.2, default=0.125, beyond=(0.2, 0.24)),
        "arm_length": Parameter("dynamics", 0.1, 0.14, default=0.12),
        "damping": Parameter("dynamics", 0.005, 0.02, default=0.01, log=True, beyond=(0.02, 0.04)),
    }


class DmcWalker(DmcFamily):
    """A planar walker walks upright at a speed that it is not told."""

    name = "dmc-walker-speed"
    picture_shows = "The torso's speed; the line is the speed that pays."
    domain = "walker"
    parameters: Mapping[str, Parameter] = {
        "speed": Parameter("reward", 0.5, 3.0, default=1.0, beyond=(3.0, 4.0)),
        "mass": Parameter("dynamics", 0.7, 1.4, default=1.0, log=True, beyond=(1.4, 2.0)),
        "leg_length": Parameter("dynamics", 0.9, 1.2, default=1.0),
    }


class DmcCheetah(DmcFamily):
    """A planar cheetah runs at a speed that it is not told."""

    name = "dmc-cheetah-speed"
    picture_shows = "The torso's speed; the line is the speed that pays."
    domain = "cheetah"
    parameters: Mapping[str, Parameter] = {
        "speed": Parameter("reward", 1.0, 8.0, default=10.0, beyond=(8.0, 10.0)),
        "mass": Parameter("dynamics", 10.0, 20.0, default=14.0, log=True, beyond=(20.0, 28.0)),
        "friction": Parameter("dynamics", 0.5, 1.5, default=1.0, log=True, beyond=(1.5, 2.0)),
    }
