"""Success, where environments tell it: recorded, kept, summed up; and refused where it is no truth value."""

import json
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pyarrow.parquet as pq
import pytest

from icrl import cli
from icrl.data_gen.config import GenerateConfig
from icrl.data_gen.generate import generate
from icrl.data_gen.inspect_dataset import inspect
from icrl.data_gen.record import record_histories
from icrl.envs import FAMILIES
from icrl.envs.kit.gymnasium_family import GymnasiumBatch, GymnasiumFamily
from icrl.envs.kit.parametric import Parameter
from icrl.errors import DatasetError, FamilyError
from icrl.eval.evaluate import evaluate
from icrl.eval.rollout import rollout
from icrl.store import HistoryStore
from icrl.success import success_of, successes

ALIKE = [bool, int, float, np.bool_, np.float32, np.int64, np.array, lambda told: np.array([told])]


class Luck(GymnasiumFamily):
    """A step is a success with a chance of 10% and pays 1 then: an episode succeeded where it earned anything."""

    name, source, version, horizon = "luck", "a test", 1, 15
    parameters = {"pay": Parameter("reward", low=0.5, high=1.5, default=1.0)}  # noqa: RUF012
    kind = staticmethod(bool)
    key, at_end = "success", False

    def make_env(self):
        family = self

        class Env(gym.Env):
            observation_space, action_space, pay = gym.spaces.Discrete(2), gym.spaces.Discrete(3), 1.0

            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                self.left, self.so_far = int(self.np_random.integers(1, family.horizon)), False
                return 0, {}

            def step(self, action):
                told = bool(self.np_random.random() < 0.1)
                self.left, self.so_far = self.left - 1, self.so_far or told
                info = {family.key: family.kind(self.so_far if family.at_end else told)}
                over = self.left == 0
                return 1, self.pay * told, over, False, info if over or not family.at_end else {}

        return Env()

    def apply(self, env, params):
        env.pay = params["pay"]


class VectorLuck(Luck):
    """The same, with the success of all lanes told by a batched environment of its own."""

    def make(self, tasks, seed, index=None):
        class Batch(GymnasiumBatch):
            def step(self, actions):
                *answer, info = super().step(actions)
                return *answer, info | {"success": np.asarray(answer[1] > 0, np.float32)}

        return Batch(self, tasks, seed, index)


class Anyone:
    """An agent that always takes the last action."""

    def reset(self, num_envs, seed=0, index=None, prompts=None):
        self.num_envs = num_envs

    def act(self, observations):
        return np.full(len(observations), 2)

    def observe(self, rewards, terminated, truncated):
        pass


@pytest.fixture
def luck(monkeypatch):
    monkeypatch.setitem(FAMILIES._entries, "luck", Luck)
    return Luck


def earned(history) -> list[bool]:
    """Whether each episode earned anything, row by row."""
    found, any_reward = [], False
    for reward, done in zip(history.rewards, history.terminated | history.truncated, strict=True):
        any_reward = any_reward or reward > 0
        if done:
            found.append(bool(any_reward))
            any_reward = False
    return found


def test_an_episode_succeeded_where_any_of_its_steps_said_so(monkeypatch):
    """Kills: success of the last step alone, of the next episode, of another lane once lanes have left; a type of
    truth value that is lost."""
    rng = np.random.default_rng(0)
    for trial in range(24):
        family_class = (Luck, VectorLuck)[trial % 2]
        monkeypatch.setattr(Luck, "kind", staticmethod(ALIKE[rng.integers(len(ALIKE))]))
        monkeypatch.setattr(Luck, "key", str(rng.choice(["success", "is_success"])))
        monkeypatch.setattr(Luck, "at_end", bool(rng.random() < 0.5) and family_class is Luck)
        family = family_class(train=9)
        tasks = family.split(0).train[: int(rng.integers(1, 9))]
        keep_every, episodes = int(rng.integers(1, 4)), int(rng.integers(1, 12))
        histories = record_histories(
            family, tasks, "random", {}, episodes=episodes, keep_every=keep_every, seed=trial, success=True
        )
        for history in histories:
            assert history.success.tolist() == earned(history)
            assert history.take_episodes(slice(0, 1)).success.tolist() == earned(history)[:1]
        lanes = [(s, n) for s in range(2) for n in range(len(tasks))]
        found = rollout(family, tasks, Anyone(), episodes=episodes, seeds=2, seed=trial, record=lanes)
        for lane in lanes:
            assert found.success[lane].tolist() == earned(found.histories[lane])


