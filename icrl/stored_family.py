"""The family of stored data: found where its place says, run only with trust, and compared with what it was.

A dataset or a run names its family. Where that name is a place, `path/file.py:Class`, its code came with the data, and
whoever wrote the data could have it do anything: it is run only where the user says so. Reading data, describing them
and letting a model act never need it.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from icrl.behaviour import roll
from icrl.envs import FAMILIES, MissingExtra, make_family
from icrl.errors import ChangedFamily, DatasetError, FamilyError, UntrustedCode, UsageError
from icrl.fingerprint import difference
from icrl.own_code import in_one_line
from icrl.places import counts_from, find_place, is_place, portable
from icrl.provenance import Provenance
from icrl.spaces import alike, describe_space, described, space_to_dict
from icrl.tasks import SPLIT_NAMES, Split, Task, TaskFamily

if TYPE_CHECKING:
    from argparse import ArgumentParser

TRUST = "ICRL_TRUST_CODE"
"""An environment variable: where it is 1, true or yes, code that comes with data is run."""


@dataclass(frozen=True)
class Consent:
    """What the user has said of the family of stored data."""

    trust_code: bool = False
    """Run the code that came with the data."""
    family: str | None = None
    """Where the family is, named by the user."""
    accept_changed: bool = False
    """Go on with a family that does not do what it did."""

    def arguments(self) -> list[str]:
        """The same on a command line."""
        flags = [("--trust-code", self.trust_code), ("--accept-changed-family", self.accept_changed)]
        return [flag for flag, said in flags if said] + (["--family", self.family] if self.family else [])

    @property
    def trusted(self) -> bool:
        return self.trust_code or os.environ.get(TRUST, "").lower() in ("1", "true", "yes")


@dataclass(frozen=True)
class StoredFamily:
    """A family that was made from stored data."""

    family: TaskFamily
    place: str
    """What `make_family` knows it by, in this process and in those that it starts."""
    folder: Path | None
    """The folder that the place counts from; None where it is found from anywhere."""
    changed: str | None
    """What it does otherwise than when the data were recorded, which the user has accepted."""

    @property
    def note(self) -> str | None:
        """What there is to be told of that, in one line."""
        return f"{self.place} has changed since the data were recorded: {self.changed}" if self.changed else None


def stored_family(folder: Path, provenance: Provenance, split: Split, consent: Consent) -> StoredFamily:
    """The family of a dataset or a run.

    Args:
        folder: of the dataset or the run. provenance, split: what it holds.

    Raises:
        UntrustedCode: where that would run code that came with the data.
        UsageError: where it is not to be found.
        ChangedFamily: where it does not do what it did, and that was not accepted.
        DatasetError: where this release defines another version of a built-in family.
    """
    name = portable(consent.family or provenance.family)
    check_trust(folder, name, consent)
    root = None
    if FAMILIES.is_place(name):
        if consent.family is None:
            root = folder.resolve() / provenance.family_from if provenance.family_from else None
            name = find_place(name, root)
        FAMILIES[name]
        root = counts_from(name) or root
    family = _as_recorded(_made(name, provenance, folder), provenance)
    if FAMILIES.is_built_in(name) and family.version != provenance.family_version:
        raise DatasetError(
            f"the data is of {provenance.family}@{provenance.family_version}, this release defines {family.label}: "
            "generate the data again, or use the release that made it"
        )
    if FAMILIES.is_built_in(name):
        _check_parameters(folder, family, split)
    changed = changes(family, provenance, split)
    told = f"{_shown(name)} has changed since the data{_in(folder)} were recorded: {changed}"
    if changed and _first_space(family, provenance):
        raise ChangedFamily(f"{told}; bring the old one back, or generate the data again: spaces cannot be accepted")
    if changed and not consent.accept_changed:
        raise ChangedFamily(
            f"{told}; bring the old one back, or go on with --accept-changed-family (accept_changed_family=True)"
        )
    return StoredFamily(family, name, root, changed)


def family_of(
    provenance: Provenance, *, trust_code: bool = False, family: str | None = None, accept_changed_family: bool = False
) -> TaskFamily:
    """The family of a provenance, found from the working directory, whatever it does now.

    Args:
        trust_code: run the code that came with the data, where the family is named by a place.
        family: where it is, if elsewhere.
        accept_changed_family: go on with one whose spaces, horizon or options are not what they were.

    Raises:
        As `stored_family`, which also looks beside the data, and compares what the family does.
    """
    bare = replace(provenance, behaviour=None, family_from=None)
    consent = Consent(trust_code, family, accept_changed_family)
    return stored_family(Path(), bare, Split(provenance.split_seed, (), (), ()), consent).family


def _check_parameters(folder: Path, family: TaskFamily, split: Split) -> None:
    """Raises DatasetError where stored tasks are those of another family: they cannot even be stepped."""
    stored, drawn = ({key for task in of.train[:1] for key in task.params} for of in (split, family.split(split.seed)))
    if stored and stored != drawn:
        raise DatasetError(
            f"the tasks in {folder} have the parameters {', '.join(sorted(stored))}, those of {family.name} have "
            f"{', '.join(sorted(drawn))}: another family's; restore tasks.parquet, or generate the data again"
        )


def check_trust(folder: Path, name: str, consent: Consent) -> None:
    """Raises UntrustedCode where to make the family of that name would run code that came with the folder's data."""
    if consent.family is None and FAMILIES.is_place(name) and not consent.trusted:
        raise UntrustedCode(
            f"{_shown(name)} is code that came with the data{_in(folder)}, and is run only where you say so: "
            f"--trust-code (trust_code=True, {TRUST}=1), or name your own, --family path/file.py:Class"
        )


