"""The checks of `icrl check-learner`: what recordings take for granted of a source learner, a promise each.

Legend: N lanes, T steps.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icrl.checks import Failure, expect
from icrl.data_gen.learners import LEARNERS, has_own_loop, make_learner, misfit
from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.data_gen.record import record_histories
from icrl.data_gen.spread import spread
from icrl.envs import make_family
from icrl.envs.kit.answers import Answers
from icrl.envs.kit.stepping import Life
from icrl.errors import FamilyError, UsageError
from icrl.history import LearningHistory
from icrl.lanes import lets_go
from icrl.processes import importable
from icrl.spaces import bounded, drawer, num_uniforms, player, value_dtype
from icrl.tasks import Task, TaskFamily

FAMILIES_TO_TRY: Mapping[str, Mapping[str, Any]] = {
    "dark-room": {"size": 5, "horizon": 8},
    "bernoulli-bandit": {},
    "point-robot": {"horizon": 8},
    "tabular-mdp": {},
    "linear-bandit": {},
    "pendulum": {},
}
"""A learner is checked on the first that it can learn, unless another is named."""

COLUMNS = ("observations", "actions", "rewards", "terminated", "truncated", "final_observations")


@dataclass
class Subject:
    """The learner under test, and what it is tried on."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    family_name: str = ""
    family_options: Mapping[str, Any] = field(default_factory=dict)
    episodes: int = 12

    @cached_property
    def family(self) -> TaskFamily:
        if self.family_name:
            return make_family(self.family_name, **self.family_options)
        families = (make_family(name, **options) for name, options in FAMILIES_TO_TRY.items())
        if (found := next((family for family in families if not misfit(self.name, family)), None)) is None:
            raise UsageError(
                f"{self.name} can learn none of {', '.join(FAMILIES_TO_TRY)}: name a family with --family"
            )
        return found

    @property
    def has_own_loop(self) -> bool:
        return has_own_loop(LEARNERS[self.name])

    def tasks(self, count: int) -> list[Task]:
        """Training tasks, repeated to that many lanes."""
        tasks = self.family.split(0).train
        return [tasks[i % len(tasks)] for i in range(count)]

    def setting(self, count: int, seed: int = 0) -> LearnerSetting:
        return LearnerSetting(self.family, self.tasks(count), self.episodes, seed, np.arange(count))

    def learner(self, setting: LearnerSetting) -> Any:
        return make_learner(self.name, dict(self.options), setting)

    def histories(self, tasks: Sequence[Task], index: Sequence[int], seed: int = 3) -> list[LearningHistory]:
        return record_histories(
            self.family, tasks, self.name, dict(self.options), episodes=self.episodes, seed=seed, index=index
        )

    @cached_property
    def recorded(self) -> list[LearningHistory]:
        """Of five lanes, whose numbers are 10 … 14."""
        return self.histories(self.tasks(5), range(10, 15))


def fits(subject: Subject) -> None:
    """it is made from its options, or says in words which family it cannot learn"""
    says = misfit(subject.name, subject.family)
    expect(not says, f"it says of {subject.family.name} that it {says}: name another with --family")
    subject.learner(subject.setting(1))


def actions(subject: Subject) -> None:
    """its actions are of the space, one for each lane, and whole episodes are lived through"""
    try:
        recorded = subject.recorded
    except FamilyError as error:
        raise Failure(str(error)) from error
    for history in recorded:
        found = len(history.episode_returns())
        expect(found == subject.episodes, f"{found} whole episodes where {subject.episodes} were asked for")


def repeats(subject: Subject) -> None:
    """seed and number fix a history: no generator of the process, no clock, no order of things matters"""
    for state in (1, 2):
        # What a learner must not draw from is put elsewhere, and back.
        before = np.random.get_state(), random.getstate()  # noqa: NPY002
        np.random.seed(state)  # noqa: NPY002
        random.seed(state)
        try:
            again = subject.histories(subject.tasks(5), range(10, 15))
        finally:
            np.random.set_state(before[0])  # noqa: NPY002
            random.setstate(before[1])
        for first, second in zip(subject.recorded, again, strict=True):
            _same(first, second, "recorded again: draw from setting.streams(…), or from the seed given to run")


