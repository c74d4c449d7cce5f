"""The tape: the same bytes whether transitions wait in memory or in a file, and memory that does not grow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from icrl.data_gen.record import record
from icrl.envs import make_family
from icrl.errors import FamilyError
from icrl.rows import Rows
from icrl.spill import Spill
from icrl.store_writer import _Filling, write_shard


def recorded(path: Path, name: str, learner: str, *, bound: int, keep_every: int = 1, episodes: int = 9) -> bytes:
    """A shard of 7 histories, whose tape holds `bound` bytes in memory."""
    family = make_family(name)
    with Spill(path.parent, bound) as spill:
        columns = record(
            family, family.split(0).train[:7], learner, {}, episodes=episodes, keep_every=keep_every, seed=0,
            index=range(7), success=True, spill=spill,
        )  # fmt: skip
        write_shard(path, columns)
    return path.read_bytes()


@pytest.mark.parametrize("keep_every", [1, 2])
@pytest.mark.parametrize(
    ("name", "learner"),
    [("dark-room", "q-learning"), ("cartpole", "random"), ("point-robot", "random"), ("gaussian-bandit", "ucb1")],
)
def test_a_shard_has_the_same_bytes_however_little_is_held(name, learner, keep_every, tmp_path, monkeypatch):
    """Kills: blocks put together in the order in which they were written, lanes that left counted in later blocks, a
    lane that counts again (`keep_every`) in the place of another, a chunk that ends within a row."""
    whole = recorded(tmp_path / "whole", name, learner, bound=1 << 40, keep_every=keep_every)
    assert recorded(tmp_path / "parts", name, learner, bound=20_000, keep_every=keep_every) == whole
    monkeypatch.setattr("icrl.spill.CHUNK", 100)
    assert recorded(tmp_path / "bits", name, learner, bound=3_000, keep_every=keep_every) == whole


MEMORY = """
import re, sys
from pathlib import Path
import gymnasium as gym, numpy as np
from icrl.data_gen.record import record
from icrl.envs.kit.base import BatchedEnv
from icrl.spill import Spill
from icrl.store_writer import write_shard
from icrl.envs import make_family

class Wide(BatchedEnv):
    per_lane = ()
    vouched = True
    def _start(self, lanes): pass
    def _observe(self): return np.full((self.num_envs, 1024), self.steps[0], np.float32)
    def _advance(self, actions): return np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)

family = make_family("point-robot")
family.observation_space = gym.spaces.Box(-1e6, 1e6, (1024,), np.float32)
family.horizon = 1000
family.make = lambda tasks, seed, index=None: Wide(
    family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
out, bound = Path(sys.argv[1]), int(sys.argv[2])
def shard(episodes):
    with Spill(out, bound) as spill:
        write_shard(out / "shard", record(family, family.split(0).train[:3], "zero-action", {}, episodes=episodes,
                    keep_every=1, seed=0, index=range(3), spill=spill))
def peak():
    # Not getrusage, which begins at the peak of the parent.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
shard(1)
before = peak()
shard(8)
print((peak() - before) / 1024, (out / "shard").stat().st_size / 2**20)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured where the system has /proc")
def test_memory_does_not_grow_with_the_length_of_a_history(tmp_path):
    """Kills: a shard's rows in memory until its last episode, or all of a column when it is written."""
    code = [sys.executable, "-c", MEMORY, str(tmp_path)]
    grown = {}
    for bound in (1 << 22, 1 << 40):
        run = subprocess.run([*code, str(bound)], capture_output=True, text=True, check=True)
        grown[bound], size = map(float, run.stdout.split())
        assert 90 < size < 100
    assert grown[1 << 40] > 70, "the test measures nothing"
    assert grown[1 << 22] < 16


def test_what_waits_in_a_file_has_no_name(tmp_path):
    """Kills: transitions that a killed recording leaves behind; a file in memory (/tmp), not beside the data."""
    with Spill(tmp_path, bound=100) as spill:
        rows, lanes = Rows(3, [(np.int32, ())], spill), np.arange(3)
        for t in range(50):
            rows.append(lanes, np.array([True, t % 2 == 0, False]), np.full(3, t, np.int32))
        assert list(tmp_path.iterdir()) == []
        lengths, (column,) = rows.lane_major()
        assert lengths.tolist() == [50, 25, 0]
        values = np.concatenate(list(column.chunks()))
        assert values.tolist() == [*range(50), *range(0, 50, 2)]
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_value_is_told_of_its_task_in_any_block(monkeypatch, tmp_path):
    """Kills: values that are not looked at when they go to a file; another task blamed than the one of the value."""
    family = make_family("point-robot", horizon=5)
    make = family.make

    def broken(tasks, seed, index=None):
        env = make(tasks, seed, index)
        steps, observe = [], env._observe

        def seen():
            values = observe()
            steps.append(None)
            if len(steps) > 20:
                values[2] = np.nan
            return values

        env._observe = seen
        return env

    monkeypatch.setattr(family, "make", broken)
    tasks = family.split(0).train[:4]
    options = {"episodes": 9, "keep_every": 1, "seed": 0, "index": range(4)}
    for bound in (2_000, 1 << 40):
        with Spill(tmp_path, bound) as spill, pytest.raises(FamilyError, match=f"task {tasks[2].id}: .*nan"):
            record(family, tasks, "zero-action", {}, spill=spill, **options)


def test_a_release_of_arrow_that_copies_is_refused(tmp_path, monkeypatch):
    """Kills: a shard of zeros, named as if it were whole."""
    write = _Filling.write
    monkeypatch.setattr(_Filling, "write", lambda self, data: write(self, bytes(memoryview(data))))
    with pytest.raises(RuntimeError, match="pyarrow copies what it writes"):
        recorded(tmp_path / "shard", "dark-room", "random", bound=1_000)
    assert list(tmp_path.iterdir()) == []
