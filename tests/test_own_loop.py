"""Learners that own their loop, and learners by their place: exact records, one line where something is wrong."""

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from learner_of_ones_own import Walks

from icrl import cli
from icrl.data_gen.generate import GenerateConfig, generate
from icrl.data_gen.learners import LEARNERS
from icrl.data_gen.record import record_histories
from icrl.envs import make_family
from icrl.envs.kit.answers import Answers
from icrl.envs.kit.stepping import Life
from icrl.envs.kit.taped import EnoughEpisodes, TapedEnv
from icrl.errors import UsageError
from icrl.eval.config import EvaluateConfig
from icrl.eval.references import known_source, run_source
from icrl.extras import EXPERT_ACTIONS
from icrl.store import HistoryStore
from icrl.stored_family import Consent

HERE = Path(__file__).parent / "learner_of_ones_own.py"


@pytest.fixture
def walks(monkeypatch):
    """The learners that are made under the name "walks"."""
    made = []

    class Kept(Walks):
        def __init__(self, setting, *, turns=3):
            super().__init__(setting, turns=turns)
            made.append(self)

    monkeypatch.setitem(LEARNERS._entries, "walks", Kept)
    return made


@pytest.mark.parametrize("name", ["cartpole", "dark-room", "point-robot", "tabular-mdp"])
def test_every_row_is_that_of_a_hand_stepped_copy(name, walks):
    """Kills: the first observation of the next episode taken for the last of this one, a time limit told as an end
    or the other way round, a row more or fewer at a reset, actions before they were clipped, lanes that share a
    stream."""
    family = make_family(name)
    tasks = family.split(0).train[:3]
    histories = record_histories(family, tasks, "walks", {}, episodes=6, seed=4, index=[5, 7, 9])
    for task, number, history, learner in zip(tasks, (5, 7, 9), histories, walks, strict=True):
        env = family.make([task], 4, index=[number])
        seen, _ = env.reset()
        episode = t = row = 0
        for observation, action, reward, terminated, truncated, following, _ in learner.seen:
            assert np.array_equal(observation, seen[0])
            played = env.played(np.asarray(action)[None])
            now, rewards, ends, cuts, info = env.step(played)
            over = bool(ends[0] or cuts[0])
            last = info["final_obs"][0] if over else now[0]
            assert (reward, terminated, truncated) == (np.float32(rewards[0]), ends[0], cuts[0])
            assert np.array_equal(following, last)
            for column, value in (
                ("observations", seen[0]), ("actions", played[0]), ("rewards", np.float32(rewards[0])),
                ("terminated", ends[0]), ("truncated", cuts[0]), ("episode", episode), ("step_in_episode", t),
            ):  # fmt: skip
                assert np.array_equal(getattr(history, column)[row], value), column
            if over:
                assert np.array_equal(history.final_observations[episode], last)
            seen, episode, t, row = now, episode + over, 0 if over else t + 1, row + 1
        assert (row, episode) == (len(history), 6)
    assert any(history.terminated.any() for history in histories) == (name == "cartpole")
    assert any(history.truncated.any() for history in histories) == (name != "cartpole")


def test_what_is_recorded_does_not_depend_on_the_batch(walks):
    """Kills: one learner for all lanes, a seed by the place in the shard, a tape that mixes lanes, episodes that were
    not to be kept."""
    family = make_family("cartpole")
    tasks = family.split(0).train[:4]
    extras = [EXPERT_ACTIONS]
    every = record_histories(
        family, tasks, "walks", {"turns": 2}, episodes=7, keep_every=3, seed=1, index=[3, 4, 5, 6], extras=extras
    )
    assert [sorted({*history.episode.tolist()}) for history in every] == [[0, 3, 6]] * 4
    for task, number, history in zip(tasks, [3, 4, 5, 6], every, strict=True):
        (alone,) = record_histories(
            family, [task], "walks", {"turns": 2}, episodes=7, keep_every=3, seed=1, index=[number], extras=extras
        )
        for column in ("observations", "actions", "rewards", "final_observations"):
            assert np.array_equal(getattr(alone, column), getattr(history, column))
        assert np.array_equal(alone.extras[EXPERT_ACTIONS], history.extras[EXPERT_ACTIONS])
    assert len({history.actions[:20].tobytes() for history in every}) == 4


def taped(name: str = "dark-room", episodes: int = 2):
    family = make_family(name)
    task = family.split(0).train[0]
    rows = []
    life = Life(family.make([task], 0), episodes, Answers(family, [task]))
    return TapedEnv(life, rows.append, object()), rows


def test_a_taped_environment_is_gymnasiums():
    """Kills: observations outside the space, a step before the reset, an end that is never told."""
    env, rows = taped()
    seen, info = env.reset(seed=3)
    again, _ = env.reset(seed=4)
    assert np.array_equal(seen, again)
    assert env.observation_space.contains(seen)
    assert info == {}
    following, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert env.observation_space.contains(following)
    assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]
    with pytest.raises(UsageError, match="resets its environment after 1 steps of an episode"):
        env.reset()
    while not (terminated or truncated):
        *_, terminated, truncated, _ = env.step(0)
    with pytest.raises(UsageError, match="steps an episode that is over"):
        env.step(0)
    with suppress(EnoughEpisodes):
        env.reset()
        while True:
            *_, truncated, _ = env.step(0)
            if truncated:
                env.reset()
    assert len(rows) == 40
    for call in (env.reset, lambda: env.step(0)):
        with pytest.raises(EnoughEpisodes):
            call()


