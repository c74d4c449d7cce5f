"""Decision Transformer: predict the action that was taken, given the return that followed; then ask for a return.

Chen et al., "Decision Transformer: Reinforcement Learning via Sequence Modeling", 2021. The return-to-go of step t is
R_t = r_t + r_{t+1} + … to the end of the episode. While acting, the first R of an episode is the target that was asked
for, and every reward is taken off it. With the context of one episode that is the paper's method; with many, each with
its own returns, the earlier ones tell which task it is (Laskin et al., 2022, call it "multi-task DT with episodes").

Tokens of step t, each with the step's embedding added, in the paper's order: R_t, observation, action. The action is
predicted from the observation's token. As one token, R_t, the observation and the action before are summed.

Shape suffixes: B windows or lanes, T transitions, L tokens, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.errors import UsageError
from icrl.models.methods.base import Method, Metrics, Sampler
from icrl.models.methods.sequence import SequenceActor, SequenceNet, first_token, padding, shifted
from icrl.models.parts import EMBEDDING_STD, distribution_of, make_action_encoder, make_observation_encoder, squash
from icrl.models.sampling.windows import WindowReader
from icrl.models.spec import Spec
from icrl.ranges import Scales
from icrl.store import HistoryStore
from icrl.transitions import RETURN_TO_GO, Transitions

THREE = 3
"""Tokens of a step, in the paper's layout."""


@dataclass(frozen=True)
class Options:
    """What a Decision Transformer reads."""

    tokens: Literal["three", "one"] = "three"
    """Tokens of a step: "three" (return-to-go, observation, action), or all of it in "one", three times faster."""
    context: Literal["many", "one"] = "many"
    """Episodes in the context: "many" of a history, or "one", as in the paper."""
    order: Literal["recorded", "shuffled"] = "recorded"
    """Of the episodes of a window: as they were "recorded", or "shuffled", so that what came before tells the task but
    not how good the episode at hand will be, which the return-to-go alone then does. For "many" only."""

    def __post_init__(self) -> None:
        if self.order == "shuffled" and self.context == "one":
            raise UsageError(
                'method.order is "shuffled", and the context is of one episode: there is nothing to shuffle'
            )


