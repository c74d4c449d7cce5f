"""A small picture of a T-maze: the corridor, its arms, what each cue stands for, and the way the agent took."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.drawing import CELL_COLOURS, EARLY_TO_LATE, GRID, INK, WALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory


def draw_t_maze(
    axes: "Axes",
    length: int,
    meaning: Sequence[int],
    history: "LearningHistory",
    way: Callable[..., NDArray[np.int64]],
) -> None:
    """Draws the last episode of the history, and above the maze the cues with the arms that they stand for.

    Args:
        axes: to draw on.
        length: steps from the start to the junction.
        meaning: of each cue, 1 for the upper arm and 0 for the lower one.
        history: whole episodes.
        way: where an episode's actions lead, as `t_maze.way`.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    ends = np.flatnonzero(history.dones) + 1
    first = ends[-2] if len(ends) > 1 else 0
    cue = int(history.observations[first])
    # Cells are of one size in a short corridor; a long one is squeezed to this width.
    width = min(length, 10) / length
    height = 1.25
    goal = height if meaning[cue] else -height
    for along in range(length + 1):
        axes.add_patch(Rectangle((along * width - width / 2, -0.5), width, 1, facecolor="white", edgecolor=GRID))
    for arm in (-height, height):
        colour = CELL_COLOURS["goal"] if arm == goal else "white"
        axes.add_patch(
            Rectangle((length * width - 0.5, arm - height / 2), 1, height - 0.12, facecolor=colour, edgecolor=WALL)
        )
    axes.add_patch(Rectangle((-width / 2, -0.5), (length + 1) * width, 1, fill=False, edgecolor=WALL))
    points = way(length, history.actions[first : ends[-1]].tolist()) * [[width], [height]]
    points = (points + np.linspace(-0.16, 0.16, points.shape[1])).T
    segments = np.stack((points[:-1], points[1:]), axis=1)
    lines = LineCollection(segments, cmap=EARLY_TO_LATE, linewidths=1.6, capstyle="round", zorder=3)
    lines.set_array(np.linspace(0.0, 0.92, len(segments)))
    lines.set_clim(0.0, 1.0)
    axes.add_collection(lines)
    axes.plot(*points[-1], "o", color=INK, markersize=3.5, zorder=4)
    middle = length * width / 2
    apart = min(1.9, 11 / len(meaning))
    for number, arm in enumerate(meaning):
        x = middle + apart * (number - (len(meaning) - 1) / 2)
        shown = number == cue
        axes.text(
            x, 4.2, f"{number}\n{'↑' if arm else '↓'}", ha="center", va="center", fontsize=8, color=INK,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": CELL_COLOURS["goal"] if shown else "white",
                  "edgecolor": WALL if shown else GRID, "linewidth": 0.8},
        )  # fmt: skip
    axes.text(-width / 2, 0.75, f"cue {cue}", ha="left", va="bottom", fontsize=7, color=INK)
    axes.set(xlim=(-1.2, length * width + 1.2), ylim=(-2.6, 5.6), aspect=1.35, xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(f"return {history.rewards.sum() / max(1, len(ends)):.4g}", fontsize=8, color=INK)
