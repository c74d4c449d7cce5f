"""The recordings that a run learns from: one for each dataset, each in the group of its spaces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.envs import FAMILIES, MissingExtra
from icrl.errors import DatasetError, UntrustedCode, UsageError
from icrl.models.methods.base import Method, Sampler
from icrl.models.spec import Spec
from icrl.provenance import Provenance
from icrl.ranges import measure_all
from icrl.recordings import Recording, groups_of, names_of
from icrl.store import HistoryStore, open_stores
from icrl.stored_family import Consent, StoredFamily, moved, stored_family
from icrl.tasks import TaskFamily
from icrl.train.config import TrainConfig
from icrl.train.samples import split_histories
from icrl.transitions import Transitions


@dataclass(frozen=True)
class Part:
    """One recording of a run."""

    name: str
    group: str
    """Of spaces: "0" for those of the first recording, and so on in order of appearance."""
    store: HistoryStore
    family: TaskFamily | None
    """For the in-context return curves; None where there are to be none."""
    provenance: Provenance
    """Of the data, as the run keeps it."""
    known: NDArray[np.int64]
    """Histories that are trained on."""
    held_out: NDArray[np.int64]
    """Histories that are not."""

    @property
    def recording(self) -> Recording:
        """What the run keeps of it."""
        return Recording(self.name, self.provenance, self.store.split)


def open_parts(
    config: TrainConfig, data: Sequence[Path], out: Path, consent: Consent, method: Method
) -> tuple[list[Part], list[str]]:
    """The recordings of some datasets, and what there is to be said of their families.

    Raises:
        DatasetError, UsageError: where a dataset is not whole, empty, or not for this method.
    """
    stores = open_stores(data)
    if consent.family is not None and len(stores) > 1:
        raise UsageError(
            f"--family {consent.family} says where one family is, and the data are {len(stores)} recordings: train on "
            "one dataset, or have each family found from beside its data"
        )
    parts, notes = [], []
    provenances = [store.provenance for store in stores]
    names, groups = names_of([of.family for of in provenances]), groups_of(provenances)
    for name, group, store in zip(names, groups, stores, strict=True):
        if not len(store):
            raise DatasetError(f"{store.path} has no histories: generate some with `icrl generate`")
        method.check(store.provenance)
        stored, note = _curve_family(config, store, consent)
        known, held_out = split_histories(len(store), config.train.validation_fraction)
        family = stored.family if stored else None
        kept = moved(store.provenance, store.path, out, stored, consent)
        parts.append(Part(name, group, store, family, kept, known, held_out))
        notes += [note] if note else []
    return parts, notes


def specs_of(parts: Sequence[Part], method: Method, scales: Mapping[str, Any] | None) -> dict[str, Spec]:
    """What the model has to know of each group: its spaces, the longest horizon, the scales of all of its data.

    Args:
        scales: by group, those that a run began with; None measures them.
    """
    specs = {}
    for group in dict.fromkeys(part.group for part in parts):
        of = [part for part in parts if part.group == group]
        found = scales.get(group) if scales else measure_all([(part.store, part.known) for part in of], method.needs)
        horizon = max(part.provenance.horizon for part in of)
        specs[group] = Spec(of[0].provenance.observation_space, of[0].provenance.action_space, horizon, found)
    return specs


@dataclass(frozen=True)
class InGroup:
    """A sampler whose batches are of a group."""

    sampler: Sampler
    group: str

    @property
    def length(self) -> int:
        return self.sampler.length

    @property
    def histories(self) -> NDArray[np.int64]:
        return self.sampler.histories

    def __len__(self) -> int:
        return len(self.sampler)

    def batch(self, numbers: NDArray[np.int64]) -> Transitions:
        return replace(self.sampler.batch(numbers), group=self.group)


def samplers_of(
    parts: Sequence[Part], specs: Mapping[str, Spec], method: Method, config: TrainConfig
) -> tuple[list[Sampler], list[Sampler | None]]:
    """For each recording what reads the histories that are trained on, and what reads the others, if there are any."""

    def sampler(part: Part, histories: NDArray[np.int64]) -> Sampler:
        maps, length = specs[part.group].maps, config.model.options.context_length
        return InGroup(method.sampler(part.store, histories, length, config.seed, maps), part.group)

    known = [sampler(part, part.known) for part in parts]
    return known, [sampler(part, part.held_out) if len(part.held_out) else None for part in parts]


def labels_of(parts: Sequence[Part]) -> dict[str, str]:
    """A name for each group: those of its recordings."""
    groups = dict.fromkeys(part.group for part in parts)
    return {group: "+".join(part.name for part in parts if part.group == group) for group in groups}


def _curve_family(
    config: TrainConfig, store: HistoryStore, consent: Consent
) -> tuple[StoredFamily | None, str | None]:
    """The family whose environments the curves step; or None, and why, where its code is not trusted.

    Training itself needs no family: without curves none is made but a built-in one, whose version is checked.
    """
    name = store.provenance.family
    wanted = config.train.evaluate_every > 0 or consent.family is not None
    if not wanted and not FAMILIES.is_built_in(name):
        return None, None
    try:
        stored = stored_family(store.path, store.provenance, store.split, consent)
        return stored, stored.note
    except UntrustedCode as error:
        return None, f"the in-context return curves are left out: {error}"
    except MissingExtra:
        if wanted:
            raise
        return None, None
