"""Prompts: recorded histories of the very tasks that are evaluated, for the context to begin with."""

import json
from collections.abc import Sequence
from pathlib import Path

from icrl.config import first_difference
from icrl.errors import ChangedFamily, UsageError
from icrl.history import LearningHistory
from icrl.provenance import Provenance, class_of
from icrl.spaces import alike, describe_space
from icrl.store import open_stores
from icrl.stored_family import changes
from icrl.tasks import SPLIT_NAMES, Task, TaskFamily

AGAIN = "record the prompt with the options that the model's data has"


def read_prompts(
    path: str | Path,
    provenance: Provenance,
    tasks: Sequence[Task],
    *,
    seeds: int,
    split: str,
    episodes: int | None = None,
    family: TaskFamily | None = None,
) -> list[LearningHistory]:
    """One prompt per lane, in the order of `rollout` (seed by seed, task by task).

    A task is known by its parameters, without those that say how its episodes begin (`TaskFamily.of_episodes`). Where
    the dataset holds several histories of one, the seeds take turns.

    Args:
        path: a dataset folder; of one with several datasets the first of the model's family is taken.
        provenance: of the model's training data, whose spaces the prompts must share.
        split: name of the evaluated split, for the message.
        episodes: only the last so many episodes of each history; None for all of them.
        family: that is evaluated, which must do what it did when the prompts were recorded; None leaves that open.

    Raises:
        UsageError: where the dataset is of other spaces or another family, or lacks a task.
        DatasetError: where it is not whole, or the family has changed since.
    """
    stores = open_stores([path])
    of_family = (store for store in stores if class_of(store.provenance.family) == class_of(provenance.family))
    store = next(of_family, stores[0])
    _check_alike(path, store.provenance, provenance)
    if family and (changed := changes(family, store.provenance, store.split)):
        raise ChangedFamily(
            f"{family.label} has changed since the prompts in {path} were recorded: {changed}; record them again"
        )
    aside = family.of_episodes if family else ()
    params = {task.id: _key(task, aside) for name in store.split.names for task in store.split.named(name)}
    rows: dict[str, list[int]] = {}
    for row, task_id in enumerate(store.task_ids.tolist()):
        rows.setdefault(params[task_id], []).append(row)
    missing = [task for task in tasks if _key(task, aside) not in rows]
    if missing:
        raise UsageError(
            f"{path} has no history of {len(missing)} of the {len(tasks)} {split} tasks, such as task "
            f"{missing[0].id} {json.dumps(missing[0].params)}; its histories are of the "
            f"{store.provenance.recorded_split} split: record them with `icrl generate --split {split}`"
        )
    prompts = []
    for s in range(seeds):
        for task in tasks:
            of_task = rows[_key(task, aside)]
            history = store.history(of_task[s % len(of_task)])
            prompts.append(history if episodes is None else _last_episodes(history, episodes))
    return prompts


def _last_episodes(history: LearningHistory, episodes: int) -> LearningHistory:
    finished = len(history.final_observations)
    return history.take_episodes(slice(max(0, finished - episodes), finished))


def _key(task: Task, aside: Sequence[str]) -> str:
    return json.dumps({name: value for name, value in task.params.items() if name not in aside}, sort_keys=True)


def _check_alike(path: str | Path, prompt: Provenance, trained: Provenance) -> None:
    for what in ("observation_space", "action_space"):
        got, expected = getattr(prompt, what), getattr(trained, what)
        if not (alike(got, expected) or alike(expected, got)):
            raise UsageError(
                f"{path} has the {what.replace('_', ' ')} {describe_space(got)}, the model was trained on "
                f"{describe_space(expected)}: take the prompt from data of {trained.family}"
            )
    if class_of(prompt.family) != class_of(trained.family):
        raise UsageError(
            f"{path} is of {prompt.family}, the model was trained on {trained.family}: "
            f"take the prompt from data of {trained.family}"
        )
    for what in ("family_version", "horizon"):
        got, expected = getattr(prompt, what), getattr(trained, what)
        if got != expected:
            raise UsageError(f"{path} has {what} {got}, the model was trained with {expected}: {AGAIN}")
    ours, theirs = (
        {name: value for name, value in p.family_options.items() if name not in SPLIT_NAMES} for p in (prompt, trained)
    )
    if difference := first_difference(theirs, ours):
        raise UsageError(f"{path} is of {prompt.family} with other options ({difference}): {AGAIN}")
