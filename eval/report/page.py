"""`report.html`: one self-contained page that a person understands without reading the code."""

from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

import yaml

from icrl.abilities import expected_regret, pictures_of
from icrl.config import config_to_dict
from icrl.eval.config import EMPTY_PROMPT
from icrl.eval.report.figures import (
    adaptation_figure,
    as_png,
    as_standalone_svg,
    as_svg,
    heat_figure,
    ordinal,
    picture_figures,
    regret_figure,
    typical_task,
)
from icrl.eval.report.style import CSS
from icrl.eval.summary import (
    Evaluation,
    in_seeds,
    last_in_words,
    learner_in_words,
    number,
    of_the_way,
    percent,
    tasks_in_words,
)
from icrl.files import write_atomically
from icrl.tasks import task_name

CURVE = "adaptation_curve"


def write_report(e: Evaluation, summary: dict[str, Any], run: Path, out: Path) -> Path:
    """Writes `report.html`, and the adaptation curve alone as SVG and PNG; returns the report's path."""
    save_adaptation_curve(e, out)
    write_atomically(out / "report.html", render(e, summary, run))
    return out / "report.html"


def save_adaptation_curve(e: Evaluation, out: Path) -> None:
    """Writes `adaptation_curve.svg` and `.png` into the folder `out`."""
    figure = adaptation_figure(e)
    write_atomically(out / f"{CURVE}.svg", as_standalone_svg(as_svg(figure, "curve"), width=960))
    write_atomically(out / f"{CURVE}.png", as_png(figure))


