"""What the model is compared with: the source learner itself, learning the same tasks from scratch.

Suffixes: S seeds, N tasks, E the learner's own episodes.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.learners import LEARNERS, has_own_loop, learner_options, make_learner
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.data_gen.record import live
from icrl.envs.kit.stepping import Step
from icrl.errors import IcrlError, UntrustedCode, UsageError
from icrl.eval.config import EvaluateConfig
from icrl.eval.measures import has_regret, pull_regret
from icrl.eval.rollout import Scores
from icrl.places import find_place
from icrl.provenance import Provenance
from icrl.seeding import derive_seed
from icrl.stored_family import Consent, check_learner_trust
from icrl.tape import Tape, histories
from icrl.tasks import Anchors, Task, TaskFamily, lane_numbers

TRANSITIONS_AT_ONCE = 4_000_000
"""Bounds the memory of a comparison over many tasks."""


@dataclass(frozen=True)
class SourceRun:
    """How the source learner fared on the tasks of the evaluation."""

    learner: str
    options: dict[str, Any]
    keep_every: int
    """Every k-th of its episodes stands in a recording."""
    returns: NDArray[np.float64]
    """Shape `(S, N, E)`: all of its own episodes."""
    regret: NDArray[np.float64] | None
    """Shape `(S, N, E)`, where an episode is a single pull of arms whose best is known."""
    success: NDArray[np.bool_] | None = None
    """Shape `(S, N, E)`: whether each of its own episodes succeeded, where the environments tell."""

    @property
    def recorded(self) -> NDArray[np.float64]:
        """The returns that a recording keeps, shape `(S, N, ceil(E / keep_every))`: what the model was shown."""
        return self.returns[..., :: self.keep_every]


def compared_with(provenance: Provenance, config: EvaluateConfig) -> Provenance:
    """The recording that an evaluation compares with: the data's own, or one of another learner on the same family."""
    if config.learner is None:
        return provenance
    options = learner_options(config.learner, config.learner_options)
    return replace(provenance, learner=config.learner, learner_options=options, episodes=config.episodes, keep_every=1)


def known_source(
    run: Path, config: EvaluateConfig, provenance: Provenance, consent: Consent
) -> tuple[EvaluateConfig, Provenance]:
    """The provenance with the place of its learner, where it has one, as it is found from here; a config without a
    comparison, and a line that says so, where that is code that came with the data and the user has not said so.

    Raises:
        UsageError: where it is not to be found.
    """
    if not config.source or config.learner is not None or not LEARNERS.is_place(provenance.learner):
        return config, provenance
    try:
        check_learner_trust(run, provenance.learner, consent)
    except UntrustedCode as error:
        print(f"icrl: the source learner is left out of the comparison: {error}", file=sys.stderr)
        return replace(config, source=False), provenance
    root = run.resolve() / provenance.learner_from if provenance.learner_from else None
    return config, replace(provenance, learner=find_place(provenance.learner, root))


def check_source_learner(provenance: Provenance, family: TaskFamily, tasks: Sequence[Task], seed: int) -> None:
    """Raises UsageError where the learner that the data came from cannot be run on these tasks, before hours have gone
    into what it is to be compared with."""
    leave_out = "--source false leaves it out"
    if not LEARNERS.is_place(provenance.learner) and provenance.learner not in LEARNERS:
        raise UsageError(
            f"the data's source learner {provenance.learner!r} is not known here, so that it cannot be compared with: "
            f"register it in the program that evaluates; {leave_out}"
        )
    chosen = tasks[: _lanes_at_once(provenance, family)]
    index = np.array(lane_numbers(0, chosen))
    setting = LearnerSetting(family, chosen, provenance.episodes, derive_seed(seed, "source learner"), index)
    try:
        if has_own_loop(LEARNERS[provenance.learner]):
            setting = setting.lane(0)
        make_learner(provenance.learner, provenance.learner_options, setting)
    except IcrlError as error:
        raise type(error)(f"the source learner cannot learn these tasks ({error}); {leave_out}") from None


def _lanes_at_once(provenance: Provenance, family: TaskFamily) -> int:
    return max(1, TRANSITIONS_AT_ONCE // (provenance.episodes * family.horizon))


def run_source(
    provenance: Provenance,
    family: TaskFamily,
    tasks: Sequence[Task],
    anchors: Anchors,
    *,
    seeds: int,
    seed: int,
    advance: Callable[[int], None] | None = None,
) -> SourceRun:
    """Runs the learner that the data came from, as it was recorded, `seeds` times on every task.

    Its random numbers are a function of `seed`, the seed's number and the task's id; they are not those of any
    recorded history.
    """
    base = derive_seed(seed, "source learner")
    shape = (seeds, len(tasks), provenance.episodes)
    returns, success, told = np.zeros(shape), np.zeros(shape, bool), False
    regret = np.zeros(shape) if has_regret(family, anchors) else None
    learner, options = provenance.learner, provenance.learner_options
    for s, part in _parts(seeds, len(tasks), _lanes_at_once(provenance, family)):
        chosen = tasks[part]
        index = lane_numbers(s, chosen)
        setting = LearnerSetting(family, chosen, provenance.episodes, base, index)
        # A pull's regret is that of the arm, which the return does not tell; nothing else of a history is looked at.
        tape = Tape(family, np.arange(len(chosen) if regret is not None else 0))
        scores = Scores(len(chosen), provenance.episodes)

        def write(step: Step, scores: Scores = scores, tape: Tape = tape) -> None:
            scores.write(step)
            tape.write(step, step.live)

        live(setting, learner, options, write)
        returns[s, part] = scores.returns
        if scores.success is not None:
            success[s, part], told = scores.success, True
        if regret is not None:
            columns = tape.columns(np.array([task.id for task in chosen], np.int64), index)
            found = list(histories(columns, chosen, learner))
            regret[s, part] = pull_regret(family, chosen, found, anchors.optimum[part])
        if advance is not None:
            advance(len(chosen))
    return SourceRun(learner, options, provenance.keep_every, returns, regret, success if told else None)


def _parts(seeds: int, num_tasks: int, chunk: int) -> Iterator[tuple[int, slice]]:
    for s in range(seeds):
        for first in range(0, num_tasks, chunk):
            yield s, slice(first, min(first + chunk, num_tasks))
