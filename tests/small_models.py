"""Tiny models and random transitions, for the tests of whatever is made of them."""

from dataclasses import replace

import torch
from torch import Tensor

from icrl.choices import Choice
from icrl.models.backbones import BACKBONES
from icrl.models.backbones.base import window_start
from icrl.models.config import InContextConfig
from icrl.models.methods import METHODS
from icrl.models.model import InContextModel
from icrl.models.spec import Spec
from icrl.transitions import Before, Transitions

CONTEXT = 12
NONE = 5
"""What stands for no action: the number of actions."""
SPACES = {
    "observation_space": {"kind": "multi_discrete", "nvec": [9, 7]},
    "action_space": {"kind": "discrete", "n": NONE},
    "horizon": 6,
}
COLUMNS = ("observations", "actions", "rewards", "terminated", "truncated", "steps")
BEFORE = ("actions", "rewards", "terminated", "truncated")


def method_of(name: str = "ad", **options) -> Choice:
    return Choice(name, METHODS[name].Options(**options))


def backbone_of(name: str = "transformer", **options) -> Choice:
    return Choice(name, BACKBONES[name].Options(**options))


def config_of(spec: dict | Spec = SPACES, method: Choice | None = None, **options) -> InContextConfig:
    """The config of one group of spaces around a transformer of those options."""
    spec = spec if isinstance(spec, Spec) else Spec(**spec)
    return InContextConfig.of(method or method_of(), backbone_of(**options), {"0": spec})


def make_model(
    keep: float = 0.5, fresh: bool = False, spec: dict | Spec = SPACES, method: Choice | None = None, **options
) -> InContextModel:
    """A tiny model. Unless it is to be `fresh`, its weights are as large as trained ones: the blocks of a fresh model
    add nothing yet, and whatever a cache held would be right."""
    torch.manual_seed(0)
    options = {"n_layer": 2, "n_head": 2, "width": 16, "context_length": CONTEXT, "context_keep": keep} | options
    model = InContextModel(config_of(spec, method, **options)).eval()
    for parameter in () if fresh else model.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return model


def random_transitions(lanes: int, length: int, seed: int = 0, lengths: tuple[int, ...] | None = None) -> Transitions:
    """Transitions of `SPACES`, with something before the first; rows are whole unless `lengths` are given."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand((lanes, length + 1), generator=generator)
    rewards = torch.rand((lanes, length + 1), generator=generator)
    actions = torch.randint(NONE, (lanes, length + 1), generator=generator)
    terminated, truncated = ends < 0.1, ends > 0.9
    return Transitions(
        observations=torch.randint(7, (lanes, length, 2), generator=generator),
        actions=actions[:, 1:],
        rewards=rewards[:, 1:],
        terminated=terminated[:, 1:],
        truncated=truncated[:, 1:],
        steps=torch.randint(6, (lanes, length), generator=generator),
        before=Before(actions[:, 0], rewards[:, 0], terminated[:, 0], truncated[:, 0]),
        lengths=torch.tensor(lengths or (length,) * lanes),
        extras={"return_to_go": torch.rand((lanes, length), generator=generator)},
    )


def nothing_before(lanes: int) -> Before:
    """What a window that begins a history has before it."""
    no = torch.zeros(lanes, dtype=torch.bool)
    return Before(torch.full((lanes,), NONE), torch.zeros(lanes), ~no, no)


def rows(batch: Transitions, index) -> Transitions:
    """Some lanes of a batch."""
    return batch.map(lambda values: values[index])


def cut(batch: Transitions, starts: int | list[int], length: int) -> Transitions:
    """`length` transitions of every lane from its start on, and the one before; beyond the end the last stays."""
    lanes, total = batch.shape
    starts_B = torch.as_tensor(starts).expand(lanes)
    lane_B1, places_BT = torch.arange(lanes)[:, None], (starts_B[:, None] + torch.arange(length)).clamp(max=total - 1)

    def before_first(name: str) -> Tensor:
        one_B = getattr(batch, name)[lane_B1[:, 0], starts_B - 1]
        first_B = getattr(batch.before, name)
        return torch.where((starts_B > 0).reshape(-1, *[1] * (one_B.ndim - 1)), one_B, first_B)

    return replace(
        batch,
        **{name: getattr(batch, name)[lane_B1, places_BT] for name in COLUMNS},
        before=Before(*map(before_first, BEFORE)),
        lengths=torch.full((lanes,), length),
        extras={name: values[lane_B1, places_BT] for name, values in batch.extras.items()},
    )


def to_act(batch: Transitions, at: int | list[int]) -> Transitions:
    """What an agent knows when it chooses the action at a place: what followed has no column yet."""
    known = cut(batch, at, 1)
    return replace(known, **{name: getattr(known, name)[:, :0] for name in BEFORE})


def window_of(model: InContextModel, t: int) -> int:
    """First transition of the context in which transition t is read, by the stated rule."""
    options = model.config.backbone_choice.options
    return window_start(t, options.context_length, int(options.context_keep * options.context_length))


@torch.inference_mode()
def uncached(model: InContextModel, batch: Transitions, lane: int, t: int) -> Tensor:
    """What the model says of action t of one lane by a plain forward over its window."""
    start = window_of(model, t)
    return model(cut(rows(batch, [lane]), start, t + 1 - start))[0, -1]
