"""What an evaluation found: the arrays, the numbers of `summary.json`, and the result in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.abilities import BayesPlay
from icrl.eval.bootstrap import Resamples, percentile_interval
from icrl.eval.config import EMPTY_PROMPT, EvaluateConfig
from icrl.eval.measures import LAST, measure, normalise, summarise, summarise_success
from icrl.eval.references import SourceRun
from icrl.eval.rollout import Rollout
from icrl.eval.targets import BEST
from icrl.provenance import Provenance
from icrl.tasks import Anchors, Task, TaskFamily

INTERVAL = "mean"
"""The statistic that `ci_low` and `ci_high` belong to: it is the one that the curves and the sentence show."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that the summary and the report are made from."""

    config: EvaluateConfig
    provenance: Provenance
    family: TaskFamily
    tasks: Sequence[Task]
    anchors: Anchors
    rollout: Rollout
    regret: NDArray[np.float64] | None
    """The model's regret in each pull, shape `(S, N, K)`, where an episode is a single pull."""
    source: SourceRun | None
    bayes: BayesPlay | None
    """What the Bayes-optimal agent earns on these tasks in each of K episodes; None where it cannot be computed, or is
    not of these tasks."""
    resamples: Resamples
    model: dict[str, Any]
    """Facts about the model: `parameters`, `context_length`, `sha256`, `step` (None where it says none)."""
    changed_family: str | None = None
    """What the family does otherwise than when the data were recorded, which the user has accepted."""
    behave_as_trained: dict[str, int] | None = None
    """Of a family of somebody's own: how many "tasks" do what a task does that the model was trained on, and "of" how
    many that is known."""
    targets: NDArray[np.float64] | None = None
    """The return that each task's episodes were to come to, shape `(N,)`; None where the method takes none."""

    @property
    def returns(self) -> NDArray[np.float64]:
        """Shape `(S, N, K)`."""
        return self.rollout.returns

    @property
    def success(self) -> NDArray[np.bool_] | None:
        """Shape `(S, N, K)`; None where the environments do not tell."""
        return self.rollout.success

    @property
    def normalised(self) -> NDArray[np.float64]:
        """Shape `(S, N, K)`; NaN where the optimum is not known."""
        return normalise(self.returns, self.anchors)

    @property
    def seen(self) -> bool:
        """Whether the model was trained on histories of these very tasks."""
        return self.config.split == self.provenance.recorded_split

    @property
    def new(self) -> bool:
        """Whether they are tasks that the model never saw, under no other number either."""
        return not self.seen and not (self.behave_as_trained or {}).get("tasks")


def make_summary(evaluation: Evaluation) -> dict[str, Any]:
    """The contents of `summary.json`; every number is finite."""
    e = evaluation
    seeds, tasks, episodes = e.returns.shape
    summary: dict[str, Any] = {
        "raw": summarise(e.returns, e.resamples),
        "normalised": summarise(e.normalised, e.resamples) if e.anchors.known else None,
        "anchors": _anchors(e),
        "tasks": tasks,
        "episodes": episodes,
        "seeds": seeds,
        "split": e.config.split,
        "seen_in_training": e.seen,
        "env_steps_per_second": e.rollout.env_steps / max(e.rollout.seconds, 1e-9),
        "interval": INTERVAL,
        "family": e.family.label,
        "action": e.config.action,
        "prompt": e.config.prompt,
        "model": e.model,
    }
    if e.targets is not None:
        summary["target"] = {"asked": float(e.targets.mean()), "named": e.config.target_return or BEST}
    if e.changed_family:
        summary["changed_family"] = e.changed_family
    if e.success is not None:
        summary["success"] = summarise_success(e.success, e.resamples)
    if e.behave_as_trained is not None:
        summary["behave_as_trained"] = e.behave_as_trained
    if e.source is not None:
        summary["source"] = {
            "learner": e.source.learner,
            "of_data": e.config.learner is None,
            "episodes": e.source.returns.shape[-1],
            "keep_every": e.source.keep_every,
            "raw": summarise(e.source.returns, e.resamples),
            "normalised": (
                summarise(normalise(e.source.returns, e.anchors), e.resamples) if e.anchors.known else None
            ),
        }
    if e.source is not None and e.source.success is not None:
        summary["source"]["success"] = summarise_success(e.source.success, e.resamples)
    if e.regret is not None:
        summary["regret"] = _regret(e)
    summary["result"] = in_words(summary)
    return summary


def _anchors(e: Evaluation) -> dict[str, Any]:
    """Means over the tasks; None for an optimum that nobody knows."""
    found: dict[str, Any] = {
        "random": float(e.anchors.random.mean()),
        "optimum": float(e.anchors.optimum.mean()) if e.anchors.known else None,
        "optimum_is": e.family.best_policy,
        "measured": e.anchors.measured,
    }
    if e.anchors.zero_action is not None:
        found["zero_action"] = float(e.anchors.zero_action.mean())
    if e.bayes is not None:
        found["bayes_optimal"] = {
            "rule": e.bayes.rule, **{key: float(value) for key, value in measure(e.bayes.returns).items()},
        }  # fmt: skip
    return found


