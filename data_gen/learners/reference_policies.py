"""Learners that do not learn: the family's best reference policy, uniformly random actions, and the action zero."""

from numpy.typing import NDArray

from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.envs.kit.simple_policies import UniformActions, ZeroAction
from icrl.lanes import PerLane
from icrl.spaces import bounded, zero_action
from icrl.tasks import ReferencePolicy, TaskFamily

STATE_ONE = 'a family of your own states one by policy_kinds = ("expert",) and gives it in reference_policy'


def _plays(kind: str, family: TaskFamily) -> str:
    """Why a learner cannot play that kind of reference policy."""
    if kind in family.policy_kinds:
        return ""
    has = " and ".join(family.policy_kinds) or f"none ({STATE_ONE})"
    return f"plays the reference policy {kind!r}, and {family.name} has {has}"


class _Unchanging(PerLane):
    """A policy as a learner."""

    per_lane = ("_policy",)
    adaptive = False

    def __init__(self, policy: ReferencePolicy) -> None:
        self._policy = policy

    def act(self, observations: NDArray) -> NDArray:
        return self._policy.act(observations)

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        self._policy.observe(rewards, terminated, truncated)


class Optimal(_Unchanging):
    """The family's optimal policy of the known task, from the first episode on."""

    per_lane = ()

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        return _plays("optimal", family)

    def __init__(self, setting: LearnerSetting) -> None:
        super().__init__(setting.family.reference_policy("optimal", setting.tasks))


class Expert(_Unchanging):
    """The family's scripted expert, which knows the task, from the first episode on."""

    per_lane = ()

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        return _plays("expert", family)

    def __init__(self, setting: LearnerSetting) -> None:
        super().__init__(setting.family.reference_policy("expert", setting.tasks))


class UniformRandom(_Unchanging):
    """Every action equally likely, always."""

    per_lane = ()

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        if bounded(family.action_space):
            return ""
        return f"draws actions between their bounds, and those of {family.name} have none"

    def __init__(self, setting: LearnerSetting) -> None:
        super().__init__(UniformActions(setting.family, setting.tasks, setting.streams("random policy")))


class Zero(_Unchanging):
    """The action 0, always: continuous actions only."""

    per_lane = ()

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        if zero_action(family.action_space) is not None:
            return ""
        return f"plays the action zero of a Box, and the actions of {family.name} are {family.action_space}"

    def __init__(self, setting: LearnerSetting) -> None:
        super().__init__(ZeroAction(setting.family, setting.tasks))