def check_learner_trust(folder: Path, name: str, consent: Consent) -> None:
    """Raises UntrustedCode where to run the learner of that name would run code that came with the folder's data."""
    if is_place(name) and not consent.trusted:
        raise UntrustedCode(
            f"{_shown(name)}, the source learner, is code that came with the data{_in(folder)}, and is run only where "
            f"you say so: --trust-code (trust_code=True, {TRUST}=1)"
        )


def changes(family: TaskFamily, provenance: Provenance, split: Split) -> str | None:
    """The first thing that a family does otherwise than when data were recorded, then and now; None where there is
    none. The sizes of its splits are no part of it, nor is the version of a built-in family."""
    if spaces := _first_space(family, provenance):
        return spaces
    if family.horizon != provenance.horizon:
        return f"horizon was {provenance.horizon}, now {family.horizon}"
    then, now = provenance.family_options, json.loads(json.dumps(family.options))
    for key in then:
        if key not in SPLIT_NAMES and then[key] != now.get(key):
            return f"{key} was {then[key]!r}, now {now.get(key)!r}"
    if not FAMILIES.is_built_in(provenance.family) and family.version != provenance.family_version:
        return f"version was {provenance.family_version}, now {family.version}"
    if provenance.behaviour is None:
        return None
    return difference(provenance.behaviour, family, _by_number(split))


def moved(
    provenance: Provenance, source: Path, out: Path, stored: StoredFamily | None, consent: Consent
) -> Provenance:
    """The provenance of data in `source` as it is to lie in `out`, so that the family is found from there.

    Args:
        stored: the family, where it was made.
    """
    root = source.resolve() / provenance.family_from if provenance.family_from else None
    if stored:
        root = stored.folder
    family = portable(consent.family) if stored and consent.family else provenance.family
    learner_root = source.resolve() / provenance.learner_from if provenance.learner_from else None
    return replace(
        provenance, family=family, family_from=relative(root, out), learner_from=relative(learner_root, out)
    )


def relative(root: Path | None, folder: Path) -> str | None:
    """The way from a folder, links followed, to `root`."""
    return None if root is None else os.path.relpath(os.path.realpath(root), os.path.realpath(folder))


def about(family: TaskFamily, tasks: list[Task], seconds: float = 1.0) -> dict[str, Any]:
    """What a description needs of a family, to be kept with data: its label, and the means of its anchors over some of
    the tasks, as many as take no longer than that."""
    return {"label": family.label, "best_policy": family.best_policy, "anchors": _anchor_means(family, tasks, seconds)}


def _made(name: str, provenance: Provenance, folder: Path) -> TaskFamily:
    try:
        return make_family(name, **provenance.family_options)
    except MissingExtra:
        raise
    except FamilyError as error:
        raise ChangedFamily(f"{error}; the data{_in(folder)} are of {provenance.family_options}") from error
    except Exception as error:
        if isinstance(error, UsageError) and not provenance.family_options:
            raise
        raise ChangedFamily(
            f"{_shown(name)} does not take the options of the data{_in(folder)}: {in_one_line(error)}; bring back the "
            "family, or the data, as it was"
        ) from error


def _as_recorded(family: TaskFamily, provenance: Provenance) -> TaskFamily:
    """The family with flat observations where the data have them: there were no others once."""
    is_tree = list(described("", space_to_dict(family.observation_space))) != [""]
    if is_tree and hasattr(family, "flatten"):
        flat = copy(family)
        flat.flatten()
        if alike(provenance.observation_space, space_to_dict(flat.observation_space)):
            return flat
    return family


def _first_space(family: TaskFamily, provenance: Provenance) -> str | None:
    for what in ("observation_space", "action_space"):
        then, now = getattr(provenance, what), space_to_dict(getattr(family, what))
        if not alike(then, now):
            words = [describe_space(then), describe_space(now)]
            if words[0] == words[1]:
                words = [str(then), str(now)]
            return f"the {what.replace('_', ' ')} was {words[0]}, now {words[1]}"
    return None


def _by_number(split: Split) -> Mapping[int, Task]:
    return {task.id: task for name in split.names for task in split.named(name)}


def _anchor_means(family: TaskFamily, tasks: Sequence[Task], seconds: float) -> dict[str, Any] | None:
    """None where a single task takes longer than that, or they are no numbers."""
    steps = 3 * family.horizon * getattr(family, "anchor_episodes", 1)
    began = time.perf_counter()
    roll(family, tasks[:1], 2)
    if (time.perf_counter() - began) / 2 * steps > 10 * seconds:
        return None
    began = time.perf_counter()
    family.anchors(tasks[:1])
    count = int(np.clip(seconds / (time.perf_counter() - began), 1, min(len(tasks), 200)))
    chosen = np.unique(np.linspace(0, len(tasks) - 1, count).round().astype(int)).tolist()
    anchors = family.anchors([tasks[i] for i in chosen])
    random, optimum = float(anchors.random.mean()), float(anchors.optimum.mean())
    if not np.isfinite(random):
        return None
    return {
        "random": random,
        "optimum": optimum if np.isfinite(optimum) else None,
        "tasks": len(chosen),
    }


def _in(folder: Path) -> str:
    return f" in {folder}" if folder.parts else ""


def _shown(place: str) -> str:
    """A place of somebody else's, in one line whatever it holds."""
    return place if place.isprintable() else repr(place)


def add_arguments(parser: "ArgumentParser") -> None:
    """The arguments by which a command is told of the family of stored data."""
    parser.add_argument(
        "--trust-code", action="store_true", help="run a family's code that came with the data (path/file.py:Class)"
    )
    parser.add_argument("--family", metavar="PLACE", help="where the data's family is now: your own code, run as such")
    parser.add_argument(
        "--accept-changed-family", action="store_true", help="go on though the family does not do what it did"
    )
