"""The checks of `icrl check-family`: whether a task family keeps what `TaskFamily` and `BatchedEnv` promise.

Every check is a function of a `Subject`, and raises `Failure` with what was found and what was expected.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from icrl.envs import make_family
from icrl.envs.episodes import policy_history, uniform_policy
from icrl.envs.measured import measured_returns
from icrl.envs.parametric import ParametricFamily
from icrl.envs.simple_policies import UniformActions, ZeroAction
from icrl.errors import UsageError
from icrl.held_out import leak
from icrl.spaces import space_from_dict, space_to_dict
from icrl.tasks import AXES, SPLIT_NAMES, Task, TaskFamily

MEASURED_SLACK = 0.05
"""How far off a measured anchor may be beside its error, as a share of the family's largest."""
EXPERT = " (where random actions cannot tell, state policy_kinds and define reference_policy)"
PER_LANE = "name every attribute that has a row for each lane in `per_lane`, or leave `per_lane` out"


class Failure(Exception):
    """A promise that is not kept."""


def expect(kept: Any, message: str) -> None:
    """Raises Failure with this message unless `kept`."""
    if not kept:
        raise Failure(message)


def same(a: NDArray, b: NDArray) -> bool:
    """Whether two arrays are equal, NaN and NaN alike: that a number is none is told once, by the check of spaces."""
    return np.array_equal(a, b, equal_nan=True)


@dataclass
class Subject:
    """The family under test, and how much of it can be afforded."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 4.0
    """What one check may spend on steps of slow environments; fast ones are stepped as often as is useful."""

    @cached_property
    def family(self) -> TaskFamily:
        return make_family(self.name, **self.options)

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Test tasks."""
        return self.family.split(0).test

    def lanes(self, count: int) -> list[Task]:
        """Test tasks repeated to that many lanes."""
        return [self.tasks[i % len(self.tasks)] for i in range(count)]

    @cached_property
    def steps_per_second(self) -> float:
        """Of a small batch, its construction and first reset included."""
        count = 8
        start = time.perf_counter()
        env = self.family.make(self.lanes(count), seed=0)
        env.reset()
        actions = self.actions(min(50, self.family.horizon), count)
        for row in actions:
            env.step(row)
        return actions.shape[0] * count / (time.perf_counter() - start)

    def affordable(self, lanes: int, steps: int) -> int:
        """At most that many lanes, fewer where so many steps of them would take too long; at least 2."""
        return int(np.clip(self.seconds * self.steps_per_second / steps, 2, lanes))

    def actions(self, steps: int, count: int) -> NDArray:
        """Uniformly random actions, shape `(steps, count, *action_shape)`."""
        policy = uniform_policy(self.family, self.lanes(count), seed=0)
        return np.stack([policy.act(np.zeros(count)) for _ in range(steps)])

    def roll(self, env: Any, actions: NDArray, seed: int | None = None) -> dict[str, NDArray]:
        """Steps through the actions: observations `(T + 1, N, …)`, the rest `(T, N, …)`, "final" 0 inside episodes."""
        observations, _ = env.reset(seed=seed)
        rows: dict[str, list] = {"observations": [observations], "rewards": [], "terminated": [], "truncated": []}
        rows["final"] = []
        for action in actions:
            observations, rewards, terminated, truncated, info = env.step(action)
            done, final = terminated | truncated, np.zeros_like(observations)
            if done.any():
                expect(
                    "final_obs" in info and np.array_equal(info.get("_final_obs"), done),
                    "an episode ended and info has no final_obs with a mask _final_obs: step must give the last "
                    "observation of the episode that ended; leave `step` to BatchedEnv",
                )
                final[done] = info["final_obs"][done]
            for key, value in zip(rows, (observations, rewards, terminated, truncated, final), strict=True):
                rows[key].append(value)
        return {key: np.array(value) for key, value in rows.items()}


