"""What an evaluation does: one field, one sentence. It imports nothing heavy."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from icrl.errors import UsageError
from icrl.eval.targets import check_target

EMPTY_PROMPT = "empty"


@dataclass(frozen=True)
class EvaluateConfig:
    """The frozen model on tasks of one split: how long, how often, and from which context.

    Raises:
        UsageError: where a number is out of range.
    """

    presets: ClassVar[str] = "icrl.eval.presets"

    episodes: int = 60
    """Episodes that every lane completes; for a bandit, pulls of a trial."""
    seeds: int = 3
    """Independent repetitions of every task."""
    split: str = "test"
    """The tasks: test, validation, train, or an out-of-distribution set of the family, such as extrapolation."""
    tasks: int | None = None
    """Only the first so many tasks of the split; null for all of them."""
    action: Literal["sample", "greedy"] = "sample"
    """Draw actions from the model's distribution, or take the likeliest."""
    prompt: str = EMPTY_PROMPT
    """What the context begins with: "empty", or a dataset folder with histories of the same tasks."""
    prompt_episodes: int | None = None
    """Only the last so many recorded episodes of a prompt; null for all that the context holds."""
    target_return: str | None = None
    """For a method that takes one, the return that each episode is to come to: a number, a share of the way from
    random actions to each task's optimum such as "80%", or "best" for the best of an episode in the data, which is
    what null stands for."""
    acting: dict[str, Any] = field(default_factory=dict)
    """Options of the method that say how it acts, other than it was trained with: `--acting.online episode`."""
    source: bool = True
    """Also run the source learner on the same tasks, to compare with."""
    learner: str | None = None
    """Compare with this learner rather than the data's own, over as many episodes as are evaluated."""
    learner_options: dict[str, Any] = field(default_factory=dict)
    """Its options."""
    bootstrap: int = 2000
    """Resamples of the confidence intervals."""
    pictures: int = 8
    """Pictures of the one task that the report shows from first to last episode."""
    workers: int = 1
    """Processes that step the environments, worth it for slow ones such as MuJoCo; 0 for one on each core."""
    device: str = "cpu"
    """Where the model runs, as torch names it: "cpu", "cuda"."""
    seed: int = 0
    """Of the environments, the sampled actions and the bootstrap."""

    def __post_init__(self) -> None:
        for name, least in (
            ("episodes", 1),
            ("seeds", 1),
            ("bootstrap", 100),
            ("pictures", 1),
            ("workers", 0),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}: expected at least {least}")
        for name in ("tasks", "prompt_episodes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}: expected at least 1, or null for all")
        if self.learner_options and self.learner is None:
            raise UsageError("learner_options are given, and no learner: name one with --learner")
        if self.target_return is not None:
            check_target(self.target_return)
        if self.prompt_episodes is not None and self.prompt == EMPTY_PROMPT:
            raise UsageError(
                f"prompt_episodes is {self.prompt_episodes} but the prompt is empty: name a dataset with --prompt"
            )
