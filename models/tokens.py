"""From transitions to tokens: one token per decision, built by the same function for training and for acting.

Token t holds what is known when action t is chosen: the observation t and the step within the episode, and the
previous transition's action, reward and done flag. It never holds action t, which is what the model predicts there.
Because a token carries the whole previous transition, a window cut from the middle of a history gives the same tokens
as the whole history does.

Shape suffixes: B windows or lanes, T transitions.
"""

from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch", "WindowBatch", "Tokens")


def _to(batch: Batch, device: torch.device | str) -> Batch:
    return type(batch)(
        **{f.name: getattr(batch, f.name).to(device, non_blocking=True) for f in fields(batch)},
    )


@dataclass(frozen=True)
class WindowBatch:
    """Windows of learning histories, right-padded to one length; numbers are scaled (`icrl.ranges`)."""

    observations: Tensor
    """`(B, T, *observation_shape)`: integers, or floats for a Box."""
    actions: Tensor
    """`(B, T, *action_shape)`: int64, or float32 for a Box."""
    rewards: Tensor
    """`(B, T)` float32."""
    dones: Tensor
    """`(B, T)` bool: terminated or truncated."""
    steps: Tensor
    """`(B, T)` int64: step in the episode, from 0."""
    before_actions: Tensor
    """`(B, *action_shape)`: the action before the window; where there was none the number of actions, or zeros for a
    Box."""
    before_rewards: Tensor
    """`(B,)` float32: the reward before the window, 0 where there was none."""
    before_dones: Tensor
    """`(B,)` bool: the window starts an episode; true where nothing was before."""
    lengths: Tensor
    """`(B,)` int64: transitions in each window; rows from there on are padding of any valid value."""

    def to(self, device: torch.device | str) -> "WindowBatch":
        return _to(self, device)


@dataclass(frozen=True)
class Tokens:
    """What the model reads: one row per decision; numbers are scaled, as in a `WindowBatch`."""

    observations: Tensor
    """`(B, T, *observation_shape)`."""
    previous_actions: Tensor
    """`(B, T, *action_shape)`; "none" is the number of actions, or zeros for a Box."""
    previous_rewards: Tensor
    """`(B, T)` float32."""
    previous_dones: Tensor
    """`(B, T)` bool: an episode starts here."""
    steps: Tensor
    """`(B, T)` int64."""

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)."""
        return self.steps.shape[0], self.steps.shape[1]

    def to(self, device: torch.device | str) -> "Tokens":
        return _to(self, device)

    def __getitem__(self, index) -> "Tokens":
        """The same index into every field: `tokens[:, 3:7]`, `tokens[lanes]`."""
        return Tokens(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def build_tokens(
    observations: Tensor,
    actions: Tensor,
    rewards: Tensor,
    dones: Tensor,
    steps: Tensor,
    before_actions: Tensor,
    before_rewards: Tensor,
    before_dones: Tensor,
) -> Tokens:
    """The tokens of T decisions: what followed each is shifted to the next by one.

    Args:
        observations: `(B, T, *observation_shape)`; steps: `(B, T)`.
        actions, rewards, dones: `(B, T)`, actions `(B, T, *action_shape)`, of which the last column is in no token; so
            `(B, T - 1)` will do, which is what there is while acting (T = 1: nothing is known yet of the step).
        before_actions, before_rewards, before_dones: `(B,)`, `(B, *action_shape)`: the transition before the first.
    """
    last = steps.shape[1] - 1

    def shifted(before_B: Tensor, values_BT: Tensor) -> Tensor:
        if last == 0:
            return before_B[:, None]
        return torch.cat([before_B[:, None], values_BT[:, :last]], dim=1)

    return Tokens(
        observations=observations,
        previous_actions=shifted(before_actions, actions),
        previous_rewards=shifted(before_rewards, rewards),
        previous_dones=shifted(before_dones, dones),
        steps=steps,
    )
