"""The checks of `icrl check-family`: whether a task family keeps what `TaskFamily` and `BatchedEnv` promise.

Every check is a function of a `Subject`, and raises `Failure` with what was found and what was expected.
"""

import json
from collections.abc import Callable
from functools import partial

import numpy as np
from gymnasium.vector import AutoresetMode

from icrl.abilities import pictures_of
from icrl.checks import Failure, expect
from icrl.envs import make_family
from icrl.envs.kit.conformance.subject import Subject, same
from icrl.envs.kit.conformance.tasks import held_out, splits, tasks_differ
from icrl.envs.kit.episodes import policy_history, uniform_policy
from icrl.envs.kit.measured import measured_returns
from icrl.envs.kit.simple_policies import UniformActions, ZeroAction
from icrl.errors import UsageError
from icrl.spaces import (
    WrongValue,
    codec_of,
    continuous,
    gate,
    in_short,
    named,
    space_from_dict,
    space_to_dict,
    split,
    value_dtype,
)
from icrl.tasks import AXES

MEASURED_SLACK = 0.05
"""How far off a measured anchor may be beside its error, as a share of the family's largest."""
PER_LANE = "name every attribute that has a row for each lane in `per_lane`, or leave `per_lane` out"


def spaces(subject: Subject) -> None:
    """observations, rewards and flags are of the declared spaces and types"""
    family = subject.family
    for space in (family.observation_space, family.action_space):
        expect(space_from_dict(space_to_dict(space)) == space, f"{space} does not survive icrl.spaces: {space!r}")
    count, take = subject.affordable(7, family.horizon + 3), gate(family.observation_space)
    env = family.make(subject.lanes(count), seed=0)
    expect(env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP, "the autoreset mode must be SAME_STEP")
    expect(env.num_envs == count, f"{count} tasks made {env.num_envs} environments")
    out = subject.roll(env, subject.actions(family.horizon + 3, count))
    for observation in [*out["observations"], *out["final"][(out["terminated"] | out["truncated"]).any(axis=1)]]:
        for name, leaf in named("", family.observation_space).items():
            part, dtype = split("", observation)[name], value_dtype(leaf)
            if continuous(leaf):
                expect(part.dtype == dtype, f"observations are {part.dtype}: expected {dtype}")
                expect(np.isfinite(part).all(), "an observation is not finite")
        try:
            take(observation)
        except WrongValue as error:
            expect(False, f"an observation is outside {family.observation_space}: {error}")
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
        finite = all(np.isfinite(part).all() for part in split(key, values).values())
        expect(finite, f"{key} hold a number that is not finite")
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
    for actions in codec_of(family.action_space).wrong_batches(family.action_space):
        try:
            env.step(actions)
        except ValueError:
            continue
        raise Failure(f"the actions {in_short(actions)} are taken: expected a ValueError")


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
    episodes = max(2, subject.affordable(20_000, steps) // count) if not family.is_bandit else 200
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
    """draw makes a picture of every group of episodes, where the family draws"""
    from matplotlib.figure import Figure

    family, task = subject.family, subject.tasks[0]
    if (pictures := pictures_of(family)) is None:
        return
    episodes = 12 if family.is_bandit else 3
    history = policy_history(family, task, uniform_policy(family, [task], 0), episodes, 0, "random")
    groups = pictures.groups(episodes, pictures=2)
    expect(groups and groups[-1].stop == episodes, "episode_groups does not reach the last episode")
    figure = Figure()
    for axes_, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        pictures.draw(axes_, task, history.take_episodes(group))
        expect(axes_.has_data(), "draw leaves the axes empty")
    figure.canvas.draw()


CHECKS: tuple[Callable[[Subject], None], ...] = (
    spaces, seeding, lanes_are_independent, lanes_may_leave, endings, arrays_are_given_away, wrong_actions,
    tasks_differ, splits, held_out, rebuilding, axes, anchors, drawing,
)  # fmt: skip
