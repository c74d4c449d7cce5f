"""The contract of backbones over all of them, and what it finds in broken ones."""

import dataclasses

import pytest
import torch
from torch import nn

from icrl.checks import Failure
from icrl.commands.check_backbone import check_backbone
from icrl.errors import UsageError
from icrl.models.backbones import BACKBONES
from icrl.models.backbones.contract import CHECKS
from icrl.models.backbones.contract_subject import C, Subject, embedded, lanes_agree, prompted, stepped
from icrl.models.backbones.held import TensorState
from icrl.models.backbones.recurrent import GRU
from icrl.models.backbones.transformer import Transformer
from icrl.models.backbones.window import WindowState

SUBJECTS = {
    "transformer": Subject("transformer"),
    "transformer-swiglu": Subject("transformer", {"mlp": "swiglu"}),
    "gru": Subject("gru"),
    "lstm": Subject("lstm"),
    **{f"hf-{kind}": Subject("hf", {"model_type": kind}) for kind in ("llama", "qwen3", "gpt2", "mistral", "mamba")},
    "hf-few-kv-heads": Subject("hf", {"model_type": "llama", "n_kv_head": 1}),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_the_contract(subject, check):
    """Kills: what each check says."""
    check(subject)


class ReadsAhead(GRU):
    def forward(self, x_BTD, **_):
        return super().forward(x_BTD) + x_BTD.mean(1, keepdim=True)


class ReadsOtherLanes(GRU):
    def _read(self, x_BTD, *rest):
        return super()._read(x_BTD, *rest) + 1e-3 * x_BTD.mean(0, keepdim=True)


class ForgetsItsState(GRU):
    def step(self, x_BTD, state):
        return super().step(x_BTD, self.start(len(x_BTD)))


class ReadsPadding(GRU):
    def prefill(self, x_BTD, lengths_B, state):
        super().prefill(x_BTD, lengths_B.clip(min=lengths_B.max()), state)
        state.held_lengths = lengths_B


class Shared(TensorState):
    def fork(self, index):
        fork = super().fork(index)
        fork.tensors = self.tensors
        return fork

    def keep(self, lanes):
        self._shown = lanes  # Of those that are held, not of those that are left.

    def clear(self, lanes):
        self.held_lengths = self.held_lengths.copy()
        self.held_lengths[lanes] = 0


class SharesItsState(GRU):
    def start(self, lanes):
        return Shared(lanes, super().start(lanes).tensors)


class HasAnUnusedWeight(GRU):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.spare = nn.Linear(2, 2)


class DropsInEval(GRU):
    def _drop(self, x, share):
        return torch.nn.functional.dropout(x, share)


class StaysAtItsPlace(Transformer):
    def _table(self, x_BTD, places):
        return super()._table(x_BTD, slice(0, x_BTD.shape[1]))


class RollsItsCache(Transformer):
    def _encode(self, state, lanes, num_tokens):
        if not state.held_lengths.any():
            super()._encode(state, lanes, num_tokens)


class QueriesReadOneAnother(Transformer):
    def query(self, x_BQD, memory, seen=None):
        return super().query(x_BQD + 1e-3 * x_BQD.mean(1, keepdim=True), memory, seen)


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (ReadsAhead, {"the_future_does_not_reach_the_past"}),
        (ReadsOtherLanes, {"lanes_do_not_know_one_another"}),
        (ForgetsItsState, {"a_state_says_what_forward_says", "steps_of_any_size_agree"}),
        (ReadsPadding, {"prompts_of_unequal_length"}),
        (
            SharesItsState,
            {"forks_go_their_own_ways", "lanes_that_are_kept_go_on", "lanes_that_are_cleared_begin_anew"},
        ),
        (HasAnUnusedWeight, {"every_parameter_gets_a_gradient"}),
        (DropsInEval, {"dropout_is_of_training_alone"}),
        (StaysAtItsPlace, {"a_state_says_what_forward_says"}),
        (RollsItsCache, {"a_state_says_what_forward_says"}),
        (QueriesReadOneAnother, {"a_set_has_no_order"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_contract_finds_what_is_broken(broken, found, monkeypatch):
    """Kills: a check that passes whatever a backbone does."""
    monkeypatch.setitem(BACKBONES._entries, "broken", broken)
    checks = [check for check in CHECKS if check.__name__ in found]
    assert len(checks) == len(found)
    for check in checks:
        with pytest.raises(Failure):
            check(Subject("broken"))


@pytest.mark.parametrize("name", ["transformer", "hf-llama", "hf-gpt2", "hf-mistral", "hf-qwen3", "gru", "hf-mamba"])
@torch.no_grad()
def test_the_order_of_the_past_matters(name):
    """Kills: positions that are not applied, so that one layer reads its context as a bag of tokens."""
    backbone = SUBJECTS[name].make(n_layer=1)
    x_BTD = embedded(backbone, 1, C)
    order = [1, 0, *range(2, C)]
    assert (backbone(x_BTD)[0, -1] - backbone(x_BTD[:, order])[0, -1]).abs().max() > 1e-5


@pytest.mark.parametrize("name", ["transformer", "gru", "lstm", "hf-llama", "hf-gpt2", "hf-mamba"])
def test_bf16_is_near_fp32(name):
    """Kills: a part that refuses bf16, in training or through a state."""
    backbone = SUBJECTS[name].make()
    x_BTD = embedded(backbone, 2, C)
    exact_BTD = backbone(x_BTD).detach()
    with torch.autocast("cpu", torch.bfloat16):
        loss = (backbone(x_BTD).float() - exact_BTD).abs().mean()
    loss.backward()
    assert loss < 0.1
    half = backbone.to(torch.bfloat16)
    found_BTD = stepped(half, half.start(2), x_BTD.bfloat16(), [1] * C)
    assert (found_BTD.float() - exact_BTD).abs().mean() < 0.1


def test_a_set_under_gradient_checkpointing():
    """Kills: keys of a block that is computed twice, which are kept twice."""
    gradients = []
    for checkpointing in (False, True):
        backbone = SUBJECTS["transformer"].make(positions=False).train()
        for block in backbone.blocks:
            block.gradient_checkpointing = checkpointing
            block._gradient_checkpointing_func = lambda f, *args: torch.utils.checkpoint.checkpoint(
                f, *args, use_reentrant=False
            )
        memory = backbone.encode_set(embedded(backbone, 2, 4))
        backbone.query(embedded(backbone, 2, 3, seed=1), memory).square().sum().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again, atol=1e-6, rtol=1e-5)


def test_a_prompt_of_few_tokens_at_a_time(monkeypatch):
    """Kills: a prefill in parts of time or lanes that loses what came before."""
    monkeypatch.setattr("icrl.models.backbones.window._PREFILL_TOKENS", 7)
    monkeypatch.setattr("icrl.models.backbones.recurrent._PREFILL_TOKENS", 7)
    for name in ("transformer", "gru", "lstm", "hf-llama"):
        backbone = SUBJECTS[name].make()
        x_BTD, lengths = embedded(backbone, 3, 9), [4, 0, 3]
        now_BTD = torch.stack([x_BTD[i, n : n + 2] for i, n in enumerate(lengths)])
        found = stepped(backbone, prompted(backbone, x_BTD, lengths), now_BTD, [1, 1])
        lanes_agree(backbone, found, x_BTD, lengths, [1, 1], name)


def test_what_a_step_may_not_do():
    """Kills: a step of the wrong shape that fails deep inside, or tokens that a full context has no place for."""
    backbone = Subject("transformer").make(3, context_keep=0.0)
    state = backbone.start(2)
    with pytest.raises(UsageError, match="from 1 to 3 tokens"):
        backbone.step(embedded(backbone, 2, 4), state)
    with pytest.raises(UsageError, match=r"expected \(2, T, 16\)"):
        backbone.step(embedded(backbone, 3, 1), state)
    with pytest.raises(UsageError, match="choose a larger context_keep"):
        stepped(backbone, state, embedded(backbone, 2, 3 * C + 2), [2] + [3] * C)
    with pytest.raises(UsageError, match="does not fit the model's context of 15"):
        prompted(backbone, embedded(backbone, 1, 20), [0]) and state.fill(
            embedded(backbone, 2, 16), state.lengths + 16
        )
    with pytest.raises(UsageError, match="16 tokens do not fit"):
        backbone(embedded(backbone, 1, 16))


@pytest.mark.parametrize("name", ["gru", "lstm", "hf-mamba"])
def test_what_reads_in_order_says_so(name):
    """Kills: a method of sets that trains on a backbone of sequences without a word."""
    with pytest.raises(UsageError, match="reads its tokens in order"):
        SUBJECTS[name].make(positions=False)


def test_a_set_needs_a_backbone_without_positions():
    """Kills: a set that is read in its order, or a part of a set whose tokens have read the rest."""
    for name in ("transformer", "hf-llama"):
        ordered, backbone = SUBJECTS[name].make(), SUBJECTS[name].make(positions=False)
        with pytest.raises(UsageError, match="positions=False"):
            ordered.encode_set(embedded(ordered, 1, 2))
        memory = backbone.encode_set(embedded(backbone, 1, 2))
        with pytest.raises(UsageError, match="causal=True"):
            backbone.query(embedded(backbone, 1, 1), memory, seen=torch.ones(1, 1, dtype=torch.int64))


def test_every_option_has_a_sentence_and_is_checked():
    """Kills: an option without help, sizes of nought that fail deep inside torch."""
    for name in BACKBONES:
        options = BACKBONES[name].Options
        assert options.__dataclass_params__.frozen
        for wrong in ({"width": 0}, {"context_length": 0}, {"n_layer": -1}):
            with pytest.raises(UsageError, match=f"model.{next(iter(wrong))}"):
                options(**wrong)
        for field in dataclasses.fields(options):
            if "dropout" in field.name:
                with pytest.raises(UsageError, match=f"model.{field.name}"):
                    options(**{field.name: 1.0})


def test_check_backbone_of_a_file(tmp_path, capsys):
    """Kills: a check that cannot be run on one's own, an error that stops the rest of the checks."""
    (tmp_path / "own.py").write_text(
        "from icrl.models.backbones.recurrent import GRU\n"
        "class Own(GRU):\n"
        "    def clear(self): pass\n"
        "    def step(self, x_BTD, state):\n"
        "        return {}['nothing']\n"
    )
    failed = check_backbone(f"{tmp_path / 'own.py'}:Own")
    assert "a_state_says_what_forward_says" in failed
    assert "every_parameter_gets_a_gradient" not in failed
    assert "KeyError: 'nothing' (own.py, line 5)" in capsys.readouterr().out
    with pytest.raises(UsageError, match="did you mean 'width'"):
        check_backbone("gru", {"widht": 3})
    with pytest.raises(UsageError, match="did you mean 'qwen3'"):
        check_backbone("hf", {"model_type": "qwenn3"})


def test_a_state_of_tokens_is_copied_seldom():
    """Kills: a copy of the whole cache at every lane that ends."""
    state = WindowState(40, 5, 2, 4, torch.zeros(1))
    held = state.tokens_BCD
    state.keep(torch.arange(30).numpy())
    assert state.tokens_BCD is held
    state.keep(torch.arange(16).numpy())
    assert len(state.tokens_BCD) == 16
