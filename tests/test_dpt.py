"""Decision-Pretrained Transformer: what a query may read, what order tells, and how a context grows while acting."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import CONTEXT, NONE, make_model, method_of, random_transitions, rows

from icrl.errors import UsageError
from icrl.models.backbones.base import window_start
from icrl.models.methods.dpt import DecisionPretrained, Options
from icrl.models.methods.set_actor import SetActor
from icrl.models.sampling.sets import QUERIES, SEEN, TARGETS
from icrl.provenance import Provenance
from icrl.transitions import NEXT_OBSERVATIONS, Before, Transitions

ATTENTIONS = ("causal", "full")
ONLINE = ("step", "episode", "never")


def model_of(attention: str, **options):
    return make_model(method=method_of("dpt", attention=attention), **options)


def random_sets(lanes: int, length: int, seed: int = 0, lengths: tuple[int, ...] | None = None) -> Transitions:
    """Random transitions with random successors."""
    batch = random_transitions(lanes, length, seed, lengths)
    followed = torch.randint(7, (lanes, length, 2), generator=torch.Generator().manual_seed(seed + 1))
    return replace(batch, extras={NEXT_OBSERVATIONS: followed})


def asking(batch: Transitions, seen: list[int]) -> Transitions:
    """One query of each lane for each number of transitions seen."""
    B, Q = batch.shape[0], len(seen)
    generator = torch.Generator().manual_seed(9)
    extras = {
        QUERIES: torch.randint(7, (B, Q, 2), generator=generator),
        TARGETS: torch.randint(NONE, (B, Q), generator=generator),
        SEEN: torch.tensor(seen).expand(B, Q),
    }
    return replace(batch, extras=batch.extras | extras)


def other_from(batch: Transitions, start: int, stop: int) -> Transitions:
    """The same sets but for the transitions from start to stop."""
    other = random_sets(*batch.shape, seed=77)

    def part(mine, others):
        return torch.cat((mine[:, :start], others[:, start:stop], mine[:, stop:]), dim=1)

    names = ("observations", "actions", "rewards", "terminated", "truncated")
    followed = part(batch.extras[NEXT_OBSERVATIONS], other.extras[NEXT_OBSERVATIONS])
    columns = {name: part(getattr(batch, name), getattr(other, name)) for name in names}
    return replace(batch, **columns, extras=batch.extras | {NEXT_OBSERVATIONS: followed})


def reordered(batch: Transitions, order: torch.Tensor) -> Transitions:
    names = ("observations", "actions", "rewards", "terminated", "truncated")
    followed = batch.extras[NEXT_OBSERVATIONS][:, order]
    columns = {name: getattr(batch, name)[:, order] for name in names}
    return replace(batch, **columns, extras=batch.extras | {NEXT_OBSERVATIONS: followed})


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("seen", [0, 1, 4, 9])
@torch.inference_mode()
def test_a_query_reads_its_prefix_and_no_more(attention, seen):
    """Kills: a target learned from transitions after its prefix; a last transition of the prefix that is not read."""
    model, batch = model_of(attention), random_sets(3, 10)
    counts = [0, seen, seen, 10]
    model.net.prefixes = len(counts)
    said = model(asking(batch, counts))
    after = model(asking(other_from(batch, seen, 10), counts))
    assert torch.equal(said[:, :3], after[:, :3])
    assert not torch.isclose(said[:, 3], after[:, 3], atol=1e-3).all(-1).any()
    if seen:
        newest = model(asking(other_from(batch, seen - 1, seen), counts))
        assert torch.equal(said[:, 0], newest[:, 0])
        assert not torch.isclose(said[:, 1:], newest[:, 1:], atol=1e-4).all(-1).any()


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("part", ["observations", "actions", "rewards", "terminated", NEXT_OBSERVATIONS])
@torch.inference_mode()
def test_every_part_of_a_transition_is_read(attention, part):
    """Kills: an embedding that leaves the successor, the reward or the end of an episode out."""
    model, batch = model_of(attention), asking(random_sets(1, 4), [0, 4])
    model.net.prefixes = 2
    batch = replace(batch, terminated=torch.zeros(1, 4).bool(), truncated=torch.zeros(1, 4).bool())
    if part == NEXT_OBSERVATIONS:
        changed = replace(batch, extras=batch.extras | {part: (batch.extras[part] + 1) % 7})
    elif part == "terminated":
        changed = replace(batch, terminated=~batch.terminated)
    else:
        changed = replace(batch, **{part: (getattr(batch, part) + 1) % 5})
    assert not torch.allclose(model(batch)[:, 1], model(changed)[:, 1], atol=1e-4)


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.inference_mode()
def test_what_followed_an_episodes_end_is_not_read(attention):
    """Kills: training on a last observation that whoever acts is never shown; an end that is not told from a cut."""
    model, batch = model_of(attention), asking(random_sets(1, 4), [0, 4])
    model.net.prefixes = 2
    ended = replace(batch, terminated=torch.ones(1, 4).bool(), truncated=torch.zeros(1, 4).bool())
    cut = replace(batch, terminated=torch.zeros(1, 4).bool(), truncated=torch.ones(1, 4).bool())
    other = (batch.extras[NEXT_OBSERVATIONS] + 1) % 7
    for one in (ended, cut):
        assert torch.equal(model(one), model(replace(one, extras=one.extras | {NEXT_OBSERVATIONS: other})))
    assert not torch.allclose(model(ended)[:, 1], model(cut)[:, 1], atol=1e-4)


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.inference_mode()
def test_queries_do_not_read_one_another(attention):
    """Kills: a query that sees another one's state, from which the target could be guessed."""
    model, batch = model_of(attention), asking(random_sets(2, 6), [0, 0, 3, 3, 6, 6])
    model.net.prefixes = 3
    queries = batch.extras[QUERIES].clone()
    queries[:, 1::2] = (queries[:, 1::2] + 3) % 7
    other = replace(batch, extras=batch.extras | {QUERIES: queries})
    assert torch.equal(model(batch)[:, ::2], model(other)[:, ::2])
    assert not torch.isclose(model(batch)[:, 1::2], model(other)[:, 1::2], atol=1e-4).all(-1).any()


