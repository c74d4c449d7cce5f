"""The columns of transitions, named once: recording, windows, prompts and acting all speak of them by these names.

For transition t of a batch row, as in a `LearningHistory`: `observations[t]` is what was seen when `actions[t]` was
chosen, and `rewards[t]`, `terminated[t]` and `truncated[t]` are what followed. What came before the first transition
is `before`, so that a stretch cut from the middle of a history says as much as the whole history does.

Arrays are NumPy's or PyTorch's. A value of a Dict or Tuple space is a structured array here and a dict of tensors
there, with the same keys.

Shape suffixes: B rows (windows or lanes), T transitions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = Any
"""A NumPy array, a tensor, or a (nested) dict of tensors."""

NEXT_OBSERVATIONS = "next_observations"
"""Derived: `(B, T, *observation_shape)`, what truly followed each transition, also where its episode ended."""
RETURN_TO_GO = "return_to_go"
"""Derived: `(B, T)`, the undiscounted sum of the rewards from each transition to the end of its episode."""
EXPERT_ACTIONS = "expert_actions"
"""Recorded: `(B, T, *action_shape)`, what the family's best reference policy would have played there, had it
seen all that came before; it did not play."""
VALID_ACTIONS = "valid_actions"
"""Recorded: `(B, T, A)` bool, which actions of a Discrete space the environment said were allowed."""
DERIVED = (NEXT_OBSERVATIONS, RETURN_TO_GO)
"""Extras that any history has: they are computed on reading."""


@dataclass(frozen=True)
class Before:
    """The transition before the first of each row; where there was none, an action that stands for none, the reward
    0, and an episode that was over."""

    actions: Array
    """`(B, *action_shape)`."""
    rewards: Array
    """`(B,)`."""
    terminated: Array
    """`(B,)` bool."""
    truncated: Array
    """`(B,)` bool."""


@dataclass(frozen=True)
class Transitions:
    """Rows of consecutive transitions, right-padded to one length."""

    observations: Array
    """`(B, T, *observation_shape)`."""
    actions: Array
    """`(B, T, *action_shape)`; one column fewer where the last action is still to be chosen."""
    rewards: Array
    """`(B, T)`, like `actions`, as are the next two."""
    terminated: Array
    """Bool: the episode ended by the task's own rule; its value afterwards is zero."""
    truncated: Array
    """Bool: the episode was cut; its value afterwards is not zero."""
    steps: Array
    """`(B, T)` int64: step in the episode, from 0."""
    before: Before
    lengths: Array
    """`(B,)` int64: transitions of each row; what lies beyond is padding of any valid value."""
    extras: Mapping[str, Array] = field(default_factory=dict)
    """Columns that a method asked for, by name."""
    group: str = "0"
    """Which of a model's groups of spaces the rows are of."""

    @property
    def dones(self) -> Array:
        """`(B, T)` bool: the episode ended here, for either reason."""
        return self.terminated | self.truncated

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        return self.steps.shape[0], self.steps.shape[1]

    def map(self, function: Callable[[Array], Array]) -> "Transitions":
        """The same function of every array, and of every leaf of a tree."""

        def of(value: Array) -> Array:
            return {key: of(part) for key, part in value.items()} if isinstance(value, dict) else function(value)

        before = self.before
        # One by one: acting does this at every step.
        return Transitions(
            of(self.observations), of(self.actions), of(self.rewards), of(self.terminated), of(self.truncated),
            of(self.steps),
            Before(of(before.actions), of(before.rewards), of(before.terminated), of(before.truncated)),
            of(self.lengths), of(self.extras), self.group,
        )  # fmt: skip

    def to(self, device: Any) -> "Transitions":
        """Tensors on that device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))


def returns_to_go(rewards: NDArray, dones: NDArray[np.bool_]) -> NDArray[np.float64]:
    """g_t = r_t + r_{t+1} + … + r_e, e being the end of the episode that t is in, or the last row: `(T,)`.

    Args:
        rewards, dones: `(T,)` of consecutive transitions.
    """
    if not len(rewards):
        return np.zeros(0)
    ends = np.flatnonzero(dones)
    ends = ends if len(ends) and ends[-1] == len(rewards) - 1 else np.append(ends, len(rewards) - 1)
    # Backwards within each episode: what is summed up is as exact as its own rewards are.
    lengths = np.diff(ends, prepend=-1)
    to_go = np.empty(len(rewards))
    for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
        first = end - length + 1
        to_go[first : end + 1] = np.cumsum(rewards[first : end + 1][::-1], dtype=np.float64)[::-1]
    return to_go


def successors(observations: NDArray, dones: NDArray[np.bool_], finals: NDArray) -> NDArray:
    """What truly followed each of T transitions: the next observation, or the final one where the episode ended.

    Args:
        observations: `(T + 1, *observation_shape)`; or T where no more is known: a last transition that did not end
            its episode is then followed by its own.
        dones: `(T,)`.
        finals: `(E, *observation_shape)` of the episodes that end here, E = dones.sum().
    """
    followed = np.empty((len(dones), *observations.shape[1:]), observations.dtype)
    last = max(min(len(dones), len(observations) - 1), 0)
    followed[:last] = observations[1 : last + 1]
    followed[last:] = observations[last : last + 1]
    followed[dones] = finals
    return followed
