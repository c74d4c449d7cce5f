"""Columns recorded by request: what an expert would have played, and which actions were valid."""

import gymnasium as gym
import numpy as np
import pytest
from test_success import Luck

from icrl import cli
from icrl.data_gen.generate import GenerateConfig, generate
from icrl.data_gen.inspect_dataset import inspect
from icrl.data_gen.record import record, record_histories
from icrl.envs import FAMILIES, make_family
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter
from icrl.envs.kit.pool import make_pooled
from icrl.errors import DatasetError, FamilyError, UsageError
from icrl.extras import EXPERT_ACTIONS, VALID_ACTIONS
from icrl.spill import Spill
from icrl.store import HistoryStore
from icrl.store_writer import write_shard


@pytest.mark.parametrize(
    ("name", "learner"),
    [
        ("key-to-door", "random"),
        ("cartpole", "random"),
        ("point-robot", "noise-distillation"),
        ("tabular-mdp", "psrl"),
    ],
)
def test_the_expert_is_asked_in_what_the_learner_met(name, learner):
    """Kills: an expert that forgets the key it never picked up itself, or is asked in what followed; a lane that
    leaves and takes another's expert with it; a learner disturbed by the question."""
    family = make_family(name)
    tasks = family.split(0).train[:4]
    plain = record_histories(family, tasks, learner, {}, episodes=5)
    asked = record_histories(family, tasks, learner, {}, episodes=5, extras=[EXPERT_ACTIONS])
    for task, bare, history in zip(tasks, plain, asked, strict=True):
        assert np.array_equal(bare.observations, history.observations)
        assert np.array_equal(bare.actions, history.actions)
        assert bare.extras == {}
        expert = family.reference_policy(family.policy_kinds[0], [task])
        for t in range(len(history)):
            told = history.extras[EXPERT_ACTIONS][t : t + 1]
            assert told == pytest.approx(np.asarray(expert.act(history.observations[t : t + 1].astype(
                family.observation_space.dtype))), abs=1e-6)  # fmt: skip
            expert.observe(*(getattr(history, what)[t : t + 1] for what in ("rewards", "terminated", "truncated")))


def test_the_best_policy_is_its_own_expert():
    """Kills: expert actions of the step before, or not clipped as those that are played."""
    for name, kind in (("dark-room", "optimal"), ("pendulum", "expert")):
        family = make_family(name)
        (history,) = record_histories(family, family.split(0).train[:1], kind, {}, episodes=2, extras=[EXPERT_ACTIONS])
        assert np.array_equal(history.extras[EXPERT_ACTIONS], history.actions)
        assert history.extras[EXPERT_ACTIONS].dtype == history.actions.dtype


def test_expert_actions_are_a_column_that_a_dataset_may_have(tmp_path, tiny_data, capsys):
    """Kills: a column lost between the recording and a window, one that depends on the workers, an older dataset that
    is refused for want of it, a resume that mixes both."""
    room = {"size": 4, "horizon": 6, "validation": 3, "test": 7}
    config = GenerateConfig(
        "dark-room", "q-learning", 4, room, histories_per_task=2, histories_per_shard=5, workers=1, expert_actions=True
    )
    store = HistoryStore.open(generate(config, tmp_path / "one"))
    assert store.provenance.extras == [EXPERT_ACTIONS]
    assert store.extras == (EXPERT_ACTIONS,)
    two = generate(config, tmp_path / "two", workers=2)
    for shard in two.glob("*.arrow"):
        assert shard.read_bytes() == (tmp_path / "one" / shard.name).read_bytes()
    for index in (0, 7):
        history = store.history(index)
        part = store.extra(EXPERT_ACTIONS, index, 3, 9)
        assert np.array_equal(part, history.extras[EXPERT_ACTIONS][3:12])
        assert np.array_equal(history.take_episodes(slice(1, 3)).extras[EXPERT_ACTIONS], store.extra(
            EXPERT_ACTIONS, index, 6, 12))  # fmt: skip
    inspect(tmp_path / "one")
    assert "extras       expert_actions: the action played in " in capsys.readouterr().out
    old = HistoryStore.open(tiny_data)
    assert old.extras == ()
    assert old.history(0).extras == {}
    with pytest.raises(DatasetError, match="has no column expert_actions: record it"):
        old.extra(EXPERT_ACTIONS, 0, 0, 1)
    with pytest.raises(UsageError, match=r"another config \(expert_actions"):
        generate(config, tmp_path / "one", resume=True, expert_actions=False)


def test_a_family_without_a_policy_says_so_before_the_first_step(tmp_path, monkeypatch, capsys):
    """Kills: a column of zeros where nobody could have told, or an error after hours."""
    monkeypatch.setitem(FAMILIES._entries, "luck", Luck)
    line = ["--family=luck", "--learner=random", "--episodes=2", "--expert-actions", "--out", str(tmp_path)]
    assert cli.main(["generate", *line]) == 2
    assert "--expert-actions records a reference policy, and luck has none" in capsys.readouterr().err


def test_damage_in_an_extra_column_is_told(tmp_path):
    """Kills: values of an optional column that nobody looks at."""
    family = make_family("dark-room")
    tasks = family.split(0).train[:2]
    columns = record(
        family, tasks, "random", {}, episodes=2, keep_every=1, seed=0, index=range(2), extras=[EXPERT_ACTIONS]
    )
    columns.extras[EXPERT_ACTIONS][3] = 77
    config = GenerateConfig("dark-room", "random", 2, expert_actions=True, workers=1, histories_per_shard=2)
    data = generate(config, tmp_path / "data")
    shard = next(iter(sorted(data.glob("*.arrow"))))
    import json

    write_shard(shard, columns)
    state = json.loads((data / "state.json").read_text())
    state["files"][shard.name] = json.loads((data / f".{shard.name}.digest").read_text())
    (data / "state.json").write_text(json.dumps(state))
    with pytest.raises(DatasetError, match="column expert_actions, history 0: 77"):
        inspect(data)


