"""`icrl evaluate`: prompts a frozen model on tasks of one split and measures what it learns there.

1. the run: its provenance, tasks and model; 2. the anchors; 3. the rollout; 4. the source learner on the same tasks,
and the measures; 5. the files, `summary.json` last: a folder without it is not a whole evaluation.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.abilities import bayes_play
from icrl.config import config_to_dict, first_difference, load_config, parse_command, save_config
from icrl.digests import DIGESTS_FILE, check_digests, digest_of, digest_of_text, read_digests
from icrl.envs import FAMILIES
from icrl.envs.kit.measured import check_anchors
from icrl.envs.kit.pool import make_pooled
from icrl.errors import CheckpointError, UsageError
from icrl.eval.ahead import look_ahead
from icrl.eval.bootstrap import resample
from icrl.eval.config import EMPTY_PROMPT, EvaluateConfig
from icrl.eval.measures import comparable, has_regret, pull_regret
from icrl.eval.references import run_source
from icrl.eval.rollout import Agent, Lane, Rollout, rollout
from icrl.eval.summary import Evaluation, in_seeds, make_summary
from icrl.eval.targets import BEST, targets
from icrl.files import json_text, whole_file, write_json
from icrl.folders import (
    CONFIG_FILE,
    SCORES_FILE,
    SUMMARY_FILE,
    WEIGHTS_FILE,
    check_out,
    check_source,
    model_folder,
    read_training,
    step_of,
)
from icrl.held_out import COMPARED, compare
from icrl.history import LearningHistory
from icrl.progress import progress
from icrl.provenance import PROVENANCE_FILE, Provenance, check_run_files
from icrl.recordings import Recording, group_of, groups_of, named, read_recordings
from icrl.schema import Fault, fields_of, read_json, text
from icrl.stored_family import Consent, StoredFamily, stored_family
from icrl.stored_family import add_arguments as add_family_consent
from icrl.success import SUCCESS
from icrl.tape import largest_history
from icrl.tasks import SPLIT_NAMES, Anchors, Task, TaskFamily

REPORT_FILE = "report.html"
CURVE_FILES = ("adaptation_curve.svg", "adaptation_curve.png")
TRAINED_ON = "train"
"""The one split that may be evaluated after training on it: whoever names it knows."""
RECORDED_LANES = 64
"""So many tasks are recorded, for one of them to be drawn."""
RECORDED_BYTES = 1 << 30
"""Fewer are where they could take more memory than this."""


def evaluate(
    run: str | Path,
    out: str | Path | None = None,
    *,
    checkpoint: str | int | None = None,
    config: str | Path | EvaluateConfig | None = None,
    dry_run: bool = False,
    resume: bool = False,
    trust_code: bool = False,
    family: str | None = None,
    accept_changed_family: bool = False,
    recording: str | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Evaluates a finished run, or a checkpoint of any; returns what `summary.json` holds.

    Of a run on several datasets each recording is evaluated, unless one is named, and what is returned is by name.

    Args:
        run: a run folder made by `icrl train`.
        out: folder of the results, by default `<run>/eval`, or `<run>/eval-<split>` for another split than "test";
            `<run>/eval-step-<step>` and so on for a checkpoint.
        checkpoint: the step of one, or "latest"; None is the finished model.
        config: a preset, a YAML file or an `EvaluateConfig`; `overrides` are its fields.
        dry_run: only says what would be done, and returns that.
        resume: where `out` holds a whole evaluation, returns it rather than refusing.
        trust_code: run the code of the family where it came with the data.
        family: where the family is now, `path/file.py:Class`: your own code.
        accept_changed_family: go on though the family does not do what it did.
        recording: of a run on several datasets, the one whose tasks are evaluated; `out` is by default
            `<run>/eval-<recording>` then.

    Raises:
        UsageError: for a wrong config, where `out` is taken, or code that came with the data is not trusted.
        ChangedFamily: where the family does not do what it did when the data were recorded.
        DatasetError, CheckpointError: where the run, or the prompt, is missing, not whole, or does not fit.
    """
    settings = load_config(EvaluateConfig, config, overrides)
    run = Path(run)

    # 1. The run.
    check_source(run, "run")
    check_run_files(run)
    recordings = read_recordings(run)
    if recording is None and len(recordings) > 1:
        consent = {"trust_code": trust_code, "accept_changed_family": accept_changed_family}
        if out is not None or family is not None:
            raise UsageError(
                f"{run} is of {len(recordings)} recordings, and {'--out' if out else '--family'} is for one: name it "
                f"with --recording, one of {', '.join(of.name for of in recordings)}"
            )
        how = {"checkpoint": checkpoint, "config": settings, "dry_run": dry_run, "resume": resume, **consent}
        return {of.name: evaluate(run, recording=of.name, **how) for of in recordings}
    chosen = named(recordings, recording, run)
    of = None if checkpoint is None else model_folder(run, checkpoint)
    if out is None:
        out = run / "-".join(
            [
                "eval",
                *([chosen.name] if len(recordings) > 1 else []),
                *([f"step-{step_of(of)}"] if of else []),
                *([settings.split] if settings.split != "test" else []),
            ]
        )
    out = Path(out)
    provenance = chosen.provenance
    stored = stored_family(run, provenance, chosen.split, Consent(trust_code, family, accept_changed_family))
    family = stored.family
    if stored.note:
        print(f"icrl: {stored.note}", file=sys.stderr)
    tasks = _tasks(run, settings, chosen)
    agent, model = _load(run, of or model_folder(run), settings, recordings, chosen, trust_code)
    if (finished := _finished(out, settings, model, resume)) is not None:
        _say(f"{out} is complete: nothing to do.", _last_line(finished, out))
        return finished
    prompts = look_ahead(stored, tasks, settings, provenance)
    if dry_run:
        check_anchors(family, tasks[0])
        return _plan(of or run, out, settings, family, tasks, provenance)

    # 2. The anchors, first since they can fail. 3. The rollout.
    anchors = _anchors(family, tasks)
    asked = _targets(agent, settings, anchors)
    result = _roll_out(agent, stored, tasks, prompts, asked, settings)
    if not np.isfinite(result.returns).all():
        raise UsageError(f"{family.name} gave rewards that are not finite: `icrl check-family` tells more")

    # 4. The references and the measures.
    trained_on = chosen.split.named(provenance.recorded_split)
    evaluation = _measure(result, stored, tasks, anchors, settings, provenance, model, trained_on, asked)
    summary = make_summary(evaluation)

    # 5. The files.
    _write(evaluation, summary, run, out)
    _say(_last_line(summary, out))
    return summary