def spaces(subject: Subject) -> None:
    """observations, rewards and flags are of the declared spaces and types"""
    family = subject.family
    for space in (family.observation_space, family.action_space):
        expect(space_from_dict(space_to_dict(space)) == space, f"{space} does not survive icrl.spaces: {space!r}")
    count = subject.affordable(7, family.horizon + 3)
    env = family.make(subject.lanes(count), seed=0)
    expect(env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP, "the autoreset mode must be SAME_STEP")
    expect(env.num_envs == count, f"{count} tasks made {env.num_envs} environments")
    out = subject.roll(env, subject.actions(family.horizon + 3, count))
    for observation in [*out["observations"], *out["final"][(out["terminated"] | out["truncated"]).any(axis=1)]]:
        if isinstance(family.observation_space, gym.spaces.Box):
            dtype = family.observation_space.dtype
            expect(observation.dtype == dtype, f"observations are {observation.dtype}: expected {dtype}")
            expect(np.isfinite(observation).all(), "an observation is not finite")
        expect(
            env.observation_space.contains(observation),
            f"an observation is outside {family.observation_space}: from {observation.min()} to {observation.max()}",
        )
    expect(out["rewards"].dtype in (np.float32, np.float64), f"rewards are {out['rewards'].dtype}: expected floats")
    expect(np.isfinite(out["rewards"]).all(), "a reward is not finite")
    for name in ("terminated", "truncated"):
        expect(out[name].dtype == bool, f"{name} is {out[name].dtype}: expected bool")


def seeding(subject: Subject) -> None:
    """the same seed gives the same run, another seed another one, and reset(seed) restarts it"""
    family = subject.family
    count = subject.affordable(5, 8 * family.horizon)
    tasks = [subject.tasks[0]] * count
    # The same actions in every lane: where lanes of one task differ, something is drawn.
    actions = np.repeat(subject.actions(min(2 * family.horizon, 400), 1), count, axis=1)
    first = subject.roll(family.make(tasks, seed=3), actions)
    env = family.make(tasks, seed=4)
    other = subject.roll(env, actions)
    again = subject.roll(family.make(tasks, seed=3), actions)
    for key in first:
        expect(same(first[key], again[key]), f"two runs of seed 3 differ in {key}: a global generator?")
    is_drawn = any(not same(first[key], first[key][:, :1].repeat(count, axis=1)) for key in first)
    expect(
        not is_drawn or any(not same(first[key], other[key]) for key in first),
        "lanes of one task differ, and runs of two seeds do not: `make` leaves its seed unused",
    )
    seeded = subject.roll(env, actions, seed=3)
    for key in first:
        expect(
            same(first[key], seeded[key]),
            f"after reset(seed=3) the run differs in {key} from that of an environment made with seed 3",
        )


