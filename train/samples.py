"""Which samples a step reads, as a function of (seed, step, rank).

What a method can read of some histories is numbered 0 … N-1 (`icrl.models.methods.base.Sampler`); sample g of a run is
number `permute(g mod N)` of epoch `g // N`. The samples of a step are shared out over accumulation and processes, so
every number of processes and of reading workers sees the same ones in a step, and a resumed run reads on where it was.
Where a run has several recordings, `icrl.train.mixing` says first whose a sample is, and which of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from icrl.errors import UsageError
from icrl.models.methods.base import Sampler
from icrl.seeding import stream_keys
from icrl.train.mixing import Mix, joined
from icrl.train.permutation import permute
from icrl.transitions import Transitions


def order_of_samples(
    samples: NDArray[np.int64], size: int, seed: int, purpose: str = "window order"
) -> NDArray[np.int64]:
    """The numbers of the samples `(M,)`: every epoch of `size` samples visits each number once."""
    epochs, places = np.divmod(samples, size)
    numbers = np.empty_like(places)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        numbers[here] = permute(places[here], size, seed, f"{purpose}/{epoch}")
    return numbers


@dataclass(frozen=True)
class BatchSlice:
    """What part of each step's samples one process reads.

    Raises:
        UsageError: where the batch does not divide evenly.
    """

    batch_size: int
    """Samples of one step, over all processes and accumulation."""
    accumulation: int = 1
    rank: int = 0
    """This process's number among all processes of all machines."""
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % (self.accumulation * self.world_size):
            raise UsageError(
                f"train.batch_size {self.batch_size} does not divide over {self.world_size} processes × "
                f"{self.accumulation} accumulation: it counts all samples of a step, so make it a multiple of "
                f"{self.accumulation * self.world_size}"
            )

    @property
    def per_pass(self) -> int:
        """Samples of one forward pass of one process."""
        return self.batch_size // (self.accumulation * self.world_size)

    def samples(self, step: int, part: int = 0) -> NDArray[np.int64]:
        """Sample numbers of the forward pass `part` of `step`, in this process."""
        first = step * self.batch_size + (part * self.world_size + self.rank) * self.per_pass
        return np.arange(first, first + self.per_pass)


def split_histories(num_histories: int, validation_fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Histories to train on and whole histories to validate on, both in ascending order.

    Which ones is a hash of their number alone, so runs of any seed validate on the same ones. With a fraction above 0
    at least one is held out, and at least one is left to train on.
    """
    count = min(int(np.ceil(validation_fraction * num_histories)), num_histories - 1)
    order = np.argsort(stream_keys(0, "validation histories", np.arange(num_histories)), kind="stable")
    return np.sort(order[count:]), np.sort(order[:count])


class TrainingSamples(torch.utils.data.Dataset):
    """Item `step · accumulation + part` is all that a forward pass of this process reads: a batch for each group.

    Args:
        samplers: of each recording; `mix` says how often each has its turn.
    """

    def __init__(self, samplers: Sequence[Sampler], mine: BatchSlice, seed: int, mix: Mix | None = None) -> None:
        self.samplers, self.mine, self.seed, self.mix = samplers, mine, seed, mix or Mix((1,) * len(samplers))

    def __getitem__(self, item: int) -> tuple[Transitions, ...]:
        whose, own = self.mix.deal(self.mine.samples(*divmod(item, self.mine.accumulation)))
        batches: dict[str, list[Transitions]] = {}
        for number, sampler in enumerate(self.samplers):
            if len(samples := own[whose == number]):
                purpose = f"window order of recording {number}" if number else "window order"
                batch = sampler.batch(order_of_samples(samples, len(sampler), self.seed, purpose))
                batches.setdefault(batch.group, []).append(batch)
        return tuple(joined(of_group) for of_group in batches.values())
