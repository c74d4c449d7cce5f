"""The shards of a recording: made one by one, in this process or over several; and undone after an error."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from icrl.data_gen.config import GenerateConfig
from icrl.errors import FamilyError
from icrl.folders import CONFIG_FILE
from icrl.own_code import own_code_fails_in_one_line
from icrl.store_writer import drop_shard, is_whole, shard_name
from icrl.tasks import Task


@dataclass(frozen=True)
class Shards:
    """Which histories are where: what every process needs to make any shard."""

    config: GenerateConfig
    out: Path
    num_tasks: int
    per_shard: int
    """Histories of each shard but the last."""
    largest_history: int
    """Bytes of a history whose episodes all last to the horizon."""
    extras: tuple[str, ...] = ()
    """Columns beyond those that every dataset has: what the family tells by itself, and what was asked for."""

    @property
    def num_histories(self) -> int:
        return self.num_tasks * self.config.histories_per_task

    def __len__(self) -> int:
        return -(-self.num_histories // self.per_shard)

    def path(self, shard: int) -> Path:
        return self.out / shard_name(shard, len(self))

    def missing(self) -> list[int]:
        """The shards that are not there, or are not what was written."""
        return [shard for shard in range(len(self)) if not is_whole(self.path(shard))]

    def histories(self, shard: int) -> range:
        first = shard * self.per_shard
        return range(first, min(first + self.per_shard, self.num_histories))

    def lanes(self, tasks: Sequence[Task], histories: Sequence[int]) -> list[Task]:
        """The task of each history."""
        return [tasks[history % self.num_tasks] for history in histories]


def record_shards(shards: Shards, missing: Sequence[int]) -> Iterator[int]:
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


def prepare(shards: Shards) -> list[int]:
    """The shards that are missing, once what is left of them is gone; says which were not what was written."""
    drop_partials(shards.out)
    missing = shards.missing()
    for path in map(shards.path, missing):
        if path.exists():
            print(f"icrl: {path} is not what was written: it is recorded again", file=sys.stderr)
        drop_shard(path)
    return missing


def undo(shards: Shards, missing: Sequence[int], made: Sequence[Path], error: BaseException) -> None:
    """Leaves of a recording that failed only what going on can use.

    Args:
        missing: the shards that were to be recorded. made: the folders that were made for it, the innermost first.
        error: that ended it.
    """
    from icrl.provenance import PROVENANCE_FILE, TASKS_FILE

    drop_partials(shards.out)
    if isinstance(error, FamilyError) and len(missing) == len(shards):
        # A corrected family makes other data: what this one has made is of no use.
        for shard in missing:
            drop_shard(shards.path(shard))
    if isinstance(error, Exception) and not any(shards.path(shard).exists() for shard in range(len(shards))):
        # An error of the family's or the learner's: the corrected command finds the folder as the first one did.
        for name in (CONFIG_FILE, PROVENANCE_FILE, TASKS_FILE):
            (shards.out / name).unlink(missing_ok=True)
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def drop_partials(out: Path) -> None:
    """Removes what processes that were killed have half-written."""
    for leftover in out.glob(".*.partial-*"):
        leftover.unlink()
