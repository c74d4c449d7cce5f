"""Splits, pictures' episodes, and the cutting of histories into them."""

import numpy as np
import pytest

from icrl.abilities import episode_groups
from icrl.errors import UsageError
from icrl.history import LearningHistory
from icrl.tasks import Split, Task, check_count, split_numbers


def task_of(number: int) -> Task:
    return Task(number, {"goal": [number, 0]})


def test_a_split_refuses_a_shared_task():
    """Kills: a test score on tasks that were trained on, whether they share the number or only the parameters."""
    with pytest.raises(ValueError, match="in both train and test"):
        Split(0, train=(task_of(1),), validation=(), test=(task_of(1),))
    with pytest.raises(ValueError, match="in both train and validation"):
        Split(0, train=(task_of(1),), validation=(Task(2, {"goal": [1, 0]}),), test=())


def test_a_split_names_its_parts():
    """Kills: a misspelt split that falls back to another one."""
    split = Split(0, train=(task_of(1),), validation=(task_of(2),), test=(task_of(3),))
    assert split.named("validation") == (task_of(2),)
    with pytest.raises(UsageError, match="did you mean 'train'"):
        split.named("training")


def test_numbers_are_dealt_to_test_first():
    """Kills: a number that is dealt twice or dropped, and test tasks that move with the training set's size."""
    order = np.array([5, 3, 1, 0, 2, 4])
    split = split_numbers(order, {"train": 3, "validation": 1, "test": 2}, task_of, seed=9)
    assert split == Split(9, (task_of(0), task_of(2), task_of(4)), (task_of(1),), (task_of(5), task_of(3)))
    fewer = split_numbers(order, {"train": 1, "validation": 0, "test": 2}, task_of, seed=9)
    assert fewer.test == split.test
    assert fewer.train == (task_of(1),)


def test_check_count():
    """Kills: a message that does not say what was expected."""
    check_count("size", 2, at_least=2)
    with pytest.raises(UsageError, match="size=1 is too small: expected at least 2"):
        check_count("size", 1, at_least=2)


@pytest.mark.parametrize(
    ("episodes", "chosen"), [(60, [0, 12, 24, 35, 47, 59]), (6, [0, 1, 2, 3, 4, 5]), (2, [0, 1]), (1, [0])]
)
def test_pictures_run_from_the_first_to_the_last_episode(episodes, chosen):
    """Kills: a report that never shows the last episode, or shows one twice."""
    assert episode_groups(episodes) == [slice(k, k + 1) for k in chosen]


def history(lengths: list[int], tail: int = 0) -> LearningHistory:
    """Episodes of these lengths, then `tail` steps of one that did not finish."""
    steps = [np.arange(length) for length in [*lengths, tail]]
    total = sum(lengths) + tail
    done = np.zeros(total, bool)
    done[np.cumsum(lengths) - 1] = True
    return LearningHistory(
        observations=np.arange(total),
        actions=np.zeros(total, np.int64),
        rewards=np.arange(total, dtype=np.float32),
        terminated=done,
        truncated=np.zeros(total, bool),
        episode=np.repeat(np.arange(len(steps)), [len(s) for s in steps]).astype(np.int32),
        step_in_episode=np.concatenate(steps).astype(np.int32),
        final_observations=100 + np.arange(len(lengths)),
        task_id=0,
        task_params={},
        learner="random",
        learner_seed=0,
    )


def test_take_episodes():
    """Kills: rows of a neighbouring episode in a picture, final observations that belong to other episodes."""
    whole = history([3, 1, 4], tail=2)
    middle = whole.take_episodes(slice(1, 3))
    assert middle.observations.tolist() == [3, 4, 5, 6, 7]
    assert middle.final_observations.tolist() == [101, 102]
    assert middle.episode_returns().tolist() == whole.episode_returns()[1:].tolist()
    assert whole.take_episodes(slice(None)).observations.tolist() == list(range(8))
    assert whole.take_episodes(slice(-1, None)).observations.tolist() == [4, 5, 6, 7]
    assert len(whole.take_episodes(slice(2, 2))) == 0
    with pytest.raises(ValueError, match="consecutive"):
        whole.take_episodes(slice(0, 3, 2))
