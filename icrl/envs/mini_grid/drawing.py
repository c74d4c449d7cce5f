"""A picture of MiniGrid episodes: the room with its objects, and the ways through it."""

from typing import TYPE_CHECKING

import numpy as np
from minigrid.core.constants import COLORS, IDX_TO_COLOR

from icrl.envs.kit.drawing import CELL_COLOURS, EARLY_TO_LATE, GRID, INK
from icrl.envs.mini_grid.batch import MiniGridBatch
from icrl.envs.mini_grid.layouts import COLOUR_C, IS, LOCKED, OPEN, STATE_C, WALL, Layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

WALLS, LAVA = "#b9bec8", "#e2703a"


def draw_room(axes: "Axes", layout: Layout, env: MiniGridBatch, history: "LearningHistory") -> None:
    """Draws the room and each episode's way, dark at its start and bright at its end.

    Args:
        axes: to draw on.
        layout: the room at the start of an episode.
        env: one lane of it: what was seen does not say where the agent was, so its actions are played again.
        history: whole episodes.
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle
    from scipy.ndimage import label

    inside, _ = label(layout.codes != WALL)
    for x, y in np.argwhere(inside == inside[layout.position]):
        _draw_cell(axes, int(x), int(y), int(layout.codes[x, y]))
    walls = np.argwhere(layout.codes == WALL)
    low, high = walls.min(axis=0) - 0.5, walls.max(axis=0) + 0.5
    axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal", xticks=[], yticks=[])
    axes.add_patch(Rectangle(low, *(high - low), facecolor=WALLS, edgecolor="none", zorder=0))
    for spine in axes.spines.values():
        spine.set_visible(False)
    colours = colormaps[EARLY_TO_LATE]
    ends = np.flatnonzero(history.dones) + 1
    for first, last in zip(np.concatenate(([0], ends[:-1])), ends, strict=True):
        points = _way(env, history.actions[first:last])
        points = points + np.linspace(-0.16, 0.16, len(points))[:, None]
        lines = LineCollection(
            np.stack((points[:-1], points[1:]), axis=1), cmap=EARLY_TO_LATE, linewidths=1.4, capstyle="round", zorder=4
        )
        lines.set_array(np.linspace(0.0, 0.92, len(points) - 1))
        lines.set_clim(0.0, 1.0)
        axes.add_collection(lines)
        axes.plot(*points[0], "o", color=colours(0.0), markersize=4, zorder=5)
        end = {"color": colours(0.92), "markeredgecolor": INK, "markeredgewidth": 0.5}
        axes.plot(*points[-1], "o", markersize=5, zorder=6, **end)
    axes.set_xlabel(f"return {history.rewards.sum() / max(1, len(ends)):.3g}", fontsize=8, color=INK)


def _way(env: MiniGridBatch, actions: np.ndarray) -> np.ndarray:
    """Cells that the agent stands in over one episode, shape `(T + 1, 2)`."""
    env.reset()
    cells = [env.cells[0]]
    for action in actions:
        env._advance(np.array([action]))  # `step` would go on to the next episode before the last cell can be read.
        cells.append(env.cells[0])
    return np.array(cells, np.float64)


def _draw_cell(axes: "Axes", x: int, y: int, code: int) -> None:
    from matplotlib.patches import Rectangle

    colour = COLORS[IDX_TO_COLOR[int(COLOUR_C[code])]] / 255 * 0.8 + 0.1
    corner = (x - 0.5, y - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor=GRID, linewidth=0.4, zorder=1))
    if IS["goal"][code]:
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=CELL_COLOURS["goal"], edgecolor="none", zorder=2))
    elif IS["lava"][code]:
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=LAVA, edgecolor="none", zorder=2))
    elif IS["door"][code]:
        fill = {OPEN: "none", LOCKED: colour}.get(int(STATE_C[code]), "white")
        box = {"facecolor": fill, "edgecolor": colour, "linewidth": 1.4, "zorder": 2}
        axes.add_patch(Rectangle((x - 0.4, y - 0.4), 0.8, 0.8, **box))
    elif IS["key"][code]:
        axes.plot(x, y, marker="P", color=colour, markersize=6, markeredgecolor=INK, markeredgewidth=0.4, zorder=3)
    elif IS["ball"][code] or IS["box"][code]:
        shape = "o" if IS["ball"][code] else "s"
        axes.plot(x, y, marker=shape, color=colour, markersize=7, markeredgecolor=INK, markeredgewidth=0.4, zorder=3)