def main(argv: Sequence[str]) -> int:
    """The command line of `icrl evaluate`."""

    def add_arguments(parser) -> None:
        parser.add_argument("run", help="a run folder made by `icrl train`")
        parser.add_argument("--recording", metavar="NAME", help="of a run on several datasets; default: each of them")
        parser.add_argument("--checkpoint", metavar="STEP", help="a step, or latest: a checkpoint, of any run")
        parser.add_argument("--out", metavar="FOLDER", help="where the results go (default: RUN/eval, RUN/eval-SPLIT)")
        parser.add_argument(
            "--resume", action="store_true", help="go on after a stop; a whole evaluation is reprinted"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
        add_family_consent(parser)

    arguments, config = parse_command(
        "icrl evaluate",
        "Prompts the frozen model on tasks that it has never seen, and reports what it learns there.",
        EvaluateConfig,
        argv,
        add_arguments,
    )
    evaluate(
        arguments.run,
        arguments.out,
        checkpoint=arguments.checkpoint,
        config=config,
        dry_run=arguments.dry_run,
        resume=arguments.resume,
        trust_code=arguments.trust_code,
        family=arguments.family,
        accept_changed_family=arguments.accept_changed_family,
        recording=arguments.recording,
    )
    return 0


def _tasks(run: Path, config: EvaluateConfig, recording: Recording) -> list[Task]:
    tasks = list(recording.split.named(config.split))
    if config.split == recording.provenance.recorded_split != TRAINED_ON:
        raise UsageError(
            f"{run} was trained on histories of its {config.split} tasks: they are no test of it; choose another "
            "split with --split, or train on histories of the train tasks"
        )
    if not tasks:
        raise UsageError(f"the {config.split} split of {run} has no tasks: choose another with --split")
    return tasks[: config.tasks]


def _load(
    run: Path,
    folder: Path,
    config: EvaluateConfig,
    recordings: Sequence[Recording],
    chosen: Recording,
    trust_code: bool,
) -> tuple[Agent, dict[str, Any]]:
    """The frozen agent of a run's model folder, in the group of the chosen recording, and facts about its model."""
    import torch

    from icrl.models.agent import load_agent

    try:
        torch.empty(0, device=config.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"device {config.device!r} cannot be used ({reason}): expected one like cpu or cuda"
        ) from None
    group, provenance = group_of(recordings, chosen.name), chosen.provenance
    agent = load_agent(folder, config.device, config.action == "greedy", group=group, trust_code=trust_code)
    expected = {what: getattr(provenance, what) for what in ("observation_space", "action_space")}
    groups = groups_of([of.provenance for of in recordings])
    alike = [of.provenance for of, its in zip(recordings, groups, strict=True) if its == group]
    for what, value in {**expected, "horizon": max(of.horizon for of in alike)}.items():
        if getattr(agent.spec, what) != value:
            raise CheckpointError(
                f"the model in {run} has {what} {getattr(agent.spec, what)}, its {PROVENANCE_FILE} says {value}: "
                "they are not of one run; restore the folder or train again"
            )
    with (folder / WEIGHTS_FILE).open("rb") as weights:
        digest = file_digest(weights, "sha256").hexdigest()
    parameters = sum(parameter.numel() for parameter in agent.model.parameters())
    return agent, {
        "parameters": parameters,
        "context_length": agent.model.config.context_length,
        "sha256": digest,
        "step": read_training(folder).get("step"),
    }


def _finished(out: Path, config: EvaluateConfig, model: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """The summary of a whole evaluation that is to be reprinted; None where there is work to do.

    Raises:
        UsageError: where `out` is something else, or holds an evaluation that this one would overwrite.
    """
    if check_out(out, "evaluation", resume) != "complete":
        return None
    try:
        check_digests(out, read_digests(out, (SUMMARY_FILE, SCORES_FILE)) or {})
        summary = read_json(out / SUMMARY_FILE)
        fields_of({"result": text, "model": fields_of({"sha256": text})})(summary, SUMMARY_FILE)
    except Fault as fault:
        raise UsageError(f"{out} is damaged ({fault}): give another --out, or remove it") from None
    digest = summary["model"]["sha256"]
    before = load_config(EvaluateConfig, out / CONFIG_FILE)
    # The same numbers come from any number of processes.
    then, now = (config_to_dict(replace(c, workers=1)) for c in (before, config))
    difference = first_difference(then, now)
    if difference is None and digest != model["sha256"]:
        difference = "the model was another one"
    if difference is not None:
        raise UsageError(f"{out} holds an evaluation made otherwise ({difference}): give another --out, or remove it")
    return summary


def _plan(
    run: Path, out: Path, config: EvaluateConfig, family: TaskFamily, tasks: list[Task], provenance: Provenance
) -> dict[str, Any]:
    lanes = config.seeds * len(tasks)
    plan = {
        "run": str(run),
        "out": str(out),
        "family": family.label,
        "split": config.split,
        "tasks": len(tasks),
        "lanes": lanes,
        "episodes": config.episodes,
        "env_steps_at_most": lanes * config.episodes * family.horizon,
        "prompt": config.prompt,
        "source": provenance.learner if config.source else None,
        "source_env_steps_at_most": lanes * provenance.episodes * family.horizon if config.source else 0,
        "files": [CONFIG_FILE, SCORES_FILE, *CURVE_FILES, REPORT_FILE, DIGESTS_FILE, SUMMARY_FILE],
    }
    source = f", and {provenance.learner} for {provenance.episodes:,} episodes on each" if config.source else ""
    _say(
        f"would evaluate {run} on {len(tasks)} {config.split} tasks of {family.label}, {in_seeds(config.seeds)} each: "
        f"{lanes:,} lanes of {config.episodes} episodes, at most {plan['env_steps_at_most']:,} steps{source}",
        f"would write to {out}: {', '.join(plan['files'])}",
        "nothing was written (--dry-run)",
    )
    return plan


def _anchors(family: TaskFamily, tasks: list[Task]) -> Anchors:
    stated = family.anchors(tasks)
    anchors = comparable(family, stated)
    if stated.known and not anchors.known:
        _say("the scripted expert is no better than random actions on some of these tasks: returns stay as they are")
    return anchors


def _targets(agent: Agent, config: EvaluateConfig, anchors: Anchors) -> NDArray[np.float64] | None:
    """What each task's episodes are to come to; None where the method takes no target."""
    takes = agent.model.method.takes_target
    if config.target_return is not None and not takes:
        raise UsageError(
            f"target_return is {config.target_return}, and the method {agent.model.config.method['name']} takes none: "
            "leave it out, or evaluate a model of one that does, such as dt"
        )
    return targets(config.target_return or BEST, anchors, agent.spec.best_return) if takes else None


def _roll_out(
    agent: Agent,
    stored: StoredFamily,
    tasks: list[Task],
    prompts: list[LearningHistory] | None,
    asked: NDArray[np.float64] | None,
    config: EvaluateConfig,
) -> Rollout:
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
        return rollout(
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


def _measure(
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
    family, regret = stored.family, None
    if has_regret(family, anchors):
        rows = [[result.histories[s, n] for n in range(len(tasks))] for s in range(config.seeds)]
        regret = np.stack([pull_regret(family, tasks, row, anchors.optimum) for row in rows])
    source = None
    if config.source:
        with progress(f"{provenance.learner} on the same tasks", config.seeds * len(tasks), unit="lanes") as advance:
            source = run_source(
                provenance, family, tasks, anchors, seeds=config.seeds, seed=config.seed, advance=advance
            )
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


def _write(evaluation: Evaluation, summary: dict[str, Any], run: Path, out: Path) -> None:
    from icrl.eval.report.page import write_report

    for leftover in out.glob(".*.partial-*"):
        leftover.unlink()
    save_config(evaluation.config, out / CONFIG_FILE)
    _write_scores(evaluation, out / SCORES_FILE)
    write_report(evaluation, summary, run, out)
    # The digests come before what they are also of: the summary is what makes the folder whole.
    digests = {name: digest_of(out / name) for name in (CONFIG_FILE, SCORES_FILE, *CURVE_FILES, REPORT_FILE)}
    write_json(out / DIGESTS_FILE, {**digests, SUMMARY_FILE: digest_of_text(json_text(summary))})
    write_json(out / SUMMARY_FILE, summary)


def _write_scores(evaluation: Evaluation, path: Path) -> None:
    """One row per (seed, task, episode)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    seed, task, episode = (axis.ravel() for axis in np.indices(evaluation.returns.shape, np.int32))
    columns = {
        "seed": seed,
        "task_id": np.array([task.id for task in evaluation.tasks], np.int64)[task],
        "episode": episode,
        "return": evaluation.returns.ravel(),
        "normalised": evaluation.normalised.ravel() if evaluation.anchors.known else [None] * seed.size,
    }
    if evaluation.success is not None:
        columns[SUCCESS] = evaluation.success.ravel()
    table = pa.table(columns)
    with whole_file(path) as temporary:
        pq.write_table(table, temporary)


def _last_line(summary: dict[str, Any], out: Path) -> str:
    return f"{summary['result']} Report: {out / REPORT_FILE}"


def _say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)