class StepEmbedding(nn.Module):
    """The parts of a step, each embedded: `(B, T, D)`."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.horizon = spec.horizon
        scaled = spec.scales is not None
        self.observation = make_observation_encoder(spec.observation_space, width, scaled, spec.maps.observations)
        self.action = make_action_encoder(spec.action_space, width, scaled)
        self.to_go = nn.Linear(1, width, bias=False)
        self.to_go.gain = EMBEDDING_STD
        self.step = nn.Embedding(spec.horizon, width)
        self.kind = nn.Embedding(THREE, width)
        """Which of the three a token is, which the paper leaves to the three encoders."""

    def steps(self, steps_BT: Tensor) -> Tensor:
        return self.step(steps_BT.clamp(max=self.horizon - 1))

    def seen(self, batch: Transitions) -> tuple[Tensor, Tensor]:
        """Tokens of the returns-to-go and of the observations."""
        to_go_BT1 = squash(batch.extras[RETURN_TO_GO]).to(self.to_go.weight.dtype)[..., None]
        step_BTD = self.steps(batch.steps)
        observation_BTD = self.observation(batch.observations) + step_BTD + self.kind.weight[1]
        return self.to_go(to_go_BT1) + step_BTD + self.kind.weight[0], observation_BTD

    def done(self, actions_BT: Any, steps_BT: Tensor) -> Tensor:
        """Tokens of actions."""
        return self.action(actions_BT) + self.steps(steps_BT) + self.kind.weight[2]


class Net(SequenceNet):
    """A distribution over actions at every step's observation.

    Args:
        three: tokens a step, or else one.
        one_episode: an episode begins with no action before it, whatever came before.
    """

    def __init__(self, specs: Mapping[str, Spec], backbone: Any, three: bool, one_episode: bool) -> None:
        super().__init__(specs, backbone, StepEmbedding)
        self.three, self.one_episode = three, one_episode

    def embed(self, batch: Transitions) -> Tensor:
        """All tokens of a batch: `(B, L, D)`, L being 3 T or T."""
        embedding = self.embedding[batch.group]
        to_go_BTD, observation_BTD = embedding.seen(batch)
        if self.three:
            tokens = torch.stack((to_go_BTD, observation_BTD, embedding.done(batch.actions, batch.steps)), dim=2)
            return rearrange(tokens, "b t kind d -> b (t kind) d")
        action_BTD = embedding.action(shifted(batch.before.actions, batch.actions, batch))
        if self.one_episode:
            action_BTD = action_BTD.masked_fill((batch.steps == 0)[..., None], 0.0)
        return to_go_BTD + observation_BTD + action_BTD

    def forward(self, batch: Transitions) -> Any:
        y_BLD = self.backbone(self.embed(batch))
        return self.head[batch.group](y_BLD[:, 1::THREE] if self.three else y_BLD)


class DecisionTransformer(Method):
    """Token layouts, objective and way to act of DT."""

    Options = Options
    needs = (RETURN_TO_GO,)
    takes_target = True

    @property
    def tokens_per_decision(self) -> int:
        return THREE if self.options.tokens == "three" else 1

    def sampler(
        self, store: HistoryStore, histories: Sequence[int] | NDArray[np.int64], length: int, seed: int, scales: Scales
    ) -> Sampler:
        one, shuffle = self.options.context == "one", seed if self.options.order == "shuffled" else None
        return WindowReader(store, histories, length, scales, extras=self.needs, one_episode=one, shuffle=shuffle)

    def build(self, specs: Mapping[str, Spec], backbone: Any) -> Net:
        self._distributions = {group: distribution_of(spec.action_space) for group, spec in specs.items()}
        self._returns = {group: (spec.maps.returns, spec.best_return or 0.0) for group, spec in specs.items()}
        return Net(specs, backbone, self.options.tokens == "three", self.options.context == "one")

    def loss(
        self, net: nn.Module, batch: Transitions, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Metrics]:
        """Mean negative log-likelihood of the action over every transition (the paper's squared error, where actions
        are continuous, is that of a Gaussian of fixed width)."""
        return self._distributions[batch.group].loss(net(batch), batch.actions, padding(batch))

    def actor(self, net: nn.Module, group: str) -> "TargetActor":
        one_episode = self.options.context == "one"
        return TargetActor(net, group, self._distributions[group], *self._returns[group], one_episode)


class TargetActor(SequenceActor):
    """Acts towards a return.

    Args:
        returns: the scale of returns-to-go.
        best: what is asked for where no target is given.
        one_episode: a lane's context is emptied where an episode ends.
    """

    def __init__(self, net: Net, group: str, distribution: Any, returns: Any, best: float, one_episode: bool) -> None:
        super().__init__(net, group, distribution)
        self._net, self._three, self._returns, self._best = net, net.three, returns, best
        self._one_episode = one_episode

    @torch.inference_mode()
    def begin(self, lanes: int, prompts: Transitions | None, targets: NDArray[np.float64] | None) -> None:
        self._state = self._backbone.start(lanes)
        if prompts is not None and not self._one_episode:
            per_decision = self._net.backbone.tokens_per_decision
            self._backbone.prefill(self._net.embed(prompts), prompts.lengths.cpu().numpy() * per_decision, self._state)
        self._targets = np.full(lanes, self._best) if targets is None else targets
        self._to_go = self._targets.copy()
        self._done = np.ones(lanes, bool)
        self._last_steps: Tensor | None = None
        """Of the decision whose action the context does not hold yet; None where there is none."""

    @torch.inference_mode()
    def act(self, now: Transitions) -> Any:
        to_go = torch.from_numpy(self._returns.apply(self._to_go))[:, None].to(now.steps.device)
        now = Transitions(**{**vars(now), "extras": {RETURN_TO_GO: to_go}})
        if not self._three:
            if self._one_episode and self._last_steps is not None:
                self._forget()
            x_BLD = self._net.embed(now)
        else:
            x_BLD = torch.stack(self._embedding.seen(now), dim=2)[:, 0]
            if self._last_steps is not None:
                action_B1D = self._embedding.done(_column(now.before.actions), self._last_steps)
                if self._one_episode and self._done.any():
                    self._backbone.step(action_B1D, self._state)
                    self._forget()
                else:
                    x_BLD = torch.cat((action_B1D, x_BLD), dim=1)
        self._last_steps = now.steps
        return first_token(self._head(self._backbone.step(x_BLD, self._state)[:, -1:]))

    def observe(
        self, rewards: NDArray[np.float64], terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]
    ) -> None:
        self._done = terminated | truncated
        self._to_go = np.where(self._done, self._targets, self._to_go - rewards)

    def keep(self, lanes: NDArray[np.int64]) -> None:
        super().keep(lanes)
        self._targets, self._to_go, self._done = (x[lanes] for x in (self._targets, self._to_go, self._done))
        if self._last_steps is not None:
            self._last_steps = self._last_steps[torch.from_numpy(lanes).to(self._last_steps.device)]

    def _forget(self) -> None:
        if self._done.any():
            self._state.clear(np.flatnonzero(self._done))


def _column(actions_B: Any) -> Any:
    """One column of actions: `(B, 1, …)`."""
    if isinstance(actions_B, Mapping):
        return {key: _column(part) for key, part in actions_B.items()}
    return actions_B[:, None]
