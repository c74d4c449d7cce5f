"""Acting from a set of transitions, which is given, or grows by step or by episode.

A context that is read causally and grows by step is a cached state, which a step makes longer by one. Any other is
held as tokens and encoded when it has changed: once for all decisions in between.

Shape suffixes: B lanes, N transitions of a context, D width, C transitions that a context holds.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.models.methods.base import Actor
from icrl.models.methods.sequence import first_token
from icrl.models.parts import Distribution
from icrl.transitions import NEXT_OBSERVATIONS, Transitions

Online = Literal["step", "episode", "never"]


class SetActor(Actor):
    """Asks, for each decision, about the state at hand.

    Args:
        net: with `embedding`, `backbone`, `head` and `causal`, in eval mode.
        group: of spaces.
        distribution: what the head's numbers mean.
        online: when a transition enters the context.
    """

    def __init__(self, net: nn.Module, group: str, distribution: Distribution, online: Online) -> None:
        self._backbone, self._distribution, self._online = net.backbone, distribution, online
        self._embedding, self._head = net.embedding[group], net.head[group]
        self._make = Cached if net.causal and online == "step" else Encoded
        self._causal = net.causal

    @torch.inference_mode()
    def begin(self, lanes: int, prompts: Transitions | None, targets: NDArray[np.float64] | None) -> None:
        self._context = self._make(self._backbone, lanes, self._causal, self._online == "episode")
        if prompts is not None:
            self._context.fill(self._embedding(prompts), prompts.lengths.cpu().numpy())
        self._last: Any = None
        """What was seen at the decision before; None at first."""

    @torch.inference_mode()
    def act(self, now: Transitions) -> Any:
        if self._last is not None and self._online != "never":
            over_B = now.before.terminated | now.before.truncated
            self._context.add(self._embedding(self._followed(now)), over_B)
        self._last = now.observations
        asked = self._embedding.ask(now.observations)
        return first_token(self._head(self._backbone.query(asked, self._context.memory())))

    def choose(self, outputs: Any, uniforms: NDArray[np.float64] | None) -> NDArray:
        return self._distribution.act(outputs, uniforms)

    def keep(self, lanes: NDArray[np.int64]) -> None:
        self._context.keep(lanes)
        if self._last is not None:
            self._last = _rows(self._last, lanes)

    def _followed(self, now: Transitions) -> Transitions:
        """The transition that has led here: T = 1."""
        before, extras = now.before, {NEXT_OBSERVATIONS: now.observations}
        columns = (_column(part) for part in (before.actions, before.rewards, before.terminated, before.truncated))
        return Transitions(self._last, *columns, now.steps, before, now.lengths, extras, now.group)


class Cached:
    """A context that grows by one cached step a decision; of a full one the backbone lets the oldest part go."""

    def __init__(self, backbone: Any, lanes: int, causal: bool, by_episode: bool) -> None:
        self._backbone, self._state = backbone, backbone.start(lanes)

    def fill(self, x_BND: Tensor, lengths_B: NDArray[np.int64]) -> None:
        self._backbone.prefill(x_BND, lengths_B, self._state)

    def add(self, x_B1D: Tensor, done_B: Tensor) -> None:
        self._backbone.step(x_B1D, self._state)

    def memory(self) -> Any:
        return self._backbone.memory_of(self._state)

    def keep(self, lanes: NDArray[np.int64]) -> None:
        self._state.keep(lanes)


class Encoded:
    """The newest C transitions as tokens, encoded anew when they have changed.

    Args:
        by_episode: transitions wait until their episode has ended.
    """

    def __init__(self, backbone: Any, lanes: int, causal: bool, by_episode: bool) -> None:
        self._backbone, self._causal, self._by_episode = backbone, causal, by_episode
        self._held, self._waiting = (_Newest(backbone, lanes) for _ in range(2))
        self._memory: Any = None

    def fill(self, x_BND: Tensor, lengths_B: NDArray[np.int64]) -> None:
        for lane, length in enumerate(lengths_B.tolist()):
            self._held.extend(lane, x_BND[lane, :length])

    def add(self, x_B1D: Tensor, done_B: Tensor) -> None:
        if not self._by_episode:
            self._held.append(x_B1D[:, 0])
            self._memory = None
            return
        self._waiting.append(x_B1D[:, 0])
        for lane in np.flatnonzero(done_B.cpu().numpy()).tolist():
            self._held.extend(lane, self._waiting.take(lane))
            self._memory = None

    def memory(self) -> Any:
        if self._memory is None:
            lengths_B = self._held.lengths_B
            x_BND = self._held.tokens_BCD[:, : max(1, int(lengths_B.max()))]
            lengths = torch.from_numpy(lengths_B).to(x_BND.device)
            self._memory = self._backbone.encode_set(x_BND, lengths, causal=self._causal)
        return self._memory

    def keep(self, lanes: NDArray[np.int64]) -> None:
        self._held.keep(lanes)
        self._waiting.keep(lanes)
        self._memory = None


class _Newest:
    """The newest C tokens of each lane, oldest first."""

    def __init__(self, backbone: Any, lanes: int) -> None:
        like = next(backbone.parameters())
        self.tokens_BCD = torch.zeros((lanes, backbone.context, backbone.width), device=like.device, dtype=like.dtype)
        self.lengths_B = np.zeros(lanes, np.int64)

    def append(self, x_BD: Tensor) -> None:
        """One more in every lane."""
        context = self.tokens_BCD.shape[1]
        if (full := np.flatnonzero(self.lengths_B == context)).size:
            self.tokens_BCD[full, :-1] = self.tokens_BCD[full, 1:]
            self.lengths_B[full] -= 1
        self.tokens_BCD[np.arange(len(x_BD)), self.lengths_B] = x_BD
        self.lengths_B += 1

    def extend(self, lane: int, x_TD: Tensor) -> None:
        """More of them in one lane."""
        held = torch.cat((self.tokens_BCD[lane, : self.lengths_B[lane]], x_TD))[-self.tokens_BCD.shape[1] :]
        self.lengths_B[lane] = len(held)
        self.tokens_BCD[lane, : len(held)] = held

    def take(self, lane: int) -> Tensor:
        """Those of one lane, which has none afterwards."""
        tokens = self.tokens_BCD[lane, : self.lengths_B[lane]].clone()
        self.lengths_B[lane] = 0
        return tokens

    def keep(self, lanes: NDArray[np.int64]) -> None:
        self.tokens_BCD, self.lengths_B = self.tokens_BCD[lanes], self.lengths_B[lanes]


def _column(values_B: Any) -> Any:
    """Values of one transition of each lane: `(B, 1, …)`."""
    return (
        {key: _column(part) for key, part in values_B.items()} if isinstance(values_B, Mapping) else values_B[:, None]
    )


def _rows(values: Any, lanes: NDArray[np.int64]) -> Any:
    if isinstance(values, Mapping):
        return {key: _rows(part, lanes) for key, part in values.items()}
    return values[torch.from_numpy(lanes).to(values.device)]
