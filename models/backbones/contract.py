"""What every backbone must keep, check by check: run over the built-in ones by the tests, over a user's own by
`icrl check-backbone`.

The heart of it: what is computed through a state equals, at every token, what `forward` computes over the tokens from
`window_start` on. Sizes are tiny, numbers float32, and equal means to 1e-5.

Shape suffixes: B lanes, T tokens, D width, N tokens of a set, Q queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields

import numpy as np
import torch
from torch import Tensor

from icrl.checks import Failure
from icrl.errors import UsageError
from icrl.models.backbones.base import Backbone
from icrl.models.backbones.contract_subject import (
    TOLERANCE,
    C,
    Subject,
    embedded,
    lanes_agree,
    prompted,
    same,
    stepped,
    uncached,
)


def it_gives_one_output_a_token(subject: Subject) -> None:
    """Outputs have the shape of the inputs, and are finite."""
    backbone = subject.make()
    if backbone.context != C * backbone.tokens_per_decision:
        raise Failure(f"context is {backbone.context} tokens of context_length {C}: expected {C}")
    x_BTD = embedded(backbone, 3, C)
    y_BTD = backbone(x_BTD)
    if y_BTD.shape != x_BTD.shape or not bool(torch.isfinite(y_BTD).all()):
        raise Failure(f"forward made {tuple(y_BTD.shape)} of {tuple(x_BTD.shape)}, expected the same and finite")


@torch.no_grad()
def the_future_does_not_reach_the_past(subject: Subject) -> None:
    """A token's output does not change with those behind it, and does with those before it."""
    backbone = subject.make()
    x_BTD = embedded(backbone, 2, C)
    y_BTD = backbone(x_BTD)
    for at in range(C):
        other_BTD = x_BTD.clone()
        other_BTD[:, at] += embedded(backbone, 2, 1, seed=4)[:, 0]
        effect_T = (backbone(other_BTD) - y_BTD).abs().amax((0, 2))
        if at and float(effect_T[:at].max()) > TOLERANCE:
            raise Failure(f"token {at} changes the output at token {int(effect_T.argmax())}, which is before it")
        if float(effect_T[at:].min()) < 1e-6:
            raise Failure(f"token {at} does not reach the output at token {at + int(effect_T[at:].argmin())}")


def a_state_says_what_forward_says(subject: Subject) -> None:
    """Step by step from nothing, at every token, far past the window, with one token a decision and with three."""
    for tokens in (1, 3):
        for keep in (0.0, 0.5, 0.8):
            backbone = subject.make(tokens, context_keep=keep)
            x_BTD, sizes = embedded(backbone, 2, 4 * C * tokens), [tokens] * 4 * C
            found = stepped(backbone, backbone.start(2), x_BTD, sizes)
            same(found, uncached(backbone, x_BTD, sizes), f"{tokens} tokens a decision, context_keep {keep}")


def steps_of_any_size_agree(subject: Subject) -> None:
    """One token at a time, parts of a decision, and tokens of two decisions at once."""
    backbone = subject.make(3)
    x_BTD = embedded(backbone, 2, 9 * C)
    for sizes in ([1] * 9 * C, [2, 1] * 3 * C, [2] + [3] * (3 * C - 1)):
        found = stepped(backbone, backbone.start(2), x_BTD, sizes)
        same(found, uncached(backbone, x_BTD, sizes), f"steps of {sizes[:3]}… tokens")


def prompts_of_unequal_length(subject: Subject) -> None:
    """Lanes go on from prompts that are empty, short, one short of full, full, and longer than the context."""
    for tokens in (1, 3):
        backbone = subject.make(tokens)
        lengths = [tokens * decisions for decisions in (0, 1, C - 1, C, C + 1, 2 * C + 3)]
        x_BTD, sizes = embedded(backbone, len(lengths), max(lengths) + 3 * C * tokens), [tokens] * 3 * C
        now_BTD = torch.stack([x_BTD[i, n : n + 3 * C * tokens] for i, n in enumerate(lengths)])
        state = prompted(backbone, x_BTD, lengths)
        held = [length - (backbone.window_start(length) if length else 0) for length in lengths]
        if state.lengths.tolist() != held:
            raise Failure(f"state.lengths is {state.lengths.tolist()} after prompts of {held} tokens")
        found = stepped(backbone, state, now_BTD, sizes)
        lanes_agree(backbone, found, x_BTD, lengths, sizes, "after prompts")


