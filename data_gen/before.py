"""What `--out` holds already: nothing, a part of this very dataset, or all of it; and whose code may be run."""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from icrl.config import config_to_dict, first_difference, load_config
from icrl.data_gen.config import GenerateConfig
from icrl.data_gen.plan import Plan
from icrl.errors import ChangedFamily, UsageError
from icrl.folders import CONFIG_FILE, INFO_FILE, STATE_FILE, check_out
from icrl.provenance import PROVENANCE_FILE, TASKS_FILE, class_of, read_provenance, read_split


def is_complete(plan: Plan, resume: bool, accept_changed_family: bool) -> bool:
    """Whether `out` is this very dataset, whole; raises where it is anything but nothing or a part of it."""
    from icrl.store import HistoryStore

    config, out = plan.shards.config, plan.shards.out
    if (state := check_out(out, "dataset", resume)) == "new":
        return False
    ours, theirs = (_identity(c) for c in (config, load_config(GenerateConfig, out / CONFIG_FILE)))
    if difference := first_difference(theirs, ours):
        raise UsageError(f"{out} was recorded with another config ({difference}): give --out another folder")
    # The same config under a release that defines the family or the learner's defaults otherwise is not the same data.
    if (out / PROVENANCE_FILE).is_file():
        before = read_provenance(out)
        if before.family_version == plan.provenance.family_version:
            _check_family(before, config, out, accept_changed_family)
        if difference := first_difference(before.identity(), plan.provenance.identity()):
            raise UsageError(f"{out} was recorded by another release ({difference}): give --out another folder")
    named = {plan.shards.path(shard).name for shard in range(len(plan.shards))}
    others = sorted(path.name for path in out.glob("data-*.arrow") if path.name not in named)
    if state != "complete" and others:
        raise UsageError(
            f"{out} was recorded by another release ({others[0]} is none of {len(named)} shards): give --out another "
            "folder"
        )
    if state == "complete":
        HistoryStore.open(out)  # Raises where a file has gone, or is not what was written.
    return state == "complete"


def check_config_trust(source: Path, config: GenerateConfig, trust_code: bool, said: Collection[str]) -> None:
    """Raises UntrustedCode where the config of a dataset names code: that came with the data. What the user has `said`
    instead is the user's own."""
    from icrl.stored_family import Consent, check_learner_trust, check_trust

    beside = (PROVENANCE_FILE, TASKS_FILE, STATE_FILE, INFO_FILE)
    if any((folder / name).exists() for folder in {source.parent, source.resolve().parent} for name in beside):
        if "family" not in said:
            check_trust(source.parent, config.family, Consent(trust_code))
        if "learner" not in said:
            check_learner_trust(source.parent, config.learner, Consent(trust_code))


def _check_family(before, config: GenerateConfig, out: Path, accept_changed_family: bool) -> None:
    """Raises ChangedFamily where the family does not do what it did when the recording was begun."""
    from icrl.envs import make_family
    from icrl.stored_family import changes

    family = make_family(config.family, **config.family_options)
    if not (difference := changes(family, before, read_split(out))):
        return
    told = f"{config.family} has changed since the recording in {out} was begun: {difference}"
    if not accept_changed_family:
        raise ChangedFamily(f"{told}; bring the old one back, or go on with --accept-changed-family")
    print(f"icrl: {told}", file=sys.stderr)


def _identity(config: GenerateConfig) -> dict[str, Any]:
    """The config without what does not change the data."""
    values = {key: value for key, value in config_to_dict(config).items() if key != "workers"}
    return {**values, "family": class_of(config.family), "learner": class_of(config.learner)}
