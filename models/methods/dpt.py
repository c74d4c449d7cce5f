"""Decision-Pretrained Transformer: predict the optimal action in a state, given a set of transitions of the task.

Lee et al., "Supervised Pretraining Can Learn In-Context Reinforcement Learning", 2023. With a context D of transitions
(s, a, s', r), a query state q and the action a* that is optimal there, the loss is

    -log p(a* | q, the first j transitions of D),   for every j = 0, 1, …, N.

The model then acts as posterior sampling does: p is the posterior of the optimal action. Which transitions the context
holds, and in which order, must tell nothing of a* but through the task; so data come from policies that do not learn.

Tokens: one for each transition, the sum of its parts embedded, with s' told by "it ended" where the episode did; and
one for each query, which reads the transitions and itself:

    (s a s' r)  (s a s' r)  …  (s a s' r)     q → p(a | q, D)

Positions are told to neither. With the attention "full" transitions read one another, so the order of the context is
nothing that the model could see; a context is encoded once, for any number of queries. With "causal" each reads those
before it, so that all prefixes are learned in one pass, and a context grows by one cached step.

Shape suffixes: B samples or lanes, N transitions, Q queries, P prefixes, D width, C transitions that a context holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange, repeat
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.models.methods.base import Method, Metrics, Sampler
from icrl.models.methods.set_actor import SetActor
from icrl.models.parts import (
    EMBEDDING_STD,
    distribution_of,
    make_action_encoder,
    make_action_head,
    make_observation_encoder,
    squash,
)
from icrl.models.sampling.sets import QUERIES, SEEN, TARGETS, Prefixes, SetReader, spread_of
from icrl.models.spec import Spec
from icrl.provenance import Provenance
from icrl.ranges import Scales
from icrl.store import HistoryStore
from icrl.transitions import EXPERT_ACTIONS, NEXT_OBSERVATIONS, Transitions


@dataclass(frozen=True)
class Options:
    """What a Decision-Pretrained Transformer reads, and how it acts.

    Raises:
        UsageError: where a value is out of range.
    """

    attention: Literal["causal", "full"] = "causal"
    """What a transition of the context reads: those before it ("causal": one cached step a decision, a result that may
    depend on their order), or all of them ("full": no order, a context that grows is encoded anew)."""
    prefixes: int = 0
    """Prefixes of each context that a step trains on: the empty one, and others drawn from short to long. 0 stands for
    every one with causal attention, which has them all in one pass, and for 4 with full, where each is a pass."""
    queries: int = 1
    """Query states of each prefix."""
    adaptive: bool = False
    """Train on histories of a learner that learns as well, in their own order: what it did then tells of the task by
    other ways than transitions, so what comes out is no posterior."""
    online: Literal["step", "episode", "never"] = "step"
    """While acting: transitions enter the context one by one, those of an episode when it ends, or not at all, which
    is to act from a given context alone."""
    prompt_transitions: int = 0
    """Transitions that are read of a prompt, at most, drawn from all over it; 0 for as many as the context holds."""

    def __post_init__(self) -> None:
        for name, least in (("prefixes", 0), ("queries", 1), ("prompt_transitions", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"method.{name} is {getattr(self, name)}: expected at least {least}")
        if self.prefixes == 1:
            raise UsageError("method.prefixes is 1, the empty one alone: expected at least 2, or 0")

    @property
    def num_prefixes(self) -> int:
        """Of each context; 0 for all of them."""
        return self.prefixes or (0 if self.attention == "causal" else 4)


class TransitionEmbedding(nn.Module):
    """Transitions and queries as tokens, each part embedded."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.scaled = spec.scales is not None
        self.observation = make_observation_encoder(spec.observation_space, width, self.scaled, spec.maps.observations)
        self.action = make_action_encoder(spec.action_space, width, self.scaled)
        self.following = make_observation_encoder(spec.observation_space, width, self.scaled, spec.maps.observations)
        self.over = nn.Embedding(2, width)
        """Instead of what followed, where the episode ended: cut, or by the task's own rule. Whoever acts is not shown
        the last observation of an episode."""
        self.reward = nn.Linear(1, width, bias=False)
        self.reward.gain = EMBEDDING_STD
        self.query = nn.Embedding(1, width)

    def forward(self, batch: Transitions) -> Tensor:
        """Tokens of transitions: `(B, N, D)`."""
        reward_BN = squash(batch.rewards) if self.scaled else batch.rewards
        over_BND = self.over(batch.terminated.long())
        following_BND = self.following(batch.extras[NEXT_OBSERVATIONS])
        return (
            self.observation(batch.observations)
            + self.action(batch.actions)
            + self.reward(reward_BN.to(self.reward.weight.dtype)[..., None])
            + torch.where(batch.dones[..., None], over_BND, following_BND)
        )

    def ask(self, observations: Any) -> Tensor:
        """Tokens of queries `(B, Q, …)`: `(B, Q, D)`."""
        return self.observation(observations) + self.query.weight[0]