def lanes_are_independent(subject: Subject) -> None:
    """a lane behaves alike alone and in a crowd"""
    family = subject.family
    steps = min(2 * family.horizon, 120)
    count = subject.affordable(1000, steps)
    tasks, actions = subject.lanes(count), subject.actions(steps, count)
    crowd = subject.roll(family.make(tasks, seed=5), actions)
    for key, values in crowd.items():
        expect(np.isfinite(values).all(), f"{key} hold a number that is not finite")
    for lane in {0, (417 * count) // 1000, count - 1}:
        alone = subject.roll(family.make([tasks[lane]], seed=5, index=[lane]), actions[:, lane : lane + 1])
        for key in crowd:
            expect(
                same(crowd[key][:, lane], alone[key][:, 0]),
                f"lane {lane} differs in {key} when it is alone: its random numbers, or its sums, depend on the batch",
            )


def lanes_may_leave(subject: Subject) -> None:
    """lanes that leave change nothing for those that stay"""
    family = subject.family
    steps = int(np.clip(2 * family.horizon, 12, 120))
    count = subject.affordable(13, 2 * steps)
    tasks, actions = subject.lanes(count), subject.actions(steps, count)
    whole = subject.roll(family.make(tasks, seed=6), actions)
    env, lanes, rng = family.make(tasks, seed=6), np.arange(count), np.random.default_rng(0)
    env.reset()
    for t in range(steps):
        observations, rewards, terminated, truncated, info = env.step(actions[t, lanes])
        final = np.zeros_like(observations)
        if (done := terminated | truncated).any():
            final[done] = info["final_obs"][done]
        found = (observations, rewards, terminated, truncated, final)
        for key, values in zip(whole, found, strict=True):
            expected = whole[key][t + (key == "observations")][lanes]
            expect(same(values, expected), f"{key} differ after other lanes left: {PER_LANE}")
        if len(lanes) > 1 and rng.random() < 0.1:
            stay = np.sort(rng.choice(len(lanes), len(lanes) - rng.integers(1, 1 + len(lanes) // 2), replace=False))
            env, lanes = env.keep(stay), lanes[stay]


def endings(subject: Subject) -> None:
    """an episode ends once, for one reason, at its horizon at the latest"""
    family = subject.family
    steps = min(3 * family.horizon, max(family.horizon + 2, 600))
    count = subject.affordable(50, steps)
    out = subject.roll(family.make(subject.lanes(count), seed=0), subject.actions(steps, count))
    expect(not (out["terminated"] & out["truncated"]).any(), "a step is both terminated and truncated")
    played, cut_after = np.zeros(count, int), set()
    for terminated, truncated in zip(out["terminated"], out["truncated"], strict=True):
        played += 1
        late = (played >= family.horizon) & ~terminated & ~truncated
        expect(not late.any(), f"an episode goes on after its horizon of {family.horizon} steps")
        cut_after.update(played[truncated].tolist())
        played[terminated | truncated] = 0
    expect(
        len(cut_after) != 1 or cut_after == {family.horizon},
        f"every episode is truncated after {min(cut_after, default=0)} steps, and the horizon is {family.horizon}: "
        "make them one (a time limit of the environment's own?)",
    )


def arrays_are_given_away(subject: Subject) -> None:
    """returned arrays are left alone by later steps"""
    family = subject.family
    steps = min(family.horizon + 2, 200)
    count = subject.affordable(6, steps)
    env = family.make(subject.lanes(count), seed=0)
    first, _ = env.reset()
    kept, copies = [first], [first.copy()]
    for action in subject.actions(steps, count):
        *arrays, info = env.step(action)
        arrays += [value for value in info.values() if isinstance(value, np.ndarray)]
        kept += arrays
        copies += [array.copy() for array in arrays]
    expect(
        all(same(array, copy) for array, copy in zip(kept, copies, strict=True)),
        "an array that was returned changed in a later step: return a copy, not a view of the state",
    )


def wrong_actions(subject: Subject) -> None:
    """actions outside the space are refused"""
    family = subject.family
    env = family.make(subject.lanes(2), seed=0)
    env.reset()
    if isinstance(family.action_space, gym.spaces.Discrete):
        wrong: list[Any] = [[-1, 0], [0, int(family.action_space.n)], [0], [0.0, 1.0]]
    else:
        wrong = [np.full((2, *family.action_space.shape), np.nan), np.zeros((3, *family.action_space.shape))]
    for actions in wrong:
        try:
            env.step(np.asarray(actions))
        except ValueError:
            continue
        raise Failure(f"the actions {np.asarray(actions).tolist()} are taken: expected a ValueError")


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
    expect(env.observation_space.contains(env.reset()[0]), "an out-of-distribution task is outside the spaces")


def held_out(subject: Subject) -> None:
    """held-out tasks do what no training task does"""
    found = leak(subject.family, subject.family.split(0), seconds=subject.seconds)
    expect(found is None, found)


def rebuilding(subject: Subject) -> None:
    """name and options, through JSON, make the same family"""
    family = subject.family
    again = make_family(subject.name, **json.loads(json.dumps(family.options)))
    for what in ("options", "label", "horizon", "num_tasks", "observation_space", "action_space", "axes", "ood_sets"):
        then, now = getattr(family, what), getattr(again, what)
        expect(then == now, f"{what} is {now!r} after a rebuild from the options, it was {then!r}")
    split, rebuilt = family.split(7), again.split(7)
    expect(split == rebuilt, "a rebuilt family splits otherwise")
    task = split.test[0]
    expect(json.loads(json.dumps(task.params)) == task.params, f"JSON does not bring back the task {task.params}")


def axes(subject: Subject) -> None:
    """the named axes exist, and where there are several each that can be held is"""
    family = subject.family
    expect(family.axes and set(family.axes) <= set(AXES), f"axes is {family.axes}: expected some of {AXES}")
    expect(family.source, "source is empty: expected where the definition comes from")
    expect(
        isinstance(family.policy_kinds, tuple), f"policy_kinds is {family.policy_kinds!r}: expected a tuple of names"
    )
    free = [axis for axis in family.axes if axis not in family.fixed_axes]
    if len(family.axes) < 2 or not free:
        return
    expect("hold" in family.options, f"it varies {family.axes} and has no option hold to keep one of them fixed")
    held_already = list(family.options["hold"])
    refused = {}
    for axis in free:
        try:
            held = make_family(subject.name, **dict(family.options, hold=[*held_already, axis]))
        except UsageError as error:
            refused[axis] = error  # Right where the other axes do not tell tasks apart: of one axis at most.
            continue
        expect(axis not in held.axes, f"hold=[{axis!r}] leaves {held.axes}")
        held.split(0)
    for axis, error in refused.items():
        expect(
            len(refused) == 1 < len(free),
            f"it varies {family.axes} and refuses hold=[{axis!r}] ({error}): state what cannot be held as fixed_axes",
        )


def anchors(subject: Subject) -> None:
    """anchors are what the policies earn"""
    family = subject.family
    count = min(len(subject.tasks), subject.affordable(200, 4 * family.horizon))
    tasks = list(subject.tasks[:count])
    for beyond in family.split(0).ood.values():
        tasks += beyond[: max(1, count // 10)]
    count = len(tasks)
    found = family.anchors(tasks)
    for name in ("random", "optimum", "zero_action"):
        values = getattr(found, name)
        expect(values is None or values.shape == (count,), f"anchors.{name} is not one number for each task")
    expect(np.isfinite(found.random).all(), "the random anchor is not finite")
    known = np.isfinite(found.optimum)
    expect(known.all() == known.any(), "the optimum is known for some tasks only")
    expect(
        not known.any() or bool(family.policy_kinds),
        "the optimum is stated, and no reference policy shows that it can be earned",
    )
    checks = [("random", found.random, partial(UniformActions, family))]
    if known.all():
        best = family.policy_kinds[0]
        checks.append(("optimum", found.optimum, lambda lanes, streams: family.reference_policy(best, lanes)))
    if found.zero_action is not None:
        checks.append(("zero_action", found.zero_action, partial(ZeroAction, family)))
    steps = len(checks) * family.horizon
    episodes = max(2, subject.affordable(20_000, steps) // count) if family.horizon > 1 else 200
    largest = max(1e-9, *(np.abs(stated).max() for _, stated, _ in checks))
    for name, stated, policy in checks:
        earned = measured_returns(family, tasks, policy, episodes)
        difference = earned - stated[:, None]
        spread, slack, own = difference.std(), 1e-5 * max(1.0, np.abs(stated).max()), 0.0
        if found.measured:
            # Its own error: of as many episodes as here where the family does not say, and some more.
            spread, slack = earned.std(axis=1).mean() * np.sqrt(2), MEASURED_SLACK * largest
            own = earned.std(axis=1).mean() / np.sqrt(count * getattr(family, "anchor_episodes", np.inf))
        # Where rewards are rare, chance may have shown none: at least the error of one episode that earns the most.
        least = largest / difference.size if name == "random" else 0.0
        error = max(np.hypot(spread / np.sqrt(difference.size), own), least)
        expect(
            abs(difference.mean()) <= 5 * error + slack,
            f"the {name} anchor is {stated.mean():.4f} on average, its policy earns {earned.mean():.4f} ± {error:.4f}",
        )


def drawing(subject: Subject) -> None:
    """draw makes a picture of every group of episodes"""
    from matplotlib.figure import Figure

    family, task = subject.family, subject.tasks[0]
    episodes = 12 if family.horizon == 1 else 3
    history = policy_history(family, task, uniform_policy(family, [task], 0), episodes, 0, "random")
    groups = family.episode_groups(episodes, pictures=2)
    expect(groups and groups[-1].stop == episodes, "episode_groups does not reach the last episode")
    figure = Figure()
    for axes_, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        family.draw(axes_, task, history.take_episodes(group))
        expect(axes_.has_data(), "draw leaves the axes empty")
    figure.canvas.draw()


CHECKS: tuple[Callable[[Subject], None], ...] = (
    spaces, seeding, lanes_are_independent, lanes_may_leave, endings, arrays_are_given_away, wrong_actions,
    tasks_differ, splits, held_out, rebuilding, axes, anchors, drawing,
)  # fmt: skip
