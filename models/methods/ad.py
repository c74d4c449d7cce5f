"""Algorithm Distillation: imitate the source learner's actions across its whole learning history.

Laskin et al., "In-context Reinforcement Learning with Algorithm Distillation", 2022. A window spans many episodes, so
predicting the next action well means predicting how the learner improves; acting is reading on, with no update.

One token per transition: token t holds what is known when action t is chosen: the observation t and the step within
the episode, and the previous transition's action, reward and done flag. It never holds action t, which is what the
model predicts there.

Shape suffixes: B windows or lanes, T tokens, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.errors import UsageError
from icrl.models.methods.base import Method, Metrics, Sampler
from icrl.models.methods.sequence import SequenceActor, SequenceNet, padding, shifted
from icrl.models.parts import EMBEDDING_STD, distribution_of, make_action_encoder, make_observation_encoder, squash
from icrl.models.sampling.windows import WindowReader
from icrl.models.spec import Spec
from icrl.provenance import Provenance
from icrl.ranges import Scales
from icrl.spaces import continuous, leaves, space_from_dict
from icrl.store import HistoryStore
from icrl.transitions import Transitions


@dataclass(frozen=True)
class Options:
    """Regularisation of AD.

    Raises:
        UsageError: where a value is out of range.
    """

    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over all actions."""
    token_mask: float = 0.0
    """Probability that a token is hidden from the model during training."""

    def __post_init__(self) -> None:
        for name in ("label_smoothing", "token_mask"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UsageError(f"method.{name} is {getattr(self, name)}: expected at least 0 and below 1")


class TokenEmbedding(nn.Module):
    """The sum of what a token holds, each part embedded: `(B, T, D)`."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.horizon, self.scaled = spec.horizon, spec.scales is not None
        self.observation = make_observation_encoder(spec.observation_space, width, self.scaled, spec.maps.observations)
        self.previous_action = make_action_encoder(spec.action_space, width, self.scaled)
        self.previous_reward = nn.Linear(1, width, bias=False)
        self.previous_reward.gain = EMBEDDING_STD
        self.previous_done = nn.Embedding(2, width)
        self.step = nn.Embedding(spec.horizon, width)

    def forward(self, batch: Transitions) -> Tensor:
        before = batch.before
        done_BT = shifted(before.terminated | before.truncated, batch.dones, batch)
        reward_BT = shifted(before.rewards, batch.rewards, batch)
        reward_BT = squash(reward_BT) if self.scaled else reward_BT
        return (
            self.observation(batch.observations)
            + self.previous_action(shifted(before.actions, batch.actions, batch))
            + self.previous_reward(reward_BT.to(self.previous_reward.weight.dtype)[..., None])
            + self.previous_done(done_BT.long())
            + self.step(batch.steps.clamp(max=self.horizon - 1))
        )


class Net(SequenceNet):
    """Embedded tokens through the backbone; a distribution over actions at each of them."""

    def __init__(self, specs: Mapping[str, Spec], backbone: Any) -> None:
        super().__init__(specs, backbone, TokenEmbedding)

    def forward(self, batch: Transitions, hidden_BT: Tensor | None = None) -> Any:
        """What the head says at every token; `hidden_BT` tells the tokens whose embedding is zeros."""
        x_BTD = self.embedding[batch.group](batch)
        if hidden_BT is not None:
            x_BTD = x_BTD.masked_fill(hidden_BT[..., None], 0.0)
        return self.head[batch.group](self.backbone(x_BTD))


class AlgorithmDistillation(Method):
    """Token layout, objective and way to act of AD."""

    Options = Options

    def check(self, provenance: Provenance) -> None:
        actions = leaves(space_from_dict(provenance.action_space)).values()
        if self.options.label_smoothing and any(map(continuous, actions)):
            raise UsageError(
                f"method.label_smoothing is {self.options.label_smoothing}, and {provenance.family} has continuous "
                "actions: there are no labels to spread it over; set it to 0"
            )

    def sampler(
        self, store: HistoryStore, histories: Sequence[int] | NDArray[np.int64], length: int, seed: int, scales: Scales
    ) -> Sampler:
        return WindowReader(store, histories, length, scales)

    def build(self, specs: Mapping[str, Spec], backbone: Any) -> Net:
        self._distributions = {group: distribution_of(spec.action_space) for group, spec in specs.items()}
        return Net(specs, backbone)

    def loss(
        self, net: nn.Module, batch: Transitions, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Metrics]:
        """Mean negative log-likelihood of the action over every transition of every window that is not hidden.

        For a Discrete space that is the cross-entropy, for a Box that of a diagonal Gaussian. Where a token is hidden
        the action there is left out, since nobody ever acts without an observation.
        """
        hidden_BT = None
        if self.options.token_mask > 0.0:
            device = generator.device if generator is not None else batch.steps.device
            draws_BT = torch.rand(batch.shape, generator=generator, device=device)
            hidden_BT = (draws_BT < self.options.token_mask).to(batch.steps.device)
        outputs = net(batch, hidden_BT=hidden_BT)
        unseen_BT = padding(batch)
        if hidden_BT is not None:
            unseen_BT = unseen_BT | hidden_BT
        return self._distributions[batch.group].loss(outputs, batch.actions, unseen_BT, self.options.label_smoothing)

    def actor(self, net: nn.Module, group: str) -> SequenceActor:
        return SequenceActor(net, group, self._distributions[group])