def prompts_of_many_lanes(subject: Subject) -> None:
    """A prefill of more lanes than are encoded at once."""
    backbone = subject.make(3)
    lanes = 400
    x_BTD = embedded(backbone, lanes, 3 * C)
    found = stepped(backbone, prompted(backbone, x_BTD, [3 * C - 3] * lanes), x_BTD[:, -3:], [3])
    same(found, uncached(backbone, x_BTD, [3], 3 * C - 3), "many prompts")


def lanes_do_not_know_one_another(subject: Subject) -> None:
    """A lane's outputs are those that it has alone."""
    backbone = subject.make()
    x_BTD = embedded(backbone, 4, C)
    with torch.no_grad():
        together_BTD, alone_BTD = backbone(x_BTD), torch.cat([backbone(x_1TD) for x_1TD in x_BTD[:, None]])
    same(together_BTD, alone_BTD, "forward")
    lengths = [1, 3, 2, C]
    together = stepped(backbone, prompted(backbone, x_BTD, lengths), x_BTD, [1] * C)
    for lane, length in enumerate(lengths):
        row = slice(lane, lane + 1)
        alone = stepped(backbone, prompted(backbone, x_BTD[row], [length]), x_BTD[row], [1] * C)
        same(together[row], alone, f"lane {lane}")


def lanes_that_are_kept_go_on(subject: Subject) -> None:
    """`keep` lets go of lanes, again and again, at unequal lengths, and the others do not notice."""
    backbone = subject.make()
    lengths = [i % (C + 1) for i in range(48)]
    x_BTD = embedded(backbone, 48, 9 * C)
    state = prompted(backbone, x_BTD, lengths)
    left, done = np.arange(48), 0
    for kept in (48, 40, 19, 5, 1):
        lanes = np.sort(np.random.default_rng(kept).permutation(len(left))[:kept])
        state.keep(lanes)
        left = left[lanes]
        now_BTD = torch.stack([x_BTD[i, lengths[i] + done : lengths[i] + done + C] for i in left])
        found = stepped(backbone, state, now_BTD, [1] * C)
        if len(state.lengths) != kept:
            raise Failure(f"state.lengths has {len(state.lengths)} lanes after keep of {kept}")
        lanes_agree(backbone, found, x_BTD[left], [lengths[i] + done for i in left], [1] * C, f"{kept} lanes left")
        done += C


def forks_go_their_own_ways(subject: Subject) -> None:
    """`fork` copies lanes, also of a state that has let go of some; the copies and the original do not meet."""
    backbone = subject.make(3)
    lengths = [0, 3, 3 * C, 6, 9 * C, 12]
    x_BTD = embedded(backbone, 6, 9 * C + 9)
    state = prompted(backbone, x_BTD, lengths)
    state.keep(np.array([0, 1, 2, 4, 5]))
    index = np.array([4, 2, 2, 0, 1, 3])
    lanes = np.array([0, 1, 2, 4, 5])
    fork = state.fork(index)
    if not (fork.lengths == state.lengths[index]).all():
        raise Failure(f"a fork of {index.tolist()} has the lengths {fork.lengths.tolist()}")

    def continued(lane: int, seed: int) -> Tensor:
        return torch.cat((x_BTD[lane, : lengths[lane]], embedded(backbone, 1, 6 * C, seed)[0]))[None]

    for which, rows, seeds in ((fork, lanes[index], range(20, 26)), (state, lanes, range(30, 35))):
        now = [continued(int(lane), seed) for lane, seed in zip(rows, seeds, strict=True)]
        now_BTD = torch.cat([x[:, lengths[lane] :] for x, lane in zip(now, rows, strict=True)])
        found = stepped(backbone, which, now_BTD, [3] * 2 * C)
        what = "a fork" if which is fork else "the original of a fork"
        for row, lane in enumerate(rows):
            lanes_agree(backbone, found[row : row + 1], now[row], [lengths[lane]], [3] * 2 * C, what)


