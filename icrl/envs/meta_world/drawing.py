"""A picture of a Meta-World episode: the way of the hand and of the object above the table, in oblique projection."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.drawing import CELL_COLOURS, EARLY_TO_LATE, GRID, INK, WALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

OBJECT = "#d96c4f"
NEAR, FAR, SIDE = 0.4, 0.95, 0.3
"""The patch of table that is drawn, in metres: from y = NEAR to FAR, x from -SIDE to SIDE."""
DEPTH = np.array([0.3, 0.55])
"""Where a metre away from the viewer lies on the paper, to the right and up."""


def draw_arm(axes: "Axes", name: str, target: NDArray[np.float64], history: "LearningHistory") -> None:
    """Draws the hand's way, with its shadow on the table, the object and the goal; bright is late.

    Args:
        axes: to draw on.
        name: of the environment.
        target: position of the goal, in metres, shape `(3,)`.
        history: whole episodes.
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Polygon

    corners = np.array([(x, y, 0.0) for x, y in ((-SIDE, NEAR), (SIDE, NEAR), (SIDE, FAR), (-SIDE, FAR))])
    axes.add_patch(Polygon(_on_paper(corners), facecolor="#f7f8fa", edgecolor=GRID, linewidth=1.0, zorder=0))
    colours = colormaps[EARLY_TO_LATE]
    ends = np.flatnonzero(history.dones) + 1
    for episode, (first, last) in enumerate(zip(np.concatenate(([0], ends[:-1])), ends, strict=True)):
        rows = np.concatenate((history.observations[first:last], history.final_observations[episode : episode + 1]))
        hand, thing = rows[:, :3].astype(np.float64), _on_paper(rows[:, 4:7].astype(np.float64))
        axes.plot(*_on_paper(hand * (1, 1, 0)).T, color=GRID, linewidth=1.2, zorder=1)
        axes.plot(*thing.T, color=OBJECT, linewidth=1.0, zorder=2)
        axes.plot(*thing[0], "s", color="white", markeredgecolor=OBJECT, markersize=4, zorder=2)
        axes.plot(*thing[-1], "s", color=OBJECT, markersize=4, zorder=2)
        way = _on_paper(hand)
        lines = LineCollection(
            np.stack((way[:-1], way[1:]), axis=1), cmap=EARLY_TO_LATE, linewidths=1.6, capstyle="round", zorder=4
        )
        lines.set_array(np.linspace(0.0, 0.92, len(way) - 1))
        lines.set_clim(0.0, 1.0)
        axes.add_collection(lines)
        axes.plot(*way[0], "o", color=colours(0.0), markersize=4, zorder=5)
        axes.plot(*way[-1], "o", color=colours(0.92), markeredgecolor=INK, markeredgewidth=0.5, markersize=5, zorder=6)
    goal = _on_paper(np.stack((target, target * (1, 1, 0))))
    axes.plot(*goal.T, color=WALL, linewidth=0.7, linestyle=":", zorder=3)
    star = {"color": CELL_COLOURS["goal"], "markeredgecolor": INK, "markeredgewidth": 0.5}
    axes.plot(*goal[0], "*", markersize=11, zorder=3, **star)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.margins(0.04)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    episodes = max(1, len(ends))
    axes.set_xlabel(
        f"{name.removesuffix('-v3')}, return {history.rewards.sum() / episodes:.4g}", fontsize=8, color=INK
    )


def _on_paper(points_N3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Oblique projection of positions in metres, shape `(N, 2)`."""
    return points_N3[:, [0, 2]] + (points_N3[:, 1:2] - NEAR) * DEPTH
