"""What a recording will be, decided before its first step: a dry run prints it, the recording carries it out.

Whatever can be known to go wrong is refused here: `make_plan` is all that stands between a config and hours of work.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from icrl.behaviour import roll
from icrl.data_gen.config import GenerateConfig
from icrl.data_gen.shards import Shards
from icrl.envs import FAMILIES, make_family
from icrl.envs.kit.measured import check_anchors
from icrl.errors import DatasetError, FamilyError, UsageError
from icrl.extras import EXPERT_ACTIONS, VALID_ACTIONS, extra_spaces
from icrl.files import size_in_words
from icrl.fingerprint import take
from icrl.held_out import COMPARED, leak
from icrl.places import counts_from
from icrl.processes import cores
from icrl.provenance import Provenance, check_tasks, check_values
from icrl.schema import Fault
from icrl.spaces import space_to_dict
from icrl.spill import BOUND
from icrl.store_writer import LARGEST_LIST
from icrl.stored_family import about, relative
from icrl.success import SUCCESS
from icrl.tape import largest_history
from icrl.tasks import Split, Task, TaskFamily

SHARD_BYTES = 1 << 30
"""A shard has fewer histories than asked for where they could take more than this: it is what a kill loses."""

BESIDE_A_HISTORY, BESIDE_A_SHARD = 64, 4096
"""Bytes at most of its task, its number and where it begins in each column; and of a shard's schema."""

STEPS_TO_SUCCESS = 1000
"""Steps in which an environment that tells success has done so, be it where an episode ends."""


@dataclass(frozen=True)
class Plan:
    """A resolved recording. Made by `make_plan`."""

    shards: Shards
    provenance: Provenance
    split: Split

    @property
    def bytes_at_most(self) -> int:
        """Of all shards: episodes may end before the horizon."""
        told = _kept(self.shards.config) if SUCCESS in self.shards.extras else 0
        each = self.shards.largest_history + told + BESIDE_A_HISTORY
        return self.shards.num_histories * each + len(self.shards) * BESIDE_A_SHARD

    def say(self, show: Callable[[str], None] = print) -> None:
        """What would be done."""
        shards, provenance, config = self.shards, self.provenance, self.shards.config
        kept = _kept(config)
        lived = shards.num_histories * config.episodes * provenance.horizon
        there = len(shards) - len(shards.missing())
        left = f"; {there} of {len(shards)} shards are there" if there else ""
        each = f" of {shards.per_shard:,} histories" if len(shards) > 1 else ""
        show(f"would record into {shards.out}{left}")
        show(f"  family     {provenance.family}@{provenance.family_version} {provenance.family_options}")
        show(f"  learner    {provenance.learner} {provenance.learner_options}")
        show(
            f"  histories  {shards.num_histories:,}: {shards.num_tasks:,} {config.split} tasks × "
            f"{config.histories_per_task}"
        )
        if shards.extras:
            show(f"  extras     {', '.join(shards.extras)}")
        show(f"  episodes   {config.episodes:,} a history, {kept:,} recorded, of at most {provenance.horizon} steps")
        show(f"  lived      at most {lived:,} transitions")
        show(
            f"  size       at most {size_in_words(self.bytes_at_most)} in {len(shards):,} "
            f"shard{'s' if len(shards) > 1 else ''}{each}"
        )
        if shards.per_shard < config.histories_per_shard and len(shards) > 1:
            show(f"             rather than {config.histories_per_shard:,}, to keep a shard below a gibibyte")
        show("  files      config.yaml, provenance.json, tasks.parquet, data-*.arrow, dataset_info.json, state.json")
        show("nothing was written (--dry-run)")

    def leak(self) -> str | None:
        """Of a family of somebody's own: a sentence about held-out tasks that are not; None where there is none."""
        config = self.shards.config
        if FAMILIES.is_built_in(config.family):
            return None
        return leak(make_family(config.family, **config.family_options), self.split, seconds=COMPARED)

    def check_space(self) -> None:
        """Raises DatasetError before the first byte where the disk could not hold the last one."""
        out = self.shards.out
        there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
        free = shutil.disk_usage(there).free
        needed = self.bytes_at_most - sum(path.stat().st_size for path in out.glob("*.arrow"))
        needed += self._set_aside()
        if needed > free:
            raise DatasetError(
                f"the dataset may need {needed / 1e9:,.2f} GB, {out} has {free / 1e9:,.2f} GB free: "
                "free some space, or lower histories_per_task or raise keep_every"
            )

    def _set_aside(self) -> int:
        """Bytes at most of the temporary files that shards under way are put together from."""
        shards = self.shards
        size = min(shards.per_shard, shards.num_histories) * shards.largest_history
        under_way = min(shards.config.workers or cores(), len(shards))
        return under_way * size if size > BOUND else 0