def lanes_that_are_cleared_begin_anew(subject: Subject) -> None:
    """`clear` makes some lanes as they were at the start; the others do not notice."""
    backbone = subject.make()
    x_BTD = embedded(backbone, 4, 4 * C)
    state = prompted(backbone, x_BTD, [C, C - 1, C, 2])
    copy = state.fork(np.arange(4))
    state.clear(np.array([0, 3]))
    lengths = [0, C - 1, C, 0]
    if [int(length) for length in state.lengths[[0, 3]]] != [0, 0]:
        raise Failure(f"state.lengths is {state.lengths.tolist()} after clear of lanes 0 and 3")
    now_BTD = embedded(backbone, 4, 2 * C, seed=3)
    for which, before in ((state, lengths), (copy, [C, C - 1, C, 2])):
        found = stepped(backbone, which, now_BTD, [1] * 2 * C)
        for lane, length in enumerate(before):
            x_1TD = torch.cat((x_BTD[lane, :length], now_BTD[lane]))[None]
            same(found[lane : lane + 1], uncached(backbone, x_1TD, [1] * 2 * C, length), f"clear, lane {lane}")


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """No parameter is unused: DistributedDataParallel would stop at it."""
    backbone = subject.make().train()
    x_BTD = embedded(backbone, 3, C).requires_grad_()
    (backbone(x_BTD) * embedded(backbone, 3, C, seed=1)).sum().backward()
    for name, parameter in backbone.named_parameters():
        if parameter.grad is None or not bool(parameter.grad.abs().sum() > 0):
            raise Failure(f"{name} gets no gradient")
    if x_BTD.grad is None or not bool((x_BTD.grad.abs().sum(-1) > 0).all()):
        raise Failure("the embedded tokens get no gradient")


@torch.no_grad()
def dropout_is_of_training_alone(subject: Subject) -> None:
    """In eval mode nothing is drawn at random, and in training mode each dropout that is set is."""
    for option in fields(subject.kind.Options):
        if "dropout" not in option.name or option.name in subject.options:
            continue
        backbone = subject.make(**{option.name: 0.5})
        x_BTD = embedded(backbone, 3, C)
        if not torch.equal(backbone(x_BTD), backbone(x_BTD)):
            raise Failure(f"{option.name} acts in eval mode")
        backbone.train()
        if torch.equal(backbone(x_BTD), backbone(x_BTD)) and any(True for _ in _dropouts(backbone)):
            raise Failure(f"{option.name} is set and does nothing")


def _dropouts(backbone: Backbone) -> Sequence[str]:
    """Options of the model inside that are dropouts; a recurrent model of transformers has none."""
    config = getattr(getattr(backbone, "model", None), "config", None)
    return ["own"] if config is None else [key for key in config.to_dict() if "drop" in key]


@torch.no_grad()
def it_comes_back_from_its_options(subject: Subject) -> None:
    """A backbone that is made of `backbone.options` takes the weights, and gives the same outputs."""
    backbone = subject.make()
    again = subject.kind(subject.kind.Options(**asdict(backbone.options))).eval()
    found, expected = ({n: w.shape for n, w in b.state_dict().items()} for b in (again, backbone))
    if found != expected:
        raise Failure(f"weights {sorted(found.items() ^ expected.items())[0][0]} differ when it is made again")
    again.load_state_dict(backbone.state_dict())
    x_BTD = embedded(backbone, 2, C)
    same(again(x_BTD), backbone(x_BTD), "made again")


