"""Pictures of classic control: poles, links and cars over an episode, dark at its start and bright at its end."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.drawing import CELL_COLOURS, EARLY_TO_LATE, GRID, INK, WALL
from icrl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOAL = CELL_COLOURS["goal"]
LATEST = 0.92
"""Share of the colour map that an episode reaches: its last yellow is too pale on white."""
SWINGS = 34
"""Of Acrobot the last so many steps are drawn."""
TILT = 3.0
"""CartPole's pole is drawn leaning this much further than it does: it falls at 12 degrees."""


def draw_cartpole(axes: "Axes", task: Task, features: NDArray, rewards: NDArray) -> None:
    """Draws where the cart is as time goes down the picture, its pole, and the place that pays best.

    Args:
        axes: to draw on.
        task: one of the family's.
        features: before every step and after the last, `(T + 1, 4)`.
        rewards: `(T,)`.
    """
    place, angle = features[:, 0], features[:, 2]
    time = np.arange(len(place), dtype=np.float64)
    span = max(time[-1], 40.0)
    _axis_of_time(axes, span)
    if task.params["slope"]:
        axes.axvline(task.params["target"], color=GOAL, linewidth=3.0, zorder=1)
    for edge in (-2.4, 2.4):
        axes.axvline(edge, color=WALL, linewidth=1.2, zorder=1)
    _line(axes, place, time)
    for row in np.unique(np.linspace(0, len(place) - 1, 14).round().astype(int)):
        colour = _colour(row / max(time[-1], 1.0))
        tip = (place[row] + 1.4 * task.params["length"] * np.sin(TILT * angle[row]), time[row] - 0.06 * span)
        axes.plot((place[row], tip[0]), (time[row], tip[1]), color=colour, linewidth=1.8, zorder=4)
        axes.plot(place[row], time[row], "s", color=colour, markersize=4.2, zorder=5)
    axes.set(xlim=(-2.6, 2.6), ylim=(1.03 * span, -0.09 * span))
    _finish(axes, rewards)


def draw_pendulum(axes: "Axes", task: Task, features: NDArray, rewards: NDArray) -> None:
    """Draws the way through angles and speeds, small pendulums along it, and the angle that costs nothing.

    Args:
        axes: to draw on.
        task: one of the family's.
        features: before every step and after the last, `(T + 1, 3)`.
        rewards: `(T,)`.
    """
    angle, speed = np.arctan2(features[:, 1], features[:, 0]), features[:, 2]
    axes.axhline(0.0, color=GRID, linewidth=0.8, zorder=0)
    axes.axvline(task.params["target"], color=GOAL, linewidth=3.0, zorder=1)
    # The way is cut where it leaves the picture on one side and comes back on the other. It brightens with its length,
    # since in time nearly all of it would be one point after the first moments.
    cut = np.abs(np.diff(angle)) > np.pi
    way = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(angle) * ~cut, np.diff(speed) / 2.5))))
    share = way / max(way[-1], 1e-9)
    _line(axes, angle, speed, late=share[1:], hidden=cut)
    length = 1.3 * task.params["length"]
    poses = int(np.clip(way[-1] / 0.5, 2, 16))
    for row in np.unique(np.searchsorted(way, np.linspace(0.0, way[-1], poses))):
        foot = np.array([angle[row], speed[row]])
        tip = foot + length * np.array([0.42 * np.sin(angle[row]), 1.25 * np.cos(angle[row])])
        axes.plot(*np.stack((foot, tip), axis=1), color=_colour(share[row]), linewidth=2.2, zorder=4)
        axes.plot(*foot, "o", color=INK, markersize=2.2, zorder=5)
    axes.set(xlim=(-np.pi, np.pi), ylim=(-10, 10), yticks=[-8, 0, 8], xticks=[-np.pi, 0, np.pi])
    axes.set_xticklabels(["−π", "upright", "π"])
    axes.tick_params(labelsize=6, colors=INK, length=2)
    axes.set_ylabel("rad/s", fontsize=6, color=INK, labelpad=1)
    _finish(axes, rewards)


