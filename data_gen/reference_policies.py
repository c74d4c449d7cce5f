"""Learners that do not learn: the family's best reference policy, uniformly random actions, and the action zero."""

from numpy.typing import NDArray

from icrl.data_gen.learner import LearnerSetting
from icrl.envs.simple_policies import UniformActions, ZeroAction
from icrl.lanes import PerLane
from icrl.tasks import ReferencePolicy


class _Unchanging(PerLane):
    """A policy as a learner."""

    per_lane = ("_policy",)

    def __init__(self, policy: ReferencePolicy) -> None:
        self._policy = policy

    def act(self, observations: NDArray) -> NDArray:
        return self._policy.act(observations)

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        self._policy.observe(rewards, terminated, truncated)


class Optimal(_Unchanging):
    """The family's optimal policy of the known task, from the first episode on."""

    per_lane = ()

    def __init__(self, setting: LearnerSetting) -> None:
        super().__init__(setting.family.reference_policy("optimal", setting.tasks))


class Expert(_Unchanging):
    """The family's scripted expert, which knows the task, from the first episode on."""

    per_lane = ()

    def __init__(self, setting: LearnerSetting) -> None:
        super().__init__(setting.family.reference_policy("expert", setting.tasks))


class UniformRandom(_Unchanging):
    """Every action equally likely, always."""

    per_lane = ()

    def __init__(self, setting: LearnerSetting) -> None:
        super().__init__(UniformActions(setting.family, setting.tasks, setting.streams("random policy")))


class Zero(_Unchanging):
    """The action 0, always: continuous actions only."""

    per_lane = ()

    def __init__(self, setting: LearnerSetting) -> None:
        super().__init__(ZeroAction(setting.family, setting.tasks))
