"""How a source learner learned, over the histories of a dataset: the numbers of the curve, and its picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icrl.files import whole_file

FEW = 10
"""So many points of a curve, or fewer, are marked: a single one would not be seen."""


@dataclass(frozen=True)
class Description:
    """What `inspect` found out."""

    histories: int
    transitions: int
    episode_numbers: NDArray[np.int64]
    """Shape `(K,)`: the learner's numbers of the recorded episodes."""
    learning_curve: NDArray[np.float64]
    """Shape `(K,)`: mean return of each of them, over histories."""
    quartiles: NDArray[np.float64]
    """Shape `(2, K)`: the first and third quartile of the histories' returns."""
    success: NDArray[np.float64] | None
    """Shape `(K,)`: the share of histories in which each of them succeeded; None where nobody tells."""
    random: float
    """The uniform policy's expected return of an episode, a mean over the recorded tasks."""
    optimum: float
    """The task-known optimum, likewise; NaN where it is not known."""


def draw(description: Description, title: str, path: Path) -> None:
    """Writes the curve, with the anchors that are known, as a picture of the kind that the path's ending names."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, MaxNLocator

    numbers, curve = description.episode_numbers, description.learning_curve
    figure = Figure(figsize=(7.2, 4.2), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(numbers, *description.quartiles, color="#2f6db5", alpha=0.16, linewidth=0)
    axes.plot(numbers, curve, color="#2f6db5", linewidth=2.2, marker="o" if len(numbers) <= FEW else None)
    for value, label in ((description.optimum, "task-known optimum"), (description.random, "random policy")):
        if np.isnan(value):
            continue
        axes.axhline(value, color="#8a8f98", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            f"{label} {value:.2f}", (1, value), xycoords=("axes fraction", "data"), xytext=(-4, 4),
            textcoords="offset points", ha="right", color="#5b6068", fontsize=9,
        )  # fmt: skip
    axes.set_title(f"How the source learned: {title}", loc="left", fontsize=12, fontweight="bold")
    axes.xaxis.set_major_locator(FixedLocator(numbers) if len(numbers) <= FEW else MaxNLocator(integer=True))
    axes.set_xlabel("the learner's episode")
    axes.set_ylabel("return (mean, middle half of the histories)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:] or "png")
