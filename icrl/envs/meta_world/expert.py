"""Meta-World's scripted policies, one lane per task."""

import warnings
from collections.abc import Sequence

import numpy as np
from metaworld.policies import ENV_POLICY_MAP
from numpy.typing import NDArray

from icrl.lanes import PerLane


class ScriptedExpert(PerLane):
    """The package's scripted policy of each lane's environment, shown the goal even where the observation hides it.

    A good policy, not an optimal one: it fails on some goals of some environments.

    Args:
        names: of the environments.
        target_N3: positions of the targets, in metres.
    """

    per_lane = ("_policies", "_target_N3")

    def __init__(self, names: Sequence[str], target_N3: NDArray[np.float64]) -> None:
        self._policies = [ENV_POLICY_MAP[name]() for name in names]
        self._target_N3 = target_N3

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        seen_NO = observations.astype(np.float64)
        seen_NO[:, -3:] = self._target_N3
        with warnings.catch_warnings():
            # Its scripts ask for more than an action can do, and say so at every step.
            warnings.simplefilter("ignore")
            actions = [policy.get_action(seen) for policy, seen in zip(self._policies, seen_NO, strict=True)]
        return np.clip(np.array(actions, np.float32).reshape(-1, 4), -1.0, 1.0)

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: the scripts look at the observation only."""
