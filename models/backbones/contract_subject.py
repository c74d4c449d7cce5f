"""A tiny backbone to be checked, and what its outputs are compared with: see `contract`.

Shape suffixes: B lanes, T tokens, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from icrl.checks import Failure
from icrl.errors import UsageError, did_you_mean
from icrl.models.backbones import BACKBONES
from icrl.models.backbones.base import Backbone, State

C = 5
"""Decisions of a full context in these checks."""
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Subject:
    """The backbone that is looked at.

    Args:
        name: as `--model` takes it.
        options: of its `Options`, where their defaults would not do.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> type[Backbone]:
        return BACKBONES[self.name]

    def check_options(self) -> None:
        """Raises UsageError for an option that the backbone does not have, or one out of range."""
        if not is_dataclass(options := getattr(self.kind, "Options", None)):
            raise UsageError(
                f"{self.kind.__name__}.Options is {options!r}: expected a frozen dataclass with width, context_length "
                "and, unless it is recurrent, context_keep"
            )
        known = [option.name for option in fields(options)]
        for name in self.options:
            if name not in known:
                raise UsageError(
                    f"{self.name} has no option {name!r}{did_you_mean(name, known)}; choose from {', '.join(known)}"
                )
        try:
            self.make()
        except UsageError:
            raise
        except Exception:
            return  # A fault of the class rather than of the options: each check says how it meets it.

    def make(self, tokens: int = 1, positions: bool = True, **options: Any) -> Backbone:
        """A tiny one in eval mode, whose weights are as large as trained ones: a fresh one may add nothing yet, and
        whatever its state held would be right."""
        torch.manual_seed(0)
        tiny = {"n_layer": 2, "n_head": 2, "width": 16, "context_length": C, "context_keep": 0.5}
        known = {option.name for option in fields(self.kind.Options)}
        wanted = {name: value for name, value in (tiny | options).items() if name in known} | dict(self.options)
        backbone = self.kind(self.kind.Options(**wanted), tokens_per_decision=tokens, positions=positions).eval()
        with torch.no_grad():
            for parameter in backbone.parameters():
                if parameter.ndim > 1:
                    nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        return backbone

    def reads_sets(self) -> bool:
        return self.make().reads_sets


def embedded(backbone: Backbone, lanes: int, tokens: int, seed: int = 0) -> Tensor:
    """Random embedded tokens `(B, T, D)`."""
    return torch.randn((lanes, tokens, backbone.width), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def uncached(backbone: Backbone, x_BTD: Tensor, sizes: Sequence[int], first: int = 0) -> Tensor:
    """What `forward` says of the tokens from `first` on, read in steps of so many."""
    ends = first + np.cumsum(sizes)
    starts = np.array([backbone.window_start(int(end) - 1) for end in ends])
    parts = []
    for start in np.unique(starts):
        # A forward is causal, so the last of the steps that share a window has the outputs of all.
        here = np.flatnonzero(starts == start)
        begin = int(ends[here[0]]) - sizes[here[0]]
        parts.append(backbone(x_BTD[:, start : int(ends[here[-1]])])[:, begin - int(start) :])
    return torch.cat(parts, dim=1)


def lanes_agree(
    backbone: Backbone, found: Tensor, x_BTD: Tensor, lengths: Sequence[int], sizes: Sequence[int], what: str
) -> None:
    """Raises Failure where a lane's outputs are not those of `uncached` over its own tokens, from `lengths[lane]`
    on."""
    for length in sorted(set(lengths)):
        rows = [lane for lane, own in enumerate(lengths) if own == length]
        same(found[rows], uncached(backbone, x_BTD[rows], sizes, length), f"{what}, lanes {rows} at {length} tokens")


@torch.no_grad()
def stepped(backbone: Backbone, state: State, x_BTD: Tensor, sizes: Sequence[int]) -> Tensor:
    """What the steps say of these tokens."""
    with torch.inference_mode():
        return torch.cat([backbone.step(x, state) for x in x_BTD[:, : sum(sizes)].split(list(sizes), 1)], 1).clone()


def prompted(backbone: Backbone, x_BTD: Tensor, lengths: Sequence[int]) -> State:
    """A state that has read the first so many tokens of each lane, as prompts; what pads them must not matter."""
    starts = np.array([backbone.window_start(length) if length else 0 for length in lengths])
    held = np.array(lengths) - starts
    prompt = embedded(backbone, len(lengths), max(1, int(held.max())), seed=9)
    for lane, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        prompt[lane, : length - start] = x_BTD[lane, start:length]
    state = backbone.start(len(lengths))
    with torch.inference_mode():
        backbone.prefill(prompt, held.astype(np.int64), state)
    return state


def same(found: Tensor, expected: Tensor, what: str) -> None:
    """Raises Failure where two outputs differ by more than the tolerance."""
    if found.shape != expected.shape:
        raise Failure(f"{what}: the shape is {tuple(found.shape)}, expected {tuple(expected.shape)}")
    if not bool(torch.isfinite(found).all()):
        raise Failure(f"{what}: outputs are not finite")
    if (difference := (found - expected).abs()).numel() and float(difference.max()) > TOLERANCE:
        place = np.unravel_index(int(difference.argmax()), difference.shape)
        raise Failure(f"{what}: lane {place[0]}, token {place[1]} is off by {float(difference.max()):.1e}")