@torch.inference_mode()
def test_full_attention_knows_no_order():
    """Kills: positions told to a set. The causal one, for which order matters, shows that the test could fail."""
    batch, order = random_sets(3, 10), torch.randperm(10, generator=torch.Generator().manual_seed(3))
    moved = {}
    for attention in ATTENTIONS:
        model = model_of(attention)
        model.net.prefixes = 2
        said, other = (model(asking(one, [0, 10])) for one in (batch, reordered(batch, order)))
        moved[attention] = float((said - other).abs().max())
    assert moved["full"] < 1e-5 < 1e-2 < moved["causal"]


@torch.inference_mode()
def test_padding_is_read_by_none():
    """Kills: a set whose padding counts as transitions."""
    for attention in ATTENTIONS:
        model = model_of(attention)
        model.net.prefixes = 2
        short = random_sets(2, 9, lengths=(5, 5))
        padded = model(asking(short, [0, 5]))
        cut = replace(short, **{n: getattr(short, n)[:, :5] for n in ("observations", "actions", "rewards", "steps")})
        cut = replace(cut, terminated=short.terminated[:, :5], truncated=short.truncated[:, :5])
        cut = replace(cut, extras={NEXT_OBSERVATIONS: short.extras[NEXT_OBSERVATIONS][:, :5]})
        assert torch.allclose(padded, model(asking(cut, [0, 5])), atol=1e-6)


def test_both_attentions_have_one_layout_of_weights():
    """Kills: two models where there are to be two ways to use one."""
    causal, full = (model_of(attention).state_dict() for attention in ATTENTIONS)
    assert {name: w.shape for name, w in causal.items()} == {name: w.shape for name, w in full.items()}


def decision(batch: Transitions, t: int) -> Transitions:
    """What an agent knows at step t of a batch of consecutive transitions: of the step before, what came of it."""
    names = ("actions", "rewards", "terminated", "truncated")
    nothing = Before(*(torch.zeros_like(getattr(batch, name)[:, 0]) for name in names))
    before = Before(*(getattr(batch, name)[:, t - 1] for name in names)) if t else nothing
    none = {name: getattr(batch, name)[:, :0] for name in names}
    now = replace(batch, observations=batch.observations[:, t : t + 1], steps=batch.steps[:, t : t + 1], before=before)
    return replace(now, **none, lengths=torch.ones_like(batch.lengths), extras={})


def lived_through(lanes: int, steps: int) -> Transitions:
    """Consecutive transitions, whose successors are what is seen next, with episodes of unequal lengths."""
    batch = random_sets(lanes, steps + 1)
    followed = torch.cat((batch.observations[:, 1:], batch.observations[:, :1]), dim=1)
    return replace(batch, extras={NEXT_OBSERVATIONS: followed})


@torch.inference_mode()
def expected(model, batch: Transitions, lane: int, read: range, t: int) -> torch.Tensor:
    """What is to be said at step t of a lane whose context holds those transitions, by one encoding of them."""
    one, net = rows(batch, [lane]), model.net
    embedding = net.embedding["0"]
    x_1ND = embedding(one)[:, read.start : read.stop]
    lengths = torch.tensor([len(read)])
    memory = net.backbone.encode_set(x_1ND if len(read) else embedding(one)[:, :1], lengths, causal=net.causal)
    return net.head["0"](net.backbone.query(embedding.ask(one.observations[:, t : t + 1]), memory))[0, 0]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("online", ONLINE)