class Net(nn.Module):
    """A distribution over actions for each query.

    Args:
        causal: whether a transition reads only those before it.
        prefixes: P of a batch, where it is not.
    """

    def __init__(self, specs: Mapping[str, Spec], backbone: Any, causal: bool, prefixes: int) -> None:
        super().__init__()
        self.causal, self.prefixes = causal, prefixes
        width = backbone.width
        self.embedding = nn.ModuleDict({group: TransitionEmbedding(spec, width) for group, spec in specs.items()})
        self.backbone = backbone
        self.head = nn.ModuleDict(
            {
                group: make_action_head(spec.action_space, width, spec.scales is not None)
                for group, spec in specs.items()
            }
        )

    def forward(self, batch: Transitions) -> Any:
        """What the head says of every query `(B, Q, …)`, each reading as many transitions as `SEEN` says."""
        embedding, seen_BQ = self.embedding[batch.group], batch.extras[SEEN].clamp(max=batch.lengths[:, None])
        x_BND, q_BQD = embedding(batch), embedding.ask(batch.extras[QUERIES])
        if self.causal:
            memory = self.backbone.encode_set(x_BND, batch.lengths, causal=True)
            y_BQD = self.backbone.query(q_BQD, memory, seen_BQ)
        else:
            y_BQD = self._each_prefix(x_BND, q_BQD, seen_BQ)
        return self.head[batch.group](y_BQD)

    def _each_prefix(self, x_BND: Tensor, q_BQD: Tensor, seen_BQ: Tensor) -> Tensor:
        """Each prefix is a set of its own; the first of each sample is the empty one."""
        P, each = self.prefixes, q_BQD.shape[1] // self.prefixes
        nothing = self.backbone.encode_set(x_BND[:, :1], torch.zeros_like(seen_BQ[:, 0]))
        first_BQD = self.backbone.query(q_BQD[:, :each], nothing)
        sets = repeat(x_BND, "b n d -> (b p) n d", p=P - 1)
        lengths = rearrange(seen_BQ[:, each::each], "b p -> (b p)")
        queries = rearrange(q_BQD[:, each:], "b (p q) d -> (b p) q d", p=P - 1)
        others = self.backbone.query(queries, self.backbone.encode_set(sets, lengths))
        return torch.cat((first_BQD, rearrange(others, "(b p) q d -> b (p q) d", p=P - 1)), dim=1)


class DecisionPretrained(Method):
    """Token layout, objective and way to act of DPT."""

    Options = Options
    needs = (NEXT_OBSERVATIONS, EXPERT_ACTIONS)
    positions = False
    check_data = MappingProxyType({"learner": "random", "expert_actions": True})
    acting = ("online", "prompt_transitions")

    def check(self, provenance: Provenance) -> None:
        if provenance.learns and not self.options.adaptive:
            raise UsageError(
                f"the data are of {provenance.learner}, which learns: what it does tells of the task what transitions "
                "do not, and their order matters; record a policy that does not learn (random, or dpt-roll-in for "
                "bandits), or say --method.adaptive true"
            )
        if EXPERT_ACTIONS not in (provenance.extras or ()):
            raise UsageError(
                "dpt learns from the optimal action of every state, which the data do not hold: record them with "
                "`icrl generate --expert-actions`"
            )

    def sampler(
        self, store: HistoryStore, histories: Sequence[int] | NDArray, length: int, seed: int, scales: Scales
    ) -> Sampler:
        options = self.options
        prefixes = Prefixes(options.num_prefixes, options.queries)
        return SetReader(store, histories, length, seed, scales, prefixes, shuffled=not store.provenance.learns)

    def build(self, specs: Mapping[str, Spec], backbone: Any) -> Net:
        if not backbone.reads_sets:
            backbone.encode_set(None)  # Says which ones do.
        self._distributions = {group: distribution_of(spec.action_space) for group, spec in specs.items()}
        return Net(specs, backbone, self.options.attention == "causal", self.options.num_prefixes)

    def loss(
        self, net: nn.Module, batch: Transitions, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Metrics]:
        """Mean negative log-likelihood of the expert's actions over all queries."""
        outputs, seen_BQ = net(batch), batch.extras[SEEN]
        return self._distributions[batch.group].loss(outputs, batch.extras[TARGETS], torch.zeros_like(seen_BQ).bool())

    def read_of_prompt(self, prompt: LearningHistory, start: int, context: int) -> NDArray[np.int64]:
        """Transitions from all over it; of a learner that learns, the newest ones."""
        most = min(self.options.prompt_transitions or context, context)
        if self.options.adaptive:
            return np.arange(max(start, len(prompt) - most), len(prompt))
        return spread_of(prompt, most)

    def actor(self, net: nn.Module, group: str) -> SetActor:
        return SetActor(net, group, self._distributions[group], self.options.online)
