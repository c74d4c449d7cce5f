"""The report's figures, drawn by matplotlib as SVG that keeps its text as text. No pyplot, no global state.

Suffixes: S seeds, N tasks, K episodes.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icrl.abilities import Pictures
from icrl.eval.measures import normalise
from icrl.eval.summary import Evaluation
from icrl.tasks import task_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, FAINT = "#0f172a", "#64748b", "#e2e8f0"
MODEL, OPTIMUM, SOURCE, RANDOM = "#4338ca", "#0d9488", "#d97706", "#94a3b8"
HEAT = ("#f8fafc", "#dfe3fb", "#a5acf3", "#6d6ce6", "#4338ca", "#272068")
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LEVEL = (0, (5, 3))
"""The dashes of a level or line that nobody had to learn."""
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "icrl",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.edgecolor": "#cbd5e1",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Line:
    """One curve, and the label at its end."""

    label: str
    colour: str
    values: NDArray[np.float64]
    """Shape `(K,)`, from episode 1 on; it may be shorter than the figure."""
    band: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    """Both ends of the interval, `(K,)` each."""
    dashes: str | tuple = "-"
    width: float = 1.6


@contextmanager
def _figure(width: float, height: float) -> Iterator["Figure"]:
    """A figure of that size in inches, in the report's style; text falls back on no system font, without a word."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        yield Figure(figsize=(width, height))


def as_svg(figure: "Figure", name: str) -> str:
    """A figure as an `<svg>` element of its own: no fixed size, and ids that start with `name`."""
    from matplotlib import rc_context

    buffer = StringIO()
    # No date: the same evaluation gives the same bytes.
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    head, _, body = svg.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    svg = f"{head}>{body}"
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", svg)
    return re.sub(r"'?DejaVu Sans'?(, [^;\"]*)?", FONTS, svg).strip()


def as_standalone_svg(svg: str, width: int) -> str:
    """An `<svg>` element as a file of its own, on a white ground, `width` pixels wide unless told otherwise."""
    ground = '<rect width="100%" height="100%" fill="white"/>'
    head, _, body = svg.partition(">")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head} width="{width}">{ground}{body}\n'


def as_png(figure: "Figure") -> bytes:
    """A figure as a PNG on a white ground."""
    from matplotlib import rc_context

    buffer = BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def adaptation_figure(e: Evaluation) -> "Figure":
    """Return against episode: the model with its band, between random and optimum, beside its source learner."""
    episodes = e.returns.shape[-1]
    unit = e.family.unit
    low, high = e.resamples.interval(e.returns)
    curve = e.returns.mean(axis=(0, 1))
    lines = [Line("random actions", RANDOM, np.full(episodes, e.anchors.random.mean()), dashes=LEVEL)]
    if e.anchors.zero_action is not None:
        lines.append(Line("action zero", RANDOM, np.full(episodes, e.anchors.zero_action.mean()), dashes=LEVEL))
    if e.bayes is not None:
        lines.append(Line(e.bayes.rule, OPTIMUM, e.bayes.returns, dashes=(0, (1, 1.6)), width=2.0))
    if e.source is not None:
        own = e.source.returns.mean(axis=(0, 1))[:episodes]
        lines.append(Line(f"{e.source.learner}, the source", SOURCE, own))
        if e.source.keep_every > 1:
            kept = e.source.recorded.mean(axis=(0, 1))[:episodes]
            every = f"{e.source.learner}, every {ordinal(e.source.keep_every)} {unit}"
            lines.append(Line(every, SOURCE, kept, dashes=(0, (1, 1.6)), width=2.0))
    lines.append(Line("frozen model, in context", MODEL, curve, (low, high), width=2.6))
    # Last, so that its name stands above that of a curve which reaches it.
    if e.anchors.known:
        level = np.full(episodes, e.anchors.optimum.mean())
        lines.append(Line(f"{e.family.best_policy}, task known", OPTIMUM, level, dashes=LEVEL))
    return _curves(lines, episodes, f"{unit} on a task it never saw" if e.new else unit, f"return per {unit}")