class Masked(GymnasiumFamily):
    """Its state, 0 to 4, is the number of actions that are valid; an episode ends after 3 to 5 steps."""

    name, source, version, horizon = "masked", "a test", 1, 5
    parameters = {"first": Parameter("reward", low=1.0, high=4.9, default=1.0)}  # noqa: RUF012
    key = "action_mask"
    forgets = False

    def make_env(self):
        family = self

        class Env(gym.Env):
            observation_space, action_space, first = gym.spaces.Discrete(6), gym.spaces.Discrete(5), 1

            def told(self):
                return {family.key: (np.arange(5) < max(1, self.state)).astype(np.int8)}

            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                self.state, self.left = self.first, int(self.np_random.integers(3, 6))
                return self.state, {} if family.forgets else self.told()

            def step(self, action):
                self.state, self.left = int(self.np_random.integers(0, 6)), self.left - 1
                return self.state, 0.0, self.left == 0, False, self.told()

        return Env()

    def apply(self, env, params):
        env.first = int(params["first"])


@pytest.fixture
def masked(monkeypatch):
    monkeypatch.setitem(FAMILIES._entries, "masked", Masked)
    return "masked"


def test_valid_actions_are_those_of_what_was_seen(masked, tmp_path):
    """Kills: the valid actions of the next observation, of the episode that ended, or of another lane."""
    config = GenerateConfig(masked, "random", 7, {"train": 4}, histories_per_task=2, workers=1)
    store = HistoryStore.open(generate(config, tmp_path / "data"))
    assert store.provenance.extras == [VALID_ACTIONS]
    for index in range(len(store)):
        history = store.history(index)
        valid = history.extras[VALID_ACTIONS]
        assert valid.dtype == bool
        assert np.array_equal(valid, np.arange(5) < np.maximum(history.observations, 1)[:, None])


def test_valid_actions_come_through_a_pool_and_hidden_lanes():
    """Kills: what `reset` tells lost between processes, or shown for other lanes."""
    from test_extras import Masked as Importable

    if "masked" not in FAMILIES:
        FAMILIES.add("masked", Importable)
    try:
        family = make_family("masked", train=4)
        tasks = family.split(0).train
        for workers in (1, 2):
            env = make_pooled("masked", {"train": 4}, tasks, 0, workers=workers)
            seen, info = env.reset()
            for _ in range(8):
                assert np.array_equal(info[VALID_ACTIONS], np.arange(5) < np.maximum(seen, 1)[:, None])
                seen, *_, info = env.step(np.zeros(len(tasks), np.int64))
            env = env.keep(np.array([1, 3]))
            seen, *_, info = env.step(np.zeros(2, np.int64))
            assert np.array_equal(info[VALID_ACTIONS], np.arange(5) < np.maximum(seen, 1)[:, None])
            env.close()
    finally:
        FAMILIES._entries.pop("masked")


def test_wrong_words_on_valid_actions_are_refused(masked, tmp_path, monkeypatch):
    """Kills: flags of another number of actions, all false, or none at a step, taken for what they are not."""
    config = GenerateConfig(masked, "random", 3, {"train": 2}, workers=1)
    monkeypatch.setattr(Masked, "key", "valid_actions")
    generate(config, tmp_path / "other-key")
    told = {"of shape": np.ones(4), "expected true or false": np.full(5, 2), "no action is valid": np.zeros(5, int)}
    for words, mask in told.items():

        def broken(self, mask=mask, make=Masked.make_env):
            env = make(self)
            env.told = lambda: {"action_mask": mask}
            return env

        with monkeypatch.context() as patch:
            patch.setattr(Masked, "make_env", broken)
            with pytest.raises(FamilyError, match=words):
                generate(config, tmp_path / "broken")
    monkeypatch.setattr(Masked, "forgets", True)
    with pytest.raises(FamilyError, match=r"tells no valid_actions|that of reset too"):
        generate(config, tmp_path / "forgets")


@pytest.mark.parametrize("extra", [EXPERT_ACTIONS])
def test_extras_wait_in_a_file_like_the_others(extra, tmp_path):
    """Kills: a column that is forgotten where a shard is put together from a file."""
    family = make_family("point-robot")
    made = []
    for bound in (1 << 40, 2_000):
        with Spill(tmp_path, bound) as spill:
            write_shard(tmp_path / "shard", record(
                family, family.split(0).train[:3], "random", {}, episodes=4, keep_every=2, seed=0, index=range(3),
                extras=[extra], spill=spill))  # fmt: skip
        made.append((tmp_path / "shard").read_bytes())
    assert made[0] == made[1]


def test_final_observations_are_found_by_their_rows(tiny_store):
    """Kills: the final observation of another episode given for a window; a row counted from the history's start."""
    history = tiny_store.history(2)
    ends = np.flatnonzero(history.dones)
    assert np.array_equal(tiny_store.finals_at(2), ends)
    for start in range(len(history)):
        for length in range(len(history) - start + 1):
            rows, finals = tiny_store.finals(2, start, length)
            inside = (ends >= start) & (ends < start + length)
            assert np.array_equal(rows, ends[inside] - start)
            assert np.array_equal(finals, history.final_observations[inside])
