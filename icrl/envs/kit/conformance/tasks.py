"""The checks of `icrl check-family` that are of tasks: whether they differ, and their splits."""

import json
from collections.abc import Sequence

import numpy as np

from icrl.checks import expect
from icrl.envs import make_family
from icrl.envs.kit.conformance.subject import Subject, same
from icrl.envs.kit.episodes import uniform_policy
from icrl.envs.kit.parametric import ParametricFamily
from icrl.held_out import leak
from icrl.spaces import WrongValue, gate
from icrl.tasks import SPLIT_NAMES, Task

EXPERT = " (where random actions cannot tell, state policy_kinds and define reference_policy)"


def tasks_differ(subject: Subject) -> None:
    """tasks differ in what happens, by every parameter"""
    family = subject.family
    steps = min(max(2 * family.horizon, 60), 400)
    tasks = [*subject.tasks, *family.split(0).train][: subject.affordable(32, steps)]
    expect(_differ(subject, tasks, steps, family.axes), f"{len(tasks)} tasks behave alike: is a task applied?{EXPERT}")
    # A default may leave another parameter without effect, a gain of 0 or a slope of 0; a task's own number does not.
    usual = subject.tasks[0].params
    for name in family.varied if isinstance(family, ParametricFamily) else ():
        parameter = family.parameters[name]
        if parameter.count:
            ends = [parameter.value(index) for index in (0, parameter.count // 2)]
        elif isinstance(usual[name], float):
            ends = [float(parameter.at(np.array([share]))[0]) for share in (0.02, 0.55)]
        else:
            continue  # A list of numbers, each drawn from the range.
        tasks = [Task(number, usual | {name: end}) for number, end in enumerate(ends)]
        first, second = (f"{end:g}" if isinstance(end, float) else repr(end) for end in ends)
        expect(
            _differ(subject, tasks, steps, [parameter.axis]),
            f"{name}={first} and {name}={second} behave alike: is it applied?{EXPERT}",
        )


def _differ(subject: Subject, tasks: Sequence[Task], steps: int, axes: Sequence[str]) -> bool:
    """Whether lanes of these tasks, given the same random numbers and actions, part; one of them acts as well as it
    can, since random actions may never reach what tasks differ in. Where they are all there is, and have met one
    reward only, nothing is known of a difference in reward."""
    family, count, rewards_met = subject.family, len(tasks), set()
    for kind in (*family.policy_kinds[:1], None):
        env = family.make(tasks, seed=0, index=[0] * count)
        policy = family.reference_policy(kind, tasks) if kind else uniform_policy(family, tasks, seed=0)
        observations, _ = env.reset()
        for _ in range(steps):
            actions = np.repeat(policy.act(observations)[:1], count, axis=0)
            observations, rewards, terminated, truncated, _ = env.step(actions)
            policy.observe(rewards, terminated, truncated)
            rewards_met.update(rewards.tolist())
            if any(not same(part, part[:1].repeat(count, axis=0)) for part in (observations, rewards, terminated)):
                return True
    return "reward" in axes and not family.policy_kinds and len(rewards_met) == 1


def splits(subject: Subject) -> None:
    """train, validation, test and out-of-distribution tasks are disjoint, and a function of the seed"""
    family = subject.family
    split = family.split(0)
    sizes = {name: len(split.named(name)) for name in SPLIT_NAMES}
    expect(sizes == dict(family.num_tasks), f"the split has {sizes} tasks, num_tasks says {dict(family.num_tasks)}")
    for of, key in (("number", lambda task: task.id), ("parameters", lambda task: json.dumps(task.params))):
        parts = {name: {key(task) for task in split.named(name)} for name in split.names}
        for name in split.names:
            expect(len(parts[name]) == len(split.named(name)), f"two tasks of {name} share their {of}")
        together = set.union(*parts.values())
        expect(len(together) == sum(map(len, parts.values())), f"two splits share a task, by its {of}")
    expect(set(split.ood) == set(family.ood_sets), f"ood_sets says {set(family.ood_sets)}, split has {set(split.ood)}")
    expect(all(split.ood.values()), "an out-of-distribution set is empty")
    expect(make_family(subject.name, **subject.options).split(0) == split, "two calls of split(0) differ")
    if "validation" in family.options:
        without = make_family(subject.name, **dict(family.options, validation=0)).split(0)
        expect(without.test == split.test, "validation=0 changes the test tasks: scores would not be comparable")
    env = family.make([tasks[0] for tasks in split.ood.values()] or subject.lanes(1), seed=0)
    try:
        gate(family.observation_space)(env.reset()[0])
    except WrongValue as error:
        expect(False, f"an out-of-distribution task is outside the spaces: {error}")


def held_out(subject: Subject) -> None:
    """held-out tasks do what no training task does"""
    found = leak(subject.family, subject.family.split(0), seconds=subject.seconds)
    expect(found is None, found)
