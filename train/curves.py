"""What is measured while training: the loss on held-out histories, and in-context return as two curves.

Both take a plain copy of the weights, so that training goes on in whatever way the model is wrapped or sharded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from icrl.eval.rollout import rollout
from icrl.models.agent import InContextAgent
from icrl.models.methods.base import Sampler
from icrl.models.model import InContextModel
from icrl.seeding import permutation
from icrl.store import HistoryStore
from icrl.tasks import Task, TaskFamily

if TYPE_CHECKING:
    from icrl.train.runs import Plan

_SAMPLES_AT_ONCE = 32


def validation_loss(model: InContextModel, sampler: Sampler, num_samples: int) -> float:
    """Mean loss per transition over evenly spaced samples; a method's own random numbers are the same each time."""
    total = len(sampler)
    generator = torch.Generator().manual_seed(0)
    numbers = np.unique(np.linspace(0, total - 1, min(num_samples, total)).round().astype(np.int64))
    loss_sum, count = 0.0, 0
    with torch.no_grad():
        for first in range(0, len(numbers), _SAMPLES_AT_ONCE):
            batch = sampler.batch(numbers[first : first + _SAMPLES_AT_ONCE])
            loss, _ = model.method.loss(model, batch.to(model.device), generator)
            transitions = int(batch.lengths.sum())
            loss_sum, count = loss_sum + float(loss) * transitions, count + transitions
    return loss_sum / count


def curve_tasks(store: HistoryStore, most: int) -> Mapping[str, Sequence[Task]]:
    """Tasks of the two curves: at most `most` of those that the data is of, and as many validation tasks."""
    recorded = set(store.task_ids.tolist())
    known = [task for task in store.split.named(store.provenance.recorded_split) if task.id in recorded]
    sets = {"train": known, "validation": store.split.validation}
    return {
        name: [tasks[i] for i in np.sort(permutation(0, f"curve/{name}", len(tasks))[:most])]
        for name, tasks in sets.items()
        if len(tasks)
    }


def in_context_return(
    model: InContextModel,
    family: TaskFamily,
    tasks: Sequence[Task],
    *,
    episodes: int,
    seed: int,
    group: str | None = None,
) -> float:
    """Mean return of the last quarter of `episodes` episodes on each task, from an empty context."""
    agent = InContextAgent(model, group=group)
    returns_SNK = rollout(family, tasks, agent, episodes=episodes, seeds=1, seed=seed).returns
    return float(returns_SNK[:, :, -max(1, episodes // 4) :].mean())


@dataclass(frozen=True)
class Curve:
    """What is measured of one recording."""

    name: str
    group: str
    family: TaskFamily | None
    """None leaves the returns out."""
    tasks: Mapping[str, Sequence[Task]]
    held_out: Sampler | None
    weight: int
    """In the mean of the validation losses."""


@dataclass(frozen=True)
class Curves:
    """One measurement after another, of the same tasks and samples."""

    model: InContextModel
    """Takes the weights that are measured; in eval mode, never wrapped."""
    parts: Sequence[Curve]
    num_samples: int
    episodes: int
    seed: int

    def measure(self, weights: Mapping[str, Any]) -> dict[str, float]:
        """Values of "validation_loss", "train_return" and "validation_return", as far as there is data for them.

        Of several recordings each has its own, as "validation_return/dark-room"; "validation_loss" is the mean of
        theirs, weighted as they are mixed.
        """
        self.model.load_state_dict(weights)
        values, losses = {}, []
        for part in self.parts:
            suffix = f"/{part.name}" if len(self.parts) > 1 else ""
            if part.held_out is not None:
                loss = validation_loss(self.model, part.held_out, self.num_samples)
                losses.append((loss, part.weight))
                values[f"validation_loss{suffix}"] = loss
            for name, tasks in part.tasks.items() if part.family else ():
                values[f"{name}_return{suffix}"] = in_context_return(
                    self.model, part.family, tasks, episodes=self.episodes, seed=self.seed, group=part.group
                )
        if losses and len(self.parts) > 1:
            weight = sum(weight for _, weight in losses)
            values["validation_loss"] = sum(loss * weight for loss, weight in losses) / weight
        return values


def curves_of(plan: "Plan", model: InContextModel) -> Curves:
    """The measurements of a run, by a model of its config in eval mode."""
    options = plan.config.train
    parts = [
        Curve(part.name, part.group, part.family, curve_tasks(part.store, options.evaluate_tasks), held_out, weight)
        for part, held_out, weight in zip(plan.parts, plan.held_out, plan.mix.weights, strict=True)
    ]
    return Curves(model, parts, options.validation_windows, options.evaluate_episodes, plan.config.seed)