def lanes(subject: Subject) -> None:
    """a lane is the same alone, in another order and among others"""
    tasks = subject.tasks(5)
    hint = "its random numbers, its sums or its schedule depend on the batch"
    for lane in (0, 3):
        (alone,) = subject.histories([tasks[lane]], [10 + lane])
        _same(subject.recorded[lane], alone, f"alone: {hint}")
    order = [4, 1, 0]
    others = subject.histories([tasks[lane] for lane in order], [10 + lane for lane in order])
    for lane, history in zip(order, others, strict=True):
        _same(subject.recorded[lane], history, f"in another order: {hint}")


def leaves_arrays_alone(subject: Subject) -> None:
    """arrays that it is given stay as they are"""
    learner = subject.learner(subject.setting(4))

    class ReadOnly:
        def act(self, seen: NDArray) -> NDArray:
            return learner.act(_locked(seen))

        def learn(self, *arrays: NDArray) -> None:
            learner.learn(*map(_locked, arrays))

    for _ in _played(subject, subject.setting(4), ReadOnly(), 60):
        pass


def keeps_lanes(subject: Subject) -> None:
    """lanes that leave change nothing for those that stay (keep, or icrl.lanes.PerLane)"""
    count, rng = 9, np.random.default_rng(0)
    setting = subject.setting(count)
    whole, left = subject.learner(setting), subject.learner(setting)
    if not lets_go(left):
        return  # Then nobody asks it to.
    places, play = np.arange(count), player(subject.family.action_space)
    for step in _played(subject, setting, whole, 80):
        found = play(left.act(step.observations[places]), len(places))
        expect(
            np.array_equal(found, step.actions[places]),
            "its actions differ after other lanes left: state in per_lane all that has a row for each lane",
        )
        left.learn(
            *(values[places] for values in (
                step.observations, step.actions, step.rewards, step.terminated, step.truncated, step.successors
            ))
        )  # fmt: skip
        if len(places) > 1 and rng.random() < 0.15:
            stay = np.sort(rng.choice(len(places), len(places) - 1, replace=False))
            left.keep(stay)
            places = places[stay]


def last_steps(subject: Subject) -> None:
    """what followed the last step of a truncated episode counts as what follows any other step"""
    if not bounded(subject.family.observation_space):
        return  # There are no random observations to show.
    true, inside, truncated = (_scripted(subject, replaced) for replaced in (None, "inside", "truncated"))
    expect(
        np.array_equal(true, inside) or not np.array_equal(true, truncated),
        "its play depends on next_observations within episodes, and not where an episode was truncated: there it is "
        "the last observation, and worth as much as any other (only terminated makes it worth nothing)",
    )


def another_process(subject: Subject) -> None:
    """another process finds it by its name, and makes the same history"""
    factory = LEARNERS[subject.name] if LEARNERS.is_added(subject.name) else None
    expect(importable(factory), "it is defined in the script that was started: move it to a module or file of its own")
    family = subject.family_name or subject.family.name
    call = (subject.name, dict(subject.options), family, dict(subject.family.options), subject.episodes)
    (found,) = spread(_record_one, [call], 1, _know, (subject.name, factory))
    history = subject.recorded[2]
    for name, values in found.items():
        expect(np.array_equal(values, getattr(history, name)), f"its {name} differ when another process records it")


