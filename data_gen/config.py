"""What to record: the settings of `icrl generate`."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from icrl.errors import UsageError


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
    posterior-greedy, noise-distillation, optimal, expert, random, zero-action, dpt-roll-in; or your own,
    path/file.py:Class or package.module:Class."""
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
    """Histories recorded as one batch and written as one file, at most: fewer where they are large, so that a shard
    takes no more than a gibibyte. It is what a kill loses at most, for each process; memory does not grow with it."""
    expert_actions: bool = False
    """Also record what the family's best reference policy would have played at each step, given what the learner met:
    the column `expert_actions`, which methods that imitate an expert learn from."""
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
