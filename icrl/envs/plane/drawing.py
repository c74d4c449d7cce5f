"""Pictures of paths over the plane: point robots, and a swimmer in a round pool. matplotlib is imported late."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.drawing import CELL_COLOURS, EARLY_TO_LATE, GRID, INK, WALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

WATER = "#eaf2f7"


def draw_plane(
    axes: "Axes",
    outline: NDArray[np.float64],
    goal: NDArray[np.float64],
    radius: float | None,
    history: "LearningHistory",
) -> None:
    """Draws each episode's path over the plane, the goal, and where the goals of the training tasks are.

    Args:
        axes: to draw on.
        outline: a line around or through the training goals, shape `(points, 2)`.
        goal: shape `(2,)`.
        radius: of the disc around the goal that pays, if there is one.
        history: whole episodes whose observations are positions.
    """
    from matplotlib.patches import Circle

    axes.plot(*outline.T, color=WALL, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    if radius is not None:
        axes.add_patch(Circle(tuple(goal), radius, facecolor=CELL_COLOURS["goal"], alpha=0.3, linewidth=0, zorder=0))
    _mark_goal(axes, goal)
    axes.axhline(0.0, color=GRID, linewidth=0.6, zorder=0)
    axes.axvline(0.0, color=GRID, linewidth=0.6, zorder=0)
    _draw_paths(axes, history, history.observations, history.final_observations)
    places = (outline, np.abs(goal) + (radius or 0.0), history.observations, history.final_observations)
    half = 1.1 * max(float(np.abs(place).max(initial=0.0)) for place in places)
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", xticks=[], yticks=[])
    _frame(axes, history)


def draw_pool(
    axes: "Axes",
    platform: NDArray[np.float64],
    radius: float,
    cues: NDArray[np.float64],
    history: "LearningHistory",
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    """Draws the pool of radius 1, the hidden platform, the cues around it, and each episode's way through the water.

    Args:
        axes: to draw on.
        platform: its centre, shape `(2,)`.
        radius: of the platform.
        cues: where the cues stand, shape `(cues, 2)`.
        history: whole episodes.
        places: of the swimmer, `(T, 2)` for each step and `(E, 2)` for the end of each episode.
    """
    from matplotlib.patches import Circle

    axes.add_patch(Circle((0, 0), 1.0, facecolor=WATER, edgecolor=WALL, linewidth=1.2, zorder=0))
    axes.add_patch(
        Circle(tuple(platform), radius, facecolor=CELL_COLOURS["goal"], edgecolor=INK, linewidth=0.6, zorder=1)
    )
    for shape, cue in zip("^sDo", 1.13 * cues, strict=True):
        axes.plot(*cue, shape, color=INK, markersize=5, zorder=2)
    _draw_paths(axes, history, *places)
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal", xticks=[], yticks=[])
    _frame(axes, history)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _mark_goal(axes: "Axes", goal: NDArray[np.float64]) -> None:
    axes.plot(
        *goal, "*", color=CELL_COLOURS["goal"], markeredgecolor=INK, markeredgewidth=0.5, markersize=15, zorder=3
    )


def _draw_paths(axes: "Axes", history: "LearningHistory", place_T2: NDArray, end_E2: NDArray) -> None:
    """Each episode as a line with a dot for every step: dark where it starts, brighter along its length."""
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    colours = colormaps[EARLY_TO_LATE]
    ends = np.flatnonzero(history.dones) + 1
    for episode, (first, last) in enumerate(zip(np.concatenate(([0], ends[:-1])), ends, strict=True)):
        points = np.concatenate((place_T2[first:last], end_E2[episode : episode + 1])).astype(np.float64)
        length = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))))
        late = 0.92 * length / max(length[-1], 1e-9)
        lines = LineCollection(np.stack((points[:-1], points[1:]), axis=1), cmap=EARLY_TO_LATE, linewidths=1.4)
        lines.set(array=late[:-1], clim=(0.0, 1.0), capstyle="round", zorder=4)
        axes.add_collection(lines)
        axes.scatter(*points.T, c=colours(late), s=5, linewidths=0, zorder=5)
        axes.plot(*points[0], "o", color=colours(0.0), markersize=4, zorder=6)
        edge = {"markeredgecolor": INK, "markeredgewidth": 0.5}
        axes.plot(*points[-1], "o", color=colours(0.92), markersize=4.5, zorder=6, **edge)


def _frame(axes: "Axes", history: "LearningHistory") -> None:
    for spine in axes.spines.values():
        spine.set(color=WALL, linewidth=1.0)
    episodes = max(1, int(np.count_nonzero(history.dones)))
    # A path ends at its goal but for the rounding of float32.
    mean = round(float(history.rewards.sum()) / episodes, 5) + 0.0
    axes.set_xlabel(f"return {mean:.4g}", fontsize=8, color=INK)
