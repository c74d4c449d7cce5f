"""The source learner beside the model: what its histories earn, without the memory that these would take."""

import numpy as np
import pytest

from icrl.data_gen.record import record_histories
from icrl.envs import make_family
from icrl.eval.references import run_source
from icrl.provenance import Provenance
from icrl.seeding import derive_seed
from icrl.spaces import space_to_dict
from icrl.tape import Tape
from icrl.tasks import lane_numbers


@pytest.mark.parametrize(
    ("name", "learner"),
    [("dark-room", "q-learning"), ("point-robot", "noise-distillation"), ("cartpole", "random")],
)
def test_the_source_earns_what_its_histories_earn(name, learner, monkeypatch):
    """Kills: another learner than the one of the data; whole histories kept, which of pictures fill the memory; a
    reference that depends on how many tasks are run at once."""
    family = make_family(name)
    tasks = family.split(0).test[:5]
    provenance = Provenance(
        family=name, family_version=family.version, family_options=family.options, horizon=family.horizon,
        observation_space=space_to_dict(family.observation_space), action_space=space_to_dict(family.action_space),
        split_seed=0, recorded_split="train", learner=learner, learner_options={}, histories_per_task=1,
        episodes=6, keep_every=2, seed=0,
    )  # fmt: skip
    kept = []
    monkeypatch.setattr("icrl.eval.references.Tape", lambda *of: kept.append(of[1]) or Tape(*of))
    monkeypatch.setattr("icrl.eval.references.TRANSITIONS_AT_ONCE", 6 * family.horizon * 2)
    found = run_source(provenance, family, tasks, family.anchors(tasks), seeds=2, seed=3)
    assert found.returns.shape == (2, 5, 6)
    assert found.success is None
    assert len(kept) == 6
    assert sum(map(len, kept)) == 0
    base = derive_seed(3, "source learner")
    for s in range(2):
        index = lane_numbers(s, tasks)
        histories = record_histories(family, tasks, learner, {}, episodes=6, seed=base, index=index)
        assert np.allclose(found.returns[s], [history.episode_returns() for history in histories])
