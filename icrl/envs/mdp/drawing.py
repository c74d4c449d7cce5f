"""A small picture of a tabular MDP: its states on a ring, its mean rewards, and the way an agent took."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.drawing import EARLY_TO_LATE, INK, WALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

OUTER, INNER = 0.19, 0.105
"""Radii of a state's ring of actions."""
LOWEST, HIGHEST = -1.0, 3.0
"""Mean rewards at the ends of the colour scale: two standard deviations of the prior either side of its mean."""


def draw_mdp(axes: "Axes", reward_SA: NDArray[np.float64], history: "LearningHistory") -> None:
    """Draws each state as a ring of its actions, coloured by mean reward from low (pale) to high (dark).

    The actions taken are outlined, and a curve leads from state to state, dark at an episode's start and bright at
    its end.

    Args:
        axes: to draw on.
        reward_SA: true mean rewards.
        history: whole episodes.
    """
    from matplotlib import colormaps
    from matplotlib.patches import Circle, FancyArrowPatch, Wedge
    from matplotlib.path import Path

    states, actions = reward_SA.shape
    angle_S = np.pi / 2 - 2 * np.pi * np.arange(states) / states
    centre_S2 = np.stack((np.cos(angle_S), np.sin(angle_S)), axis=1)
    axes.set(xlim=(-1.32, 1.32), ylim=(-1.32, 1.32), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    shade, time = colormaps["Oranges"], colormaps[EARLY_TO_LATE]
    taken = set(zip(history.observations.tolist(), history.actions.tolist(), strict=True))
    scale = min(1.0, 10 / states)
    for state, (x, y) in enumerate(centre_S2):
        for action in range(actions):
            share = np.clip((reward_SA[state, action] - LOWEST) / (HIGHEST - LOWEST), 0.0, 1.0)
            chosen = (state, action) in taken
            wedge = Wedge(
                (x, y),
                OUTER * scale,
                90 - 360 * (action + 1) / actions,
                90 - 360 * action / actions,
                width=(OUTER - INNER) * scale,
                facecolor=shade(0.05 + 0.85 * share),
                edgecolor=INK if chosen else "white",
                linewidth=1.2 if chosen else 0.5,
                zorder=5 if chosen else 4,
            )
            axes.add_patch(wedge)
        axes.add_patch(Circle((x, y), INNER * scale, facecolor="white", edgecolor=WALL, linewidth=0.5, zorder=6))
        axes.text(x, y, str(state), ha="center", va="center", fontsize=6.5 * scale, color=INK, zorder=7)
    ends = np.flatnonzero(history.dones) + 1
    for episode, (first, last) in enumerate(zip(np.concatenate(([0], ends[:-1])), ends, strict=True)):
        visited = np.append(history.observations[first:last], history.final_observations[episode])
        for step, (here, there) in enumerate(pairwise(visited)):
            colour = time(0.92 * step / max(1, len(visited) - 2))
            if here == there:
                outwards = centre_S2[here] * (1 + 1.25 * OUTER * scale)
                axes.add_patch(Circle(outwards, 0.07 * scale, fill=False, edgecolor=colour, linewidth=1.3, zorder=3))
                continue
            way = Path(
                _arc(centre_S2[here], centre_S2[there], 1.12 * OUTER * scale),
                [Path.MOVETO, Path.CURVE3, Path.CURVE3],
            )
            axes.add_patch(
                FancyArrowPatch(
                    path=way, arrowstyle="-|>", mutation_scale=7, color=colour, linewidth=1.3, fill=True, zorder=3
                )
            )
    axes.plot(*centre_S2[history.observations[0]], alpha=0.0)  # What is drawn as patches counts as no data.
    axes.set_xlabel(f"return {history.rewards.sum() / max(1, len(ends)):.4g}", fontsize=8, color=INK)


def _arc(start_2: NDArray[np.float64], end_2: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Control points, shape `(3, 2)`, of a curve from one state to another that keeps `gap` away from both centres.

    It bends to its left, so that the ways to and fro are two lines.
    """
    right, up = end_2 - start_2
    middle_2 = (start_2 + end_2) / 2 + 0.18 * np.array([-up, right])

    def blossom(a: float, b: float) -> NDArray[np.float64]:
        first = (1 - a) * start_2 + a * middle_2
        second = (1 - a) * middle_2 + a * end_2
        return (1 - b) * first + b * second

    share = np.linspace(0.0, 0.5, 101)
    distance = np.array([np.linalg.norm(blossom(t, t) - start_2) for t in share])
    cut = share[np.searchsorted(distance, gap)]
    return np.stack((blossom(cut, cut), blossom(cut, 1 - cut), blossom(1 - cut, 1 - cut)))
