"""Source learners by name."""

import inspect
from collections.abc import Callable
from typing import Any

from icrl.data_gen.learners.bandit import UCB1, EmpiricalMean, ThompsonSampling
from icrl.data_gen.learners.linear_bandit import LinearThompson, LinUCB
from icrl.data_gen.learners.mdp import Opsrl, PosteriorGreedy, Psrl
from icrl.data_gen.learners.noise_distillation import NoiseDistillation
from icrl.data_gen.learners.protocol import Learner, LearnerSetting
from icrl.data_gen.learners.q_learning import QLearning
from icrl.data_gen.learners.reference_policies import Expert, Optimal, UniformRandom, Zero
from icrl.errors import UsageError, did_you_mean
from icrl.registry import Registry
from icrl.tasks import TaskFamily

LEARNERS: Registry[Callable[..., Learner]] = Registry("source learner")
LEARNERS.add("q-learning", QLearning)
LEARNERS.add("ucb1", UCB1)
LEARNERS.add("thompson", ThompsonSampling)
LEARNERS.add("empirical-mean", EmpiricalMean)
LEARNERS.add("lin-thompson", LinearThompson)
LEARNERS.add("lin-ucb", LinUCB)
LEARNERS.add("psrl", Psrl)
LEARNERS.add("opsrl", Opsrl)
LEARNERS.add("posterior-greedy", PosteriorGreedy)
LEARNERS.add("noise-distillation", NoiseDistillation)
LEARNERS.add("optimal", Optimal)
LEARNERS.add("expert", Expert)
LEARNERS.add("random", UniformRandom)
LEARNERS.add("zero-action", Zero)


def learner_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The learner's options with its defaults filled in.

    Raises:
        UsageError: for an unknown learner or option, or an option that is no number where one is due.
    """
    parameters = [p for p in inspect.signature(LEARNERS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    defaults = {parameter.name: parameter.default for parameter in parameters}
    for key, value in options.items():
        if key not in defaults:
            known = f"choose from {', '.join(defaults)}" if defaults else "it takes none"
            raise UsageError(
                f"{name} has no option {key!r}{did_you_mean(key, defaults)}; {known}; --learner_options '{{}}' drops "
                "those of a config"
            )
        expected = (int, float) if isinstance(defaults[key], float) else type(defaults[key])
        if not isinstance(value, expected) or isinstance(value, bool) != isinstance(defaults[key], bool):
            raise UsageError(
                f"{name}: {key}={value!r} is a {type(value).__name__}; expected a value like {defaults[key]!r}"
            )
    return {**defaults, **options}


def misfit(name: str, family: TaskFamily) -> str:
    """Why that learner cannot learn the family, in a few words; empty where it can, or does not say."""
    says = getattr(LEARNERS[name], "misfit", None)
    return says(family) if says else ""


def learners_for(family: TaskFamily) -> list[str]:
    """The learners that say of themselves that they can learn the family."""
    return [name for name in LEARNERS if hasattr(LEARNERS[name], "misfit") and not misfit(name, family)]


def make_learner(name: str, options: dict[str, Any], setting: LearnerSetting) -> Learner:
    """The learner of that name with one lane per task of the setting.

    Raises:
        UsageError: where it cannot learn the family, or an option is wrong.
    """
    options = learner_options(name, options)
    if why := misfit(name, setting.family):
        raise UsageError(f"{name} {why}: choose {' or '.join(learners_for(setting.family))}")
    return LEARNERS[name](setting, **options)
