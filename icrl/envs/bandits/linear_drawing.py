"""Pictures of linear bandits: features as points of the plane, θ as an arrow through it."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.drawing import CELL_COLOURS, GRID, INK, WALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHOSEN = "#2a6fb0"


def draw_arms(
    axes: "Axes", theta_D: NDArray[np.float64], feature_KD: NDArray[np.float64], arms: NDArray[np.int64]
) -> None:
    """Draws arms of fixed features as points, tinted by how often each was pulled in this block of pulls.

    Args:
        axes: to draw on.
        theta_D: θ of the task.
        feature_KD: the arms' features.
        arms: that were pulled.
    """
    from matplotlib import colormaps

    share_K = np.bincount(arms, minlength=len(feature_KD)) / max(1, len(arms))
    point_K2 = _plane(feature_KD, theta_D)
    best = int((feature_KD @ theta_D).argmax())
    _draw_plane(axes, theta_D, point_K2)
    tints = colormaps["Blues"]
    axes.scatter(
        *point_K2.T,
        s=22 + 160 * share_K,
        c=[tints(0.12 + 0.75 * share) for share in share_K],
        edgecolors=[CELL_COLOURS["goal"] if arm == best else WALL for arm in range(len(share_K))],
        linewidths=[1.8 if arm == best else 0.6 for arm in range(len(share_K))],
        zorder=4,
    )
    axes.set_xlabel(f"best arm {share_K[best]:.0%}", fontsize=8, color=INK)


def draw_choices(
    axes: "Axes", theta_D: NDArray[np.float64], feature_TKD: NDArray[np.float64], arms: NDArray[np.int64]
) -> None:
    """Draws the features of a block of pulls: blue those that were chosen, grey those that were passed over.

    Args:
        axes: to draw on.
        theta_D: θ of the task.
        feature_TKD: features of every arm at each of T pulls.
        arms: that were pulled, shape `(T,)`.
    """
    pulls, num_arms, dimension = feature_TKD.shape
    point_TK2 = _plane(feature_TKD.reshape(-1, dimension), theta_D).reshape(pulls, num_arms, 2)
    is_chosen_TK = np.arange(num_arms) == arms[:, None]
    best_share = float(((feature_TKD @ theta_D).argmax(axis=1) == arms).mean())
    _draw_plane(axes, theta_D, point_TK2.reshape(-1, 2))
    axes.scatter(*point_TK2[~is_chosen_TK].T, s=7, color=WALL, alpha=0.45, linewidths=0, zorder=3)
    axes.scatter(*point_TK2[is_chosen_TK].T, s=20, color=CHOSEN, edgecolors="white", linewidths=0.5, zorder=4)
    axes.set_xlabel(f"best arm {best_share:.0%}", fontsize=8, color=INK)


def _plane(feature_PD: NDArray[np.float64], theta_D: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where features stand in the picture: themselves in two dimensions, else along θ and their distance from it."""
    if len(theta_D) == 2:
        return feature_PD
    along_P = feature_PD @ theta_D / np.linalg.norm(theta_D)
    across_P = np.sqrt(np.maximum((feature_PD**2).sum(axis=1) - along_P**2, 0.0))
    return np.stack((along_P, across_P), axis=1)


def _draw_plane(axes: "Axes", theta_D: NDArray[np.float64], point_P2: NDArray[np.float64]) -> None:
    """Axes through the origin, θ as an arrow, and room for all of it."""
    from matplotlib.patheffects import withStroke

    tip = theta_D if len(theta_D) == 2 else np.array([np.linalg.norm(theta_D), 0.0])
    reach = max(1.12 * np.abs(point_P2).max(initial=0.0), 1.25 * np.abs(tip).max())
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    axes.axhline(0, color=GRID, linewidth=0.8, zorder=0)
    axes.axvline(0, color=GRID, linewidth=0.8, zorder=0)
    for spine in axes.spines.values():
        spine.set(color=WALL, linewidth=1.0)
    arrow = {"arrowstyle": "-|>", "color": CELL_COLOURS["goal"], "linewidth": 2.0, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", tuple(tip), (0.0, 0.0), arrowprops=arrow, zorder=5)
    beyond = tuple(10 * tip / np.linalg.norm(tip))
    place = {"xytext": beyond, "textcoords": "offset points", "ha": "center", "va": "center", "zorder": 6}
    halo = [withStroke(linewidth=2.5, foreground="white")]
    axes.annotate("θ", tuple(tip), fontsize=9, color=INK, path_effects=halo, **place)
