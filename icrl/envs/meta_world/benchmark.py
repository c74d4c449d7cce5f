"""Meta-World's benchmarks as plain numbers: which environments, and which random vector makes each of their tasks.

Everything here goes through the package's benchmark classes (`ML1(...).train_tasks`, `test_tasks`). Its gymnasium
registration does not: in Meta-World 3.1.1 `gym.make_vec("Meta-World/ML1-train")` yields the test goals.
"""

import copy
import io
import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import gymnasium as gym
import metaworld
import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from numpy.typing import NDArray

from icrl.seeding import derive_seed

ENVIRONMENTS = dict(metaworld.env_dict.ALL_V3_ENVIRONMENTS)
"""The 50 environments' classes by name, such as "reach-v3"."""
GOALS = 50
"""Tasks of each environment in every benchmark."""
WIDER = 1.5
"""The out-of-distribution vectors come from a box this many times as wide."""
OUTSIDE = 1.05
"""At least one of their numbers is this many half-widths of the training box from its centre, or further."""
NEW_ENVIRONMENTS = tuple(metaworld.env_dict.ML45_V3["test"])
"""The five that ML45 tests on."""
NOT_WIDER = frozenset(
    f"{name}-v3"
    for name in (
        "bin-picking", "box-close", "button-press-wall", "disassemble", "door-open", "hammer", "lever-pull",
        "peg-insert-side", "pick-place-wall", "plate-slide-side", "soccer", "stick-pull", "sweep-into",
    )
)  # fmt: skip
"""Where the scripted expert failed on one or more of 12 vectors from the wider box: perhaps nobody can do them."""

Vector = tuple[float, ...]
Goal = tuple[str, Vector]
"""A task: the environment's name, and the vector that places its goal and its objects."""

_sampling = threading.Lock()


@lru_cache(maxsize=16)
def benchmark_goals(name: str, seed: int, environment: str | None = None) -> tuple[tuple[Goal, ...], tuple[Goal, ...]]:
    """Train and test tasks of a benchmark, each `GOALS` per environment, in the package's order.

    Args:
        name: of the benchmark's class: "ML1", "ML10", "ML45", "MT10" or "MT50"; the last two have no test tasks.
        seed: of the benchmark. ML1 draws its test goals with `seed + 1`.
        environment: of ML1.
    """
    kind = getattr(metaworld, name)
    with _quick_sampling():
        benchmark = kind(seed=seed) if environment is None else kind(environment, seed=seed)
    return tuple(map(_goal, benchmark.train_tasks)), tuple(map(_goal, benchmark.test_tasks))


@lru_cache(maxsize=16)
def new_environment_goals(names: Sequence[str], seed: int) -> tuple[Goal, ...]:
    """Test tasks of a benchmark that tests on these environments: `GOALS` of each."""
    other = next(name for name in ENVIRONMENTS if name not in names)
    with _quick_sampling():
        benchmark = metaworld.CustomML([other], list(names), seed=seed)
    return tuple(map(_goal, benchmark.test_tasks))


@lru_cache(maxsize=256)
def wider_goals(name: str, seed: int, count: int) -> tuple[Goal, ...]:
    """Vectors from outside an environment's box: from one `WIDER` times as wide, drawn by the environment itself."""
    env = make_environments([name])[0]
    box = env._random_reset_space
    centre, half = (box.low + box.high) / 2, (box.high - box.low) / 2
    env._random_reset_space = gym.spaces.Box(centre - WIDER * half, centre + WIDER * half, dtype=np.float64)
    env._freeze_rand_vec, env.seeded_rand_vec, env._set_task_called = False, True, True
    env.np_random = np.random.default_rng(derive_seed(seed, f"{name} wider"))
    found: list[Goal] = []
    with _quick_sampling():
        while len(found) < count:
            env.reset()
            vector = np.asarray(env._last_rand_vec, np.float64)
            if (np.abs(vector - centre) > OUTSIDE * half)[half > 0].any():
                found.append((name, tuple(vector.tolist())))
    env.close()
    return tuple(found)


def make_environments(names: Sequence[str]) -> list[SawyerXYZEnv]:
    """One environment for each name, with no task yet.

    Those of the same name share the cost of compiling the model, which is nearly all of the cost. Each keeps a model
    of its own (about 20 MB), because a task writes into it.
    """
    compiled: dict[str, mujoco.MjModel] = {}

    def initialise(self: SawyerXYZEnv) -> tuple[mujoco.MjModel, mujoco.MjData]:
        if self.fullpath not in compiled:
            compiled[self.fullpath] = super(type(self), self)._initialize_simulation()[0]
        model = copy.copy(compiled[self.fullpath])
        return model, mujoco.MjData(model)

    classes = {
        name: type(ENVIRONMENTS[name].__name__, (ENVIRONMENTS[name],), {"_initialize_simulation": initialise})
        for name in dict.fromkeys(names)
    }
    environments = [classes[name]() for name in names]
    compiled.clear()
    return environments


def set_goal(env: SawyerXYZEnv, goal: Goal, goal_observed: bool) -> None:
    """Makes this the environment's task, by the package's own `set_task`; without a goal observed it sees zeros."""
    name, vector = goal
    data = {
        "rand_vec": np.array(vector, np.float64),
        "env_cls": ENVIRONMENTS[name],
        "partially_observable": not goal_observed,
    }
    env.set_task(metaworld.Task(env_name=name, data=pickle.dumps(data)))


def target_positions(goals: Sequence[Goal]) -> NDArray[np.float64]:
    """Where the target of each task is, shape `(N, 3)`, in metres: what the observation of ML hides."""
    missing = [goal for goal in dict.fromkeys(goals) if goal not in _targets]
    names = list(dict.fromkeys(name for name, _ in missing))
    for name, env in zip(names, make_environments(names), strict=True):
        for goal in (goal for goal in missing if goal[0] == name):
            set_goal(env, goal, goal_observed=True)
            env.reset()
            _targets[goal] = np.array(env._target_pos, np.float64)
        env.close()
    return np.array([_targets[goal] for goal in goals]).reshape(-1, 3)


_targets: dict[Goal, NDArray[np.float64]] = {}


def _goal(task: metaworld.Task) -> Goal:
    """A task of the package, whose bytes this process has pickled itself, as numbers."""
    content = _OwnBytes(io.BytesIO(task.data)).load()
    return task.env_name, tuple(np.asarray(content["rand_vec"], np.float64).tolist())


class _OwnBytes(pickle.Unpickler):
    """Reads numbers, arrays and the package's classes, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] not in ("numpy", "metaworld"):
            raise pickle.UnpicklingError(f"{module}.{name} in a task: expected arrays and Meta-World's classes")
        return super().find_class(module, name)


@contextmanager
def _quick_sampling() -> Iterator[None]:
    """In this thread a reset does not simulate the 50 steps in which the hand settles.

    A benchmark resets every environment 50 times for the vectors alone, which do not depend on where the hand is.
    """
    thorough, here = SawyerXYZEnv._reset_hand, threading.get_ident()

    def quick(self: SawyerXYZEnv, steps: int = 50) -> None:
        if threading.get_ident() != here:
            return thorough(self, steps)
        mujoco.mj_forward(self.model, self.data)
        self.init_tcp = self.tcp_center

    with _sampling:
        SawyerXYZEnv._reset_hand = quick
        try:
            yield
        finally:
            SawyerXYZEnv._reset_hand = thorough
