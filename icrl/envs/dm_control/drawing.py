"""Pictures of the control suite's episodes: the body many times over, or its speed, against what the task pays for."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.drawing import CELL_COLOURS, EARLY_TO_LATE, INK, WALL
from icrl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

GHOSTS = 24
"""Bodies in one picture."""
WALKER_VELOCITY, CHEETAH_VELOCITY = 16, 8
"""Where in an observation the torso's forward velocity stands."""


def _last_episode(history: "LearningHistory") -> tuple[NDArray, NDArray]:
    """Observations before every step and after the last of the history's last episode, and its rewards."""
    ends = np.flatnonzero(history.dones) + 1
    first, last = (int(ends[-2]) if len(ends) > 1 else 0), int(ends[-1])
    seen = np.concatenate((history.observations[first:last], history.final_observations[-1:]))
    return seen, history.rewards[first:last]


def _ghosts(axes: "Axes", lines: NDArray[np.float64]) -> None:
    """Draws bodies, each a line of points `(points, 2)`, early ones dark and pale, late ones bright and clear."""
    from matplotlib import colormaps

    chosen = np.unique(np.linspace(0, len(lines) - 1, GHOSTS).round().astype(int))
    for order, which in enumerate(chosen):
        share = order / max(1, len(chosen) - 1)
        axes.plot(
            *lines[which].T, color=colormaps[EARLY_TO_LATE](0.92 * share), alpha=0.35 + 0.65 * share, linewidth=1.5,
            marker="o", markersize=2.0, solid_capstyle="round", zorder=2 + share,
        )  # fmt: skip


def _bare(axes: "Axes", rewards: NDArray) -> None:
    axes.set(aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=WALL, linewidth=1.0)
    axes.set_xlabel(f"return {rewards.sum():.4g}", fontsize=8, color=INK)


def draw_cartpole(axes: "Axes", task: Task, history: "LearningHistory") -> None:
    """Draws the cart and its pole over the last episode, and the place on the rail that is paid for."""
    seen, rewards = _last_episode(history)
    place, cosine, sine = seen[:, 0], seen[:, 1], seen[:, 2]
    length = task.params["pole_length"]
    foot = np.stack((place, np.zeros_like(place)), axis=1)
    axes.axhline(0.0, color=WALL, linewidth=0.8, zorder=0)
    axes.axvline(task.params["target"], color=CELL_COLOURS["goal"], linewidth=3.0, zorder=1)
    _ghosts(axes, np.stack((foot, foot + length * np.stack((sine, cosine), axis=1)), axis=1))
    axes.set(xlim=(-2.1, 2.1), ylim=(-1.9, 1.9))
    _bare(axes, rewards)


def draw_pendulum(axes: "Axes", task: Task, history: "LearningHistory") -> None:
    """Draws the pendulum over the last episode, and the upright that is paid for."""
    seen, rewards = _last_episode(history)
    length = task.params["length"]
    tip = length * np.stack((seen[:, 1], seen[:, 0]), axis=1)
    axes.plot([0, 0], [0, length], color=CELL_COLOURS["goal"], linewidth=5.0, zorder=1)
    _ghosts(axes, np.stack((np.zeros_like(tip), tip), axis=1))
    axes.set(xlim=(-0.85, 0.85), ylim=(-0.85, 0.85))
    _bare(axes, rewards)


def draw_reacher(axes: "Axes", task: Task, history: "LearningHistory") -> None:
    """Draws the arm over the last episode, and the target."""
    from matplotlib.patches import Circle

    seen, rewards = _last_episode(history)
    shoulder, bent = seen[:, 0], seen[:, 0] + seen[:, 1]
    elbow = task.params["arm_length"] * np.stack((np.cos(shoulder), np.sin(shoulder)), axis=1)
    finger = elbow + 0.12 * np.stack((np.cos(bent), np.sin(bent)), axis=1)
    angle, radius = task.params["target_angle"], task.params["target_radius"]
    centre = (radius * np.sin(angle), radius * np.cos(angle))
    axes.add_patch(Circle(centre, 0.05, color=CELL_COLOURS["goal"], zorder=1))
    _ghosts(axes, np.stack((np.zeros_like(elbow), elbow, finger), axis=1))
    axes.set(xlim=(-0.3, 0.3), ylim=(-0.3, 0.3))
    _bare(axes, rewards)


def _draw_speed(axes: "Axes", task: Task, history: "LearningHistory", column: int) -> None:
    seen, rewards = _last_episode(history)
    axes.axhline(task.params["speed"], color=CELL_COLOURS["goal"], linewidth=3.0, zorder=1)
    axes.scatter(
        np.arange(len(seen)), seen[:, column], c=np.linspace(0.0, 0.92, len(seen)), cmap=EARLY_TO_LATE, vmin=0, vmax=1,
        s=2.5, zorder=2,
    )  # fmt: skip
    axes.tick_params(labelsize=6, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_ylabel("m/s", fontsize=7, color=INK)
    axes.set_xlabel(f"return {rewards.sum():.4g}", fontsize=8, color=INK)


def draw_walker(axes: "Axes", task: Task, history: "LearningHistory") -> None:
    """Draws the torso's speed over the last episode, and the speed that is paid for."""
    _draw_speed(axes, task, history, WALKER_VELOCITY)


def draw_cheetah(axes: "Axes", task: Task, history: "LearningHistory") -> None:
    """Draws the torso's speed over the last episode, and the speed that is paid for."""
    _draw_speed(axes, task, history, CHEETAH_VELOCITY)


DRAWINGS = {
    "cartpole": draw_cartpole,
    "pendulum": draw_pendulum,
    "reacher": draw_reacher,
    "walker": draw_walker,
    "cheetah": draw_cheetah,
}
