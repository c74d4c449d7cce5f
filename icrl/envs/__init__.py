"""The task families that come with the framework, and how one is named: `make_family("dark-room", size=9)`.

A family of your own is a subclass of `icrl.tasks.TaskFamily` with its options as keyword arguments of the
constructor; any gymnasium environment becomes one through `icrl.envs.kit.gymnasium_family.GymnasiumFamily`. It is
named by its place, `path/file.py:Class` or `package.module:Class`, by an entry point, or, in a program, after
`FAMILIES.add("my-family", MyFamily)`.

What all families are built from is in `kit`; beside it is one room for each kind of family.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from icrl.errors import FamilyError, IcrlError, UsageError, did_you_mean
from icrl.family_options import constructor_options
from icrl.own_code import in_one_line
from icrl.registry import MissingExtra, PlaceRegistry
from icrl.tasks import TaskFamily

__all__ = ["FAMILIES", "MissingExtra", "make_family"]

STATED = ("name", "version", "source", "options", "horizon", "observation_space", "action_space", "num_tasks")
"""What every family says of itself."""

FAMILIES: PlaceRegistry[Callable[..., TaskFamily]] = PlaceRegistry(
    "task family",
    "icrl.families",
    {
        "": {
            "dark-room": "icrl.envs.grids.dark_room:DarkRoom",
            "dark-room-hard": "icrl.envs.grids.dark_room:DarkRoomHard",
            "dark-room-dpt": "icrl.envs.grids.dark_room:DarkRoomDpt",
            "dark-room-dpt-permuted": "icrl.envs.grids.dark_room:DarkRoomDptPermuted",
            "dark-room-macro": "icrl.envs.grids.dark_room_macro:DarkRoomMacro",
            "dark-room-dicp": "icrl.envs.grids.dark_room_presets:DarkRoomDicp",
            "dark-room-dicp-permuted": "icrl.envs.grids.dark_room_presets:DarkRoomDicpPermuted",
            "dark-room-ql": "icrl.envs.grids.dark_room_presets:DarkRoomQl",
            "dark-room-ql-19": "icrl.envs.grids.dark_room_presets:DarkRoomQl19",
            "key-to-door": "icrl.envs.grids.key_to_door:KeyToDoor",
            "key-to-door-ad-eps": "icrl.envs.grids.key_to_door:KeyToDoorAdEps",
            "key-to-door-markov": "icrl.envs.grids.key_to_door:KeyToDoorMarkov",
            "key-to-door-dicp": "icrl.envs.grids.key_to_door:KeyToDoorDicp",
            "key-to-door-ql": "icrl.envs.grids.key_to_door:KeyToDoorQl",
            "maze": "icrl.envs.grids.maze:Maze",
            "bernoulli-bandit": "icrl.envs.bandits.multi_armed:BernoulliBandit",
            "gaussian-bandit": "icrl.envs.bandits.multi_armed:GaussianBandit",
            "adversarial-bandit": "icrl.envs.bandits.multi_armed:AdversarialBandit",
            "headless-bandit": "icrl.envs.bandits.varied:HeadlessBandit",
            "linear-bandit": "icrl.envs.bandits.linear:LinearBandit",
            "contextual-linear-bandit": "icrl.envs.bandits.linear:ContextualLinearBandit",
            "tabular-mdp": "icrl.envs.mdp.tabular:TabularMdp",
            "grid-navi": "icrl.envs.grids.grid_navi:GridNavi",
            "passive-t-maze": "icrl.envs.grids.t_maze:PassiveTMaze",
            "point-robot": "icrl.envs.plane.point_robot:PointRobot",
            "point-robot-sparse": "icrl.envs.plane.point_robot:PointRobotSparse",
            "navigation-2d": "icrl.envs.plane.point_robot:Navigation2d",
            "semicircle": "icrl.envs.plane.point_robot:Semicircle",
            "cartpole": "icrl.envs.classic.cartpole:CartPole",
            "pendulum": "icrl.envs.classic.pendulum:Pendulum",
            "acrobot": "icrl.envs.classic.acrobot:Acrobot",
            "mountain-car": "icrl.envs.classic.mountain_car:MountainCar",
            "watermaze": "icrl.envs.plane.watermaze:Watermaze",
        },
        "mujoco": {
            "half-cheetah-vel": "icrl.envs.locomotion.family:HalfCheetahVel",
            "half-cheetah-vel-maml": "icrl.envs.locomotion.family:HalfCheetahVelMaml",
            "half-cheetah-dir": "icrl.envs.locomotion.family:HalfCheetahDir",
            "ant-dir": "icrl.envs.locomotion.family:AntDir",
            "ant-goal": "icrl.envs.locomotion.family:AntGoal",
            "humanoid-dir": "icrl.envs.locomotion.family:HumanoidDir",
            "hopper-rand-params": "icrl.envs.locomotion.rand_params:HopperRandParams",
            "walker-rand-params": "icrl.envs.locomotion.rand_params:WalkerRandParams",
        },
        "metaworld": {
            "metaworld-ml1": "icrl.envs.meta_world.family:MetaWorldMl1",
            "metaworld-ml10": "icrl.envs.meta_world.family:MetaWorldMl10",
            "metaworld-ml45": "icrl.envs.meta_world.family:MetaWorldMl45",
            "metaworld-mt10": "icrl.envs.meta_world.family:MetaWorldMt10",
            "metaworld-mt50": "icrl.envs.meta_world.family:MetaWorldMt50",
        },
        "minigrid": {
            "minigrid": "icrl.envs.mini_grid.families:MiniGridById",
            "minigrid-empty-random": "icrl.envs.mini_grid.families:MiniGridEmptyRandom",
            "minigrid-four-rooms": "icrl.envs.mini_grid.families:MiniGridFourRooms",
            "minigrid-door-key": "icrl.envs.mini_grid.families:MiniGridDoorKey",
            "minigrid-multi-room": "icrl.envs.mini_grid.families:MiniGridMultiRoom",
            "minigrid-key-corridor": "icrl.envs.mini_grid.families:MiniGridKeyCorridor",
            "minigrid-unlock": "icrl.envs.mini_grid.families:MiniGridUnlock",
            "minigrid-lava-crossing": "icrl.envs.mini_grid.families:MiniGridLavaCrossing",
        },
        "xland": {
            "xland-trivial": "icrl.envs.xland.family:XLandTrivial",
            "xland-small": "icrl.envs.xland.family:XLandSmall",
            "xland-medium": "icrl.envs.xland.family:XLandMedium",
        },
        "dmc": {
            "dmc-cartpole-swingup": "icrl.envs.dm_control.family:DmcCartpole",
            "dmc-pendulum-swingup": "icrl.envs.dm_control.family:DmcPendulum",
            "dmc-reacher": "icrl.envs.dm_control.family:DmcReacher",
            "dmc-walker-speed": "icrl.envs.dm_control.family:DmcWalker",
            "dmc-cheetah-speed": "icrl.envs.dm_control.family:DmcCheetah",
        },
    },
    accepts=lambda found: issubclass(found, TaskFamily),
    expected="a subclass of icrl.tasks.TaskFamily",
    listing="`icrl tasks` lists them",
)
"""Every built-in family by the extra that it needs, "" for none."""


def make_family(name: str, **options: Any) -> TaskFamily:
    """The family of that name; options that are left out take the family's defaults.

    Raises:
        UsageError: for an unknown name or option, or an option of the wrong type or out of range.
    """
    factory = FAMILIES[name]
    if missing := sorted(getattr(factory, "__abstractmethods__", ())):
        raise UsageError(f"{name} does not define {', '.join(missing)}: a task family needs them")
    known = constructor_options(factory)
    for key, value in options.items():
        if key not in known:
            hint = did_you_mean(key, known)
            why = f"it varies only {', '.join(factory.axes)}; " if key == "hold" else ""
            choices = f"choose from {', '.join(known)}" if known else "its constructor takes none, nor **options"
            raise UsageError(f"{name} has no option {key!r}{hint}; {why}{choices}")
        _check_type(name, key, value, known[key].annotation)
    family = _made(name, factory, options)
    if missing := [what for what in STATED if not hasattr(family, what)]:
        raise UsageError(
            f"{name} states no {', '.join(missing)}: give the class {'one' if len(missing) == 1 else 'them'}"
        )
    if type(family.horizon) is not int or family.horizon < 1:
        raise UsageError(f"{name} has the horizon {family.horizon!r}: expected the number of steps, at least 1")
    if lost := [key for key in known if key not in family.options]:
        raise UsageError(
            f"{name} leaves {', '.join(lost)} out of self.options: what is recorded could not be made again from them"
        )
    return family


def _made(name: str, factory: type[TaskFamily], options: dict[str, Any]) -> TaskFamily:
    try:
        return factory(**options)
    except Exception as error:
        if isinstance(error, IcrlError) or getattr(factory, "__module__", "").startswith(f"{__name__}."):
            raise
        raise FamilyError(f"{name} cannot be made: {in_one_line(error)}") from error


def _check_type(family: str, key: str, value: Any, annotation: Any) -> None:
    """Raises UsageError where an option is not of the simple type that the constructor declares."""
    if get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            choices = ", ".join(map(repr, get_args(annotation)))
            raise UsageError(f"{family}: {key}={value!r} is not a choice; choose from {choices}")
        return
    if annotation not in (int, float, str, bool):
        return
    accepted = (int, float) if annotation is float else annotation
    if not isinstance(value, accepted) or (isinstance(value, bool) and annotation is not bool):
        raise UsageError(f"{family}: {key}={value!r} is a {type(value).__name__}; expected {annotation.__name__}")