def regret_figure(e: Evaluation) -> "Figure":
    """Cumulative regret against pulls: the lower the better."""
    pulls = e.regret.shape[-1]
    cumulative = e.regret.cumsum(axis=-1)
    gap = (e.anchors.optimum - e.anchors.random).mean()
    lines = [Line("random arms", RANDOM, gap * np.arange(1, pulls + 1), dashes=LEVEL)]
    if e.source is not None:
        own = e.source.regret.cumsum(axis=-1)[..., :pulls]
        lines.append(Line(f"{e.source.learner}, the source", SOURCE, own.mean(axis=(0, 1)), e.resamples.interval(own)))
    lines.append(
        Line(
            "frozen model, in context",
            MODEL,
            cumulative.mean(axis=(0, 1)),
            e.resamples.interval(cumulative),
            width=2.6,
        )
    )
    shown = max(line.values[-1] for line in lines[1:])
    return _curves(lines, pulls, "pull", "regret so far", top=2.4 * shown)


def _make_room(axes: "Axes") -> None:
    """Moves the left edge so far in that wide numbers do not push the axis's name out of the figure."""
    figure = axes.get_figure()
    left = axes.yaxis.get_tightbbox().x0 / figure.bbox.width
    if (over := 0.006 - left) > 0:
        place = axes.get_position()
        axes.set_position((place.x0 + over, place.y0, place.width - over, place.height))


def _curves(lines: list[Line], episodes: int, xlabel: str, ylabel: str, top: float | None = None) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    with _figure(9.6, 4.5) as figure:
        axes = figure.add_axes((0.062, 0.125, 0.672, 0.845))
        x = np.arange(1, episodes + 1)
        for line in lines:
            here = x[: len(line.values)]
            if line.band is not None:
                axes.fill_between(
                    here, *(side[: len(here)] for side in line.band), color=line.colour, alpha=0.16, lw=0
                )
            order = 2 + line.width
            axes.plot(
                here,
                line.values,
                color=line.colour,
                ls=line.dashes,
                lw=line.width,
                solid_capstyle="round",
                zorder=order,
            )
            if line.dashes != LEVEL:
                end = here[-1:], line.values[-1:]
                axes.plot(*end, "o", color=line.colour, ms=line.width + 1.6, clip_on=False, zorder=order)
        axes.set_xlim(1, max(2, episodes))
        low, high = axes.get_ylim()
        lowest = min(np.min(line.values) for line in lines)
        axes.set_ylim(min(low, 0.0) if lowest < 0 else -0.015 * high, high if top is None else min(high, top))
        axes.set_xticks(_ticks(episodes))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.grid(axis="y", color=FAINT, lw=0.8)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        _make_room(axes)
        _label_ends(axes, lines, episodes)
    return figure


def _label_ends(axes: "Axes", lines: list[Line], episodes: int) -> None:
    """Names each curve to the right of the axes at the height where it ends, moved apart where names would collide."""
    low, high = axes.get_ylim()
    for line in lines:
        if line.values[-1] > high:
            leaves = 1 + int(np.argmax(line.values > high))
            axes.text(leaves - 0.03 * episodes, high, line.label, color=MUTED, ha="right", va="top", fontsize=10.5)
    lines = [line for line in lines if line.values[-1] <= high]
    height = (high - low) * 0.062
    ends = np.clip([line.values[-1] for line in lines], low, high)
    places = spread(ends, height, low, high)
    right = max(2, episodes)
    for line, end, place in zip(lines, ends, places, strict=True):
        begin = min(len(line.values), right)
        axes.annotate(
            "",
            xy=(begin, end),
            xytext=(right + 0.022 * (right - 1), place),
            arrowprops={
                "arrowstyle": "-", "color": line.colour, "lw": 0.8, "alpha": 0.55, "shrinkA": 0, "shrinkB": 0,
                "ls": (0, (1, 2)) if begin < right else "-",
            },
            annotation_clip=False,
        )  # fmt: skip
        axes.text(
            right + 0.03 * (right - 1),
            place,
            line.label,
            color=line.colour if line.colour != RANDOM else MUTED,
            va="center",
            fontsize=10.5,
            fontweight="bold" if line.colour == MODEL else "normal",
            clip_on=False,
        )


