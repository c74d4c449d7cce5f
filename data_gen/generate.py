"""`icrl generate`: records the learning histories of a source learner over the tasks of a split.

Histories are numbered 0 … N-1. History h is of task h mod (number of tasks), so that every shard shows every task
alike, and its number fixes its random numbers: the same bytes come out whatever the number of processes, and a
recording that was killed goes on with the shards that are missing.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from icrl.config import config_to_dict, first_difference, load_config, parse_command, save_config
from icrl.data_gen.config import GenerateConfig
from icrl.data_gen.plan import Plan, Shards, make_plan
from icrl.errors import ChangedFamily, FamilyError, UsageError
from icrl.files import size_in_words
from icrl.folders import CONFIG_FILE, check_out
from icrl.own_code import own_code_fails_in_one_line
from icrl.places import portable
from icrl.progress import progress
from icrl.provenance import class_of


def generate(
    config: str | Path | GenerateConfig = "dark-room-q-learning",
    out: str | Path = "data/dark-room",
    *,
    resume: bool = False,
    dry_run: bool = False,
    trust_code: bool = False,
    accept_changed_family: bool = False,
    **overrides: Any,
) -> Path:
    """Records a dataset into the folder `out`, and returns it.

    Args:
        config: a preset's name, a YAML file, or a `GenerateConfig`.
        resume: go on with what an earlier call with the same config has left; start where there is nothing.
        dry_run: print what would be done, and write nothing.
        trust_code: run a family's or a learner's code that the config of a dataset names, which came with the data.
        accept_changed_family: with `resume`, go on though the family does not do what it did.
        overrides: fields of the config; dotted ones as `**{"family_options.size": 7}`.

    Raises:
        UsageError: for a config that is wrong, or an `out` that is in use or holds data of another config.
    """
    source, out = config, Path(out)
    config = load_config(GenerateConfig, source, overrides)
    if isinstance(source, str | Path):
        _check_trust(Path(source), config, trust_code, overrides)
    config = replace(config, family=portable(config.family), learner=portable(config.learner))
    plan = make_plan(config, out)
    shards, num_histories = plan.shards, plan.shards.num_histories
    if _is_complete(plan, resume, accept_changed_family):
        print(f"{out} is complete: {num_histories:,} histories of {shards.num_tasks:,} tasks; nothing to do")
        return out
    plan.check_space()
    if told := plan.leak():
        print(f"{config.family}: {told}", file=sys.stderr)
    if dry_run:
        plan.describe()
        return out

    from icrl.provenance import PROVENANCE_FILE, TASKS_FILE, read_provenance, write_provenance
    from icrl.store_writer import drop_shard, list_shards

    # 1. What is being recorded, so that a resumed recording is the same one.
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    save_config(config, out / CONFIG_FILE)
    provenance = plan.provenance
    if (out / PROVENANCE_FILE).is_file():
        before = read_provenance(out)
        provenance = replace(provenance, behaviour=before.behaviour, about=before.about)
    write_provenance(out, provenance, plan.split)
    # 2. The shards that are not there yet, in any order.
    _drop_partials(out)
    missing = shards.missing()
    for path in map(shards.path, missing):
        if path.exists():
            print(f"icrl: {path} is not what was written: it is recorded again", file=sys.stderr)
        drop_shard(path)
    there = num_histories - sum(len(shards.histories(shard)) for shard in missing)
    try:
        with (
            progress("recording", num_histories, unit="histories", done=there) as advance,
            closing(_record_shards(shards, missing)) as recorded,
        ):
            for shard in recorded:
                advance(len(shards.histories(shard)))
    except BaseException as error:
        _drop_partials(out)
        if isinstance(error, FamilyError) and not there:
            # A corrected family makes other data: what this one has made is of no use.
            for shard in missing:
                drop_shard(shards.path(shard))
        if isinstance(error, Exception) and not any(shards.path(shard).exists() for shard in range(len(shards))):
            # An error of the family's or the learner's: the corrected command finds the folder as the first one did.
            for name in (CONFIG_FILE, PROVENANCE_FILE, TASKS_FILE):
                (out / name).unlink(missing_ok=True)
            with suppress(OSError):
                for folder in made:
                    folder.rmdir()
        raise
    # 3. The listing, which makes it a dataset.
    list_shards(out, len(shards))
    size = sum(path.stat().st_size for path in out.glob("*.arrow"))
    print(f"{out}: {num_histories:,} histories of {shards.num_tasks:,} {config.split} tasks, {size_in_words(size)}")
    return out


def _drop_partials(out: Path) -> None:
    """Removes what processes that were killed have half-written."""
    for leftover in out.glob(".*.partial-*"):
        leftover.unlink()


def main(argv: Sequence[str]) -> int:
    """The command line."""

    def add_arguments(parser) -> None:
        parser.add_argument("--out", required=True, metavar="FOLDER", help="the dataset's folder")
        parser.add_argument("--resume", action="store_true", help="go on with what an earlier run has left in --out")
        parser.add_argument("--dry-run", action="store_true", help="print what would be done and write nothing")
        parser.add_argument(
            "--trust-code", action="store_true", help="run code that the config of somebody's data names"
        )
        parser.add_argument(
            "--accept-changed-family", action="store_true", help="go on though the family does not do what it did"
        )

    arguments, config = parse_command("icrl generate", __doc__, GenerateConfig, argv, add_arguments)
    if arguments.config:
        said = {token.partition("=")[0].removeprefix("--") for token in argv}
        _check_trust(Path(arguments.config), config, arguments.trust_code, said)
    generate(
        config,
        arguments.out,
        resume=arguments.resume,
        dry_run=arguments.dry_run,
        accept_changed_family=arguments.accept_changed_family,
    )
    return 0


def _record_shards(shards: Shards, missing: Sequence[int]) -> Iterator[int]:
    """Records these shards over the config's processes; yields each as it is done."""
    from icrl.data_gen.learners import LEARNERS
    from icrl.data_gen.spread import spread
    from icrl.envs import FAMILIES
    from icrl.processes import cores, importable

    config = shards.config
    workers = min(config.workers or cores(), len(missing))
    # A fresh process finds a family and a learner by their names, unless only this one was told of them.
    named = ((FAMILIES, config.family), (LEARNERS, config.learner))
    factories = [registry[name] if registry.is_added(name) else None for registry, name in named]
    if workers > 1 and not importable(*factories):
        print(
            "recording in one process: the family or the learner is defined in the script that was started; "
            "move it to a module of its own to record in several",
            file=sys.stderr,
        )
        workers = 1
    if workers > 1:
        yield from spread(
            _record_shard,
            [(shards, shard) for shard in missing],
            workers,
            _register,
            (config.family, config.learner, *factories),
        )
    else:
        for shard in missing:
            yield _record_shard(shards, shard)


