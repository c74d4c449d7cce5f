"""What is asked before an evaluation begins, and in its dry run: whatever can be known to fail later, after hours."""

from pathlib import Path
from typing import Any

from icrl.abilities import pictures_of
from icrl.envs.kit.episodes import policy_history, uniform_policy
from icrl.envs.kit.pool import factory_to_tell
from icrl.envs.kit.simple_policies import ZeroAction
from icrl.errors import UsageError
from icrl.eval.config import EMPTY_PROMPT, EvaluateConfig
from icrl.eval.prompts import read_prompts
from icrl.eval.references import check_source_learner
from icrl.eval.results import FILES
from icrl.eval.summary import in_seeds
from icrl.history import LearningHistory
from icrl.provenance import Provenance
from icrl.spaces import zero_action
from icrl.stored_family import StoredFamily
from icrl.tasks import Task, TaskFamily

LARGEST = 1e9
"""Numbers in one array of an evaluation: 8 GB."""


def look_ahead(
    stored: StoredFamily, tasks: list[Task], config: EvaluateConfig, provenance: Provenance
) -> list[LearningHistory] | None:
    """Raises an IcrlError, or what the family's own code raises, where the evaluation would fail.

    Returns:
        the prompts of all lanes; None where they are empty.
    """
    _check_size(config, len(tasks), provenance)
    prompts = _prompts(stored.family, tasks, config, provenance)
    if config.workers != 1:
        factory_to_tell(stored.place)
    if config.source:
        check_source_learner(provenance, stored.family, tasks, config.seed)
    _check_picture(stored.family, tasks[0])
    return prompts


def say_ahead(
    run: Path, out: Path, config: EvaluateConfig, family: TaskFamily, tasks: list[Task], provenance: Provenance
) -> dict[str, Any]:
    """Says what a dry run has found would be done, and returns it."""
    lanes = config.seeds * len(tasks)
    work = {
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
        "files": list(FILES),
    }
    source = f", and {provenance.learner} for {provenance.episodes:,} episodes on each" if config.source else ""
    print(
        f"would evaluate {run} on {len(tasks)} {config.split} tasks of {family.label}, {in_seeds(config.seeds)} each: "
        f"{lanes:,} lanes of {config.episodes} episodes, at most {work['env_steps_at_most']:,} steps{source}",
        f"would write to {out}: {', '.join(work['files'])}",
        "nothing was written (--dry-run)",
        sep="\n",
    )
    return work


def _check_size(config: EvaluateConfig, num_tasks: int, provenance: Provenance) -> None:
    """Raises UsageError where the scores, or the resamples of their curves, would not go into memory at the end."""
    episodes = max(config.episodes, provenance.episodes if config.source else 0)
    for what, numbers in (
        ("scores", config.seeds * num_tasks * episodes),
        ("resamples of the curves", config.bootstrap * config.seeds * episodes),
        ("resamples of the tasks", config.bootstrap * num_tasks),
    ):
        if numbers > LARGEST:
            source = "" if config.episodes == episodes else ", or leave the source learner out with --source false"
            raise UsageError(
                f"{numbers:.1e} {what} are more than an evaluation holds in memory ({LARGEST:.0e}): lower --episodes, "
                f"--seeds, --tasks or --bootstrap{source}"
            )


def _check_picture(family: TaskFamily, task: Task) -> None:
    """Has a family that draws draw an episode of anything, as the report will at the end."""
    from matplotlib.figure import Figure

    if (pictures := pictures_of(family)) is None:
        return
    still = zero_action(family.action_space) is not None
    policy = ZeroAction(family, [task]) if still else uniform_policy(family, [task], 0)
    pictures.draw(Figure().add_subplot(), task, policy_history(family, task, policy, 1, 0, "any"))


def _prompts(
    family: TaskFamily, tasks: list[Task], config: EvaluateConfig, provenance: Provenance
) -> list[LearningHistory] | None:
    if config.prompt == EMPTY_PROMPT:
        return None
    return read_prompts(
        config.prompt, provenance, tasks,
        seeds=config.seeds, split=config.split, episodes=config.prompt_episodes, family=family,
    )  # fmt: skip
