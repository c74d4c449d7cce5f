"""The pool of processes: the numbers of one process, and an end for every process, however the others end."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from icrl.envs import FAMILIES, make_family
from icrl.envs.grids.dark_room import DarkRoom
from icrl.envs.kit.episodes import uniform_policy
from icrl.envs.kit.pool import PooledEnv, make_pooled
from icrl.errors import LaunchError, UsageError

OWN = """
    from icrl.envs.grids.dark_room import DarkRoom

    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    class FragileRoom(DarkRoom):
        name = "fragile-room"

        def make(self, tasks, seed, index=None):
            env = super().make(tasks, seed, index)
            env._observe, observe = lambda: fall(env, observe), env._observe
            return env

    def fall(env, observe):
        if (env.steps[env.index == LANE] == 3).any():
            raise Odd("a step", "a fall")
        return observe()
"""


def lanes(family, count):
    tasks = family.split(0).test
    return [tasks[n % len(tasks)] for n in range(count)]


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_gone(pids, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still running: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("name", "options", "workers"),
    [("gaussian-bandit", {}, 2), ("key-to-door", {"horizon": 7}, 3), ("point-robot", {"horizon": 9}, 2)],
)
def test_a_pool_gives_the_numbers_of_one_process(name, options, workers):
    """Kills: lanes in another order or with another stream, an autoreset that is lost, another type of array."""
    family = make_family(name, **options)
    tasks, index = lanes(family, 7), np.arange(7) * 11 + 3
    alone = family.make(tasks, 5, index)
    with_others = make_pooled(name, options, tasks, 5, index, workers)
    assert isinstance(with_others, PooledEnv)
    assert with_others.metadata == alone.metadata
    assert with_others.observation_space == alone.observation_space
    policy = uniform_policy(family, tasks, 0)
    for seed in (None, 8):
        pair = alone.reset(seed=seed)[0], with_others.reset(seed=seed)[0]
        for _ in range(25):
            assert pair[0].dtype == pair[1].dtype
            assert np.array_equal(*pair)
            action = policy.act(pair[0])
            one, many = alone.step(action), with_others.step(action)
            for expected, found in zip(one[1:4], many[1:4], strict=True):
                assert expected.dtype == found.dtype
                assert np.array_equal(expected, found)
            assert one[4].keys() == many[4].keys()
            for key in one[4]:
                assert one[4][key].dtype == many[4][key].dtype
                assert np.array_equal(one[4][key], many[4][key])
            pair = one[0], many[0]
    kept, copy = pair[1], pair[1].copy()
    for _ in range(3):
        with_others.step(policy.act(pair[0]))
    assert np.array_equal(kept, copy)
    pids = [process.pid for process in with_others._processes]
    assert len(pids) == workers - 1
    with_others.close()
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(LaunchError, match="closed"):
        with_others.step(policy.act(pair[0]))


def test_actions_are_checked_as_in_one_process():
    """Kills: an action that is cast to the shared array's type, and so becomes another one without a word."""
    family = make_family("dark-room")
    env = make_pooled("dark-room", {}, lanes(family, 2), 0, workers=2)
    env.reset()
    for wrong in ([-1, 0], [0, 5], [0], [0.0, 1.0]):
        with pytest.raises(ValueError, match="action"):
            env.step(np.array(wrong))
    assert env.step(np.array([0, 1]))[0].shape == (2, 2)
    pids = [process.pid for process in env._processes]
    del env
    wait_until_gone(pids)


def test_a_killed_process_is_named_and_takes_the_others_with_it():
    """Kills: a wait for ever for the answer of a process that is gone; processes left behind."""
    family = make_family("dark-room")
    env = make_pooled("dark-room", {}, lanes(family, 6), 0, workers=3)
    env.reset()
    pids = [process.pid for process in env._processes]
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(LaunchError, match=r"process 3 of 3 .*exit code -9.*fewer workers"):
        env.step(np.zeros(6, int))
    wait_until_gone(pids)
    with pytest.raises(LaunchError, match="closed"):
        env.reset()


@pytest.mark.parametrize("lane", [0, 2])
def test_an_error_in_a_process_is_told_with_its_place(tmp_path, lane):
    """Kills: an exception that ends as a broken pipe, or one that no pipe can carry and that hangs the pool; processes
    that are left waiting when the lanes of the asking process fail."""
    (tmp_path / "own.py").write_text(textwrap.dedent(OWN).replace("LANE", str(lane)))
    name = f"{tmp_path / 'own.py'}:FragileRoom"
    family = make_family(name)
    env = make_pooled(name, {}, lanes(family, 3), 0, workers=2)
    env.reset()
    for _ in range(2):
        env.step(np.zeros(3, int))
    with pytest.raises(Exception, match="a step and a fall") as raised:
        env.step(np.zeros(3, int))
    if lane == 0:
        assert type(raised.value).__name__ == "Odd"
    else:
        assert re.search(r"a step and a fall \(own.py, line \d+\)$", str(raised.value))
        assert re.search(r"(?s)raised in a process of a pool.*in fall", raised.value.__notes__[0])
    assert not any(process.is_alive() for process in env._processes)


