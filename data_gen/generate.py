"""`icrl generate`: records the learning histories of a source learner over the tasks of a split.

Histories are numbered 0 … N-1. History h is of task h mod (number of tasks), so that every shard shows every task
alike, and its number fixes its random numbers: the same bytes come out whatever the number of processes, and a
recording that was killed goes on with the shards that are missing.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from icrl.config import config_to_dict, first_difference, load_config, parse_command, save_config
from icrl.errors import DatasetError, UsageError
from icrl.files import check_out, size_in_words
from icrl.own_code import own_code_fails_in_one_line
from icrl.progress import progress

CONFIG_FILE = "config.yaml"


@dataclass(frozen=True)
class GenerateConfig:
    """What to record.

    Raises:
        UsageError: where a number is out of range.
    """

    presets: ClassVar[str] = "icrl.data_gen.presets"

    family: str
    """The task family's name, as `icrl tasks` lists them; or your own, path/file.py:Class or package.module:Class."""
    learner: str
    """The source learner's name: q-learning, ucb1, thompson, empirical-mean, lin-thompson, lin-ucb, psrl, opsrl,
    posterior-greedy, noise-distillation, optimal, expert, random, zero-action."""
    episodes: int
    """Episodes that the learner lives through in each history."""
    family_options: dict[str, Any] = field(default_factory=dict)
    """The family's options, such as `--family_options.size 9`."""
    learner_options: dict[str, Any] = field(default_factory=dict)
    """The learner's options, such as `--learner_options.step_size 0.5`."""
    split: str = "train"
    """The split whose tasks are learned: train, validation, test, or an out-of-distribution set of the family."""
    split_seed: int = 0
    """Which tasks are training, validation and test tasks is a function of this."""
    histories_per_task: int = 1
    """Histories of each task, each with random numbers of its own."""
    keep_every: int = 1
    """Episodes 0, k, 2k, … are recorded: learning that is too slow for a context passes in fewer episodes."""
    histories_per_shard: int = 500
    """Histories recorded as one batch and written as one file: what a kill loses at most, for each process."""
    seed: int = 0
    """Of the learners and of the environments."""
    workers: int = 0
    """Processes; 0 means one for each core. It does not change the data."""

    def __post_init__(self) -> None:
        for name, least in (
            ("episodes", 1), ("histories_per_task", 1), ("keep_every", 1), ("histories_per_shard", 1),
            ("workers", 0), ("seed", 0), ("split_seed", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}: expected at least {least}")
        if self.keep_every >= self.episodes > 1:
            raise UsageError(
                f"keep_every is {self.keep_every}, episodes {self.episodes}: only the first one would be recorded, "
                "and nothing of what is learned; lower keep_every or raise episodes"
            )


@dataclass(frozen=True)
class _Plan:
    """A resolved recording: what every process needs to make any shard of it."""

    config: GenerateConfig
    out: Path
    num_tasks: int
    num_histories: int
    num_shards: int

    def shard_path(self, shard: int) -> Path:
        from icrl.store_writer import shard_name

        return self.out / shard_name(shard, self.num_shards)

    def histories(self, shard: int) -> range:
        first = shard * self.config.histories_per_shard
        return range(first, min(first + self.config.histories_per_shard, self.num_histories))

    def lanes(self, tasks: Sequence[Any], histories: Sequence[int]) -> list[Any]:
        """The task of each history."""
        return [tasks[history % self.num_tasks] for history in histories]


def generate(
    config: str | Path | GenerateConfig = "dark-room-q-learning",
    out: str | Path = "data/dark-room",
    *,
    resume: bool = False,
    dry_run: bool = False,
    **overrides: Any,
) -> Path:
    """Records a dataset into the folder `out`, and returns it.

    Args:
        config: a preset's name, a YAML file, or a `GenerateConfig`.
        resume: go on with what an earlier call with the same config has left; start where there is nothing.
        dry_run: print what would be done, and write nothing.
        overrides: fields of the config; dotted ones as `**{"family_options.size": 7}`.

    Raises:
        UsageError: for a config that is wrong, or an `out` that is in use or holds data of another config.
    """
    config, out = load_config(GenerateConfig, config, overrides), Path(out)
    provenance, split = _resolve(config)
    tasks = split.named(config.split)
    if not tasks:
        raise UsageError(f"{config.family} has no {config.split} tasks with these options: choose another split")
    num_histories = len(tasks) * config.histories_per_task
    num_shards = -(-num_histories // config.histories_per_shard)
    plan = _Plan(config, out, len(tasks), num_histories, num_shards)
    _check_learner(plan, tasks)
    if _is_complete(out, config, provenance, resume):
        print(f"{out} is complete: {num_histories:,} histories of {len(tasks):,} tasks; nothing to do")
        return out
    if dry_run:
        _print_plan(plan, provenance)
        return out

    from icrl.provenance import PROVENANCE_FILE, TASKS_FILE, write_provenance
    from icrl.store_writer import list_shards

    # 1. What is being recorded, so that a resumed recording is the same one.
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    _check_space(plan, provenance)
    save_config(config, out / CONFIG_FILE)
    write_provenance(out, provenance, split)
    # 2. The shards that are not there yet, in any order.
    for leftover in out.glob(".*.partial-*"):
        leftover.unlink()
    missing = [shard for shard in range(num_shards) if not plan.shard_path(shard).exists()]
    there = sum(len(plan.histories(shard)) for shard in range(num_shards) if shard not in set(missing))
    try:
        with progress("recording", num_histories, unit="histories", done=there) as advance:
            for shard in _record_shards(plan, missing):
                advance(len(plan.histories(shard)))
    except Exception:
        if not any(plan.shard_path(shard).exists() for shard in range(num_shards)):
            # An error of the family's or the learner's: the mended command finds the folder as the first one did.
            for name in (CONFIG_FILE, PROVENANCE_FILE, TASKS_FILE):
                (out / name).unlink(missing_ok=True)
            with suppress(OSError):
                for folder in made:
                    folder.rmdir()
        raise
    # 3. The listing, which makes it a dataset.
    list_shards(out, num_shards)
    size = sum(path.stat().st_size for path in out.glob("*.arrow"))
    print(f"{out}: {num_histories:,} histories of {len(tasks):,} {config.split} tasks, {size_in_words(size)}")
    return out


def main(argv: Sequence[str]) -> int:
    """The command line."""

    def add_arguments(parser) -> None:
        parser.add_argument("--out", required=True, metavar="FOLDER", help="the dataset's folder")
        parser.add_argument("--resume", action="store_true", help="go on with what an earlier run has left in --out")
        parser.add_argument("--dry-run", action="store_true", help="print what would be done and write nothing")

    arguments, config = parse_command("icrl generate", __doc__, GenerateConfig, argv, add_arguments)
    generate(config, arguments.out, resume=arguments.resume, dry_run=arguments.dry_run)
    return 0


def _resolve(config: GenerateConfig):
    """The provenance that the dataset will have, and its split; raises UsageError for what does not exist."""
    from icrl.data_gen.learners import learner_options
    from icrl.envs import make_family
    from icrl.provenance import Provenance
    from icrl.spaces import space_to_dict

    family = make_family(config.family, **config.family_options)
    # What is written down must make the family again when the data is read.
    make_family(config.family, **family.options)
    split = family.split(config.split_seed)
    split.named(config.split)
    provenance = Provenance(
        family=config.family,
        family_version=family.version,
        family_options=dict(family.options),
        horizon=family.horizon,
        observation_space=space_to_dict(family.observation_space),
        action_space=space_to_dict(family.action_space),
        split_seed=config.split_seed,
        recorded_split=config.split,
        learner=config.learner,
        learner_options=learner_options(config.learner, config.learner_options),
        histories_per_task=config.histories_per_task,
        episodes=config.episodes,
        keep_every=config.keep_every,
        seed=config.seed,
    )
    return provenance, split


def _check_learner(plan: _Plan, tasks: Sequence[Any]) -> None:
    """Raises UsageError, before anything is written, where the learner cannot learn a shard of the family."""
    import numpy as np

    from icrl.data_gen.learner import LearnerSetting
    from icrl.data_gen.learners import make_learner
    from icrl.envs import make_family

    config, index = plan.config, plan.histories(0)
    family = make_family(config.family, **config.family_options)
    setting = LearnerSetting(family, plan.lanes(tasks, index), config.episodes, config.seed, np.array(index))
    make_learner(config.learner, config.learner_options, setting)


def _record_shards(plan: _Plan, shards: Sequence[int]) -> Iterator[int]:
    """Records these shards over the config's processes; yields each as it is done."""
    from icrl.data_gen.learners import LEARNERS
    from icrl.data_gen.processes import spread
    from icrl.envs import FAMILIES
    from icrl.processes import cores, importable

    config = plan.config
    workers = min(config.workers or cores(), len(shards))
    # A fresh process finds a family by its name, unless only this one was told of it.
    factories = (FAMILIES[config.family] if FAMILIES.is_added(config.family) else None, LEARNERS[config.learner])
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
            [(plan, shard) for shard in shards],
            workers,
            _register,
            (config.family, config.learner, *factories),
        )
    else:
        for shard in shards:
            yield _record_shard(plan, shard)


def _register(family: str, learner: str, family_factory: Callable | None, learner_factory: Callable) -> None:
    """Makes a family and a learner of the user's own known in a fresh process."""
    from icrl.data_gen.learners import LEARNERS
    from icrl.envs import FAMILIES

    if family_factory is not None and not FAMILIES.is_added(family):
        FAMILIES.add(family, family_factory)
    if learner not in LEARNERS:
        LEARNERS.add(learner, learner_factory)


@own_code_fails_in_one_line()
def _record_shard(plan: _Plan, shard: int) -> int:
    """Records and writes one shard. Runs in any process: all that it needs is in the plan."""
    from icrl.data_gen.record import record
    from icrl.envs import make_family
    from icrl.store_writer import write_shard

    config = plan.config
    family = make_family(config.family, **config.family_options)
    tasks = family.split(config.split_seed).named(config.split)
    index = plan.histories(shard)
    columns = record(
        family,
        plan.lanes(tasks, index),
        config.learner,
        config.learner_options,
        episodes=config.episodes,
        keep_every=config.keep_every,
        seed=config.seed,
        index=index,
    )
    write_shard(plan.shard_path(shard), columns)
    return shard


def _is_complete(out: Path, config: GenerateConfig, provenance, resume: bool) -> bool:
    """Whether `out` is this very dataset, whole; raises where it is anything but nothing or a part of it."""
    from icrl.provenance import PROVENANCE_FILE, read_provenance
    from icrl.store_writer import listed_shards

    check_out(out)
    if not out.is_dir() or not any(out.iterdir()):
        return False
    if not (out / CONFIG_FILE).is_file():
        if all(path.name.startswith(".") for path in out.iterdir()):
            return False
        raise UsageError(f"{out} is not empty and holds no recording: give --out a folder that is new or empty")
    if (out / "model").exists() or (out / "checkpoints").exists():
        raise UsageError(f"{out} is a run of `icrl train`: give --out a folder that is new or empty")
    complete = listed_shards(out) is not None
    if not resume:
        state = "holds a dataset" if complete else "holds a recording that has not finished"
        raise UsageError(f"{out} {state}: go on with --resume, or give --out another folder")
    ours, theirs = (_identity(c) for c in (config, load_config(GenerateConfig, out / CONFIG_FILE)))
    if difference := first_difference(theirs, ours):
        raise UsageError(f"{out} was recorded with another config ({difference}): give --out another folder")
    # The same config under a release that defines the family or the learner's defaults otherwise is not the same data.
    if (out / PROVENANCE_FILE).is_file():
        then, now = (json.loads(json.dumps(asdict(p))) for p in (read_provenance(out), provenance))
        if difference := first_difference(then, now):
            raise UsageError(f"{out} was recorded by another release ({difference}): give --out another folder")
    return complete


def _identity(config: GenerateConfig) -> dict[str, Any]:
    """The config without what does not change the data."""
    return {key: value for key, value in config_to_dict(config).items() if key != "workers"}


def _bytes_estimate(plan: _Plan, provenance) -> int:
    """An upper bound of the dataset's size: episodes may end before the horizon."""
    import numpy as np

    from icrl.spaces import space_from_dict, storage_dtype

    observation, action = (space_from_dict(s) for s in (provenance.observation_space, provenance.action_space))
    width, action_width = (int(np.prod(s.shape)) * storage_dtype(s).itemsize for s in (observation, action))
    # Reward 4, terminated 1, truncated 1, episode 4, step in episode 4; a final observation each episode.
    per_step = width + action_width + 14
    kept = -(-plan.config.episodes // plan.config.keep_every)
    return plan.num_histories * kept * (provenance.horizon * per_step + width)


def _check_space(plan: _Plan, provenance) -> None:
    """Raises DatasetError before the first byte where the disk could not hold the last one."""
    needed, free = _bytes_estimate(plan, provenance), shutil.disk_usage(plan.out).free
    there = sum(path.stat().st_size for path in plan.out.glob("*.arrow"))
    if needed - there > free:
        raise DatasetError(
            f"the dataset may need {needed / 1e9:.2f} GB, {plan.out} has {free / 1e9:.2f} GB free: "
            "free some space, or lower histories_per_task or raise keep_every"
        )


def _print_plan(plan: _Plan, provenance, show: Callable[[str], None] = print) -> None:
    config = plan.config
    kept = -(-config.episodes // config.keep_every)
    lived = plan.num_histories * config.episodes * provenance.horizon
    there = sum(plan.shard_path(shard).exists() for shard in range(plan.num_shards))
    left = f"; {there} of {plan.num_shards} shards are there" if there else ""
    show(f"would record into {plan.out}{left}")
    show(f"  family     {provenance.family}@{provenance.family_version} {provenance.family_options}")
    show(f"  learner    {provenance.learner} {provenance.learner_options}")
    show(f"  histories  {plan.num_histories:,}: {plan.num_tasks:,} {config.split} tasks × {config.histories_per_task}")
    show(f"  episodes   {config.episodes:,} a history, {kept:,} recorded, of at most {provenance.horizon} steps")
    show(f"  lived      at most {lived:,} transitions")
    size = size_in_words(_bytes_estimate(plan, provenance))
    show(f"  size       at most {size} in {plan.num_shards:,} shard{'s' if plan.num_shards > 1 else ''}")
    show("  files      config.yaml, provenance.json, tasks.parquet, data-*.arrow, dataset_info.json, state.json")
    show("nothing was written (--dry-run)")
