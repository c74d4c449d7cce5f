"""What a history costs where episodes differ in length: steps taken for each transition that is recorded.

`python benchmarks/uneven.py`. Each row is lived twice in one run: with lanes that leave once they are done, and with
all of them stepped to the end, as a policy forces it that cannot let go of lanes.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from contextlib import closing

import gymnasium as gym
import numpy as np

from icrl.envs import make_family
from icrl.envs.kit.answers import Answers
from icrl.envs.kit.gymnasium_family import GymnasiumFamily
from icrl.envs.kit.parametric import Parameter
from icrl.envs.kit.simple_policies import UniformActions
from icrl.envs.kit.stepping import Watching, lived
from icrl.seeding import Streams, stream_keys
from icrl.tasks import TaskFamily

EPISODES = 20


class TwoOrManySteps(gym.Env):
    """Lives 2 steps, or 500: by the task."""

    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)
    lives = 2

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action):
        self.t += 1
        return 0, float(action), self.t >= self.lives, False, {}


class Uneven(GymnasiumFamily):
    """Three tasks of a hundred are long."""

    name, source, horizon = "a gymnasium class, 2 or 500 steps", "this benchmark", 500
    parameters = {"u": Parameter("dynamics", low=0.0, high=1.0, default=0.0)}  # noqa: RUF012

    def make_env(self) -> gym.Env:
        return TwoOrManySteps()

    def apply(self, env, params) -> None:
        env.lives = 500 if params["u"] > 0.97 else 2


class Stays:
    """A policy that cannot let go of lanes."""

    def __init__(self, policy: UniformActions) -> None:
        self.act, self.observe = policy.act, policy.observe


def measure(family: TaskFamily, lanes: int, episodes: int) -> str:
    """A row of the table."""
    tasks = (family.split(0).train * lanes)[:lanes]
    taken, seconds = {}, {}
    for leave in (True, False):
        policy = UniformActions(family, tasks, Streams(stream_keys(0, "benchmark", np.arange(lanes))))
        start, steps, transitions = time.perf_counter(), 0, 0
        with closing(family.make(tasks, 0)) as env:
            for step in lived(env, Watching(policy if leave else Stays(policy)), episodes, Answers(family, tasks)):
                steps += step.stepped
                transitions += np.count_nonzero(step.live)
        taken[leave], seconds[leave] = steps / transitions, time.perf_counter() - start
    return (
        f"| {family.name} | {lanes:,} | {taken[False]:.2f} | {taken[True]:.2f} "
        f"| {seconds[False] / seconds[True]:.1f}× |"
    )


def main() -> None:
    print(f"\nRandom actions, {EPISODES} episodes of each lane, one core\n")
    print("| family | lanes | steps for one, all stay | steps for one, lanes leave | faster |")
    print("| --- | --- | --- | --- | --- |")
    for family, lanes in (
        (Uneven(train=100, validation=1, test=1), 100),
        (make_family("cartpole"), 100),
        (make_family("cartpole"), 1000),
        (make_family("key-to-door-ad-eps"), 1000),
        (make_family("dark-room-macro"), 1000),
        (make_family("dark-room"), 1000),
    ):
        print(measure(family, lanes, EPISODES), flush=True)


if __name__ == "__main__":
    main()
