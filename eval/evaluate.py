"""`icrl evaluate`: prompts a frozen model on tasks of one split and measures what it learns there.

1. the recording and the folder; 2. the family, its tasks and the model; 3. what would fail later; 4. the anchors and
the rollout; 5. the source learner on the same tasks, and the measures; 6. the files.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icrl.config import load_config, parse_command
from icrl.envs.kit.measured import check_anchors
from icrl.errors import UsageError
from icrl.eval.ahead import look_ahead, say_ahead
from icrl.eval.config import EvaluateConfig
from icrl.eval.references import compared_with, known_source
from icrl.eval.results import finished_summary, last_line, write_results
from icrl.eval.stages import anchors_of, measure, roll_out, targets_of
from icrl.eval.subject import default_out, load_model, tasks_of
from icrl.eval.summary import make_summary
from icrl.folders import check_source, model_folder
from icrl.provenance import check_run_files
from icrl.recordings import named, read_recordings
from icrl.stored_family import Consent, stored_family
from icrl.stored_family import add_arguments as add_family_consent


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

    # 1. Which recording of the run, and where the results go.
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
    saved = None if checkpoint is None else model_folder(run, checkpoint)
    if out is None:
        out = default_out(run, settings, saved, chosen.name if len(recordings) > 1 else None)
    out, provenance = Path(out), chosen.provenance

    # 2. The family, its tasks and the model.
    stored = stored_family(run, provenance, chosen.split, Consent(trust_code, family, accept_changed_family))
    settings, provenance = known_source(run, settings, provenance, Consent(trust_code))
    if stored.note:
        print(f"icrl: {stored.note}", file=sys.stderr)
    tasks = tasks_of(run, settings, chosen)
    agent, model = load_model(run, saved or model_folder(run), settings, recordings, chosen, trust_code)
    if (finished := finished_summary(out, settings, model, resume)) is not None:
        print(f"{out} is complete: nothing to do.", last_line(finished, out), sep="\n", flush=True)
        return finished

    # 3. What can be known to fail later fails now.
    against = compared_with(provenance, settings)
    prompts = look_ahead(stored, tasks, settings, against)
    if dry_run:
        check_anchors(stored.family, tasks[0])
        return say_ahead(saved or run, out, settings, stored.family, tasks, against)

    # 4. The anchors, and what they say is to be reached; then the rollout.
    anchors = anchors_of(stored.family, tasks)
    asked = targets_of(agent, settings, anchors)
    result = roll_out(agent, stored, tasks, prompts, asked, settings)

    # 5. The references and the measures.
    trained_on = chosen.split.named(provenance.recorded_split)
    evaluation = measure(result, stored, tasks, anchors, settings, provenance, model, trained_on, asked)
    summary = make_summary(evaluation)

    # 6. The files.
    write_results(evaluation, summary, run, out)
    print(last_line(summary, out), flush=True)
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
