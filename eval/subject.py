"""What is evaluated: the tasks of a run's recording, its frozen model, and the folder of the results."""

from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any

from icrl.errors import CheckpointError, UsageError
from icrl.eval.config import EvaluateConfig
from icrl.eval.rollout import Agent
from icrl.folders import WEIGHTS_FILE, read_training, step_of
from icrl.provenance import PROVENANCE_FILE
from icrl.recordings import Recording, group_of, groups_of
from icrl.tasks import Task

TRAINED_ON = "train"
"""The one split that may be evaluated after training on it: whoever names it knows."""


def default_out(run: Path, config: EvaluateConfig, checkpoint: Path | None, recording: str | None) -> Path:
    """`<run>/eval`, with the recording, the step and the split in its name where they are not the usual ones.

    Args:
        checkpoint: the folder of the one that is evaluated; None for the finished model.
        recording: its name, of a run on several datasets; else None.
    """
    parts = ["eval", recording, f"step-{step_of(checkpoint)}" if checkpoint else None]
    return run / "-".join([part for part in parts if part] + [config.split] * (config.split != "test"))


def tasks_of(run: Path, config: EvaluateConfig, recording: Recording) -> list[Task]:
    """The tasks to evaluate on; raises UsageError where the split was trained on, or has none."""
    tasks = list(recording.split.named(config.split))
    if config.split == recording.provenance.recorded_split != TRAINED_ON:
        raise UsageError(
            f"{run} was trained on histories of its {config.split} tasks: they are no test of it; choose another "
            "split with --split, or train on histories of the train tasks"
        )
    if not tasks:
        raise UsageError(f"the {config.split} split of {run} has no tasks: choose another with --split")
    return tasks[: config.tasks]


def load_model(
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
    greedy, acting = config.action == "greedy", config.acting
    agent = load_agent(folder, config.device, greedy, group=group, trust_code=trust_code, acting=acting)
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
