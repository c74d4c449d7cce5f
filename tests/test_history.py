"""The learning history states the index convention and refuses what contradicts it."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from icrl.history import LearningHistory


def history() -> LearningHistory:
    """Episodes 0 and 5 of a learner, of three and two steps, and the first step of its episode 10."""
    return LearningHistory(
        observations=np.arange(12, dtype=np.uint8).reshape(6, 2),
        actions=np.array([0, 1, 2, 0, 1, 2], np.uint8),
        rewards=np.array([0, 0, 1, 0.5, 0.25, 9], np.float32),
        terminated=np.array([0, 0, 1, 0, 0, 0], bool),
        truncated=np.array([0, 0, 0, 0, 1, 0], bool),
        episode=np.array([0, 0, 0, 5, 5, 10], np.int32),
        step_in_episode=np.array([0, 1, 2, 0, 1, 0], np.int32),
        final_observations=np.array([[90, 91], [92, 93]], np.uint8),
        task_id=3,
        task_params={"goal": [1, 2]},
        learner="q-learning",
        learner_seed=7,
    )


def test_returns_are_of_finished_episodes_only():
    """Kills: an unfinished last episode that is counted, or added to the one before it."""
    assert history().episode_returns().tolist() == [1.0, 0.75]
    assert replace(
        history(), terminated=np.zeros(6, bool), truncated=np.zeros(6, bool), final_observations=np.zeros((0, 2)),
        episode=np.zeros(6, np.int32), step_in_episode=np.arange(6, dtype=np.int32),
    ).episode_returns().tolist() == []  # fmt: skip


def test_it_is_frozen_and_shows_its_shapes():
    """Kills: a record that mutates; a repr that prints a million numbers."""
    with pytest.raises(FrozenInstanceError):
        history().task_id = 4
    assert "observations[6, 2]" in repr(history())
    assert "task 3, q-learning #7" in repr(history())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.zeros(5, np.float32)}, "rewards has 5 rows where observations has 6"),
        ({"truncated": np.array([0, 0, 1, 0, 1, 0], bool)}, "step 2 is both terminated and truncated"),
        ({"final_observations": np.zeros((1, 2))}, "1 rows for 2 finished episodes"),
        ({"step_in_episode": np.array([1, 2, 3, 0, 1, 0])}, "must be 0 at the first"),
        ({"step_in_episode": np.array([0, 1, 1, 0, 1, 0])}, "must rise by 1"),
        ({"episode": np.array([0, 0, 1, 5, 5, 10])}, "episode changed"),
        ({"episode": np.array([5, 5, 5, 0, 0, 10])}, "episode must rise"),
    ],
)
def test_a_contradiction_is_refused(change, message):
    """Kills: misaligned records that training would take for learning."""
    with pytest.raises(ValueError, match=message):
        replace(history(), **change)