def test_values_that_are_no_success_are_refused_in_one_line(luck, monkeypatch, tmp_path):
    """Kills: NaN taken for true, "failure" for true, an array of other lanes for this one's."""
    rng = np.random.default_rng(0)
    wrong = ["failure", float("nan"), None, 2, -1, 0.5, {}, [], "1", 1j, np.array([1, 0]), np.array("yes"), object()]
    for value in [*wrong, *rng.normal(size=20).tolist(), *rng.integers(2, 99, 20).tolist()]:
        with pytest.raises(FamilyError, match="expected true or false, or 1 or 0") as caught:
            success_of({"success": value})
        assert "\n" not in str(caught.value)
        assert success_of({"reached": value}) is None
    for values in ([True], [[True, False]], np.array([1.0, np.nan]), ["yes", "no"], [1, 2], [[1], [1, 0]], 1):
        with pytest.raises(FamilyError, match="for each of 2 lanes"):
            successes(values, (2,))
    monkeypatch.setattr(luck, "kind", staticmethod(str))
    for dry_run in (True, False):
        with pytest.raises(FamilyError, match=r"success is '(True|False)'"):
            generate(GenerateConfig("luck", "random", 3, {"train": 5}, workers=1), tmp_path / "data", dry_run=dry_run)
        assert not (tmp_path / "data").exists()


def test_success_is_a_column_of_every_shard_or_of_none(luck, monkeypatch, tmp_path, capsys):
    """Kills: shards that disagree; a dataset without success that cannot be read; a lost column."""
    values = {"family": "luck", "learner": "random", "episodes": 6, "keep_every": 2, "workers": 1}
    values |= {"family_options": {"train": 7}, "histories_per_shard": 2}
    for at_end in (False, True):
        monkeypatch.setattr(luck, "at_end", at_end)
        out = tmp_path / f"at end {at_end}"
        store = HistoryStore.open(generate(GenerateConfig(**values), out))
        assert store.provenance.extras == ["success"]
        rows = np.array([earned(store.history(i)) for i in range(7)])
        assert np.array_equal([store.history(i).success for i in range(7)], rows)
        assert np.array_equal(inspect(out).success, rows.mean(axis=0))
        assert f"success      {rows[:, 0].mean():.0%} in episode 0, " in capsys.readouterr().out
    monkeypatch.setattr(luck, "key", "luck")
    silent = generate(GenerateConfig(**values), tmp_path / "silent")
    assert "extras" not in json.loads((silent / "provenance.json").read_text())
    assert HistoryStore.open(silent).history(0).success is None
    assert inspect(silent).success is None
    capsys.readouterr()
    other = json.loads((silent / "provenance.json").read_text()) | {"extras": ["success"]}
    (silent / "provenance.json").write_text(json.dumps(other))
    state = json.loads((silent / "state.json").read_text())
    del state["files"]
    (silent / "state.json").write_text(json.dumps(state))
    with pytest.raises(DatasetError, match="no column success"):
        HistoryStore.open(silent)


def test_evaluation_tells_success_of_the_model_and_of_its_source(luck, tmp_path, capsys):
    """Kills: a rate over steps rather than episodes; the source's rate passed off as the model's; no word of it."""
    data = generate(
        GenerateConfig("luck", "random", 4, {"train": 20, "test": 5, "validation": 2}, workers=1), tmp_path / "data"
    )
    tiny = {"steps": 2, "batch_size": 4, "evaluate_every": 0, "checkpoint_every": 0, "warmup": 0}
    flags = [f"--train.{key}={value}" for key, value in tiny.items()]
    model = ["--model.n_layer=1", "--model.n_head=1", "--model.width=8", "--model.context_length=20"]
    assert cli.main(["train", "--data", str(data), "--out", str(tmp_path / "run"), *flags, *model]) == 0
    summary = evaluate(tmp_path / "run", tmp_path / "eval", episodes=7, seeds=2, bootstrap=100, pictures=1)
    scores = pq.read_table(tmp_path / "eval" / "scores.parquet").to_pandas()
    assert np.array_equal(scores.success, scores["return"] > 0)
    expected = {
        "zero_shot": scores[scores.episode == 0].success.mean(),
        "last5": scores[scores.episode >= 2].success.mean(),
        "any": scores.groupby(["seed", "task_id"]).success.any().mean(),
    }
    for key, value in expected.items():
        found = summary["success"][key]
        assert found["mean"] == pytest.approx(value)
        assert found["ci_low"] <= found["mean"] <= found["ci_high"]
    assert set(summary["source"]["success"]) == set(expected)
    assert f"It succeeded in {round(100 * expected['zero_shot'])}% of first episodes" in summary["result"]
    assert "its source learner random in " in summary["result"]
    assert "<h2>Success</h2>" in (tmp_path / "eval" / "report.html").read_text()


def test_without_a_word_of_success_nothing_is_said_of_it(luck, monkeypatch):
    """Kills: a success rate of 0% of environments that tell none."""
    monkeypatch.setattr(luck, "key", "luck")
    family = luck(train=5)
    found = rollout(family, family.split(0).train[:2], Anyone(), episodes=2, seeds=1, seed=0)
    assert found.success is None
    history = record_histories(family, family.split(0).train[:1], "random", {}, episodes=2)[0]
    assert history.success is None
    with pytest.raises(ValueError, match="success has 1 rows for 2 finished episodes"):
        replace(history, success=np.ones(1, bool))