def _register(family: str, learner: str, family_factory: Callable | None, learner_factory: Callable | None) -> None:
    """Makes a family and a learner that the program at hand has added known in a fresh process."""
    from icrl.data_gen.learners import LEARNERS
    from icrl.envs import FAMILIES

    if family_factory is not None and not FAMILIES.is_added(family):
        FAMILIES.add(family, family_factory)
    if learner_factory is not None and not LEARNERS.is_added(learner):
        LEARNERS.add(learner, learner_factory)


@own_code_fails_in_one_line()
def _record_shard(shards: Shards, shard: int) -> int:
    """Records and writes one shard. Runs in any process: all that it needs is in `shards`."""
    from icrl.data_gen.record import record
    from icrl.envs import make_family
    from icrl.spill import Spill
    from icrl.store_writer import write_shard
    from icrl.success import SUCCESS

    config = shards.config
    family = make_family(config.family, **config.family_options)
    tasks = family.split(config.split_seed).named(config.split)
    index = shards.histories(shard)
    path = shards.path(shard)
    with Spill(path.parent) as spill:
        columns = record(
            family,
            shards.lanes(tasks, index),
            config.learner,
            config.learner_options,
            episodes=config.episodes,
            keep_every=config.keep_every,
            seed=config.seed,
            index=index,
            success=SUCCESS in shards.extras,
            extras=shards.extras,
            spill=spill,
        )
        write_shard(path, columns)
    return shard


def _is_complete(plan: Plan, resume: bool, accept_changed_family: bool) -> bool:
    """Whether `out` is this very dataset, whole; raises where it is anything but nothing or a part of it."""
    from icrl.provenance import PROVENANCE_FILE, read_provenance
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


def _check_trust(source: Path, config: GenerateConfig, trust_code: bool, said: Collection[str]) -> None:
    """Raises UntrustedCode where the config of a dataset names code: that came with the data. What the user has `said`
    instead is the user's own."""
    from icrl.folders import INFO_FILE, STATE_FILE
    from icrl.provenance import PROVENANCE_FILE, TASKS_FILE
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
    from icrl.provenance import read_split
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
