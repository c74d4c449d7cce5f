"""Source learners: those that come with the framework, and how one is named.

One of your own is a class with `act` and `learn` (`icrl.data_gen.learners.protocol.Learner`), or with a loop of its
own in `run` (`OwnLoopLearner`); its options are the keyword-only arguments of its constructor. It is named by its
place, `path/file.py:Class` or `package.module:Class`, by an entry point of the group `icrl.learners`, or, in a
program, after `LEARNERS.add("mine", Mine)`.
"""

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from icrl.data_gen.learners.protocol import Learner, LearnerSetting, OwnLoopLearner
from icrl.errors import UsageError, did_you_mean
from icrl.registry import PlaceRegistry
from icrl.tasks import TaskFamily

_HERE = "icrl.data_gen.learners"


def has_own_loop(learner: Any) -> bool:
    """Whether a learner, or its class, steps its environment itself."""
    return callable(getattr(learner, "run", None)) and not callable(getattr(learner, "act", None))


def _is_learner(found: Any) -> bool:
    return has_own_loop(found) or all(callable(getattr(found, name, None)) for name in ("act", "learn"))


LEARNERS: PlaceRegistry[Callable[..., Learner | OwnLoopLearner]] = PlaceRegistry(
    "source learner",
    "icrl.learners",
    {
        "": {
            "q-learning": f"{_HERE}.q_learning:QLearning",
            "ucb1": f"{_HERE}.bandit:UCB1",
            "thompson": f"{_HERE}.bandit:ThompsonSampling",
            "empirical-mean": f"{_HERE}.bandit:EmpiricalMean",
            "lin-thompson": f"{_HERE}.linear_bandit:LinearThompson",
            "lin-ucb": f"{_HERE}.linear_bandit:LinUCB",
            "psrl": f"{_HERE}.mdp:Psrl",
            "opsrl": f"{_HERE}.mdp:Opsrl",
            "posterior-greedy": f"{_HERE}.mdp:PosteriorGreedy",
            "noise-distillation": f"{_HERE}.noise_distillation:NoiseDistillation",
            "optimal": f"{_HERE}.reference_policies:Optimal",
            "expert": f"{_HERE}.reference_policies:Expert",
            "random": f"{_HERE}.reference_policies:UniformRandom",
            "zero-action": f"{_HERE}.reference_policies:Zero",
            "dpt-roll-in": f"{_HERE}.roll_in:DptRollIn",
        }
    },
    accepts=_is_learner,
    expected="a class with act and learn, or with run (icrl.data_gen.learners.protocol)",
)


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
    found = []
    for name in LEARNERS:
        with suppress(UsageError):  # A plug-in that cannot be loaded is told of where it is asked for.
            if hasattr(LEARNERS[name], "misfit") and not misfit(name, family):
                found.append(name)
    return found


def make_learner(name: str, options: dict[str, Any], setting: LearnerSetting) -> Any:
    """The learner of that name with one lane per task of the setting; one with a loop of its own takes one task.

    Raises:
        UsageError: where it cannot learn the family, or an option is wrong.
    """
    options = learner_options(name, options)
    if why := misfit(name, setting.family):
        raise UsageError(f"{name} {why}: choose {' or '.join(learners_for(setting.family))}")
    return LEARNERS[name](setting, **options)