def make_plan(config: GenerateConfig, out: Path) -> Plan:
    """The recording that a config asks for.

    Raises:
        UsageError, FamilyError, DatasetError: for what does not exist, does not go together, or could be recorded and
            then not be stored or evaluated.
    """
    from icrl.data_gen.learners import LEARNERS, learner_options
    from icrl.data_gen.record import best_kind

    family = make_family(config.family, **config.family_options)
    # What is written down must make the family again when the data is read.
    make_family(config.family, **family.options)
    split = family.split(config.split_seed)
    tasks = split.named(config.split)
    if not tasks:
        raise UsageError(f"{config.family} has no {config.split} tasks with these options: choose another split")
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
        adaptive=None if getattr(LEARNERS[config.learner], "adaptive", True) else False,
    )
    _check_writable(provenance, split)
    asked = [EXPERT_ACTIONS] if config.expert_actions and best_kind(family) else []
    shards = Shards(config, out, len(tasks), *_sizes(config, family, asked))
    _check_learner(shards, family, tasks)
    try:
        check_anchors(family, (split.test or tasks)[0])
    except UsageError as error:
        raise UsageError(f"{error}; {family.name} could be recorded, but never be evaluated") from None
    root = counts_from(config.family) if FAMILIES.is_place(config.family) else None
    family = make_family(config.family, **config.family_options)
    extras = [*_told(family, tasks[0]), *asked]
    shards = Shards(config, out, len(tasks), *_sizes(config, family, extras), tuple(extras))
    known = None if FAMILIES.is_built_in(config.family) else about(family, tasks)
    behaviour = take(family, split)
    learner_root = counts_from(config.learner) if LEARNERS.is_place(config.learner) else None
    found = {"family_from": relative(root, out), "learner_from": relative(learner_root, out)}
    found |= {"behaviour": behaviour, "about": known}
    return Plan(shards, replace(provenance, extras=extras or None, **found), split)


def _sizes(config: GenerateConfig, family: TaskFamily, extras: Sequence[str]) -> tuple[int, int]:
    """Histories of a shard, and bytes at most of one.

    Raises:
        UsageError: where a history is too large for the store.
    """
    numbers, size = largest_history(family, _kept(config), extras)
    if numbers > LARGEST_LIST:
        raise UsageError(
            f"a history of {_kept(config):,} episodes of {family.horizon:,} steps may have {numbers:,} numbers in one "
            f"column, the store holds {LARGEST_LIST:,} of a history: lower episodes or raise keep_every"
        )
    return max(1, min(config.histories_per_shard, LARGEST_LIST // numbers, SHARD_BYTES // size)), size


def _kept(config: GenerateConfig) -> int:
    """Episodes of a history that are recorded."""
    return -(-config.episodes // config.keep_every)


def _check_writable(provenance: Provenance, split: Split) -> None:
    """Raises FamilyError where what is written down of the family and its tasks could not be read again."""
    stated: list[tuple[str, Any]] = [("options", provenance.family_options)]
    stated += [(f"task {task.id}", task.params) for name in split.names for task in split.named(name)]
    for what, value in stated:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise FamilyError(
                f"{provenance.family}: {what} {value} cannot be written as JSON ({error}): expected finite numbers, "
                "text, true or false, and lists and dicts of them"
            ) from None
    try:
        check_values(asdict(provenance))
        check_tasks((name, task.id, task.params) for name in split.names for task in split.named(name))
    except Fault as fault:
        raise FamilyError(f"{provenance.family} cannot be recorded: {fault}") from None


def _told(family: TaskFamily, task: Task) -> list[str]:
    """What the environments tell beside transitions by the end of an episode, success and valid actions; they do so of
    every task or of none."""
    steps, told = min(family.horizon, STEPS_TO_SUCCESS), set()
    for some in sorted({min(2, steps), steps}):
        for info in roll(family, [task], some, keep=lambda seen: np.zeros(0)).infos:
            told |= {SUCCESS, *extra_spaces([VALID_ACTIONS], family.action_space)} & set(info)
        if SUCCESS in told:
            break
    return [name for name in (SUCCESS, VALID_ACTIONS) if name in told]


def _check_learner(shards: Shards, family: TaskFamily, tasks: Sequence[Task]) -> None:
    """Raises UsageError where the learner cannot learn a shard of the family."""
    from icrl.data_gen.learners import LEARNERS, has_own_loop, make_learner
    from icrl.data_gen.learners.protocol import LearnerSetting

    config, index = shards.config, shards.histories(0)
    setting = LearnerSetting(family, shards.lanes(tasks, index), config.episodes, config.seed, np.array(index))
    if has_own_loop(LEARNERS[config.learner]):
        setting = setting.lane(0)
    make_learner(config.learner, config.learner_options, setting)