def test_acting_equals_one_encoding_of_what_the_context_holds(attention, online):
    """Kills: a cache that leaves a transition out, reads one twice, or pairs it with another step's successor; an
    episode that enters before its end; a context that drops its newest part. Far past a full context."""
    model, steps = model_of(attention), 3 * CONTEXT + 2
    batch = lived_through(3, steps)
    actor = SetActor(model.net, "0", model.method._distributions["0"], online)
    actor.begin(3, None, None)
    for t in range(steps):
        said = actor.act(decision(batch, t))
        for lane in range(3):
            over = np.flatnonzero(batch.dones[lane, :t].numpy())
            stop = {"step": t, "never": 0, "episode": int(over[-1]) + 1 if len(over) else 0}[online]
            start = max(0, stop - CONTEXT)
            if attention == "causal" and online == "step" and t:
                start = window_start(t - 1, CONTEXT, CONTEXT // 2)
            assert torch.allclose(said[lane], expected(model, batch, lane, range(start, stop), t), atol=1e-5)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("online", ONLINE)
def test_a_given_context_is_read_and_lanes_may_leave(attention, online):
    """Kills: prompts of unequal lengths that are mixed up, an empty one that is read; rows in wrong lanes."""
    model = model_of(attention)
    given, batch = random_sets(3, 8, seed=5, lengths=(8, 0, 3)), lived_through(3, 6)
    actors = [SetActor(model.net, "0", model.method._distributions["0"], online) for _ in range(2)]
    for actor in actors:
        actor.begin(3, given, None)
    first = actors[0].act(decision(batch, 0))
    actors[1].act(decision(batch, 0))
    for lane, length in enumerate((8, 0, 3)):
        x_1ND = model.net.embedding["0"](rows(given, [lane]))
        memory = model.net.backbone.encode_set(x_1ND, torch.tensor([length]), causal=model.net.causal)
        query = model.net.embedding["0"].ask(rows(batch, [lane]).observations[:, :1])
        said = model.net.head["0"](model.net.backbone.query(query, memory))[0, 0]
        assert torch.allclose(first[lane], said, atol=1e-5)
    left = np.array([0, 2])
    actors[1].keep(left)
    for t in range(1, 6):
        whole, some = actors[0].act(decision(batch, t)), actors[1].act(rows(decision(batch, t), left))
        assert torch.allclose(whole[left], some, atol=1e-5)


def test_options_out_of_range():
    """Kills: a training that teaches the empty context alone."""
    with pytest.raises(UsageError, match=r"method.prefixes is 1, the empty one alone"):
        Options(prefixes=1)
    with pytest.raises(UsageError, match=r"method.queries is 0: expected at least 1"):
        Options(queries=0)


def provenance_of(learner: str, adaptive: bool | None = None, extras: list[str] | None = None) -> Provenance:
    space = {"kind": "discrete", "n": 2}
    return Provenance(
        "bandit", 1, {}, 1, space, space, 0, "train", learner, {}, 1, 1, 1, 0, adaptive=adaptive, extras=extras
    )


@pytest.mark.parametrize(
    ("learner", "adaptive", "refused"),
    [
        ("ucb1", None, True),
        ("random", None, False),
        ("mine", None, True),
        ("mine", False, False),
        ("mine", True, True),
    ],
)
def test_data_of_a_learner_that_learns_are_refused_unless_asked_for(learner, adaptive, refused):
    """Kills: contexts whose order tells what the learner had found out; a learner of one's own that is taken to be
    steady without having said so."""
    data = provenance_of(learner, adaptive, ["expert_actions"])
    DecisionPretrained(Options(adaptive=True)).check(data)
    if refused:
        with pytest.raises(UsageError, match=rf"the data are of {learner}, which learns: .* --method.adaptive true"):
            DecisionPretrained(Options()).check(data)
    else:
        DecisionPretrained(Options()).check(data)


def test_data_without_expert_actions_are_refused():
    """Kills: an error about a missing column in the middle of training."""
    with pytest.raises(UsageError, match=r"icrl generate --expert-actions"):
        DecisionPretrained(Options()).check(provenance_of("random"))


def test_only_options_of_acting_can_be_changed_afterwards():
    """Kills: an evaluation that claims another attention than the weights were trained for."""
    method = DecisionPretrained(Options())
    method.act_with(online="never", prompt_transitions=7)
    assert (method.options.online, method.options.prompt_transitions) == ("never", 7)
    with pytest.raises(UsageError, match=r"acting.attention is no option .* choose from online, prompt_transitions"):
        method.act_with(attention="full")
