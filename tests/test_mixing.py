"""Whose turn it is, what a pass holds, and what its loss is, where a run learns from several datasets."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from icrl.errors import UsageError
from icrl.models.sampling.windows import WindowReader
from icrl.train.mixing import Mix, check_passes, joined, mixed_loss
from icrl.train.samples import BatchSlice, TrainingSamples, order_of_samples

WEIGHTS = [(1,), (1, 1, 1), (1, 2, 1), (5, 1), (1, 7, 3, 2)]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_recording_has_its_turns_and_none_of_its_samples_is_left_out(weights):
    """Kills: a deal that skips or repeats a recording's samples at the seam of two rounds, or forgets its weight."""
    total, mix = sum(weights), Mix(weights)
    whose, own = mix.deal(np.arange(7 * total))
    for recording, weight in enumerate(weights):
        assert own[whose == recording].tolist() == list(range(7 * weight))
    # In every beginning each is within one sample of its share.
    counts = np.cumsum(whose[:, None] == np.arange(len(weights)), axis=0)
    shares = np.arange(1, 7 * total + 1)[:, None] * np.asarray(weights) / total
    assert np.abs(counts - shares).max() < 1.0


def test_the_turns_are_the_known_ones():
    """Kills: a round in another order than that of smooth weighted round robin, which old runs were dealt by."""
    assert Mix((5, 1, 1)).round.tolist() == [0, 0, 1, 0, 2, 0, 0]
    assert Mix((1, 1, 1)).round.tolist() == [0, 1, 2]


def test_one_dataset_reads_what_it_always_read():
    """Kills: a run of one dataset that is shuffled otherwise than before there could be several."""
    whose, own = Mix((1,)).deal(np.arange(40))
    assert not whose.any()
    assert own.tolist() == list(range(40))


@pytest.mark.parametrize(("words", "weights"), [("", (1, 1)), ("2,1", (2, 1)), ("20, 10", (2, 1))])
def test_a_mix_is_given_in_words(words, weights):
    """Kills: a round of 30 where one of 3 says the same, so that a pass lacks a group for no reason."""
    assert Mix.of(words, ["a", "b"]).weights == weights


def test_a_mix_of_another_number_is_refused():
    """Kills: a weight too many that is silently dropped."""
    with pytest.raises(UsageError, match=r"train.mix is 1,2,3, and the data are 2 recordings \(a, b\)"):
        Mix.of("1,2,3", ["a", "b"])


class Numbers:
    """A sampler whose batches say which samples they hold."""

    length = 1

    def __init__(self, size: int, group: str, batch) -> None:
        self._size, self._group, self._batch = size, group, batch

    def __len__(self) -> int:
        return self._size

    def batch(self, numbers):
        one = self._batch.map(lambda values: values[:1].repeat(len(numbers), *[1] * (values.ndim - 1)))
        return replace(one, group=self._group, lengths=torch.from_numpy(numbers))


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_a_step_reads_the_same_samples_however_it_is_shared_out(tiny_store, world_size, accumulation):
    """Kills: a mixture that depends on the number of processes or passes, and an epoch of a recording that reads a
    sample twice."""
    one = WindowReader(tiny_store, range(len(tiny_store)), 3).batch(np.arange(1))
    samplers = [Numbers(5, "0", one), Numbers(7, "1", one)]
    seen = {"0": [], "1": []}
    for item in range(6 * accumulation):
        for rank in range(world_size):
            mine = BatchSlice(12, accumulation, rank, world_size)
            for batch in TrainingSamples(samplers, mine, seed=3, mix=Mix((1, 2)))[item]:
                seen[batch.group] += batch.lengths.tolist()
    for number, (group, size) in enumerate((("0", 5), ("1", 7))):
        purpose = f"window order of recording {number}" if number else "window order"
        count = 6 * 12 * (number + 1) // 3
        assert sorted(seen[group]) == sorted(order_of_samples(np.arange(count), size, 3, purpose).tolist())
        for epoch in range(count // size):
            assert sorted(seen[group][epoch * size : (epoch + 1) * size]) == list(range(size)), (group, epoch)


def test_a_pass_without_a_group_is_refused_and_told_how_large_it_has_to_be():
    """Kills: processes that wait for ever for the gradient of a head that had no sample; two recordings of one group
    taken for two."""
    names = ["a", "b", "c"]
    with pytest.raises(UsageError, match=r"passes of 2 samples have none of a: .* raise train.batch_size to 3,"):
        check_passes(Mix((1, 1, 1)), ["0", "1", "2"], names, 2, 2)
    with pytest.raises(UsageError, match=r"none of b: .* raise train.batch_size to 20,"):
        check_passes(Mix((9, 1)), ["0", "1"], names[:2], 4, 8)
    check_passes(Mix((9, 1)), ["0", "0"], names[:2], 1, 1)
    for weights, per_pass in product(WEIGHTS[1:], range(1, 14)):
        groups = [str(number) for number in range(len(weights))]
        whose = Mix(weights).deal(np.arange(per_pass * sum(weights)))[0].reshape(-1, per_pass)
        whole = all(set(one) == set(range(len(weights))) for one in whose.tolist())
        try:
            check_passes(Mix(weights), groups, groups, per_pass, per_pass)
            assert whole, (weights, per_pass)
        except UsageError:
            assert not whole, (weights, per_pass)


def test_batches_of_one_group_become_one(tiny_store):
    """Kills: rows that are lost or shifted where windows of two lengths meet; padding that no encoder can read."""
    long, short = (WindowReader(tiny_store, range(len(tiny_store)), length).batch(np.arange(3)) for length in (6, 4))
    both = joined([short, long])
    assert both.shape == (6, 6)
    assert both.lengths.tolist() == [4, 4, 4, 6, 6, 6]
    for name in ("observations", "actions", "rewards", "steps"):
        assert torch.equal(getattr(both, name)[3:], getattr(long, name))
        assert torch.equal(getattr(both, name)[:3, :4], getattr(short, name))
        assert torch.equal(getattr(both, name)[:3, 5], getattr(short, name)[:, 3])
    assert torch.equal(both.before.rewards, torch.cat((short.before.rewards, long.before.rewards)))


def test_the_loss_of_a_pass_weighs_its_groups_by_transitions(tiny_store):
    """Kills: groups that count alike whatever they hold, so that a short one's transitions weigh more."""

    class Known:
        def loss(self, net, batch):
            loss = torch.tensor(1.0 + 10.0 * int(batch.group))
            return loss, {"loss": loss, "accuracy": loss / 2}

    reader = WindowReader(tiny_store, range(len(tiny_store)), 5)
    parts = [replace(reader.batch(np.arange(n)), group=str(place)) for place, n in enumerate((1, 3))]
    loss, metrics = mixed_loss(Known(), None, parts, {"0": "a", "1": "b"})
    assert float(loss) == pytest.approx((5 * 1.0 + 15 * 11.0) / 20)
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(
        {"loss": 8.5, "loss/a": 1.0, "loss/b": 11.0, "accuracy/a": 0.5, "accuracy/b": 5.5}
    )
    assert set(mixed_loss(Known(), None, parts[:1], {"0": "a"})[1]) == {"loss", "accuracy"}
