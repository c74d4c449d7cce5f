"""Decision-Pretrained Transformer on a bandit of two arms, from its data to what it does: seconds a model."""

import json

import numpy as np
import pytest

from icrl import cli
from icrl.data_gen.generate import generate
from icrl.envs import make_family
from icrl.errors import UsageError
from icrl.eval.evaluate import evaluate
from icrl.eval.prompts import read_prompts
from icrl.eval.rollout import rollout
from icrl.models.agent import load_agent
from icrl.models.methods.dpt import DecisionPretrained, Options
from icrl.provenance import read_provenance, read_split
from icrl.ranges import Scales
from icrl.store import HistoryStore
from icrl.train.train import train

PULLS = 16


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """400 bandits of two arms, nearly without noise, and pulls of the roll-in on the test tasks."""
    out = tmp_path_factory.mktemp("dpt")
    family = {"num_arms": 2, "noise": 0.05, "train": 400, "validation": 5, "test": 60}
    config = {
        "family": "gaussian-bandit", "family_options": family, "learner": "dpt-roll-in", "episodes": PULLS,
        "expert_actions": True, "workers": 1,
    }  # fmt: skip
    for split in ("train", "test"):
        (out / f"{split}.yaml").write_text(json.dumps({**config, "split": split}))
        generate(out / f"{split}.yaml", out / split)
    return out


@pytest.fixture(scope="module", params=["causal", "full"])
def run(data, request):
    overrides = {
        "method": "dpt", "method.attention": request.param,
        "model.n_layer": 2, "model.n_head": 2, "model.width": 16, "model.context_length": PULLS,
        "train.steps": 150, "train.batch_size": 32, "train.learning_rate": 1e-2, "train.warmup": 20,
        "train.evaluate_every": 0, "train.checkpoint_every": 0,
    }  # fmt: skip
    return train("ad-small", data / "train", data / request.param, **overrides)


def test_it_acts_from_a_given_context_and_learns_online(run, data):
    """Kills: targets or rewards that belong to another token; a context that is given and not read; one that does not
    grow. The arms' means differ by 1/3 on average; knowing nothing gives half of that away at each pull."""
    provenance = read_provenance(run)
    family, tasks = make_family(provenance.family, **provenance.family_options), read_split(run).test
    prompts = read_prompts(data / "test", provenance, tasks, seeds=2, split="test")
    optimum = family.anchors(tasks).optimum[:, None]
    lost = {}
    for name, online in (("blind", "never"), ("offline", "never"), ("step", "step"), ("episode", "episode")):
        agent = load_agent(run, acting={"online": online})
        given = prompts if name == "offline" else None
        returns = rollout(family, tasks, agent, episodes=PULLS, seeds=2, seed=0, prompts=given).returns
        lost[name] = float((optimum - returns).mean())
    assert lost["blind"] == pytest.approx(1 / 6, abs=0.05)
    assert lost["offline"] < 0.07
    # An episode of a bandit is one pull: both ways to go on are one.
    assert lost["step"] == pytest.approx(lost["episode"], abs=1e-3)
    assert lost["step"] < 0.08


def test_options_of_acting_are_checked(run):
    """Kills: a slip that is taken for an option, and changes nothing."""
    with pytest.raises(UsageError, match=r"acting.onlin is no option .*did you mean 'online'"):
        load_agent(run, acting={"onlin": "never"})
    with pytest.raises(UsageError, match=r"learner_options are given, and no learner"):
        evaluate(run, run / "x", learner_options={"prior": True})


def test_what_an_evaluation_is_told_of_acting_and_of_the_learner_to_compare_with(data, tmp_path):
    """Kills: a regret beside that of the roll-in, which says nothing; options of acting that are not used. Without
    training every arm is as likely, whatever the context."""
    overrides = {
        "method": "dpt", "model.n_layer": 1, "model.n_head": 1, "model.width": 8, "train.steps": 1,
        "train.evaluate_every": 0, "train.checkpoint_every": 0,
    }  # fmt: skip
    run = train("ad-small", data / "train", tmp_path / "run", **overrides)
    summary = evaluate(
        run, episodes=8, seeds=1, tasks=20, bootstrap=100, learner="thompson", learner_options={"prior": True},
        acting={"online": "never"},
    )  # fmt: skip
    assert (summary["source"]["learner"], summary["source"]["episodes"]) == ("thompson", 8)
    assert summary["regret"]["ratio"]["mean"] > 1.0
    assert "of the learner thompson" in summary["result"]
    with pytest.raises(UsageError, match=r"acting.onlin is no option"):
        evaluate(run, tmp_path / "x", acting={"onlin": "never"}, source=False)


def test_what_a_learner_says_of_itself_is_in_the_data(data, tiny_store):
    """Kills: data of a roll-in that are taken for those of a learner that learns, and the other way round."""
    assert not HistoryStore.open(data / "train").provenance.learns
    assert tiny_store.provenance.learns
    overrides = {"method": "dpt", "train.steps": 1}
    with pytest.raises(UsageError, match=r"q-learning, which learns"):
        train("ad-small", tiny_store.path, data / "refused", **overrides)


def test_histories_of_a_learner_that_learns_keep_their_order(data, tmp_path):
    """Kills: an option that is accepted and then shuffles what must not be."""
    room = {"size": 4, "horizon": 6, "validation": 3, "test": 7}
    out = generate(
        "dark-room-q-learning", tmp_path / "q",
        **{"family_options": room, "episodes": 4, "keep_every": 1, "workers": 1, "expert_actions": True},
    )  # fmt: skip
    store = HistoryStore.open(out)
    method = DecisionPretrained(Options(adaptive=True))
    method.check(store.provenance)
    spaces = (store.provenance.observation_space, store.provenance.action_space)
    batch = method.sampler(store, np.arange(len(store)), 5, 0, Scales.none(*spaces)).batch(np.arange(8))
    assert ((batch.steps[:, 1:] - batch.steps[:, :-1]) % 6 == 1).all()


@pytest.mark.parametrize("option", ["attention=causal", "attention=full", "online=episode", "prefixes=3"])
def test_it_keeps_what_a_method_has_to_keep(option, capsys):
    """Kills: lanes that are not alone, padding that weighs, a prompt that is not as if lived, dead weights."""
    assert cli.main(["check-method", "dpt", "--option", option]) == 0
    assert "all 10 checks passed" in capsys.readouterr().out