def spread(wanted: NDArray[np.float64], gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Positions near the wanted ones, in the same order, at least `gap` apart and inside [low, high].

    Neighbours that are too near are pushed apart by equal parts until none is.
    """
    order = np.argsort(wanted, kind="stable")
    places = np.asarray(wanted, float)[order]
    below = gap * np.arange(len(places))
    for _ in range(200):
        overlap = np.maximum(gap - np.diff(places), 0.0)
        if not len(overlap) or overlap.max() < 1e-9 * max(1.0, abs(gap)):
            break
        places[:-1] -= 0.5 * overlap
        places[1:] += 0.5 * overlap
        places = np.minimum(np.maximum(places, low + below), high - below[::-1])
    found = np.empty_like(places)
    found[order] = places
    return found


def heat_figure(e: Evaluation) -> "Figure":
    """Tasks × episodes, the quickest learner on top; colour is the return as a share of the way to the optimum, or,
    where that is not known, from the lowest return to the highest."""
    from matplotlib.colors import LinearSegmentedColormap

    # A single pull pays by luck: what the arm pays on average shows what was learned.
    returns = e.returns if e.regret is None else e.anchors.optimum[:, None] - e.regret
    low, high, names = 0.0, 1.0, ["random", "25%", "50%", "75%", e.family.best_policy]
    if e.anchors.known:
        share_NK = normalise(returns, e.anchors).mean(axis=0)
    else:
        share_NK = returns.mean(axis=0)
        low, high = float(share_NK.min()), float(share_NK.max())
        high = high if high > low else low + 1.0
        names = [f"{value:.4g}" for value in np.linspace(low, high, 5)]
    order = np.argsort(-share_NK.mean(axis=1), kind="stable")
    num_tasks, episodes = share_NK.shape
    named = num_tasks <= 32
    height = float(np.clip(1.25 + 0.21 * num_tasks, 2.4, 6.5))
    with _figure(9.6, height) as figure:
        bottom, top = 0.5 / height, 1 - 0.12 / height
        axes = figure.add_axes((0.1, bottom, 0.8, top - bottom))
        colours = LinearSegmentedColormap.from_list("heat", HEAT)
        picture = axes.imshow(
            share_NK[order],
            cmap=colours,
            vmin=low,
            vmax=high,
            aspect="auto",
            interpolation="none",
            extent=(0.5, episodes + 0.5, num_tasks - 0.5, -0.5),
        )
        axes.set_xticks(_ticks(episodes))
        axes.set_xlabel(e.family.unit)
        if named:
            axes.set_yticks(np.arange(num_tasks), [task_name(e.tasks[n]) for n in order], fontsize=9)
        else:
            axes.set_yticks([])
            axes.set_ylabel(f"{num_tasks:,} tasks, quickest on top")
        for spine in axes.spines.values():
            spine.set_visible(False)
        scale = figure.add_axes((0.91, bottom, 0.013, top - bottom))
        bar = figure.colorbar(picture, cax=scale, ticks=np.linspace(low, high, 5))
        bar.ax.set_yticklabels(names, fontsize=9)
        bar.outline.set_visible(False)
        # Names are as long as a family's parameters want them: what they leave is the picture's.
        figure.canvas.draw()
        width, (ours, theirs) = figure.bbox.width, (part.get_tightbbox() for part in (axes, scale))
        left, right = 0.005 + 0.1 - ours.x0 / width, 0.995 - (theirs.x1 / width - 0.91)
        axes.set_position((left, bottom, right - 0.02 - left, top - bottom))
        scale.set_position((right, bottom, 0.013, top - bottom))
    return figure


def picture_figures(e: Evaluation, n: int, pictures: Pictures) -> list[tuple[str, "Figure"]]:
    """Task n's recorded rollout as pictures from first to last episode: (caption, figure) each."""
    history = e.rollout.histories[0, n]
    episodes = e.returns.shape[-1]
    figures = []
    for group in pictures.groups(episodes, e.config.pictures):
        with _figure(2.4, 2.4) as figure:
            axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
            axes.spines[:].set_visible(True)
            pictures.draw(axes, e.tasks[n], history.take_episodes(group))
            # The caption says what the picture's own small print would.
            earned = axes.get_xlabel()
            axes.set_xlabel("")
        unit = e.family.unit.capitalize()
        span = f"{group.start + 1}" if group.stop == group.start + 1 else f"{group.start + 1}–{group.stop}"
        plural = "s" if group.stop > group.start + 1 else ""
        figures.append((f"{unit}{plural} {span}|{earned}", figure))
    return figures


def typical_task(e: Evaluation) -> int:
    """The recorded task of seed 0 whose return over all episodes is the median one.

    Over all of them, since many tasks end alike: at the optimum.
    """
    recorded = sorted(n for s, n in e.rollout.histories if s == 0)
    total = (e.normalised if e.anchors.known else e.returns)[0, recorded].mean(axis=-1)
    return recorded[int(np.argsort(total, kind="stable")[(len(recorded) - 1) // 2])]


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _ticks(episodes: int) -> list[int]:
    """1, then round numbers up to the last episode."""
    step = next(s for s in (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 10**6) if episodes / s <= 8)
    return [1, *(k for k in range(step, episodes + 1, step) if k > 1)]
