"""What a method is: everything that tells one way of in-context learning from another, and nothing else.

A method states its options, says which columns of transitions it reads and in what stretches, builds the network
around a backbone, computes a loss, and acts. Training, evaluation and the agent know only this. A method of your own
is a subclass, named by its place: `icrl train --method path/file.py:Class`.

Shape suffixes: B windows or lanes, T transitions.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.errors import UsageError, did_you_mean
from icrl.history import LearningHistory
from icrl.models.spec import Spec
from icrl.provenance import Provenance
from icrl.ranges import Scales
from icrl.store import HistoryStore
from icrl.transitions import Transitions

Metrics = dict[str, Tensor]


class Sampler(Protocol):
    """What training reads. Sample n is a function of n and of what the sampler was made from: nothing else."""

    length: int
    """Transitions of a sample, at most."""
    histories: NDArray[np.int64]
    """Those that samples are cut from."""

    def __len__(self) -> int:
        """How many samples there are: an epoch."""

    def batch(self, numbers: NDArray[np.int64]) -> Transitions:
        """The samples of these numbers `(B,)`, as tensors whose numbers are scaled."""


class Actor(ABC):
    """What a method does in the lanes of an agent. Numbers are scaled; the agent has checked them.

    `begin` comes first; then `act`, `choose` and `observe` in turn.
    """

    @abstractmethod
    def begin(self, lanes: int, prompts: Transitions | None, targets: NDArray[np.float64] | None) -> None:
        """Forgets everything.

        Args:
            lanes: B.
            prompts: what each lane's context begins with, the newest part that the context holds; a lane may have
                none of it. Its extras hold what the method `needs` of what can be derived.
            targets: `(B,)`, the return that each episode is to come to, in the environment's own units; None where
                nothing was said of that.
        """

    @abstractmethod
    def act(self, now: Transitions) -> Any:
        """What the network says of the action to be chosen: a tensor `(B, …)` or a tree of such.

        Args:
            now: one transition that is not over, T = 1: its observation, its step, and what came before it; actions,
                rewards and flags have no column yet.
        """

    @abstractmethod
    def choose(self, outputs: Any, uniforms: NDArray[np.float64] | None) -> NDArray:
        """Actions `(B, *action_shape)`: drawn by inversion at `uniforms`, or the likeliest where there are none."""

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:  # noqa: B027
        """What followed, each `(B,)`, rewards in the environment's own units. The next `act` sees it as well."""

    @abstractmethod
    def keep(self, lanes: NDArray[np.int64]) -> None:
        """Lets go of all lanes but these, places in the present batch that rise."""


class Method(ABC):
    """One method. Made from its options: `METHODS["ad"](options)`."""

    Options: ClassVar[type]
    """A frozen dataclass with a sentence under each field; flags `--method.FIELD` come from it."""
    needs: tuple[str, ...] = ()
    """Extras that it reads (`icrl.transitions`). What is not derived has to be in the data."""
    takes_target: bool = False
    """Whether it acts towards a return that is asked for."""
    positions: bool = True
    """Whether the backbone is to know the order of its tokens."""
    check_data: Mapping[str, Any] = MappingProxyType({})
    """What `icrl check-method` is to record otherwise than it does: values of `GenerateConfig`."""
    acting: tuple[str, ...] = ()
    """Options that say how it acts and change no weight: an evaluation may choose others, `--acting.NAME`."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @property
    def tokens_per_decision(self) -> int:
        """Tokens of the context that one transition takes."""
        return 1

    def check(self, provenance: Provenance) -> None:  # noqa: B027
        """Raises UsageError where the method cannot learn from data like this, or not with these options."""

    @abstractmethod
    def sampler(
        self, store: HistoryStore, histories: Sequence[int] | NDArray[np.int64], length: int, seed: int, scales: Scales
    ) -> Sampler:
        """What is read of some histories of a dataset.

        Args:
            length: transitions that the context holds.
            seed: of whatever is drawn beyond the order of the samples, which is not the sampler's.
            scales: of the model.
        """

    @abstractmethod
    def build(self, specs: Mapping[str, Spec], backbone: Any) -> nn.Module:
        """The network: what embeds each group of spaces, the backbone (`icrl.models.backbones`), heads for each group.

        Linear and embedding layers are initialised afterwards, by `icrl.models.model`.
        """

    @abstractmethod
    def loss(
        self, net: nn.Module, batch: Transitions, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Metrics]:
        """The loss of a batch, and metrics to report, among them "loss".

        Args:
            net: what `build` has made, bare or wrapped by accelerate, DDP, FSDP or DeepSpeed: it is called, and
                nothing else of it is touched.
            generator: of the method's own random numbers; None draws them from PyTorch's.
        """

    @abstractmethod
    def actor(self, net: nn.Module, group: str) -> Actor:
        """What acts in environments of that group with a net in eval mode."""

    def read_of_prompt(self, prompt: LearningHistory, start: int, context: int) -> NDArray[np.int64]:
        """Which transitions of a prompt enter the context, and in which order.

        Args:
            start: the first one of its newest part, as much as a context is left with that has read all of it.
            context: transitions that the context holds.
        """
        return np.arange(start, len(prompt))

    def act_with(self, **options: Any) -> None:
        """Changes options of `acting`; actors that are made afterwards have them.

        Raises:
            UsageError: for another option, or a value that the method refuses.
        """
        for name in options:
            if name not in self.acting:
                takes = f"choose from {', '.join(self.acting)}" if self.acting else "it has none"
                raise UsageError(
                    f"acting.{name} is no option of how the method acts{did_you_mean(name, self.acting)}; {takes}"
                )
        self.options = replace(self.options, **options)

    def after_step(self, net: nn.Module, step: int) -> None:  # noqa: B027
        """Called after every optimiser step with the bare net: target networks are moved here. Usually nothing."""