def render(e: Evaluation, summary: dict[str, Any], run: Path) -> str:
    """The page: the result, then how it came about, then how it was made."""
    title = f"In-context learning on {e.family.name}"
    parts = [
        f'<p class="eyebrow">In-context reinforcement learning · {escape(e.family.label)}</p>',
        f"<h1>{escape(_headline(summary))}</h1>",
        f'<p class="lead">{escape(summary["result"])}</p>',
        _tiles(e, summary),
        _section(
            "How it adapts",
            _curve_text(e),
            _svg(as_svg(adaptation_figure(e), "curve"), "return against episode, with references"),
        ),
    ]
    if e.regret is not None:
        parts.append(_section("What learning cost", _regret_text(e, summary), _regret_svg(e)))
    parts += [
        _section(
            f"Every task, every {_unit(e)}",
            _heat_text(e),
            _svg(as_svg(heat_figure(e), "heat"), "return by task and episode"),
        ),
        _pictures(e),
        _section("The numbers", _numbers_text(e), _table(summary, _unit(e))),
        *([_success(summary, _unit(e))] if "success" in summary else []),
        _section("How this was made", "", _made(e, summary, run)),
        _section("Glossary", "", _glossary(e)),
        f"<footer>Made by icrl {escape(_version('icrl'))}. The same numbers are in summary.json, "
        "every return in scores.parquet.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{CSS}\n</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _headline(summary: dict[str, Any]) -> str:
    """What the numbers allow to be said, no more."""
    gain = summary["raw"]["gain"]
    where = "new tasks" if not summary["seen_in_training"] else "its training tasks"
    if (summary.get("behave_as_trained") or {}).get("tasks"):
        where = "tasks that do what its training tasks do"
    if gain["ci_low"] > 0:
        return f"A frozen model learns {where} from experience alone"
    if gain["ci_high"] < 0:
        return f"A frozen model gets worse on {where} over its episodes"
    return f"A frozen model does not measurably improve on {where}"


def _tiles(e: Evaluation, summary: dict[str, Any]) -> str:
    raw, optimum = summary["raw"], summary["anchors"]["optimum"]
    unit, last = _unit(e), last_in_words(summary)
    first = "return in the first " + unit + (", before it knows anything" if e.config.prompt == EMPTY_PROMPT else "")
    best = "the best possible" if summary["anchors"]["optimum_is"] == "optimum" else "a scripted expert"
    tiles = [
        (number(raw["zero_shot"]["mean"], optimum), first, ""),
        (number(raw["last5"]["mean"], optimum), f"return in the last {last} of {summary['episodes']} {unit}s", "main"),
        ("not known", "the best possible, knowing the task", "")
        if optimum is None
        else (number(optimum), f"{best}, knowing the task", ""),
        (number(summary["anchors"]["random"]), "random actions", "")
        if optimum is None
        else (of_the_way(summary), f"of the way from random actions to the {e.family.best_policy}, at the end", ""),
        (f"{summary['tasks']:,}", f"{_without_count(tasks_in_words(summary))}, {in_seeds(summary['seeds'])} each", ""),
    ]
    if "regret" in summary:
        regret = summary["regret"]
        text = f"regret over {regret['pulls']} pulls"
        if "source" in regret:
            text += f"; {escape(summary['source']['learner'])} has {number(regret['source']['mean'])}"
        tiles[3] = (number(regret["model"]["mean"]), text, "main")
        tiles[1] = (*tiles[1][:2], "")
    cells = "".join(f'<div class="tile {kind}"><b>{value}</b><span>{text}</span></div>' for value, text, kind in tiles)
    return f'<div class="tiles">{cells}</div>'


def _unit(e: Evaluation) -> str:
    return e.family.unit


def _without_count(words: str) -> str:
    return words.partition(" ")[2]


def _section(title: str, text: str, body: str) -> str:
    shown = f'<p class="note">{text}</p>' if text else ""
    return f"<section>\n<h2>{title}</h2>\n{shown}{body}\n</section>"


def _svg(svg: str, label: str) -> str:
    return f'<div class="figure" role="img" aria-label="{escape(label)}">{svg}</div>'


def _curve_text(e: Evaluation) -> str:
    unit = _unit(e)
    own = f"its own earlier {unit}s"
    read = own if e.config.prompt == EMPTY_PROMPT else f"its prompt, a history of the source learner's, and then {own}"
    text = (
        f"Each {unit}'s return, averaged over tasks and seeds. The weights never change: whatever the model gains "
        f"from left to right, it gains by reading {read}. The band is a 95% interval over seeds and "
        "tasks."
    )
    if e.source is not None and e.source.keep_every > 1:
        own, kept = e.source.returns.shape[-1], e.source.recorded.shape[-1]
        text += (
            f" The source learner, {escape(e.source.learner)}, needed {own} {unit}s of its own on each task "
            f"(solid: the first of them); the model was trained on every {ordinal(e.source.keep_every)} "
            f"(dotted: those {kept})."
        )
    elif e.source is not None:
        of_data = f"The source learner, {escape(e.source.learner)}, is what the data came from."
        text += f" {of_data if e.config.learner is None else f'Beside it, the learner {escape(e.source.learner)}.'}"
    return text


def _knows_arms(e: Evaluation) -> bool:
    return e.regret is not None and expected_regret(e.family, e.tasks[0], e.rollout.histories[0, 0]) is not None


def _regret_text(e: Evaluation, summary: dict[str, Any]) -> str:
    earned = "the arm that was pulled pays on average" if _knows_arms(e) else "was paid"
    text = f"Regret adds up, pull by pull, what the best arm pays on average beyond what {earned}."
    if ratio := summary["regret"].get("ratio"):
        text += (
            f" Over {summary['regret']['pulls']} pulls the model's is {ratio['mean']:.2f} times that of "
            f"{escape(learner_in_words(summary))} (95% interval {ratio['ci_low']:.2f} to {ratio['ci_high']:.2f})."
        )
    return text


def _regret_svg(e: Evaluation) -> str:
    return _svg(as_svg(regret_figure(e), "regret"), "cumulative regret against pulls")


def _heat_text(e: Evaluation) -> str:
    scale = (
        f"White is what random actions earn, dark the {e.family.best_policy} of that task."
        if e.anchors.known
        else "White is the lowest of these returns, dark the highest."
    )
    return (
        f"One row per task, the quickest to be learned on top; from left to right its {_unit(e)}s, averaged over "
        f"{in_seeds(e.config.seeds)}. {scale}"
        + (" Each pull counts as what its arm pays on average." if _knows_arms(e) else "")
    )


def _pictures(e: Evaluation) -> str:
    """A task from first to last; nothing of a family that does not draw."""
    if (pictures := pictures_of(e.family)) is None:
        return ""
    n = typical_task(e)
    cards = []
    for i, (caption, figure) in enumerate(picture_figures(e, n, pictures)):
        when, _, earned = caption.partition("|")
        cards.append(
            f"<figure>{as_svg(figure, f'picture{i}')}<figcaption>{escape(when)}<span>{escape(earned)}</span>"
            "</figcaption></figure>"
        )
    text = (
        f"From the first {_unit(e)} to the last on {escape(task_name(e.tasks[n]))}: of the tasks, the one that is "
        "learned neither quickly nor slowly, the median. "
    )
    text += pictures.shows
    return _section("One task, as it happened", text, f'<div class="pictures">{"".join(cards)}</div>')


def _numbers_text(e: Evaluation) -> str:
    return "Mean with its 95% interval (bootstrap over seeds, then tasks), and the interquartile mean (IQM)." + (
        f" Normalised: 0 is random, 1 the {e.family.best_policy} that knows the task." if e.anchors.known else ""
    )


def _table(summary: dict[str, Any], unit: str) -> str:
    source = summary.get("source")
    optimum = summary["anchors"]["optimum"]
    last = last_in_words(summary)
    first = "Zero-shot" if summary["prompt"] == EMPTY_PROMPT else "After the prompt"
    names = {
        "zero_shot": (first, f"the first {unit}"),
        "last5": (f"Last {last}", f"mean of the last {last} {unit}s"),
        "gain": ("Gain", f"last {last} less {first.lower()}"),
        "auc": ("Area under the curve", f"mean over all {unit}s"),
    }
    head = ["", "return", "IQM", *(["normalised", "IQM"] if summary["normalised"] else [])]
    if source:
        head.append(f"{escape(source['learner'])}, {source['episodes']} {unit}s")
    rows = []
    for key, (name, meaning) in names.items():
        raw = summary["raw"][key]
        low, high = number(raw["ci_low"], optimum), number(raw["ci_high"], optimum)
        cells = [
            f"{name}<small>{meaning}</small>",
            f"<b>{number(raw['mean'], optimum)}</b><small>{low} to {high}</small>",
            number(raw["iqm"], optimum),
        ]
        if summary["normalised"]:
            z = summary["normalised"][key]
            cells += [
                f"{z['mean']:.2f}<small>{z['ci_low']:.2f} to {z['ci_high']:.2f}</small>",
                f"{z['iqm']:.2f}",
            ]
        if source:
            cells.append(number(source["raw"][key]["mean"], optimum))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = "".join(f"<th>{cell}</th>" for cell in head)
    return f'<div class="scroll"><table><tr>{header}</tr>{"".join(rows)}</table></div>'


def _success(summary: dict[str, Any], unit: str) -> str:
    last, source = last_in_words(summary), summary.get("source")
    source = source if source and "success" in source else None
    first = "First" if summary["prompt"] == EMPTY_PROMPT else "First after the prompt"
    names = {
        "zero_shot": (first, f"the first {unit}"),
        "last5": (f"Last {last}", f"the last {last} {unit}s"),
        "any": ("Any", f"tasks and seeds with a success in any {unit}"),
    }
    rows = []
    for key, (name, meaning) in names.items():
        of = summary["success"][key]
        interval = f"<small>{percent(of['ci_low'])} to {percent(of['ci_high'])}</small>"
        cells = [f"{name}<small>{meaning}</small>", f"<b>{percent(of['mean'])}</b>{interval}"]
        cells += [percent(source["success"][key]["mean"])] if source else []
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ["", "succeeded", *([f"{escape(source['learner'])}, {source['episodes']} {unit}s"] if source else [])]
    table = f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{''.join(rows)}</table>"
    text = f"Share of {unit}s in which any step was a success by the environment's own word, with its 95% interval."
    return _section("Success", text, f'<div class="scroll">{table}</div>')


def _made(e: Evaluation, summary: dict[str, Any], run: Path) -> str:
    p, c = e.provenance, e.config
    options, family = (
        ", ".join(f"{name} {value}" for name, value in given.items() if value not in ("", []))
        for given in (p.learner_options, p.family_options)
    )
    kept = "all kept" if p.keep_every == 1 else f"every {ordinal(p.keep_every)} kept"
    prompt = "empty" if c.prompt == EMPTY_PROMPT else f"histories of the same tasks from {c.prompt}"
    action = "sampled from the model's distribution" if c.action == "sample" else "the likeliest (greedy)"
    versions = " · ".join(f"{name} {_version(name)}" for name in ("icrl", "torch", "transformers", "numpy"))
    step = summary["model"].get("step")
    trained = "" if step is None else f", after {step:,} steps of training"
    facts = [
        ("Task family", f"{e.family.label}: {family}. Source: {e.family.source}"),
        *([("Changed", f"{e.changed_family}, since the data were recorded; accepted")] if e.changed_family else []),
        ("Split", f"{c.split}, of split seed {p.split_seed}; histories were recorded on the {p.recorded_split} tasks"),
        ("Training data", f"histories per task: {p.histories_per_task:,}, of {p.learner} ({options}), {p.episodes:,} "
                          f"{_unit(e)}s each, {kept}; seed {p.seed}"),
        ("Model", f"{summary['model']['parameters']:,} parameters, context of {summary['model']['context_length']:,} "
                  f"transitions{trained}; weights sha256 {summary['model']['sha256'][:16]}…"),
        ("Evaluation", f"{summary['tasks']:,} tasks × {in_seeds(c.seeds)} × {c.episodes} {_unit(e)}s; "
                       f"prompt {prompt}; actions {action}; seed {c.seed}"),
        ("Speed", f"{summary['env_steps_per_second']:,.0f} environment steps a second on {c.device}"),
        ("Versions", f"{versions} · Python {python_version()}"),
    ]  # fmt: skip
    listed = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    details = _details("Evaluation config", yaml.safe_dump(config_to_dict(c), sort_keys=False))
    training = run / "config.yaml"
    if training.is_file():
        details += _details("Training config", training.read_text(encoding="utf-8", errors="replace"))
    return f"<dl>{listed}</dl>{details}"


def _details(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary><pre>{escape(text.strip())}</pre></details>"


def _glossary(e: Evaluation) -> str:
    words = [
        ("In-context learning", "The model's weights are frozen. It gets better because its input grows: the actions, "
                                "rewards and observations of its earlier episodes on the task are in its context."),
        ("Return", "The sum of an episode's rewards."),
        ("Random", "What uniformly random actions earn on average, "
                   f"{'measured' if e.anchors.measured else 'computed exactly'}."),
        ("Source learner", "The ordinary learning algorithm whose histories the model was trained on. Here it learns "
                           "the same tasks from scratch."),
        ("Context", "How much the model reads at once. When it is full, the newest part is kept and acting goes on."),
    ]  # fmt: skip
    if e.config.split == "test" and e.new:
        words.append(
            (
                "Held-out task",
                "A task of the test split. The model has seen no history of it, nor was it chosen by it.",
            )
        )
    if e.anchors.known and e.family.best_policy == "optimum":
        meaning = "What the best policy earns that is told the task. Nobody who must find the task out can earn it in "
        words.append(("Optimum", f"{meaning}the first episode."))
    elif e.anchors.known:
        words.append(("Scripted expert", "A program that is told the task, and good at it; a better one may exist."))
    if e.family.is_bandit:
        words.append(("Pull", "One choice of an arm: an episode of one step. A trial is a row of pulls on one task."))
    return '<dl class="glossary">' + "".join(f"<dt>{escape(w)}</dt><dd>{escape(m)}</dd>" for w, m in words) + "</dl>"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
