"""The picture of an XLand-MiniGrid episode: what the agent saw of the room, put together, and the way it went."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.drawing import EARLY_TO_LATE, GRID, INK, WALL
from icrl.envs.xland.rulesets import BALL, GOAL, KEY, PYRAMID, SQUARE, goal_in_words
from icrl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

VIEW = 5
FORWARD, CLOCKWISE, COUNTERCLOCKWISE = 0, 1, 2
WALKABLE = (1, 6, 10)  # floor, goal tile, open door
DOORS = (8, 9, 10)
AHEAD = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])
COLOURS = {
    1: "#d64545", 2: "#4f9d5d", 3: "#4878cf", 4: "#8e63b5", 5: "#e8c33c", 6: "#8a8f99", 7: "#30343c", 8: "#e58a3c",
    9: "#ffffff", 10: "#8c6442", 11: "#e48fb4",
}  # fmt: skip
MARKERS = {BALL: "o", SQUARE: "s", PYRAMID: "^", KEY: "P", 11: "h", 12: "*"}


class SeenRoom(NamedTuple):
    """A room as the agent saw it, in coordinates that count from its start: facing up from (0, 0)."""

    tiles: dict[tuple[int, int], tuple[int, int]]
    """What each cell held when it was first seen."""
    path: NDArray[np.int64]
    """Where the agent stood before every step and after the last, shape `(T + 1, 2)`."""


def put_together(views_T552: NDArray, actions_T: NDArray) -> SeenRoom:
    """The room and the way through it, from what the agent saw and did in one episode.

    A step forward moves the agent exactly where the tile in front of it lets it, so its way is known for certain.

    Args:
        views_T552: what it saw before every step and after the last, shape `(T + 1, 5, 5, 2)`.
        actions_T: shape `(T,)`.
    """
    position, facing = np.zeros(2, np.int64), 0
    tiles: dict[tuple[int, int], tuple[int, int]] = {}
    path = []
    for step, view in enumerate(views_T552):
        ahead, right = AHEAD[facing], AHEAD[(facing + 1) % 4]
        for row in range(VIEW):
            for column in range(VIEW):
                cell = position + (VIEW - 1 - row) * ahead + (column - VIEW // 2) * right
                if view[row, column, 0]:
                    tiles.setdefault((int(cell[0]), int(cell[1])), tuple(view[row, column].tolist()))
        path.append(position)
        if step < len(actions_T):
            action = actions_T[step]
            if action == FORWARD and view[VIEW - 2, VIEW // 2, 0] in WALKABLE:
                position = position + ahead
            facing = (facing + {CLOCKWISE: 1, COUNTERCLOCKWISE: -1}.get(int(action), 0)) % 4
    return SeenRoom(tiles, np.array(path))


def draw_seen_room(axes: "Axes", task: Task, history: "LearningHistory") -> None:
    """Draws the last episode of a history: walls, doors and objects where they were first seen, and the way.

    Args:
        axes: to draw on.
        task: its goal stands below the picture.
        history: whole episodes.
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    ends = np.flatnonzero(history.dones) + 1
    first, last = (int(ends[-2]) if len(ends) > 1 else 0), int(ends[-1])
    flat = np.concatenate((history.observations[first:last], history.final_observations[-1:]))
    room = put_together(flat.reshape(-1, VIEW, VIEW, 2), history.actions[first:last])
    for (row, column), (tile, colour) in room.tiles.items():
        shade = WALL if tile == 2 else COLOURS[colour] if tile in (GOAL, *DOORS) else "white"
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5), 1, 1, facecolor=shade, edgecolor=GRID, linewidth=0.5, zorder=1,
                alpha=0.55 if tile == GOAL else 1.0,
            )
        )  # fmt: skip
        if tile in MARKERS:
            axes.plot(
                column, row, MARKERS[tile], color=COLOURS[colour], markeredgecolor=INK, markeredgewidth=0.6,
                markersize=8, zorder=2,
            )  # fmt: skip
    points = room.path[:, ::-1] + np.linspace(-0.16, 0.16, len(room.path))[:, None]
    segments = np.stack((points[:-1], points[1:]), axis=1)
    lines = LineCollection(segments, cmap=EARLY_TO_LATE, linewidths=1.4, capstyle="round", zorder=3)
    lines.set_array(np.linspace(0.0, 0.92, len(segments)))
    lines.set_clim(0.0, 1.0)
    axes.add_collection(lines)
    colours = colormaps[EARLY_TO_LATE]
    axes.plot(*points[0], "o", color=colours(0.0), markersize=4, zorder=4)
    axes.plot(*points[-1], "o", color=colours(0.92), markeredgecolor=INK, markeredgewidth=0.5, markersize=5, zorder=4)
    cells = np.array(list(room.tiles))
    (top, left), (bottom, right) = cells.min(axis=0), cells.max(axis=0)
    axes.set(xlim=(left - 0.5, right + 0.5), ylim=(bottom + 0.5, top - 0.5), aspect="equal", xticks=[], yticks=[])
    axes.set_facecolor("#f6f7f9")
    for spine in axes.spines.values():
        spine.set(color=WALL, linewidth=1.0)
    words = goal_in_words(task.params["goal"])
    words = words.replace(" next to ", "\nnext to ") if words.startswith("put") else words
    axes.set_xlabel(f"{words}\nreturn {history.rewards[first:last].sum():.4g}", fontsize=7, color=INK)
