"""Prompts are histories of the very task, found by its parameters."""

import json

import numpy as np
import pytest

from icrl.data_gen.generate import generate
from icrl.envs import make_family
from icrl.errors import UsageError
from icrl.eval.prompts import read_prompts
from icrl.provenance import read_provenance, read_split

OPTIONS = {"size": 4, "horizon": 6, "validation": 2, "test": 3}


def make_data(folder, **values):
    config = {
        "family": "dark-room", "family_options": OPTIONS, "learner": "q-learning", "episodes": 5, "workers": 1,
        "split": "test", "histories_per_task": 2, **values,
    }  # fmt: skip
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(config))
    return generate(folder / "config.yaml", folder / "data")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("prompts") / "test")


def test_one_per_lane_of_its_own_task_and_seeds_take_turns(data):
    """Kills: another task's history, which would leak or mislead; the same history under every seed."""
    tasks = read_split(data).test
    prompts = read_prompts(data, read_provenance(data), tasks, seeds=3, split="test")
    assert [prompt.task_params for prompt in prompts] == [task.params for task in tasks] * 3
    numbers = np.array([prompt.learner_seed for prompt in prompts]).reshape(3, 3)
    assert (numbers[0] != numbers[1]).all()
    assert (numbers[0] == numbers[2]).all()


def test_the_last_episodes_of_each(data):
    """Kills: the first episodes, or as many transitions, in their place."""
    (prompt, *_) = read_prompts(data, read_provenance(data), read_split(data).test, seeds=1, split="test", episodes=2)
    assert sorted(set(prompt.episode.tolist())) == [3, 4]
    assert (
        len(read_prompts(data, read_provenance(data), read_split(data).test, seeds=1, split="test", episodes=9)[0])
        == 30
    )


def test_another_start_is_no_other_task(tmp_path):
    """Kills: a prompt of another goal where starts are left aside; tasks from another start that have no prompt."""
    anywhere = make_data(tmp_path / "anywhere", family_options=OPTIONS | {"start": "anywhere"}, learner="random")
    tasks = read_split(anywhere).named("other-start")
    family = make_family("dark-room", **OPTIONS, start="anywhere")
    options = {"seeds": 2, "split": "other-start", "family": family}
    prompts = read_prompts(anywhere, read_provenance(anywhere), tasks, **options)
    assert [prompt.task_params["goal"] for prompt in prompts] == [task.params["goal"] for task in tasks] * 2
    assert not any("start" in prompt.task_params for prompt in prompts)


def test_what_does_not_fit_is_refused(data, tmp_path):
    """Kills: a prompt of other spaces, of another family or of other tasks, taken without a word."""
    provenance, tasks = read_provenance(data), read_split(data).test
    options = {"provenance": provenance, "tasks": tasks, "seeds": 1, "split": "test"}
    wider = make_data(tmp_path / "wider", family_options={**OPTIONS, "size": 5})
    with pytest.raises(UsageError, match=r"MultiDiscrete\(5, 5\).*MultiDiscrete\(4, 4\)"):
        read_prompts(wider, **options)
    other = make_data(tmp_path / "other", family="dark-room-dpt")
    with pytest.raises(UsageError, match="dark-room-dpt"):
        read_prompts(other, **options)
    later = make_data(tmp_path / "later", family_options={**OPTIONS, "horizon": 7})
    with pytest.raises(UsageError, match="horizon 7, the model was trained with 6"):
        read_prompts(later, **options)
    once = make_data(tmp_path / "once", family_options={**OPTIONS, "reward": "once"})
    with pytest.raises(UsageError, match=r"other options \(reward was 'dense', now 'once'\)"):
        read_prompts(once, **options)
    train = make_data(tmp_path / "train", split="train")
    with pytest.raises(UsageError, match=r"no history of 3 of the 3 test tasks.*icrl generate --split test"):
        read_prompts(train, **options)
