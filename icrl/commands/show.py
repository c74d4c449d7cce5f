"""`icrl show FAMILY`: a few tasks of a family and a rollout of its reference policy, in one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icrl.abilities import pictures_of
from icrl.envs import make_family
from icrl.envs.kit.drawing import REWARD_SO_FAR
from icrl.envs.kit.episodes import policy_history, uniform_policy
from icrl.errors import UsageError
from icrl.files import whole_file
from icrl.tasks import ReferencePolicy, Task, TaskFamily, check_count, task_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANDOM = "random"
SUFFIXES = (".png", ".svg", ".pdf")
ACROSS = 6
"""Panels in a row, at most."""
PULLS = 60
"""Where an episode is a single pull: so many of them make a picture."""


def show(
    family: str,
    out: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    tasks: int = 4,
    split: str = "test",
    policy: str | None = None,
    episodes: int | None = None,
    seed: int = 0,
) -> Path:
    """Draws the picture into the file `out` and returns it.

    Args:
        family: a name, or the place of a family of your own.
        out: ends in .png, .svg or .pdf.
        options: of the family.
        tasks: how many of the split's tasks are drawn, one panel each.
        policy: a kind of the family's reference policies, or "random"; by default its best one.
        episodes: of each task; by default one, or 60 where an episode is a single pull.
        seed: of the split, the environments and the random policy.

    Raises:
        UsageError: for a family, split, policy or file that cannot be.
    """
    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: expected a file that ends in {', '.join(SUFFIXES)}")
    check_count("tasks", tasks, at_least=1)
    check_count("seed", seed, at_least=0)
    check_count("episodes", 1 if episodes is None else episodes, at_least=1)
    made = make_family(family, **(options or {}))
    kinds = (*made.policy_kinds, RANDOM)
    kind = policy or kinds[0]
    if kind not in kinds:
        raise UsageError(f"{made.name} has no policy {kind!r}; choose from {', '.join(kinds)}")
    chosen = _spread(made.split(seed).named(split), tasks)
    if not chosen:
        raise UsageError(f"{made.name} has no {split} tasks with these options: choose another split")
    figure = _figure(made, chosen, split, kind, episodes or (PULLS if made.is_bandit else 1), seed)
    with whole_file(out) as temporary:
        cut = {"bbox_inches": "tight", "pad_inches": 0.06}  # Long captions stand beyond the figure's edge.
        figure.savefig(temporary, format=out.suffix[1:], dpi=160, facecolor="white", **cut)
    return out


def main(argv: Sequence[str]) -> int:
    """The command line."""
    from icrl.cli import UsageParser, add_family_arguments, family_options

    parser = UsageParser(prog="icrl show", description=__doc__)
    add_family_arguments(parser)
    parser.add_argument("--out", metavar="FILE", help="the picture, .png, .svg or .pdf (default: FAMILY.png)")
    parser.add_argument("--tasks", type=int, default=4, help="panels (default: 4)")
    parser.add_argument(
        "--split", default="test", help="test, validation, train, or an out-of-distribution set (default: test)"
    )
    parser.add_argument("--policy", help="a reference policy, or random (default: the family's best)")
    parser.add_argument("--episodes", type=int, help="of each task (default: 1; of a bandit 60 pulls)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the environments (default: 0)")
    arguments = parser.parse_args(list(argv))
    out = show(
        arguments.family,
        arguments.out or f"{arguments.family.rpartition(':')[2]}.png",
        options=family_options(arguments.option),
        tasks=arguments.tasks,
        split=arguments.split,
        policy=arguments.policy,
        episodes=arguments.episodes,
        seed=arguments.seed,
    )
    print(out)
    return 0


def _spread(tasks: Sequence[Task], count: int) -> list[Task]:
    """Some of the tasks, evenly spaced over all of them."""
    if not tasks:
        return []
    return [tasks[i] for i in np.unique(np.linspace(0, len(tasks) - 1, min(count, len(tasks))).round().astype(int))]


def _policy(family: TaskFamily, task: Task, kind: str, seed: int) -> ReferencePolicy:
    return uniform_policy(family, [task], seed) if kind == RANDOM else family.reference_policy(kind, [task])


def _figure(family: TaskFamily, tasks: Sequence[Task], split: str, kind: str, episodes: int, seed: int) -> "Figure":
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if (pictures := pictures_of(family)) is None:
        raise UsageError(
            f"{family.name} draws nothing: give it draw(axes, task, history), one small picture of a history"
        )
    unit = family.unit if episodes == 1 else f"{family.unit}s"
    with rc_context({"font.family": "DejaVu Sans", "axes.titlesize": 8.5}):
        rows = -(-len(tasks) // ACROSS)
        across = -(-len(tasks) // rows)
        figure = Figure(figsize=(2.55 * max(2, across), 2.75 * rows + 0.45), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.1)
        of = "" if split == "test" else f", {split} tasks"
        title = f"{family.label}{of}: {episodes} {unit} of the {kind} policy"
        figure.suptitle(title, fontsize=10.5, x=0.01, ha="left")
        panels = figure.subplots(rows, across, squeeze=False).ravel()
        for empty in panels[len(tasks) :]:
            empty.set_axis_off()
        names = [task_name(task) for task in tasks]
        if any(name == f"task {task.id}" for name, task in zip(names, tasks, strict=True)):
            names = [f"task {task.id}" for task in tasks]  # One kind of title.
        for axes, task, name in zip(panels, tasks, names, strict=False):
            history = policy_history(family, task, _policy(family, task, kind, seed), episodes, seed, kind)
            pictures.draw(axes, task, history)
            axes.set_title(name, color="#5b6068")
        alike = [axes for axes in panels if axes.get_ylabel() == REWARD_SO_FAR]
        if alike:
            lows, highs = zip(*(axes.get_ylim() for axes in alike), strict=True)
            for axes in alike:
                axes.set_ylim(min(lows), max(highs))
        figure.supxlabel(pictures.shows, fontsize=7.5, color="#5b6068", x=0.01, ha="left")
        figure.canvas.draw()
    return figure
