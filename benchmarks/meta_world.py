"""Steps a second of the Meta-World families against the package's own environment, in one run and one process.

    python benchmarks/meta_world.py

Random actions that were drawn beforehand, as many whole episodes with their resets on every side, seconds of processor
time, in turns. The ratio is what to look at, the median of the turns: the rates depend on the environment and the
machine. Needs `pip install 'icrl[metaworld]'`.
"""

import time
from collections.abc import Callable

import metaworld
import numpy as np

from icrl.envs import make_family
from icrl.envs.meta_world.benchmark import make_environments, set_goal
from icrl.envs.meta_world.family import HORIZON, goal_of
from icrl.tasks import Task

ENVIRONMENTS = ("reach-v3", "push-v3", "door-open-v3")
LANES, REPEATS = 10, 7


def package_seconds(task: Task, actions: np.ndarray) -> float:
    """Seconds of `LANES` episodes of the package's environment, one after the other."""
    env = metaworld.env_dict.ALL_V3_ENVIRONMENTS[task.params["env"]]()
    set_goal(env, goal_of(task), goal_observed=False)
    start = time.process_time()
    for _ in range(LANES):
        env.reset()
        for action in actions:
            env.step(action)
    return time.process_time() - start


def our_seconds(name: str, task: Task, actions: np.ndarray, lanes: int) -> float:
    """Seconds of `LANES` episodes in all, in one lane or in as many, with their resets."""
    env = make_family("metaworld-ml1", env=name).make([task] * lanes, seed=0)
    repeated = np.repeat(actions[:, None], lanes, axis=1)
    start = time.process_time()
    for _ in range(LANES // lanes):
        env.reset()
        for action in repeated[:-1]:
            env.step(action)
    return time.process_time() - start


def seconds_to_make(make: Callable[[], object]) -> float:
    start = time.process_time()
    make()
    return time.process_time() - start


def main() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (HORIZON, 4)).astype(np.float32)
    print(f"| environment | package, steps/s | 1 lane / package | {LANES} lanes / package |")
    print(f"|{' --- |' * 4}")
    for name in ENVIRONMENTS:
        task = make_family("metaworld-ml1", env=name).split(0).test[0]
        seconds = np.array(
            [
                [package_seconds(task, actions), *(our_seconds(name, task, actions, n) for n in (1, LANES))]
                for _ in range(REPEATS)
            ]
        )
        one, many = np.median(seconds[:, :1] / seconds[:, 1:], axis=0)
        print(f"| {name} | {LANES * HORIZON / seconds[:, 0].min():,.0f} | {one:.2f} | {many:.2f} |")
    names = ["reach-v3"] * LANES
    kind = metaworld.env_dict.ALL_V3_ENVIRONMENTS["reach-v3"]
    ours, theirs = seconds_to_make(lambda: make_environments(names)), seconds_to_make(lambda: [kind() for _ in names])
    print(f"\n{LANES} environments of one kind are made in {ours:.2f} s; by the package in {theirs:.2f} s.")
    ours = seconds_to_make(lambda: make_family("metaworld-ml10").split(0))
    theirs = seconds_to_make(lambda: metaworld.ML10(seed=0))
    print(f"Split of ML10 with its out-of-distribution sets: {ours:.1f} s; `metaworld.ML10` alone {theirs:.1f} s.")


if __name__ == "__main__":
    main()
