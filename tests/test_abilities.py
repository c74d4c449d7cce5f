"""What a family may do besides: asked for in one place, and absent without harm."""

import numpy as np
import pytest
from test_family_options import Lamps

from icrl.abilities import bayes_play, episode_groups, expected_regret, pictures_of
from icrl.commands.show import show
from icrl.envs import FAMILIES, make_family
from icrl.envs.kit.conformance.checks import drawing
from icrl.envs.kit.conformance.subject import Subject
from icrl.envs.kit.episodes import policy_history, uniform_policy
from icrl.errors import UsageError


@pytest.fixture
def lamps(monkeypatch):
    monkeypatch.setitem(FAMILIES._entries, "lamps", Lamps)
    return "lamps"


def test_a_family_without_them_is_a_family(lamps, tmp_path):
    """Kills: a family that must draw; a report, a check or a listing that asks for what is not there."""
    family = make_family(lamps)
    task = family.split(0).test[0]
    assert pictures_of(family) is None
    assert bayes_play(family, 10) is None
    assert bayes_play(family) is None
    assert expected_regret(family, task, None) is None
    assert family.is_bandit
    assert family.unit == "pull"
    with pytest.raises(UsageError, match=r"lamps draws nothing: .*draw\(axes, task, history\)"):
        show(lamps, tmp_path / "lamps.png")
    drawing(Subject(lamps, {}))


def test_a_family_that_has_them_is_asked():
    """Kills: pictures of single pulls of a bandit; the rule and the returns of two different trials."""
    bandit, room = make_family("bernoulli-bandit"), make_family("dark-room")
    assert (room.unit, room.is_bandit) == ("episode", False)
    assert pictures_of(room).groups(7, 2) == episode_groups(7, 2) == [slice(0, 1), slice(6, 7)]
    assert pictures_of(bandit).groups(100, 6)[-1].stop == 100
    assert pictures_of(bandit).shows == bandit.picture_shows != ""
    usual, short = bayes_play(bandit), bayes_play(bandit, 10)
    assert (len(usual.returns), len(short.returns)) == (bandit.trial, 10)
    assert short.rule == "Bayes-optimal" != usual.rule
    assert bayes_play(bandit, 10**6) is None
    assert bayes_play(room, 10) is None
    assert bayes_play(make_family("passive-t-maze"), 2).rule == "Bayes-optimal"


def test_the_cost_of_a_pull_by_hand():
    """Kills: regret by what was paid, with its noise, of a bandit that knows its arms."""
    bandit = make_family("bernoulli-bandit")
    task = bandit.split(0).test[0]
    history = policy_history(bandit, task, uniform_policy(bandit, [task], 0), 20, 0, "random")
    means = np.array(task.params["p"] if "p" in task.params else bandit.means([task])[0])
    assert expected_regret(bandit, task, history) == pytest.approx(means.max() - means[history.actions])
