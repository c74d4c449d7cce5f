"""Small pictures of episodes: a path through a grid, the pulls of a bandit's arms. matplotlib is imported late."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

GRID, WALL, INK = "#e6e8ec", "#9aa1ad", "#2b2f38"
CELL_COLOURS = {"goal": "#f6c445", "key": "#f6c445", "door": "#6bbf8a"}
EARLY_TO_LATE = "viridis"
REWARD_SO_FAR = "reward so far"
PATHS_SHOW = "Each path runs from dark to bright. The coloured cells are invisible to the agent."
"""What `draw_path` shows, in words."""


def draw_path(
    axes: "Axes",
    size: int,
    cells: Mapping[str, tuple[int, int]],
    history: "LearningHistory",
    walls: NDArray[np.bool_] | None = None,
    buttons: NDArray[np.int64] | None = None,
) -> None:
    """Draws each episode as a line through the room, dark at its start and bright at its end.

    Args:
        axes: to draw on.
        size: cells along a side.
        cells: (row, column) of the cells to mark, by what they are: "goal", "key" or "door".
        history: whole episodes whose observations are (row, column).
        walls: the cells that no one can enter, shape `(size, size)`.
        buttons: the actions that go up, right, down, left and stay, shape `(1, 5)`, to be shown where they are not the
            usual ones.
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    axes.set_facecolor("white")
    for edge in np.arange(size - 1) + 0.5:
        axes.axhline(edge, color=GRID, linewidth=0.6, zorder=0)
        axes.axvline(edge, color=GRID, linewidth=0.6, zorder=0)
    for spine in axes.spines.values():
        spine.set(color=WALL, linewidth=1.0)
    if walls is not None:
        axes.imshow(
            np.where(walls, 1.0, np.nan), cmap=ListedColormap([WALL]), extent=(-0.5, size - 0.5, size - 0.5, -0.5)
        )
    for kind, (row, column) in cells.items():
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=CELL_COLOURS[kind], edgecolor="none", zorder=1)
        )
        if len(cells) > 1:
            axes.text(column - 0.42, row - 0.4, kind, ha="left", va="top", fontsize=6, color=INK, zorder=5)
    if buttons is not None:
        _draw_compass(axes, buttons[0])
    colours = colormaps[EARLY_TO_LATE]
    ends = np.flatnonzero(history.dones) + 1
    for episode, (first, last) in enumerate(zip(np.concatenate(([0], ends[:-1])), ends, strict=True)):
        rows = np.concatenate((history.observations[first:last], history.final_observations[episode : episode + 1]))
        points = rows[:, ::-1].astype(float)
        if _goes_back(points):
            # Steps over the same edge of the grid are moved apart a little, so that a path to and fro shows both ways.
            points = points + np.linspace(-0.16, 0.16, len(points))[:, None]
        segments = np.stack((points[:-1], points[1:]), axis=1)
        lines = LineCollection(segments, cmap=EARLY_TO_LATE, linewidths=1.6, capstyle="round", zorder=3)
        lines.set_array(np.linspace(0.0, 0.92, len(segments)))
        lines.set_clim(0.0, 1.0)
        axes.add_collection(lines)
        axes.plot(*points[0], "o", color=colours(0.0), markersize=4, zorder=4)
        axes.plot(
            *points[-1], "o", color=colours(0.92), markeredgecolor=INK, markeredgewidth=0.5, markersize=5, zorder=4
        )
    axes.set_xlabel(f"return {history.rewards.sum() / max(1, len(ends)):.4g}", fontsize=8, color=INK)


def _goes_back(points: NDArray[np.float64]) -> bool:
    """Whether a path goes over an edge of the grid more than once."""
    moved = points[:-1][(points[1:] != points[:-1]).any(axis=1)], points[1:][(points[1:] != points[:-1]).any(axis=1)]
    middles = (moved[0] + moved[1]) / 2
    return len(np.unique(middles, axis=0)) < len(middles)


def _draw_compass(axes: "Axes", button_M: NDArray[np.int64]) -> None:
    """The numbers of the actions at the points that they go to, the one that stays in the middle."""
    at, length = np.array([0.78, 0.78]), 0.1
    for button, way in zip(button_M, ((0, 1), (1, 0), (0, -1), (-1, 0), (0, 0)), strict=True):
        end = at + length * np.array(way)
        arrow = {"arrowstyle": "<-", "color": WALL, "linewidth": 0.9, "shrinkA": 4, "shrinkB": 6}
        style = {"ha": "center", "va": "center", "fontsize": 8, "color": INK, "xycoords": "axes fraction"}
        if any(way):
            axes.annotate("", at, at + 1.1 * (end - at), xycoords="axes fraction", arrowprops=arrow)
        axes.annotate(str(button), at + 1.5 * (end - at), **style)


def draw_pulls(axes: "Axes", mean_K: NDArray[np.float64], history: "LearningHistory") -> None:
    """Draws the arms as bars of their true means, tinted by how often each was pulled in this block of pulls.

    Args:
        axes: to draw on.
        mean_K: the arms' true means.
        history: one or more pulls.
    """
    from matplotlib import colormaps

    num_arms = len(mean_K)
    pulls_K = np.bincount(history.actions.astype(np.int64), minlength=num_arms)
    share_K = pulls_K / max(1, len(history))
    tints = colormaps["Blues"]
    axes.bar(
        np.arange(num_arms),
        mean_K,
        width=0.82,
        color=[tints(0.12 + 0.75 * share) for share in share_K],
        edgecolor=WALL,
        linewidth=0.5,
    )
    best = int(np.argmax(mean_K))
    axes.bar([best], [mean_K[best]], width=0.82, fill=False, edgecolor=CELL_COLOURS["goal"], linewidth=1.8)
    if num_arms <= 12:
        for arm in np.flatnonzero(pulls_K):
            above = {"xytext": (0, 2), "textcoords": "offset points", "ha": "center"}
            axes.annotate(str(pulls_K[arm]), (arm, mean_K[arm]), fontsize=6, color=INK, **above)
    axes.set(xlim=(-0.6, num_arms - 0.4), ylim=(0, 1.15), xticks=[], yticks=[])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(WALL)
    axes.set_xlabel(f"best arm {share_K[best]:.0%}", fontsize=8, color=INK)


def draw_rewards(axes: "Axes", history: "LearningHistory") -> None:
    """Draws each episode's reward added up over its steps, early episodes dark and late ones bright.

    Args:
        axes: to draw on.
        history: whole episodes.
    """
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    colours = colormaps[EARLY_TO_LATE]
    ends = np.flatnonzero(history.dones) + 1
    starts = np.concatenate(([0], ends[:-1]))
    for episode, (first, last) in enumerate(zip(starts, ends, strict=True)):
        total = np.concatenate(([0.0], np.cumsum(history.rewards[first:last], dtype=np.float64)))
        axes.plot(total, color=colours(0.85 * episode / max(1, len(ends) - 1)), linewidth=1.4)
    axes.tick_params(labelsize=6, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylabel(REWARD_SO_FAR, fontsize=7, color=INK)
    axes.set_xlabel(f"step · return {history.rewards.sum() / max(1, len(ends)):.4g}", fontsize=8, color=INK)