def test_gymnasiums_own_wrappers_may_stand_around_it():
    """Kills: an environment that only looks like one: libraries wrap what they are given before they learn."""
    env, rows = taped("pendulum", episodes=1)
    wrapped = gym.wrappers.RecordEpisodeStatistics(gym.wrappers.NormalizeObservation(env))
    wrapped.reset(seed=0)
    for _ in range(200):
        *_, truncated, info = wrapped.step(wrapped.action_space.sample())
    assert truncated
    assert info["episode"]["l"] == len(rows) == 200


def test_wrong_loops_are_told_in_one_line(monkeypatch):
    """Kills: a history of fewer episodes than the dataset says; an action outside the space that is played."""

    class Lazy:
        def __init__(self, setting):
            """Takes no options."""

        def run(self, env, episodes, seed):
            env.reset()

    class Wild(Lazy):
        def run(self, env, episodes, seed):
            env.reset()
            env.step(99)

    monkeypatch.setitem(LEARNERS._entries, "lazy", Lazy)
    monkeypatch.setitem(LEARNERS._entries, "wild", Wild)
    family = make_family("dark-room")
    with pytest.raises(UsageError, match="lazy ended its run before 3 episodes were over"):
        record_histories(family, family.split(0).train[:1], "lazy", {}, episodes=3)
    with pytest.raises(Exception, match="as Wild plays it: action 99 is not in"):
        record_histories(family, family.split(0).train[:1], "wild", {}, episodes=3)


@pytest.mark.parametrize("which", ["Repeats", "Walks"])
def test_a_learner_by_its_place_records_the_same_bytes_from_several_processes(which, tmp_path, monkeypatch):
    """Kills: a class that only the first process can load; options that are lost; bytes that depend on the place."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(HERE, "mine.py")
    place = f"mine.py:{which}"
    option = {"Repeats": {"explore": 0.5}, "Walks": {"turns": 2}}[which]
    config = GenerateConfig(
        "dark-room", place, 3, {"size": 4, "horizon": 6, "validation": 3, "test": 7},
        learner_options=option, histories_per_task=2, histories_per_shard=4, workers=2,
    )  # fmt: skip
    two = generate(config, tmp_path / "two")
    (tmp_path / "sub").mkdir()
    shutil.copy(HERE, "sub/other.py")
    one = generate(config, tmp_path / "one", workers=1, learner=str(tmp_path / "sub" / "other.py") + f":{which}")
    shards = sorted(path.name for path in two.glob("*.arrow"))
    assert len(shards) == 3
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in shards)
    provenance = HistoryStore.open(one).provenance
    assert provenance.learner == f"sub/other.py:{which}"
    assert provenance.learner_from == ".."
    assert generate(one / "config.yaml", one, resume=True, trust_code=True, learner=f"sub/other.py:{which}") == one


def test_data_do_not_run_their_learner_unasked(tmp_path, monkeypatch, capsys):
    """Kills: code that came with data run by reading them, by their config, or by a comparison with their source."""
    monkeypatch.chdir(tmp_path)
    marked = HERE.read_text() + "\nfrom pathlib import Path\nPath('was-run').touch()\n"
    Path("mine.py").write_text(marked)
    room = {"size": 4, "horizon": 6, "validation": 3, "test": 7}
    data = generate(GenerateConfig("dark-room", "mine.py:Walks", 2, room, workers=1), tmp_path / "data")
    Path("was-run").unlink()
    store = HistoryStore.open(data)
    family = make_family("dark-room", **room)
    assert cli.main(["inspect", str(data)]) == 0
    assert cli.main(["generate", "--config", str(data / "config.yaml"), "--out", "again"]) == 2
    assert "mine.py:Walks, the source learner, is code that came with the data" in capsys.readouterr().err
    asked = EvaluateConfig()
    assert known_source(data, asked, store.provenance, Consent()) == (replace(asked, source=False), store.provenance)
    assert "the source learner is left out of the comparison: mine.py:Walks" in capsys.readouterr().err
    assert not Path("was-run").exists()
    monkeypatch.chdir(data)  # Found from beside the data.
    Path("was-run").unlink(missing_ok=True)
    config, provenance = known_source(data, asked, store.provenance, Consent(trust_code=True))
    assert config.source
    assert provenance.learner.endswith("/mine.py:Walks")
    tasks = family.split(0).test[:2]
    found = run_source(provenance, family, tasks, family.anchors(tasks), seeds=2, seed=0)
    assert found.returns.shape == (2, 2, 2)


def test_what_is_no_learner_is_refused(tmp_path, capsys):
    """Kills: a class that fails in the middle of a recording, since nobody asked what it is."""
    line = ["generate", "--family=dark-room", "--episodes=2", "--out", str(tmp_path / "data")]
    assert cli.main([*line, "--learner", f"{HERE}:NoLearner"]) == 2
    assert "is no source learner: expected a class with act and learn, or with run" in capsys.readouterr().err
    assert cli.main([*line, "--learner", f"{HERE}:Repeat"]) == 2
    assert "it defines Repeats, Walks" in capsys.readouterr().err
    assert cli.main([*line, "--learner", f"{HERE}:Walks", "--learner_options.turn=2"]) == 2
    assert "has no option 'turn' (did you mean 'turns'?)" in capsys.readouterr().err
    assert cli.main([*line, "--learner", "q-learnin"]) == 2
    assert "your own is package.module:Class or path/file.py:Class" in capsys.readouterr().err
