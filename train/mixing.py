"""How a run learns from several datasets: whose turn it is, what a pass holds, and what its loss is.

Every sample of a run belongs to one recording, as a function of its number alone: the recordings take turns in a fixed
round, each as often as its weight says, spread evenly. So what a step learns from is the same for any number of
processes, any accumulation and after a resume; and of each recording no sample is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.errors import UsageError
from icrl.models.methods.base import Method, Metrics
from icrl.train.config import parse_mix
from icrl.transitions import Transitions


@dataclass(frozen=True)
class Mix:
    """Whose turn it is.

    Raises:
        UsageError: where the weights are not as many whole numbers above 0 as there are recordings.
    """

    weights: tuple[int, ...]
    """Of each recording, samples in a round."""

    @classmethod
    def of(cls, words: str, names: Sequence[str]) -> "Mix":
        """The mix that a config asks for: "2,1,1", or nothing for one sample of each in turn."""
        weights = parse_mix(words) if words else (1,) * len(names)
        if len(weights) != len(names):
            raise UsageError(
                f"train.mix is {words}, and the data are {len(names)} recordings ({', '.join(names)}): expected a "
                "whole number for each"
            )
        common = gcd(*weights)
        return cls(tuple(weight // common for weight in weights))

    @cached_property
    def round(self) -> NDArray[np.int64]:
        """The recordings of a round in their order, `(L,)`, L = Σ weights: each turn goes to the one that is furthest
        behind its share, the first of several ("smooth weighted round robin")."""
        behind, total = np.zeros(len(self.weights), np.int64), sum(self.weights)
        turns = np.empty(total, np.int64)
        for place in range(total):
            behind += self.weights
            turns[place] = np.argmax(behind)
            behind[turns[place]] -= total
        return turns

    @cached_property
    def _earlier(self) -> NDArray[np.int64]:
        """Of each place of a round, turns that its recording had before, `(L,)`."""
        earlier = np.empty(len(self.round), np.int64)
        for recording, weight in enumerate(self.weights):
            earlier[self.round == recording] = np.arange(weight)
        return earlier

    def deal(self, samples: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Whose the samples of these numbers `(M,)` are, and which of its own each is, from 0."""
        rounds, places = np.divmod(samples, len(self.round))
        whose = self.round[places]
        return whose, rounds * np.asarray(self.weights)[whose] + self._earlier[places]


def check_passes(mix: Mix, groups: Sequence[str], names: Sequence[str], per_pass: int, batch_size: int) -> None:
    """Raises UsageError where some forward pass has no sample of one of the groups.

    Its encoders and heads would have no gradient then, and the processes would wait for each other's.

    Args:
        groups, names: of each recording.
        per_pass: samples of a forward pass of one process, of the batch_size of a step.
    """
    of_place = np.unique(np.asarray(groups), return_inverse=True)[1][mix.round]

    def lacking(size: int) -> int | None:
        """A group that some pass of so many samples lacks."""
        if size >= len(of_place):
            return None
        starts = np.arange(0, len(of_place), gcd(size, len(of_place)))
        wrapped = np.concatenate((of_place, of_place[:size]))
        for group in range(int(of_place.max()) + 1):
            before = np.concatenate(([0], np.cumsum(wrapped == group)))
            if (before[starts + size] == before[starts]).any():
                return group
        return None

    if (group := lacking(per_pass)) is None:
        return
    least = next(size for size in range(per_pass + 1, len(of_place) + 1) if lacking(size) is None)
    name = names[int(mix.round[np.argmax(of_place == group)])]
    raise UsageError(
        f"some passes of {per_pass} samples have none of {name}: the parts of the model that are its own learn in "
        f"each of them; raise train.batch_size to {least * batch_size // per_pass}, or lower "
        "train.accumulation or the number of processes"
    )


def joined(batches: Sequence[Transitions]) -> Transitions:
    """Batches of one group as one, each padded to the longest by its last transition: `(ΣB, T, …)`."""
    if len(batches) == 1:
        return batches[0]

    def join(values: Sequence) -> Tensor | dict:
        if isinstance(values[0], Mapping):
            return {key: join([of[key] for of in values]) for key in values[0]}
        if values[0].ndim > 1:
            longest = max(of.shape[1] for of in values)
            values = [_padded(of, longest) for of in values]
        return torch.cat(list(values))

    first = batches[0]
    before = {name: join([getattr(b.before, name) for b in batches]) for name in vars(first.before)}
    columns = {
        name: join([getattr(b, name) for b in batches])
        for name in ("observations", "actions", "rewards", "terminated", "truncated", "steps", "lengths", "extras")
    }
    return replace(first, before=replace(first.before, **before), **columns)


def _padded(values_BT: Tensor, length: int) -> Tensor:
    missing = length - values_BT.shape[1]
    if not missing or not values_BT.shape[1]:
        shape = (len(values_BT), missing, *values_BT.shape[2:])
        return torch.cat((values_BT, values_BT.new_zeros(shape)), dim=1) if missing else values_BT
    return torch.cat((values_BT, values_BT[:, -1:].expand(-1, missing, *values_BT.shape[2:])), dim=1)


def mixed_loss(
    method: Method, net: nn.Module, parts: Sequence[Transitions], labels: Mapping[str, str]
) -> tuple[Tensor, Metrics]:
    """Σ n_g · loss_g / Σ n_g over the groups of a pass, n_g being its transitions; and what to report.

    Of several groups everything is reported by group, as "loss/dark-room", and their weighted loss as "loss".

    Args:
        parts: one batch for each group.
        labels: by group, for the report.
    """
    if len(labels) == 1:
        return method.loss(net, parts[0])
    counts = [part.lengths.sum() for part in parts]
    total, metrics = torch.zeros((), device=counts[0].device), {}
    for part, count in zip(parts, counts, strict=True):
        loss, values = method.loss(net, part)
        total = total + loss * (count / sum(counts))
        metrics.update({f"{name}/{labels[part.group]}": value for name, value in values.items()})
    return total, {"loss": total.detach(), **metrics}
