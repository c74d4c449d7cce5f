"""Steps a second of the MuJoCo families beside gymnasium's own environments; prints two Markdown tables.

    python benchmarks/locomotion.py

First one process on one core: a batch of 8 lanes at v5's own bodies, against one environment of the package that is
stepped without its wrappers, through the same actions and as many episodes. Then a batch of 64 lanes over 1, 2, …
processes up to one for each core, in seconds of the clock; the limit is as many processes with as many lanes that
never wait for one another. All take turns, so that what else runs on the machine meets all of them; rates are the best
of the turns, ratios of the pool their median.
"""

import os
import time
from multiprocessing import get_context

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs import make_family
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.pool import make_pooled
from icrl.tasks import Task, TaskFamily

BODIES = {
    "half-cheetah-vel": "HalfCheetah-v5",
    "ant-dir": "Ant-v5",
    "ant-goal": "Ant-v5",
    "humanoid-dir": "Humanoid-v5",
    "hopper-rand-params": "Hopper-v5",
    "walker-rand-params": "Walker2d-v5",
}
LANES, STEPS, REPEATS = 8, 200, 10
POOL_LANES = 64


def usual_body(family: TaskFamily) -> Task:
    """A test task, with the exponents of unknown bodies at 0: the very body of the package."""
    task = family.split(0).test[0]
    is_list = {name: isinstance(value, list) for name, value in task.params.items()}
    return Task(task.id, {name: [0.0] * len(v) if is_list[name] else v for name, v in task.params.items()})


def random_actions(family: TaskFamily, lanes: int) -> NDArray[np.float32]:
    space = family.action_space
    actions = np.random.default_rng(0).uniform(space.low, space.high, (STEPS, lanes, *space.shape))
    return actions.astype(np.float32)


def package_seconds(env: gym.Env, actions: NDArray) -> float:
    """One environment through the lanes' actions, one lane after the other."""
    start = time.process_time()
    for lane in range(actions.shape[1]):
        env.reset()
        for action in actions[:, lane]:
            if env.step(action)[2]:
                env.reset()
    return time.process_time() - start


def batch_seconds(env: BatchedEnv, actions: NDArray, clock=time.process_time) -> float:
    start = clock()
    env.reset()
    for row in actions:
        env.step(row)
    return clock() - start


def both_seconds(name: str, env: BatchedEnv, actions: NDArray, count: int) -> tuple[float, float]:
    return batch_seconds(env, actions, time.perf_counter), apart_seconds(name, count)


def apart_seconds(name: str, count: int) -> float:
    """The lanes over processes that share nothing but the start: the slowest one's seconds."""
    context = get_context("spawn")
    start = context.Barrier(count)
    with context.Pool(count, initializer=_enter, initargs=(start,)) as pool:
        return max(pool.starmap(_alone, [(name, POOL_LANES // count)] * count, chunksize=1))


def _enter(start) -> None:
    global _start
    _start = start


def _alone(name: str, lanes: int) -> float:
    family = make_family(name)
    env, actions = family.make((family.split(0).test * lanes)[:lanes], seed=0), random_actions(family, lanes)
    batch_seconds(env, actions[:10])
    _start.wait()
    return batch_seconds(env, actions, time.perf_counter)


def main() -> None:
    print("| family | package, steps/s | 8 lanes, steps/s | 8 lanes / package | median of pairs |")
    print(f"|{' --- |' * 5}")
    for name, body in BODIES.items():
        family = make_family(name, horizon=STEPS)
        package = gym.make(body, disable_env_checker=True, **family.body_options).unwrapped
        package.reset(seed=0)
        env, actions = family.make([usual_body(family)] * LANES, seed=0), random_actions(family, LANES)
        pairs = np.array([(package_seconds(package, actions), batch_seconds(env, actions)) for _ in range(REPEATS)])
        raw, ours = LANES * STEPS / pairs.min(axis=0)
        median = np.median(pairs[:, 0] / pairs[:, 1])
        print(f"| {name} | {raw:,.0f} | {ours:,.0f} | {ours / raw:.2f} | {median:.2f} |")

    cores = os.cpu_count() or 1
    print(f"\n| family | lanes | processes (of {cores} cores) | steps/s | times one process | of the limit |")
    print(f"|{' --- |' * 6}")
    for name in ("half-cheetah-vel", "humanoid-dir"):
        family = make_family(name)
        tasks, actions = (family.split(0).test * POOL_LANES)[:POOL_LANES], random_actions(family, POOL_LANES)
        counts = sorted({1, 2, cores // 2, cores} - {0})
        pools = [(count, make_pooled(name, {}, tasks, 0, workers=count)) for count in counts]
        seconds = np.array([[both_seconds(name, env, actions, n) for n, env in pools] for _ in range(REPEATS)])
        for number, (count, env) in enumerate(pools):
            pooled, apart = seconds[:, number].T
            speed, gain = POOL_LANES * STEPS / pooled.min(), np.median(seconds[:, 0, 0] / pooled)
            limit = np.median(apart / pooled)
            print(f"| {name} | {POOL_LANES} | {count} | {speed:,.0f} | {gain:.2f} | {limit:.2f} |")
            env.close()


if __name__ == "__main__":
    main()
