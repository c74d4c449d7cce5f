"""The stages of an evaluation: anchors, targets, the rollout, then the references and the measures."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.abilities import bayes_play
from icrl.envs import FAMILIES
from icrl.envs.kit.pool import make_pooled
from icrl.errors import UsageError
from icrl.eval.bootstrap import resample
from icrl.eval.config import EMPTY_PROMPT, EvaluateConfig
from icrl.eval.measures import comparable, has_regret, pull_regret
from icrl.eval.references import compared_with, run_source
from icrl.eval.rollout import Agent, Lane, Rollout, rollout
from icrl.eval.summary import Evaluation
from icrl.eval.targets import BEST, targets
from icrl.held_out import COMPARED, compare
from icrl.history import LearningHistory
from icrl.progress import progress
from icrl.provenance import Provenance
from icrl.stored_family import StoredFamily
from icrl.tape import largest_history
from icrl.tasks import SPLIT_NAMES, Anchors, Task, TaskFamily

RECORDED_LANES = 64
"""So many tasks are recorded, for one of them to be drawn."""
RECORDED_BYTES = 1 << 30
"""Fewer are where they could take more memory than this."""


def anchors_of(family: TaskFamily, tasks: list[Task]) -> Anchors:
    """The anchors to compare with: without the optimum where that is an expert which random actions beat."""
    stated = family.anchors(tasks)
    anchors = comparable(family, stated)
    if stated.known and not anchors.known:
        print("the scripted expert is no better than random actions on some of these tasks: returns stay as they are")
    return anchors


def targets_of(agent: Agent, config: EvaluateConfig, anchors: Anchors) -> NDArray[np.float64] | None:
    """What each task's episodes are to come to; None where the method takes no target."""
    takes = agent.model.method.takes_target
    if config.target_return is not None and not takes:
        raise UsageError(
            f"target_return is {config.target_return}, and the method {agent.model.config.method['name']} takes none: "
            "leave it out, or evaluate a model of one that does, such as dt"
        )
    return targets(config.target_return or BEST, anchors, agent.spec.best_return) if takes else None


def roll_out(
    agent: Agent,
    stored: StoredFamily,
    tasks: list[Task],
    prompts: list[LearningHistory] | None,
    asked: NDArray[np.float64] | None,
    config: EvaluateConfig,
) -> Rollout:
    """Plays every task with every seed; raises UsageError where rewards are not finite."""
    family = stored.family
    _, size = largest_history(family, config.episodes)
    lanes: list[Lane] = [(0, n) for n in range(min(len(tasks), RECORDED_LANES, max(1, RECORDED_BYTES // size)))]
    if family.is_bandit:
        # A pull's regret is that of the arm, which the return does not tell.
        lanes = [(s, n) for s in range(config.seeds) for n in range(len(tasks))]
    make = None
    if config.workers != 1:
        make = partial(make_pooled, stored.place, family.options, workers=config.workers)
    with progress("evaluating", config.seeds * len(tasks) * config.episodes, unit="episodes") as advance:
        played = rollout(
            family,
            tasks,
            agent,
            episodes=config.episodes,
            seeds=config.seeds,
            seed=config.seed,
            prompts=prompts,
            targets=asked,
            record=lanes,
            make=make,
            advance=advance,
        )
    if not np.isfinite(played.returns).all():
        raise UsageError(f"{family.name} gave rewards that are not finite: `icrl check-family` tells more")
    return played


def measure(
    result: Rollout,
    stored: StoredFamily,
    tasks: list[Task],
    anchors: Anchors,
    config: EvaluateConfig,
    provenance: Provenance,
    model: dict[str, Any],
    trained_on: Sequence[Task],
    asked: NDArray[np.float64] | None,
) -> Evaluation:
    """The references on the same tasks, and all that the report is made of.

    Args:
        result: of the rollout. model: facts about the model.
        trained_on: the tasks whose histories it was trained on. asked: the targets, shape `(N,)`.
    """
    family, regret = stored.family, None
    if has_regret(family, anchors):
        rows = [[result.histories[s, n] for n in range(len(tasks))] for s in range(config.seeds)]
        regret = np.stack([pull_regret(family, tasks, row, anchors.optimum) for row in rows])
    source = None
    if config.source:
        against = compared_with(provenance, config)
        with progress(f"{against.learner} on the same tasks", config.seeds * len(tasks), unit="lanes") as advance:
            source = run_source(against, family, tasks, anchors, seeds=config.seeds, seed=config.seed, advance=advance)
    draws = resample(config.seeds, len(tasks), config.bootstrap, config.seed)
    # The prior is that of the family's own tasks, and an agent with a prompt knows more.
    of_prior = config.split in SPLIT_NAMES and config.prompt == EMPTY_PROMPT
    bayes = bayes_play(family, config.episodes, tasks) if of_prior else None
    return Evaluation(
        config, provenance, family, tasks, anchors, result, regret, source, bayes, draws, model, stored.changed,
        _behave_as_trained(family, tasks, config, provenance, trained_on), asked,
    )  # fmt: skip


def _behave_as_trained(
    family: TaskFamily,
    tasks: list[Task],
    config: EvaluateConfig,
    provenance: Provenance,
    trained_on: Sequence[Task],
) -> dict[str, int] | None:
    """How many of the tasks do what a task does that the model was trained on: of a family of somebody's own, whose
    parameters may be rounded on their way to the environment."""
    if FAMILIES.is_built_in(provenance.family) or config.split == provenance.recorded_split:
        return None
    found = compare(family, {config.split: tasks}, trained_on, seconds=COMPARED, most=len(tasks))
    return found.behave_as_trained(config.split)