def draw_mountain_car(axes: "Axes", task: Task, features: NDArray, rewards: NDArray) -> None:
    """Draws the valley, and above it where the car is as time goes up the picture, up to the goal.

    Args:
        axes: to draw on.
        task: one of the family's.
        features: before every step and after the last, `(T + 1, 2)`.
        rewards: `(T,)`.
    """
    place, time = features[:, 0], np.arange(len(features), dtype=np.float64)
    ground = np.linspace(-1.2, 0.6, 181)
    span = max(1.08 * time[-1], 100.0)
    deep = 0.45 * span
    goal = task.params["goal"]
    height = deep * (0.45 * np.sin(3 * ground) - 0.5)
    axes.fill_between(ground, height, -1.15 * deep, color=GRID, linewidth=0, zorder=0)
    axes.plot(ground, height, color=WALL, linewidth=1.4, zorder=1)
    foot = deep * (0.45 * np.sin(3 * goal) - 0.5)
    axes.plot((goal, goal), (foot, span), color=GOAL, linewidth=3.0, zorder=2, solid_capstyle="butt")
    _line(axes, place, time)
    for row in np.unique(np.linspace(0, len(place) - 1, 12).round().astype(int)):
        car = (place[row], deep * (0.45 * np.sin(3 * place[row]) - 0.5) + 0.02 * span)
        axes.plot(*car, "o", color=_colour(row / max(1, len(place) - 1)), markersize=4.2, zorder=5)
    axes.set(xlim=(-1.25, 0.65), ylim=(-1.15 * deep, span), xticks=[], yticks=[])
    _finish(axes, rewards)


def draw_acrobot(axes: "Axes", task: Task, features: NDArray, rewards: NDArray) -> None:
    """Draws the two links many times over, the way of their tip, and the height to reach.

    Args:
        axes: to draw on.
        task: one of the family's.
        features: before every step and after the last, `(T + 1, 6)`.
        rewards: `(T,)`.
    """
    first = np.arctan2(features[:, 1], features[:, 0])
    both = first + np.arctan2(features[:, 3], features[:, 2])
    elbow = task.params["length_1"] * np.stack((np.sin(first), -np.cos(first)))
    tip = elbow + task.params["length_2"] * np.stack((np.sin(both), -np.cos(both)))
    axes.axhline(task.params["height"], color=GOAL, linewidth=3.0, zorder=1)
    # The last swings are the ones that matter; all of a long episode would be a disc of ink.
    shown = np.arange(max(0, len(first) - SWINGS), len(first))
    for row in shown[::-2]:
        share = (row - shown[0]) / max(1, len(shown) - 1)
        points = np.stack(([0.0, 0.0], elbow[:, row], tip[:, row]), axis=1)
        axes.plot(
            *points, color=_colour(share), alpha=0.3 + 0.7 * share, linewidth=1.7, marker="o", markersize=2.0,
            zorder=2 + share,
        )  # fmt: skip
    _line(axes, tip[0, shown], tip[1, shown], linewidth=0.6)
    axes.plot(0, 0, "o", color=INK, markersize=4, zorder=6)
    reach = 1.08 * (task.params["length_1"] + task.params["length_2"])
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    _finish(axes, rewards)


def _colour(share: float) -> Any:
    from matplotlib import colormaps

    return colormaps[EARLY_TO_LATE](LATEST * share)


def _line(
    axes: "Axes",
    x: NDArray,
    y: NDArray,
    late: NDArray | None = None,
    hidden: NDArray | None = None,
    linewidth: float = 1.2,
) -> None:
    """A line from early to late: evenly, or by a share for each segment; without the segments that are hidden."""
    from matplotlib.collections import LineCollection

    points = np.stack((x, y), axis=1)
    segments = np.stack((points[:-1], points[1:]), axis=1)
    late = np.linspace(0.0, 1.0, len(segments)) if late is None else late
    if hidden is not None:
        segments, late = segments[~hidden], late[~hidden]
    lines = LineCollection(list(segments), cmap=EARLY_TO_LATE, linewidths=linewidth, capstyle="round", zorder=3)
    lines.set(array=LATEST * late, clim=(0.0, 1.0))
    axes.add_collection(lines)


def _axis_of_time(axes: "Axes", span: float) -> None:
    axes.set(xticks=[], yticks=[])
    for time in np.arange(0.0, span + 1, 100.0):
        axes.axhline(time, color=GRID, linewidth=0.6, zorder=0)


def _finish(axes: "Axes", rewards: NDArray) -> None:
    for spine in axes.spines.values():
        spine.set(color=WALL, linewidth=1.0)
    axes.set_xlabel(f"return {rewards.sum():.4g}", fontsize=8, color=INK)