def _regret(e: Evaluation) -> dict[str, Any]:
    """Cumulative regret over the trial: of the model, of its source, and their ratio, each with its interval.

    Where the trials differ in length the shorter one counts. The ratio's interval resamples both together, since they
    met the same tasks.
    """
    pulls = e.regret.shape[-1] if e.source is None else min(e.regret.shape[-1], e.source.regret.shape[-1])
    model_SN = e.regret[..., :pulls].sum(axis=-1)
    model_B = e.resamples.means(model_SN)
    found: dict[str, Any] = {"pulls": pulls, "model": _with_interval(model_SN.mean(), model_B)}
    if e.source is not None:
        source_SN = e.source.regret[..., :pulls].sum(axis=-1)
        source_B = e.resamples.means(source_SN)
        found["source"] = _with_interval(source_SN.mean(), source_B)
        # A source without any regret (the optimum itself) has no ratio.
        if source_B.min() > 1e-9:
            found["ratio"] = _with_interval(model_SN.mean() / source_SN.mean(), model_B / source_B)
    return found


def _with_interval(value: float, resampled_B: NDArray[np.float64]) -> dict[str, float]:
    low, high = percentile_interval(resampled_B)
    return {"mean": float(value), "ci_low": float(low), "ci_high": float(high)}


def in_words(summary: dict[str, Any]) -> str:
    """The result, for the terminal and for the report: one sentence, and another where success is told."""
    return _return_in_words(summary) + (_success_in_words(summary) if "success" in summary else "")


def _success_in_words(summary: dict[str, Any]) -> str:
    success = summary["success"]
    unit = "episodes" if summary["prompt"] == EMPTY_PROMPT else "episodes after the prompt"
    text = (
        f" It succeeded in {percent(success['zero_shot']['mean'])} of first {unit} and in "
        f"{percent(success['last5']['mean'])} of the last {last_in_words(summary)}"
    )
    source = summary.get("source", {})
    if "success" in source:
        text += f", {learner_in_words(summary)} in {percent(source['success']['last5']['mean'])} at its end"
    return f"{text}."


def learner_in_words(summary: dict[str, Any]) -> str:
    """What the model is compared with: "its source learner ucb1", or another one."""
    source = summary["source"]
    return f"its source learner {source['learner']}" if source["of_data"] else f"the learner {source['learner']}"


def percent(share: float) -> str:
    """ "40%"."""
    return f"{round(100 * share)}%"


def _return_in_words(summary: dict[str, Any]) -> str:
    raw = summary["raw"]
    start = f"On {tasks_in_words(summary)}, with no weight update, the frozen model"
    if "regret" in summary:
        regret = summary["regret"]
        text = f"{start} gave away {number(regret['model']['mean'])} of reward over {_pulls(summary)} (its regret)"
        if "ratio" in regret:
            text += (
                f", {regret['ratio']['mean']:.2f} times the {number(regret['source']['mean'])} of "
                f"{learner_in_words(summary)}"
            )
        return f"{text}."
    unit = "episode" if summary["prompt"] == EMPTY_PROMPT else "episode after the prompt"
    anchors, optimum = summary["anchors"], summary["anchors"]["optimum"]
    scale = anchors["random"] if optimum is None else optimum
    text = (
        f"{start} earned {number(raw['zero_shot']['mean'], scale)} in its first {unit} and "
        f"{number(raw['last5']['mean'], scale)} in its last {last_in_words(summary)}"
    )
    random = number(anchors["random"], scale)
    if optimum is None:
        return f"{text}, where random actions earn {random}."
    return (
        f"{text}, {of_the_way(summary)} of the way from random actions ({random}) to the {anchors['optimum_is']} "
        f"({number(optimum)})."
    )


def tasks_in_words(summary: dict[str, Any]) -> str:
    """ "16 tasks it never saw", "60 tasks of its training data", "5 tasks of the validation split", "20 tasks of the
    test split, 16 of which do what tasks of its training data do"."""
    count = f"{summary['tasks']:,} task{'s' if summary['tasks'] > 1 else ''}"
    if summary["seen_in_training"]:
        return f"{count} of its training data"
    alike = summary.get("behave_as_trained") or {"tasks": 0}
    if alike["tasks"]:
        compared = "" if alike["of"] == summary["tasks"] else f" of the {alike['of']} compared"
        which = f"{alike['tasks']}{compared or ' of which'} do what tasks of its training data do"
        return f"{count} of the {summary['split']} split, {which}"
    return f"{count} it never saw" if summary["split"] == "test" else f"{count} of the {summary['split']} split"


def _pulls(summary: dict[str, Any]) -> str:
    pulls, episodes = summary["regret"]["pulls"], summary["episodes"]
    return f"{pulls} pulls" if pulls == episodes else f"the first {pulls} of {episodes} pulls, all that were recorded,"


def last_in_words(summary: dict[str, Any]) -> str:
    """ "five", or fewer where there were not so many episodes."""
    return ("one", "two", "three", "four", "five")[min(summary["episodes"], LAST) - 1]


def in_seeds(count: int) -> str:
    """ "10 seeds", "1 seed"."""
    return f"{count} seed{'s' if count > 1 else ''}"


def of_the_way(summary: dict[str, Any]) -> str:
    """The last five episodes as a percentage of the way from random actions to the optimum, which is known."""
    return percent(summary["normalised"]["last5"]["mean"])  # An integer, since "-0%" is no number.


def number(value: float, scale: float | None = None) -> str:
    """A return for people: one decimal, and two where numbers of its scale (by default its own) are below 5."""
    return f"{value:.2f}" if abs(value if scale is None else scale) < 5 else f"{value:,.1f}"
