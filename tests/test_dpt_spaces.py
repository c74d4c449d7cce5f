"""Decision-Pretrained Transformer over each kind of space: sets, queries and prompts of trees, images, bits."""

import numpy as np
import pytest
import torch

import icrl
from icrl.choices import Choice
from icrl.data_gen.config import GenerateConfig
from icrl.envs import make_family
from icrl.eval.rollout import rollout
from icrl.models.agent import InContextAgent
from icrl.models.config import InContextConfig
from icrl.models.methods.dpt import Options
from icrl.models.model import InContextModel
from icrl.models.options import ModelOptions
from icrl.models.spec import Spec
from icrl.ranges import measure
from icrl.store import HistoryStore
from icrl.transitions import EXPERT_ACTIONS
from tests.test_space_pipeline import FAMILY, KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attention", ["causal", "full"])
def test_a_kind_is_read_learned_and_acted_in(kind, attention, tmp_path, monkeypatch):
    """Kills: columns of a tree that are drawn apart, a kind that queries, prompts or a growing context do not know.
    These families have no expert: what was done stands for it."""
    file = tmp_path / "kinds.py"
    file.write_text(FAMILY + f"\n\nclass Kind(Kinds):\n    kind = {kind!r}\n")
    options = {"train": 4, "validation": 1, "test": 2}
    config = GenerateConfig(family=f"{file}:Kind", family_options=options, learner="random", episodes=3, workers=1)
    store = HistoryStore.open(icrl.generate(config, tmp_path / "data"))
    recorded = HistoryStore.extra

    def extra(self, name, history, start, length):
        done = self.window(history, start, length).actions
        return done if name == EXPERT_ACTIONS else recorded(self, name, history, start, length)

    monkeypatch.setattr(HistoryStore, "extra", extra)
    provenance = store.provenance
    scales = measure(store, range(len(store)), ("next_observations",))
    spec = Spec(provenance.observation_space, provenance.action_space, provenance.horizon, scales)
    method = Choice("dpt", Options(attention=attention, prefixes=3, queries=2))
    backbone = Choice("transformer", ModelOptions(n_layer=1, n_head=2, width=16, context_length=8))
    torch.manual_seed(0)
    model = InContextModel(InContextConfig.of(method, backbone, {"0": spec}))
    batch = model.method.sampler(store, np.arange(len(store)), 8, 0, spec.maps).batch(np.arange(4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        loss, _ = model.method.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    family = make_family(f"{file}:Kind", **options)
    prompts = [store.history(0), None]
    for online in ("step", "episode"):
        model.method.act_with(online=online)
        played = rollout(family, store.split.test, InContextAgent(model), episodes=3, seeds=1, seed=0, prompts=prompts)
        assert np.isfinite(played.returns).all()
