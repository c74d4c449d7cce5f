"""Pictures of locomotion: the speed over an episode, and the way over the ground. matplotlib is imported late."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.drawing import CELL_COLOURS, EARLY_TO_LATE, GRID, INK, WALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

SPEED = "#2f6db5"
LABEL = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
STEPS = 11
"""Of the running mean."""


def smooth(speed_T: NDArray) -> NDArray[np.float64]:
    """The mean of the steps around each one, 11 of them, fewer at both ends; shape `(T,)`."""
    window = np.ones(min(STEPS, len(speed_T)))
    return np.convolve(speed_T, window, "same") / np.convolve(np.ones(len(speed_T)), window, "same")


def draw_speed(
    axes: "Axes",
    speed_T: NDArray,
    history: "LearningHistory",
    *,
    target: float | None = None,
    weight: float | None = None,
) -> None:
    """Draws the forward speed of each episode against time, thin, and its running mean; and what is wanted of it.

    Args:
        axes: to draw on.
        speed_T: metres a second at every transition.
        history: whole episodes.
        target: the speed that is wanted.
        weight: of the speed in the reward: its sign is the direction that is wanted.
    """
    ends = np.flatnonzero(history.dones) + 1
    for first, last in zip(np.concatenate(([0], ends[:-1])), ends, strict=True):
        speed = speed_T[first:last]
        axes.plot(speed, color=SPEED, linewidth=0.5, alpha=0.3)
        axes.plot(smooth(speed), color=SPEED, linewidth=1.4)
    axes.axhline(0.0, color=WALL, linewidth=0.8, zorder=0)
    if target is not None:
        axes.axhline(target, color=CELL_COLOURS["goal"], linewidth=2.0, zorder=1)
        axes.annotate(
            f"wanted {target:.2f}", (0.98, target), xycoords=("axes fraction", "data"), xytext=(0, 3),
            textcoords="offset points", ha="right", fontsize=6, color=INK, bbox=LABEL,
        )  # fmt: skip
    if weight is not None:
        reach = 1.15 * max(0.5, float(np.abs(speed_T).max()))
        axes.set_ylim(-reach, reach)
        axes.axhspan(0.0, np.copysign(reach, weight), color=CELL_COLOURS["goal"], alpha=0.18, linewidth=0, zorder=0)
        way, va = ("forward", "top") if weight > 0 else ("back", "bottom")
        axes.annotate(
            f"wanted {way}, weight {weight:.2f}", (0.98, 0.97 if weight > 0 else 0.03), xycoords="axes fraction",
            ha="right", va=va, fontsize=6, color=INK, bbox=LABEL,
        )  # fmt: skip
    axes.set_ylabel("forward speed, m/s", fontsize=6.5, color=INK)
    _finish(axes, history)


def draw_way(
    axes: "Axes",
    place_T2: NDArray,
    history: "LearningHistory",
    *,
    angle: float | None = None,
    goal: tuple[float, float] | None = None,
) -> None:
    """Draws the way over the ground, dark at its start and bright at its end, with the direction or place wanted.

    Args:
        axes: to draw on.
        place_T2: metres, at every transition.
        history: whole episodes; the ways of all of them start at its first place.
        angle: of the direction that is wanted, radians.
        goal: the place that is wanted.
    """
    from matplotlib.collections import LineCollection

    ends = np.flatnonzero(history.dones) + 1
    reach = [0.2]
    for first, last in zip(np.concatenate(([0], ends[:-1])), ends, strict=True):
        way = place_T2[first:last] - (place_T2[first] if goal is None else 0.0)
        lines = LineCollection(np.stack((way[:-1], way[1:]), axis=1), cmap=EARLY_TO_LATE, linewidths=1.5, zorder=3)
        lines.set_array(np.linspace(0.0, 0.92, max(1, len(way) - 1)))
        lines.set_clim(0.0, 1.0)
        axes.add_collection(lines)
        axes.plot(*way[0], "o", color=INK, markersize=3, zorder=4)
        reach.append(float(np.abs(way).max()))
    if goal is not None:
        reach.append(max(map(abs, goal)))
        axes.plot(*goal, "*", color=CELL_COLOURS["goal"], markeredgecolor=INK, markeredgewidth=0.5, markersize=11)
    limit = 1.15 * max(reach)
    if angle is not None:
        tip = 0.85 * limit * np.array([np.cos(angle), np.sin(angle)])
        arrow = {"arrowstyle": "-|>", "color": CELL_COLOURS["goal"], "lw": 2.0}
        axes.annotate("", xy=tip, xytext=(0, 0), arrowprops=arrow, zorder=1)
        axes.plot([0, tip[0]], [0, tip[1]], alpha=0.0)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.axhline(0.0, color=GRID, linewidth=0.8, zorder=0)
    axes.axvline(0.0, color=GRID, linewidth=0.8, zorder=0)
    _finish(axes, history)


def _finish(axes: "Axes", history: "LearningHistory") -> None:
    axes.tick_params(labelsize=6, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(WALL)
    episodes = max(1, int(history.dones.sum()))
    axes.set_xlabel(f"return {history.rewards.sum() / episodes:.4g}", fontsize=8, color=INK)
