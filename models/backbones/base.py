"""What a backbone is: embedded tokens in, as many outputs out, at once or through a state that remembers.

A backbone knows neither spaces nor methods. A method embeds what it reads, the backbone mixes it over time, and the
method's heads read what comes out.

Shape suffixes: B lanes, T tokens, D width, N tokens of a set, Q queries.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.errors import UsageError


def window_start(t: int, context_length: int, kept: int) -> int:
    """First decision s(t) of the context in which decision t is read: s(t) = 0 while t < C, and then

    s(t) = (floor((t - C) / (C - K)) + 1) · (C - K),

    so that C - K, …, C decisions stand in the context, the newest of them decision t. Needs 0 <= K < C.
    """
    if t < context_length:
        return 0
    stride = context_length - kept
    return ((t - context_length) // stride + 1) * stride


class State(ABC):
    """What a backbone remembers of B lanes. Made by `Backbone.start`, filled by `prefill` and `step`."""

    @property
    @abstractmethod
    def lengths(self) -> NDArray[np.int64]:
        """`(B,)`: how many tokens each lane holds."""

    @abstractmethod
    def keep(self, lanes: NDArray[np.int64]) -> None:
        """Lets go of all lanes but these, places in the present batch that rise; the others go on as before."""

    @abstractmethod
    def clear(self, lanes: NDArray[np.int64]) -> None:
        """These lanes, places in the present batch, have read nothing from now on."""

    @abstractmethod
    def fork(self, index: NDArray[np.int64]) -> Self:
        """A new state whose lane i is a copy of lane `index[i]`, which may repeat; neither changes the other."""


class Backbone(nn.Module, ABC):
    """A sequence model over embedded tokens.

    A subclass sets `Options`, a frozen dataclass with at least `width`, `context_length` and, unless it is recurrent,
    `context_keep`; it makes its layers in `__init__`, after `super().__init__(options, ...)`.

    Args:
        options: of its `Options`.
        tokens_per_decision: tokens that the method spends on one decision, of which the options count the context.
        positions: whether the order of tokens is told to the model (beyond what causality tells).
    """

    Options: ClassVar[type]
    recurrent: ClassVar[bool] = False
    """What it remembers is of one size for ever, so nothing is ever dropped from the context."""
    reads_sets: ClassVar[bool] = False
    """It has `encode_set` and `query`, and takes `causal=False`."""
    no_split_modules: ClassVar[tuple[str, ...]] = ()
    """Class names of its blocks, which FSDP shards one by one."""

    def __init__(self, options: Any, *, tokens_per_decision: int = 1, positions: bool = True) -> None:
        super().__init__()
        self.options, self.tokens_per_decision, self.positions = options, tokens_per_decision, positions
        if self.recurrent and not positions:
            raise UsageError(self._no_sets())

    @property
    def width(self) -> int:
        """D: channels of what goes in and of what comes out."""
        return self.options.width

    @property
    def context(self) -> int:
        """Tokens of a full context, and of a training window."""
        return self.options.context_length * self.tokens_per_decision

    @property
    def kept(self) -> int:
        """Tokens that a full context keeps."""
        if self.recurrent:
            return 0
        return int(self.options.context_keep * self.options.context_length) * self.tokens_per_decision

    def window_start(self, t: int) -> int:
        """First token of the context in which token t is read, both counted from a lane's first token."""
        if self.recurrent:
            return 0
        k = self.tokens_per_decision
        return k * window_start(t // k, self.context // k, self.kept // k)

    @abstractmethod
    def forward(self, x_BTD: Tensor, *, causal: bool = True, lengths: Tensor | None = None) -> Tensor:
        """Outputs `(B, T, D)`, ready for a linear layer: each of the tokens up to it, or of all.

        Args:
            x_BTD: embedded tokens; T at most `context`, unless the backbone is recurrent.
            causal: whether a token reads only those up to it. False needs `reads_sets`.
            lengths: `(B,)`: tokens from there on are padding. It matters where `causal` is False alone.
        """

    @abstractmethod
    def start(self, lanes: int) -> State:
        """The state of so many lanes that have read nothing, on the device of the weights."""

    @abstractmethod
    def prefill(self, x_BTD: Tensor, lengths_B: NDArray[np.int64], state: State) -> None:
        """Reads a prompt into every lane of a state that is empty.

        Args:
            x_BTD: right-padded; lane i's newest `lengths_B[i]` tokens, from its `window_start(t)` on, t being the
                number of tokens in its whole prompt.
            lengths_B: may be 0.
        """

    @abstractmethod
    def step(self, x_BTD: Tensor, state: State) -> Tensor:
        """Reads the same number T of tokens in every lane; outputs `(B, T, D)`.

        Where a lane would hold more than `context` tokens it first drops the oldest `context - kept` and encodes the
        others anew. So the output at token t is that of `forward` over the tokens from s on, s being the
        `window_start` of the newest of the T.

        Args:
            x_BTD: T from 1 to `tokens_per_decision`.

        Raises:
            UsageError: where tokens of two decisions come at once, and a full context keeps nothing of the first.
        """

    def encode_set(self, x_BND: Tensor, lengths: Tensor | None = None, *, causal: bool = False) -> Any:
        """Reads a set once, for any number of `query` calls; gradients flow through both.

        Args:
            x_BND: right-padded to N tokens.
            lengths: `(B,)`: tokens of each set, 0 allowed; None is N of all.
            causal: whether a token reads only those before it in the given order.
        """
        raise UsageError(self._no_sets())

    def query(self, x_BQD: Tensor, memory: Any, seen: Tensor | None = None) -> Tensor:
        """Outputs `(B, Q, D)` of queries, each of which reads the set and itself, and no other query.

        Args:
            memory: of `encode_set`, or `memory_of` a state.
            seen: `(B, Q)`: the query reads the set's first so many tokens alone; needs a set encoded causally.
        """
        raise UsageError(self._no_sets())

    def memory_of(self, state: State) -> Any:
        """What a state's lanes hold, for `query`; to be used before the state changes."""
        raise UsageError(self._no_sets())

    def init_weights(self, module: nn.Module) -> None:
        """Gives first weights to one module of the backbone whose constructor has not; called module by module when
        a model is made. A module that is loaded is not to be changed: use `transformers.initialization`."""

    def _no_sets(self) -> str:
        return (
            f"{type(self).__name__} reads its tokens in order, and has no attention over a set: choose --model "
            "transformer, or --model hf with a model of attention, such as llama"
        )

    def _check_step(self, x_BTD: Tensor, state: State) -> None:
        """Raises UsageError for a step of the wrong shape."""
        lanes, tokens = len(state.lengths), x_BTD.shape[1]
        if x_BTD.shape != (lanes, tokens, self.width) or not 1 <= tokens <= self.tokens_per_decision:
            raise UsageError(
                f"a step got {tuple(x_BTD.shape)}: expected ({lanes}, T, {self.width}), one row for each lane and "
                f"from 1 to {self.tokens_per_decision} tokens, those of a decision"
            )

    def _check_context(self, tokens: int) -> None:
        """Raises UsageError for a forward over more tokens than fit."""
        if self.context < tokens:
            raise UsageError(
                f"{tokens} tokens do not fit the model's context of {self.context}: give its newest tokens"
            )

    @property
    def _weight(self) -> Tensor:
        """Any weight, for the device and the type of what is made beside it."""
        return next(self.parameters())


def on(index: NDArray[np.int64], device: torch.device) -> Tensor:
    """An index of NumPy on a device."""
    return torch.from_numpy(np.ascontiguousarray(index, np.int64)).to(device)