def replays(subject: Subject) -> None:
    """its recorded actions, played in a fresh environment, give the recorded history"""
    tasks, family = subject.tasks(5), subject.family
    for lane in (1, 2):
        history = subject.recorded[lane]
        dtype = value_dtype(family.action_space)
        finals = iter(history.final_observations)
        with closing(family.make([tasks[lane]], 3, [10 + lane])) as env:
            seen, _ = env.reset()
            for t, action in enumerate(history.actions):
                expect(_equal(seen[0], history.observations[t]), f"the observation of step {t} is another")
                seen, rewards, terminated, truncated, info = env.step(np.asarray(action).astype(dtype)[None])
                told = (np.float32(rewards[0]), terminated[0], truncated[0])
                recorded = (history.rewards[t], history.terminated[t], history.truncated[t])
                expect(told == recorded, f"step {t} was answered {recorded}, now {told}")
                if terminated[0] or truncated[0]:
                    expect(_equal(info["final_obs"][0], next(finals)), f"what followed step {t} is another")


CHECKS: list[Callable[[Subject], None]] = [fits, actions, repeats, lanes, another_process, replays]
"""Of every learner."""
BATCHED: list[Callable[[Subject], None]] = [leaves_arrays_alone, keeps_lanes, last_steps]
"""Of those that act in a batch."""


def checks_of(subject: Subject) -> list[Callable[[Subject], None]]:
    return CHECKS if subject.has_own_loop else CHECKS + BATCHED


def _played(subject: Subject, setting: LearnerSetting, actor: Any, steps: int) -> Iterator[Any]:
    """Steps of a learner in a batch that no lane leaves."""
    with closing(subject.family.make(setting.tasks, 0)) as env:
        life = Life(env, float("inf"), Answers(subject.family, setting.tasks))
        for _ in range(steps):
            step = life.step(actor.act(life.observations), actor)
            yield step
            actor.learn(
                step.observations, step.actions, step.rewards, step.terminated, step.truncated, step.successors
            )


def _scripted(subject: Subject, replaced: str | None) -> NDArray:
    """The actions of a learner to whom a made-up stream of random transitions is shown, whatever it plays.

    Args:
        replaced: where other observations are shown as what followed: "inside" episodes, or where they are
            "truncated".
    """
    family, count = subject.family, 48
    setting = subject.setting(count)
    learner, rng = subject.learner(setting), np.random.default_rng(5)
    length = min(family.horizon, 4)
    seen = _drawn(family, rng, count)
    found = []
    with closing(family.make(setting.tasks, 0)) as env:
        for _ in range(subject.episodes):
            for t in range(length):
                acted = env.played(learner.act(seen))
                found.append(acted)
                ends = np.full(count, t == length - 1)
                following, other, begins = (_drawn(family, rng, count) for _ in range(3))
                rewards = rng.integers(0, 2, count).astype(np.float32)
                swap = replaced is not None and ends[0] == (replaced == "truncated")
                learner.learn(seen, acted, rewards, np.zeros(count, bool), ends, other if swap else following)
                seen = begins if ends[0] else following
    return np.array(found)


def _drawn(family: TaskFamily, rng: np.random.Generator, count: int) -> NDArray:
    space = family.observation_space
    return drawer(space)(rng.random((count, num_uniforms(space)))).astype(value_dtype(space))


def _locked(values: NDArray) -> NDArray:
    view = values.view()
    view.flags.writeable = False
    return view


def _equal(shown: NDArray, stored: NDArray) -> bool:
    return np.array_equal(np.asarray(shown).astype(stored.dtype), stored)


def _same(first: LearningHistory, second: LearningHistory, when: str) -> None:
    for name in COLUMNS:
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            raise Failure(f"the {name} of a history differ when it is {when}")


def _know(name: str, factory: Any) -> None:
    """Makes a learner that the program at hand has added known in a fresh process."""
    if factory is not None and not LEARNERS.is_added(name):
        LEARNERS.add(name, factory)


def _record_one(
    name: str, options: dict[str, Any], family_name: str, family_options: dict[str, Any], episodes: int
) -> dict[str, NDArray]:
    """The columns of the history of lane 2, number 12."""
    subject = Subject(name, options, family_name, family_options, episodes)
    (history,) = subject.histories([subject.tasks(5)[2]], [12])
    return {name: getattr(history, name) for name in COLUMNS}
