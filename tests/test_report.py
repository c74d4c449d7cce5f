"""The report: whole, self-contained, true to its numbers, and its small geometry."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from icrl.envs import make_family
from icrl.eval.bootstrap import resample
from icrl.eval.config import EvaluateConfig
from icrl.eval.measures import pull_regret
from icrl.eval.references import run_source
from icrl.eval.report.figures import adaptation_figure, as_svg, ordinal, spread, typical_task
from icrl.eval.report.page import render, save_adaptation_curve
from icrl.eval.rollout import rollout
from icrl.eval.summary import Evaluation, in_words, make_summary
from icrl.provenance import Provenance
from icrl.seeding import Streams, stream_keys
from icrl.spaces import space_to_dict
from icrl.tasks import Task, task_name


class HalfRandom:
    """The optimal policy from its third episode on, random before."""

    def __init__(self, policy, num_actions):
        self.policy, self.num_actions = policy, num_actions

    def reset(self, num_envs, seed=0, index=None, prompts=None):
        self.streams = Streams(stream_keys(seed, "action", index))
        self.episode = np.zeros(num_envs)

    def act(self, observations):
        best = self.policy.act(observations)
        return np.where(self.episode < 2, self.streams.integers(self.num_actions), best)

    def observe(self, rewards, terminated, truncated):
        self.episode += terminated | truncated


def make_evaluation(family, learner: str, **learner_options) -> Evaluation:
    config = EvaluateConfig(episodes=12, seeds=2, bootstrap=100, pictures=4)
    tasks = family.split(0).test
    provenance = Provenance(
        family=family.name, family_version=family.version, family_options=family.options, horizon=family.horizon,
        observation_space=space_to_dict(family.observation_space), action_space=space_to_dict(family.action_space),
        split_seed=0, recorded_split="train", learner=learner, learner_options=learner_options, histories_per_task=1,
        episodes=12, keep_every=3, seed=0,
    )  # fmt: skip
    agent = HalfRandom(family.reference_policy("optimal", list(tasks) * 2), int(family.action_space.n))
    lanes = [(s, n) for s in range(2) for n in range(len(tasks))]
    result = rollout(family, tasks, agent, episodes=12, seeds=2, seed=0, record=lanes)
    anchors, regret = family.anchors(tasks), None
    if family.horizon == 1:
        rows = [[result.histories[s, n] for n in range(len(tasks))] for s in range(2)]
        regret = np.stack([pull_regret(family, tasks, row, anchors.optimum) for row in rows])
    source = run_source(provenance, family, tasks, anchors, seeds=2, seed=0)
    draws = resample(2, len(tasks), 100, seed=0)
    facts = {"parameters": 1234, "context_length": 16, "sha256": "0" * 64}
    return Evaluation(config, provenance, family, tasks, anchors, result, regret, source, None, draws, facts)


@pytest.fixture(scope="module")
def room() -> Evaluation:
    return make_evaluation(make_family("dark-room", size=5, test=4, validation=2), "q-learning")


@pytest.fixture(scope="module")
def bandit() -> Evaluation:
    return make_evaluation(make_family("bernoulli-bandit", num_arms=4, train=5, validation=1, test=40), "ucb1")


class Page(HTMLParser):
    """Collects tags, ids and references; fails on a tag that is closed but not open."""

    void = frozenset({"meta", "br", "img", "link", "rect", "path", "use", "image", "text"})

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag, attrs):
        self._note(attrs)

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag

    def _note(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href"):
                self.links.append(value)


@pytest.mark.parametrize("which", ["room", "bandit"])
def test_the_page_is_whole_and_stands_alone(which, request):
    """Kills: a figure fetched from the net, ids of one figure that hide those of another, an unclosed tag."""
    e = request.getfixturevalue(which)
    summary = make_summary(e)
    html = render(e, summary, Path("nowhere"))
    page = Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        assert link.startswith(("data:image/png;base64,", "#"))
        assert not link.startswith("#") or link[1:] in page.ids
    for target in re.findall(r"url\(#([^)]*)\)", html):
        assert target in page.ids
    assert "<script" not in html
    assert "@import" not in html
    assert len(html) < 1_500_000
    assert summary["result"] in html
    assert html.count("<figure>") == 4
    assert ("What learning cost" in html) == (which == "bandit")


def test_text_stays_text_and_no_figure_has_a_fixed_size(room):
    """Kills: figures that are blurred, unsearchable, or wider than a phone."""
    svg = as_svg(adaptation_figure(room), "curve")
    root = ElementTree.fromstring(svg)
    assert "width" not in root.attrib
    texts = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"frozen model, in context", "optimum, task known", "random actions"} <= texts
    assert {"q-learning, the source", "q-learning, every 3rd episode"} <= texts


def test_the_curve_alone(room, tmp_path):
    """Kills: a picture for the README that is no file of its own."""
    save_adaptation_curve(room, tmp_path)
    root = ElementTree.parse(tmp_path / "adaptation_curve.svg").getroot()
    assert root.attrib["width"] == "960"
    assert (tmp_path / "adaptation_curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_headline_claims_no_more_than_the_interval(room):
    """Kills: "learns" over a gain whose interval holds zero."""
    summary = make_summary(room)
    assert "learns new tasks" in render(room, summary, Path("nowhere"))
    summary["raw"]["gain"].update(ci_low=-0.1)
    assert "does not measurably improve" in render(room, summary, Path("nowhere"))
    summary["raw"]["gain"].update(ci_high=-0.05)
    assert "gets worse" in render(room, summary, Path("nowhere"))


def test_names_from_a_dataset_cannot_break_the_page(room):
    """Kills: markup in an option or a path that becomes part of the page."""
    summary = make_summary(room)
    summary["result"] = "a < b & c"
    summary["source"]["learner"] = "<b>x"
    html = render(room, summary, Path("nowhere"))
    assert "a &lt; b &amp; c" in html
    assert "<b>x" not in html


def test_in_words():
    """Kills: a sentence with the numbers in each other's place."""
    summary = {
        "raw": {"zero_shot": {"mean": 0.62}, "last5": {"mean": 15.68}}, "normalised": {"last5": {"mean": 0.953}},
        "anchors": {"random": 0.25, "optimum": 16.44, "optimum_is": "optimum"},
        "tasks": 16, "episodes": 60, "split": "test", "seen_in_training": False, "prompt": "empty",
    }  # fmt: skip
    assert in_words(summary) == (
        "On 16 tasks it never saw, with no weight update, the frozen model earned 0.6 in its first episode and 15.7 "
        "in its last five, 95% of the way from random actions (0.2) to the optimum (16.4)."
    )
    nothing = {"last5": {"mean": -0.001}}
    assert "in its last five, 0% of the way" in in_words(summary | {"normalised": nothing})
    assert "in its last two, 95%" in in_words(summary | {"episodes": 2})


def test_the_drawn_task_is_the_median_one(room):
    """Kills: the best task shown as if it were any."""
    total = room.normalised[0].mean(axis=-1)
    assert sorted(total)[1] == total[typical_task(room)]


def test_spread_keeps_the_order_and_the_gap():
    """Kills: names on top of each other, or outside of the figure."""
    np.testing.assert_allclose(spread(np.array([5.0, 1.0]), 1.0, 0.0, 10.0), [5.0, 1.0])
    np.testing.assert_allclose(spread(np.array([5.0, 5.0]), 1.0, 0.0, 10.0), [4.5, 5.5], atol=1e-6)
    crowded = spread(np.array([10.0, 9.9, 9.95, 0.0]), 1.0, 0.0, 10.0)
    np.testing.assert_allclose(crowded, [10.0, 8.0, 9.0, 0.0], atol=1e-2)


def test_small_words():
    """Kills: "21th", and a bandit's ten means as the name of its row."""
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th",
    ]  # fmt: skip
    assert task_name(Task(3, {"goal": [3, 7]})) == "goal 3, 7"
    assert task_name(Task(3, {"means": [0.123456] * 10})) == "task 3"
