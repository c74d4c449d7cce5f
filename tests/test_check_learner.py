"""`icrl check-learner`: every learner of the framework passes, and each broken promise is found by its check."""

from itertools import count

import numpy as np
import pytest
from learner_of_ones_own import Repeats, Walks

from icrl import cli
from icrl.commands.check_learner import check_learner
from icrl.data_gen.learners import LEARNERS
from icrl.data_gen.learners.q_learning import QLearning


@pytest.mark.parametrize("name", ["q-learning", "ucb1", "opsrl", "noise-distillation", "zero-action"])
def test_learners_of_the_framework_pass(name, capsys):
    """Kills: a check that refuses what is right; a default family that a learner cannot learn."""
    assert cli.main(["check-learner", name]) == 0
    assert "all 9 checks passed" in capsys.readouterr().out


def test_options_and_family_are_those_that_are_named(capsys):
    """Kills: options that never reach the learner, a family that is another."""
    line = ["check-learner", "q-learning", "--option", "step_size=0.5", "--family", "key-to-door"]
    assert cli.main([*line, "--family-option", "horizon=9"]) == 0
    assert capsys.readouterr().out.startswith("q-learning on key-to-door@")
    assert cli.main(["check-learner", "q-learning", "--option", "step=0.5"]) == 1
    assert "has no option 'step'" in capsys.readouterr().out
    assert cli.main(["check-learner", "q-learning", "--family", "point-robot"]) == 1
    assert "FAILED  fits" in capsys.readouterr().out


class Global(Repeats):
    """Draws from the generator of the process."""

    per_lane = ()

    def act(self, observations):
        return np.random.randint(self._actions, size=len(observations))  # noqa: NPY002


class Together(Repeats):
    """Plays what paid best in any lane."""

    per_lane = ()

    def act(self, observations):
        own = super().act(observations)
        return np.where(self._most_N.max() > 0, self._best_N[self._most_N.argmax()], own)


class Forgetful(Repeats):
    """Lets go of lanes, and keeps the memory of the first ones."""

    per_lane = ()

    def keep(self, lanes):
        super().keep(lanes)
        self._best_N = np.roll(self._best_N, 1)


class Scribbles(Repeats):
    """Writes into what it is given."""

    per_lane = ()

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations):
        rewards -= 0.5
        super().learn(observations, actions, rewards, terminated, truncated, next_observations)


class Wild(Repeats):
    """Plays an action that does not exist."""

    per_lane = ()

    def act(self, observations):
        return super().act(observations) + self._actions


class EndsAlike(QLearning):
    """Takes a time limit for an end."""

    per_lane = ()

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations):
        super().learn(observations, actions, rewards, terminated | truncated, truncated & False, next_observations)


class Clocked(Walks):
    """Has a loop of its own, whose length is another each time."""

    numbers = count(1)

    def run(self, env, episodes, seed):
        super().run(env, episodes, seed + next(self.numbers))


@pytest.mark.parametrize(
    ("learner", "check"),
    [
        (Global, "repeats"),
        (Together, "lanes"),
        (Forgetful, "keeps_lanes"),
        (Scribbles, "leaves_arrays_alone"),
        (Wild, "actions"),
        (EndsAlike, "last_steps"),
        (Clocked, "repeats"),
    ],
)
def test_a_broken_promise_is_found(learner, check, monkeypatch):
    """Kills: a check that finds nothing."""
    monkeypatch.setitem(LEARNERS._entries, "broken", learner)
    shown = []
    failed = check_learner("broken", show=shown.append)
    assert check in failed, "\n".join(shown)
    if learner in (Forgetful, EndsAlike):
        assert failed == [check]


def test_a_learner_of_a_script_is_for_one_process(monkeypatch):
    """Kills: a class that no other process can import, found only when hours have passed."""

    class Local(Repeats):
        """Within a function."""

        per_lane = ()

    monkeypatch.setitem(LEARNERS._entries, "local", Local)
    assert check_learner("local", show=lambda line: None) == ["another_process"]


def test_an_environment_that_drifts_is_found():
    """Kills: a history that nobody could have lived through, taken for one."""
    from icrl.data_gen.learners.conformance import Failure, Subject, replays

    subject = Subject("q-learning")
    history = subject.recorded[1]
    history.rewards[5] += 1
    with pytest.raises(Failure, match="step 5 was answered"):
        replays(subject)
