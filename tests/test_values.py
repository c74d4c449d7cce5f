"""Values on their way from an environment into the store and into the agent: taken as they are, or refused."""

import re

import gymnasium as gym
import numpy as np
import pytest

from icrl import cli
from icrl.data_gen.generate import generate
from icrl.data_gen.record import record_histories
from icrl.envs import make_family
from icrl.envs.grids.dark_room import DarkRoomEnv
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter
from icrl.envs.kit.pool import PooledEnv
from icrl.errors import FamilyError
from icrl.narrowing import ACTIONS, Narrowing
from icrl.spaces import storage_dtype
from icrl.store import HistoryStore
from tests.drawn_spaces import batch, same

S = gym.spaces
TWO = S.Discrete(2)
LARGEST = np.finfo(np.float32).max


class Shows(gym.Env):
    """Shows what it is told to: a function of the step gives observation, reward and flags."""

    gain = 1.0

    def __init__(self, space, answer, actions):
        self.observation_space, self.action_space, self.answer, self.t = space, actions, answer, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.answer(0)[0], {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.t += 1
        return *self.answer(self.t), {}


class Showing(GymnasiumFamily):
    name, source, horizon = "showing", "a test", 6
    parameters = {"gain": Parameter("reward", 1.0, 2.0, default=1.0)}  # noqa: RUF012
    space, actions, answer = S.Discrete(3), S.Discrete(2), None

    def make_env(self):
        return Shows(self.space, type(self).answer, self.actions)

    def apply(self, env, params):
        env.gain = params["gain"]


def recorded(space, seen, reward=1.0, ends=False, actions=TWO, learner="random"):
    """A history of an environment that shows these observations, one after the other."""

    def answer(t):
        return seen[t % len(seen)], reward(t) if callable(reward) else reward, ends, False

    cls = type("Shown", (Showing,), {"space": space, "actions": actions, "answer": staticmethod(answer)})
    family = cls(train=3, validation=0, test=1)
    return record_histories(family, family.split(0).train, learner, {}, episodes=2)[0]


PARTS = {
    "discrete": (S.Discrete(10), [3, 0, 9], [12, -1, 2.5, None, "3", 1 + 2j, np.nan]),
    "multi-discrete": (S.MultiDiscrete([3, 9]), [[2, 8], [0, 0]], [[3, 0], [0, -1], [0.5, 0], [1], [[0, 0]]]),
    "box": (
        S.Box(-9, 9, (2,)),
        [[1, 2], np.zeros(2)],
        [[10, 0], [0, np.nan], [np.inf, 0], [1e39, 0], [1j, 0], ["1", "2"]],
    ),
    "bytes": (S.Box(0, 255, (2,), np.uint8), [[0, 255], np.array([7.0, 8.0])], [[256, 0], [-1, 0], [0.5, 0]]),
    "binary": (S.MultiBinary(2), [[0, 1]], [[0, 2], [-1, 0], [0.5, 0]]),
    "start": (S.Discrete(3, start=5), [5, 7], [4, 8, -1]),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("nested", ["alone", "Dict", "Tuple", "deep"])
def test_what_is_outside_its_space_is_refused_also_in_a_part(name, nested):
    """Kills: a value that is wrapped, cut or counted from the end by the cast or the one-hot that follows."""
    space, right, wrong = PARTS[name]
    wrap = {
        "alone": lambda x: x,
        "Dict": lambda x: {"a": x, "b": np.zeros(1, np.float32)},
        "Tuple": lambda x: (np.zeros(1, np.float32), x),
        "deep": lambda x: {"a": (x, 1), "b": 0},
    }[nested]
    other = S.Box(-1, 1, (1,))
    whole = {
        "alone": lambda: space,
        "Dict": lambda: S.Dict(a=space, b=other),
        "Tuple": lambda: S.Tuple((other, space)),
        "deep": lambda: S.Dict(a=S.Tuple((space, S.Discrete(2))), b=S.Discrete(2)),
    }[nested]()
    history = recorded(whole, [wrap(value) for value in right])
    assert same(whole, history.observations[:6], batch(whole, [wrap(right[t % len(right)]) for t in range(6)]))
    assert history.observations.dtype == storage_dtype(whole)
    for value in wrong:
        with pytest.raises(
            FamilyError, match=r'showing, task \d+ \{"gain": .*\}: the environment shows .*(expected|not of)'
        ) as told:
            recorded(whole, [wrap(right[0]), wrap(right[0]), wrap(value)])
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("learner", ["random", "q-learning"])
def test_a_table_never_reads_another_lanes_row(learner):
    """Kills: an observation of −1 that is the last row of the lane before."""
    with pytest.raises(FamilyError, match=r"shows -1, not of Discrete\(10\): expected 0 to 9"):
        recorded(S.Discrete(10), [5, 4, -1], learner=learner)


@pytest.mark.parametrize("reward", [None, 1j, "1", [1.0], np.ones(1), np.nan, np.inf, 1e39, 10**400], ids=repr)
def test_a_reward_is_one_number(reward):
    """Kills: NaN that training learns from; a number that float32 makes infinite."""
    with pytest.raises(FamilyError, match=r"reward .*expected (a|one) number"):
        recorded(S.Discrete(3), [0], reward)


@pytest.mark.parametrize("flag", [None, "", "False", np.nan, 2, 1.0, [True, False], 1j], ids=repr)
def test_a_flag_is_a_boolean(flag):
    """Kills: the string "False", which is true; NaN, which is true as well."""
    with pytest.raises(FamilyError, match=r"terminated = .*expected True or False"):
        recorded(S.Discrete(3), [0], ends=flag)


@pytest.mark.parametrize("flag", [True, np.True_, np.array(True), np.array([True]), 1], ids=repr)
def test_a_flag_may_be_numpys(flag):
    """Kills: an environment refused for a NumPy boolean, which has one meaning only."""
    assert recorded(S.Discrete(3), [0], ends=flag).terminated.all()


def test_what_float32_does_not_hold_is_kept_or_refused():
    """Kills: a clock of 1.7e9 + k that stands still; rewards of 1e8 + a, whose differences are the task."""
    clock = [np.array([1.7e9 + t]) for t in range(7)]
    kept = recorded(S.Box(-np.inf, np.inf, (1,), np.float64), clock)
    assert np.diff(kept.observations[:6, 0]).tolist() == [1.0] * 5
    with pytest.raises(
        FamilyError, match=r"observations are kept as float32.* between 17\d+\.0 and 17\d+\.0 in number 0"
    ):
        recorded(S.Box(-np.inf, np.inf, (1,)), clock)
    with pytest.raises(FamilyError, match=r"rewards are kept as float32.* between 100000000\.0 and 100000002"):
        recorded(S.Discrete(3), [0], lambda t: 1e8 + t % 3)


def test_narrowing_knows_noise_from_meaning():
    """Kills: a family refused since 0.1 is not 0.1 + 1e-17, or for constant rewards; offsets that differ from lane to
    lane and hide what each of them loses."""
    rng = np.random.default_rng(4)
    for _ in range(60):
        size = 10.0 ** rng.uniform(-6, 12)
        spread = size * 10.0 ** rng.choice([-16, -14, -9, -8, -3, -1, 0])
        offsets = size * rng.integers(1, 4, 5) if rng.random() < 0.5 else np.full(5, size)
        narrowing = Narrowing()
        for t in range(20):
            narrowing(offsets + spread * ((t + np.arange(5)) % 3))
        assert (narrowing.lost() is not None) == (1e-12 < spread / size < 1e-6)
    for values in (np.full(5, 0.1), np.arange(5.0), np.full(5, 1e8)):
        narrowing = Narrowing()
        narrowing(values)
        narrowing(values + 1e-17)
        assert narrowing.lost() is None


def test_rounded_actions_are_no_differences_of_rewards():
    """Kills: an expert refused since its float32 actions miss by 1e-8; 1e8 + k that passes for such rounding; a lane
    of large constants that is blamed for the small differences of another."""
    rng = np.random.default_rng(8)
    for _ in range(40):
        lanes, scale = int(rng.integers(2, 8)), 10.0 ** rng.uniform(-6, 9)
        pay, offset = scale * rng.uniform(0.5, 2.0, lanes), scale * 1e8
        expert, paid, large = Narrowing(ACTIONS), Narrowing(ACTIONS), Narrowing(ACTIONS)
        for t in range(30):
            target = rng.uniform(-1, 1, lanes)
            expert(pay * (1 - np.abs(target.astype(np.float32) - target)))
            paid(offset + scale * ((t + np.arange(lanes)) % 4))
            large(np.where(np.arange(lanes) == 0, scale * 1e7 / 3, scale * (t % 2)))
        assert expert.lost() is None
        assert paid.lost() is not None
        assert large.lost() is None


@pytest.mark.parametrize(
    "box",
    [
        S.Box(0, 5, (2,), np.int32), S.Box(-1, 1, (), np.float32), S.Box(-1, 1, (2, 2), np.float64),
        S.Box(-LARGEST, LARGEST, (2,)), S.Box(np.float32([0, 1]), np.float32([0, 2])),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("learner", ["random", "zero-action"])
def test_actions_are_what_the_environment_declared(box, learner):
    """Kills: an action of a type or a size that is not the space's; one recorded that was not played."""
    history = recorded(S.Discrete(3), [0], actions=box, learner=learner)
    assert history.actions.dtype == box.dtype
    assert all(box.contains(np.asarray(action)) for action in history.actions)


def test_a_pool_refuses_what_one_process_refuses():
    """Kills: shared memory, which takes 300 for 44."""

    class Late(Showing):
        space, answer = (
            S.Box(0, 9, (2,), np.uint8),
            staticmethod(lambda t: (np.array([t * 100, 0]), 1.0, False, False)),
        )

    family = Late(train=3, validation=0, test=1)
    env = family.make(family.split(0).train[:2], 0)
    env.reset()
    with pytest.raises(FamilyError, match=r"shows \[100, 0\] with 100, not of Box\(2\) of uint8: expected 0 to 9"):
        env.step(np.zeros(2, int))
    pool = PooledEnv(family, family.split(0).train[:1], 0, workers=1, name="dark-room")
    pool.reset()
    with pytest.raises(FamilyError, match="with 100, not of"):
        pool.step(np.zeros(1, int))


FILE = """
import gymnasium as gym, numpy as np
from icrl.envs import make_family
from icrl.envs.grids.dark_room import DarkRoomEnv
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter
class Walk(gym.Env):
    observation_space, action_space, goal = gym.spaces.Box(0, 255, (4, 4, 3), np.uint8), gym.spaces.Discrete(2), 0.0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.seen(0), {}
    def step(self, action):
        return self.seen(300 if self.goal > LIMIT else 200), self.goal, False, False, {}
    def seen(self, value):
        return np.full((4, 4, 3), value)
class Fam(GymnasiumFamily):
    name, source, horizon, anchor_tasks = "walk", "a test", 4, 1
    parameters = {"goal": Parameter("reward", low=0.0, high=9.0, default=5.0)}
    def make_env(self): return Walk()
    def apply(self, env, params): env.goal = params["goal"]
"""


@pytest.mark.parametrize(("workers", "limit"), [(1, -1), (2, -1), (1, 8.0)])
def test_nothing_is_left_of_a_dataset_that_is_refused(tmp_path, monkeypatch, capsys, workers, limit):
    """Kills: a folder that the corrected command does not take."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fam.py").write_text(f"LIMIT = {limit}\n{FILE}")
    make = ["generate", "--family", "fam.py:Fam", "--learner", "random", "--episodes", "2", "--out", "data"]
    sizes = ["--family_options.train", "8", "--family_options.validation", "1", "--family_options.test", "2"]
    assert cli.main([*make, *sizes, "--workers", str(workers), "--histories_per_shard", "2"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"walk, task \d+ .*with 300, not of Image\(4, 4, 3\): expected 0 to 255", last)
    assert not (tmp_path / "data").exists()


FAR = (
    FILE[: FILE.index("class Walk")]
    + """
class Walk(gym.Env):
    observation_space, action_space, goal = gym.spaces.Box(-np.inf, np.inf, (1,)), gym.spaces.Discrete(2), 0.0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.array([SEEN]), {}
    def step(self, action):
        self.t += 1
        return np.array([SEEN]), REWARD, False, False, {}
    def far(self):
        return 1e8 * (self.goal > 5) + self.t
"""
    + FILE[FILE.index("class Fam") :]
)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("column", ["rewards", "observations"])
def test_nothing_is_left_where_differences_are_lost(tmp_path, monkeypatch, capsys, workers, column):
    """Kills: shards of other tasks that stay where one, only at its end, is found to have lost its differences."""
    monkeypatch.chdir(tmp_path)
    reward, seen = ("self.far()", "1") if column == "rewards" else ("1.0", "self.far()")
    (tmp_path / "far.py").write_text(FAR.replace("REWARD", reward).replace("SEEN", seen))
    make = ["generate", "--family", "far.py:Fam", "--learner", "random", "--episodes", "2", "--out", "data"]
    sizes = ["--family_options.train", "8", "--family_options.validation", "1", "--family_options.test", "2"]
    assert cli.main([*make, *sizes, "--workers", str(workers), "--histories_per_shard", "1"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(rf"walk: {column} are kept as float32, .* between 10000000\d\.0 and 10000000\d\.0", last)
    assert not list(tmp_path.glob("data*"))


def test_a_subclass_of_a_vouched_class_is_checked_at_every_step():
    """Kills: a user's environment that is trusted for the class that it derives from; a learner that is shown what is
    no value, in the episodes that are not kept."""
    family = make_family("dark-room")
    seen = []

    class Wrong(DarkRoomEnv):
        def _observe(self):
            seen.append(super()._observe() + (99 if len(seen) == 7 else 0))
            return seen[-1]

    def make(tasks, seed, index=None):
        env = kind(tasks, seed, index)
        env.__class__ = Wrong
        return env

    kind, family.make = family.make, make
    with pytest.raises(FamilyError, match=r"dark-room, task \d+ .*, step 7: the observation .*expected 0 to 8"):
        record_histories(family, family.split(0).train[:2], "random", {}, episodes=4, keep_every=3)
    assert len(seen) == 8


@pytest.mark.parametrize("seed", range(6))
def test_what_a_vouched_class_shows_is_looked_at_before_it_is_written(monkeypatch, seed):
    """Kills: a fault in a class of ours that only its tests would have found, in the data; another task's name."""
    rng = np.random.default_rng(seed)
    step, lane, what = int(rng.integers(0, 38)), int(rng.integers(3)), ["_observe", "_advance"][seed % 2]
    right, calls = getattr(DarkRoomEnv, what), []

    def wrong(env, *args):
        answer = right(env, *args)
        calls.append(0)
        if len(calls) == step + 1 and what == "_observe":
            answer[lane] = -1 if seed < 3 else 9
        elif len(calls) == step + 1:
            answer[0][lane] = np.nan if seed < 3 else np.inf
        return answer

    monkeypatch.setattr(DarkRoomEnv, what, wrong)
    family = make_family("dark-room")
    tasks = family.split(0).train[:3]
    expected = "the observation .*expected 0 to 8" if what == "_observe" else "a reward is not finite"
    with pytest.raises(FamilyError, match=rf"dark-room, task {tasks[lane].id} .*: {expected}"):
        record_histories(family, tasks, "random", {}, episodes=2)


def test_an_image_takes_a_byte_a_pixel(tmp_path, monkeypatch):
    """Kills: four bytes for each pixel on disk; a value that the store changes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole.py").write_text(f"LIMIT = 99\n{FILE}")
    options = {"family_options": {"train": 4, "validation": 1, "test": 2}, "workers": 1}
    data = generate(
        "dark-room-q-learning", tmp_path / "data", family="whole.py:Fam", learner="random", learner_options={},
        episodes=2, keep_every=1, histories_per_task=1, **options,
    )  # fmt: skip
    store = HistoryStore.open(data)
    seen = store.window(0, 0, 4).observations
    assert seen.dtype == np.uint8
    assert not seen.flags.owndata
    assert np.unique(seen).tolist() == [0, 200]