@torch.no_grad()
def a_set_has_no_order(subject: Subject) -> None:
    """Without positions and causality the order of tokens changes nothing, and padding is not read."""
    if not subject.reads_sets():
        return _refuses_sets(subject)
    backbone = subject.make(positions=False)
    x_BND, order = embedded(backbone, 3, C), torch.tensor([3, 0, 4, 1, 2])
    y_BND = backbone(x_BND, causal=False)
    same(backbone(x_BND[:, order], causal=False), y_BND[:, order], "another order")
    lengths = torch.tensor([C, 2, 0])
    padded = backbone(x_BND, causal=False, lengths=lengths)
    same(padded[1:2, :2], backbone(x_BND[1:2, :2], causal=False), "a padded set")
    query_BQD = embedded(backbone, 3, 4, seed=5)
    answer = backbone.query(query_BQD, backbone.encode_set(x_BND, lengths))
    moved_BND = x_BND.clone()
    moved_BND[0], moved_BND[1, 2:], moved_BND[2] = x_BND[0, order], 7.0, -7.0
    same(backbone.query(query_BQD, backbone.encode_set(moved_BND, lengths)), answer, "queries to another order")
    for query in range(4):
        alone = backbone.query(query_BQD[:, query : query + 1], backbone.encode_set(x_BND, lengths))
        same(alone, answer[:, query : query + 1], "a query alone")
    other_BND = x_BND.clone()
    other_BND[0, 1] = query_BQD[0, 0]
    if torch.allclose(backbone.query(query_BQD, backbone.encode_set(other_BND, lengths))[0], answer[0], atol=1e-6):
        raise Failure("a query does not read the set")
    return None


def queries_read_what_a_causal_forward_reads(subject: Subject) -> None:
    """A query to the first n tokens of a set says what it says as token n of a forward; so does one to a state."""
    if not subject.reads_sets():
        return _refuses_sets(subject)
    backbone = subject.make(positions=False)
    x_BND, query_BQD = embedded(backbone, 2, C - 1).requires_grad_(), embedded(backbone, 2, C, seed=5)
    seen_BQ = torch.arange(C).expand(2, C)
    answer = backbone.query(query_BQD, backbone.encode_set(x_BND, causal=True), seen=seen_BQ)
    with torch.no_grad():
        for n in range(C):
            now_BTD = torch.cat((x_BND[:, :n], query_BQD[:, n : n + 1]), dim=1)
            same(answer[:, n : n + 1].detach(), backbone(now_BTD)[:, -1:], f"a query to the first {n} tokens")
            state = prompted(backbone, x_BND.detach(), [n, n])
            found = backbone.query(query_BQD[:, n : n + 1], backbone.memory_of(state))
            same(found, backbone(now_BTD)[:, -1:], f"a query to a state of {n} tokens")
    (answer * embedded(backbone, 2, C, seed=6)).sum().backward()
    for name, parameter in backbone.named_parameters():
        if parameter.grad is None:
            raise Failure(f"{name} gets no gradient from queries")
    if not bool((x_BND.grad.abs().sum(-1) > 0).all()):
        raise Failure("gradients do not reach the tokens of the set")
    return None


def without_positions_a_state_says_what_forward_says(subject: Subject) -> None:
    """The same parity where the backbone is not told positions."""
    if not subject.reads_sets():
        return
    backbone = subject.make(2, positions=False)
    lengths = [0, 2, 2 * C]
    x_BTD = embedded(backbone, 3, 8 * C)
    now_BTD = torch.stack([x_BTD[i, n : n + 4 * C] for i, n in enumerate(lengths)])
    found = stepped(backbone, prompted(backbone, x_BTD, lengths), now_BTD, [2] * 2 * C)
    lanes_agree(backbone, found, x_BTD, lengths, [2] * 2 * C, "no positions")


def _refuses_sets(subject: Subject) -> None:
    backbone = subject.make()
    try:
        backbone.encode_set(embedded(backbone, 1, 2))
    except UsageError:
        return
    raise Failure("reads_sets is False, and encode_set does not raise UsageError")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    it_gives_one_output_a_token,
    the_future_does_not_reach_the_past,
    a_state_says_what_forward_says,
    steps_of_any_size_agree,
    prompts_of_unequal_length,
    prompts_of_many_lanes,
    lanes_do_not_know_one_another,
    lanes_that_are_kept_go_on,
    forks_go_their_own_ways,
    lanes_that_are_cleared_begin_anew,
    every_parameter_gets_a_gradient,
    dropout_is_of_training_alone,
    it_comes_back_from_its_options,
    a_set_has_no_order,
    queries_read_what_a_causal_forward_reads,
    without_positions_a_state_says_what_forward_says,
)