def test_a_family_that_fails_to_be_made_is_told_and_leaves_no_process():
    """Kills: a constructor that hangs where the processes never get as far as the first step."""
    family = make_family("dark-room")
    with pytest.raises(UsageError, match="unknown task family 'light-room'") as raised:
        PooledEnv(family, lanes(family, 2), 0, workers=2, name="light-room")
    assert "in a process of a pool" in raised.value.__notes__[0]


def test_wrong_numbers_of_workers_are_refused():
    """Kills: processes without a lane; a single process that is started where none is needed."""
    family = make_family("dark-room")
    tasks = lanes(family, 2)
    with pytest.raises(UsageError, match="workers=-1"):
        make_pooled("dark-room", {}, tasks, 0, workers=-1)
    with pytest.raises(UsageError, match="workers=3: expected from 1 to 2"):
        PooledEnv(family, tasks, 0, workers=3)
    assert not isinstance(make_pooled("dark-room", {}, tasks, 0, workers=1), PooledEnv)
    assert not isinstance(make_pooled("dark-room", {}, tasks[:1], 0, workers=8), PooledEnv)


def test_no_more_processes_than_cores_that_may_be_used():
    """Kills: as many processes as the machine has cores, on the one core that a scheduler has left to the program."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from icrl.processes import cores; print(cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"


class Local(DarkRoom):
    """A family that only this program knows, in a module that others can import."""

    name = "local-room"


def test_added_families_travel_where_others_can_import_them(monkeypatch):
    """Kills: a family that the program registered, and that no process of the pool has heard of."""
    FAMILIES.add("local-room", Local)
    try:
        family = make_family("local-room")
        env = make_pooled("local-room", {}, lanes(family, 2), 0, workers=2)
        assert env.reset()[0].tolist() == [[4, 4], [4, 4]]
        env.close()
        monkeypatch.setattr(Local, "__module__", "__main__")
        with pytest.raises(UsageError, match="module of its own"):
            PooledEnv(family, lanes(family, 2), 0, workers=2)
    finally:
        FAMILIES._entries.pop("local-room")


SCRIPT = """
    import sys, time
    from icrl.envs import make_family
    from icrl.envs.kit.pool import make_pooled

    print("script", flush=True)
    family = make_family("dark-room")
    env = make_pooled("dark-room", {}, family.split(0).test[:4], 0, workers=2)
    env.reset()
    print(*[process.pid for process in env._processes], flush=True)
    if sys.argv[1] == "wait":
        time.sleep(600)
"""


@pytest.mark.parametrize("how", ["kill", "end"])
def test_no_process_outlives_the_program(tmp_path, how):
    """Kills: orphans of a program that was killed or that never closed its pool; a script that every process runs."""
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    argument = "wait" if how == "kill" else "end"
    with subprocess.Popen(
        [sys.executable, "script.py", argument], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout.readline() == "script\n"
        pids = [int(pid) for pid in program.stdout.readline().split()]
        assert len(pids) == 1
        if how == "kill":
            assert all(alive(pid) for pid in pids)
            program.kill()
        assert program.wait(120) == (-9 if how == "kill" else 0)
        assert program.stdout.read() == ""
    wait_until_gone(pids)


def test_processes_have_one_thread_each():
    """Kills: as many BLAS threads as cores in each of as many processes as cores."""
    before = dict(os.environ)
    family = make_family("dark-room")
    env = make_pooled("dark-room", {}, lanes(family, 2), 0, workers=2)
    for process in env._processes:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes().decode().split("\0")
        assert {"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1"} <= set(environment)
    env.close()
    assert dict(os.environ) == before


def test_a_pool_of_a_gymnasium_environment():
    """Kills: a generator that is seeded by the lane's place in its process rather than by its number."""
    pytest.importorskip("mujoco")
    family = make_family("hopper-rand-params", horizon=30)
    tasks = lanes(family, 3)
    alone = family.make(tasks, 1)
    pooled = make_pooled("hopper-rand-params", {"horizon": 30}, tasks, 1, workers=2)
    assert np.array_equal(alone.reset()[0], pooled.reset()[0])
    policy = uniform_policy(family, tasks, 0)
    assert isinstance(family.action_space, gym.spaces.Box)
    for _ in range(70):
        action = policy.act(None)
        for expected, found in zip(alone.step(action)[:4], pooled.step(action)[:4], strict=True):
            assert np.array_equal(expected, found)
    pooled.close()
