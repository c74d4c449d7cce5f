"""The folder of an evaluation: what is in it, and whether one is already there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from icrl.config import config_to_dict, first_difference, load_config, save_config
from icrl.digests import DIGESTS_FILE, check_digests, digest_of, digest_of_text, read_digests
from icrl.errors import UsageError
from icrl.eval.config import EvaluateConfig
from icrl.eval.summary import Evaluation
from icrl.files import json_text, whole_file, write_json
from icrl.folders import CONFIG_FILE, SCORES_FILE, SUMMARY_FILE, check_out
from icrl.schema import Fault, fields_of, read_json, text
from icrl.success import SUCCESS

REPORT_FILE = "report.html"
CURVE_FILES = ("adaptation_curve.svg", "adaptation_curve.png")
FILES = (CONFIG_FILE, SCORES_FILE, *CURVE_FILES, REPORT_FILE, DIGESTS_FILE, SUMMARY_FILE)


def finished_summary(out: Path, config: EvaluateConfig, model: dict[str, Any], resume: bool) -> dict[str, Any] | None:
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


def write_results(evaluation: Evaluation, summary: dict[str, Any], run: Path, out: Path) -> None:
    """Writes all files, the summary last: a folder without it is not a whole evaluation."""
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


def last_line(summary: dict[str, Any], out: Path) -> str:
    """The result in words, and where the report is."""
    return f"{summary['result']} Report: {out / REPORT_FILE}"
