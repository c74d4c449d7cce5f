"""What a model has for each kind of space. A new kind is a `Part` here, beside its codec in `icrl.spaces`.

Spaces are descriptions, as `icrl.spaces.space_to_dict` gives them.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from torch import nn

from icrl.errors import UsageError
from icrl.models.parts.distributions import CATEGORICAL, DIAGONAL_GAUSSIAN, Bits, Categorical, Distribution, Factors
from icrl.models.parts.encoders import (
    ActionTable,
    BitEncoder,
    BoxEncoder,
    DiscreteEncoder,
    ImageEncoder,
    MultiDiscreteEncoder,
)
from icrl.models.parts.heads import BitHead, DiscreteHead, FactorHead, GaussianHead
from icrl.models.parts.trees import Parts, TreeEncoder, TreeHead
from icrl.ranges import Maps
from icrl.spaces import describe_space, kind_of, num_uniforms, space_from_dict

Space = dict[str, Any]


class Part(ABC):
    """One kind of space, in a model."""

    kind: ClassVar[str]
    """As its codec has it."""

    @abstractmethod
    def observation_encoder(self, space: Space, width: int, scaled: bool, scale: Maps) -> nn.Module:
        """From observations `(B, T, *row_shape)` to `(B, T, D)`.

        Args:
            scaled: numbers are in units of the data (`icrl.ranges`), rather than as they are.
            scale: of the space: for encoders that apply it themselves.
        """

    @abstractmethod
    def action_encoder(self, space: Space, width: int, scaled: bool) -> nn.Module:
        """The same for actions, "none" among them, which is what `icrl.spaces.no_action` gives."""

    @abstractmethod
    def head(self, space: Space, width: int, scaled: bool) -> nn.Module:
        """From `(B, T, D)` to the numbers of a distribution over actions."""

    @abstractmethod
    def distribution(self, space: Space) -> Distribution:
        """What the head's numbers mean."""


class DiscretePart(Part):
    kind = "discrete"

    def observation_encoder(self, space, width, scaled, scale):
        return DiscreteEncoder(space["n"], width, space.get("start", 0))

    def action_encoder(self, space, width, scaled):
        return ActionTable(space["n"] + 1, width, space.get("start", 0))

    def head(self, space, width, scaled):
        return DiscreteHead(space["n"], width)

    def distribution(self, space):
        return Categorical(space["start"]) if "start" in space else CATEGORICAL


class MultiDiscretePart(Part):
    kind = "multi_discrete"

    def observation_encoder(self, space, width, scaled, scale):
        return MultiDiscreteEncoder(_sizes(space), width, space.get("start"))

    def action_encoder(self, space, width, scaled):
        return MultiDiscreteEncoder([size + 1 for size in _sizes(space)], width, space.get("start"))

    def head(self, space, width, scaled):
        return FactorHead(_sizes(space), width)

    def distribution(self, space):
        return Factors(_sizes(space), np.array(space.get("start", np.zeros_like(space["nvec"]))))


class MultiBinaryPart(Part):
    kind = "multi_binary"

    def observation_encoder(self, space, width, scaled, scale):
        return BitEncoder(space["shape"], width)

    def action_encoder(self, space, width, scaled):
        return BitEncoder(space["shape"], width, with_none=True)

    def head(self, space, width, scaled):
        return BitHead(space["shape"], width)

    def distribution(self, space):
        return Bits()


class BoxPart(Part):
    kind = "box"

    def observation_encoder(self, space, width, scaled, scale):
        return self.action_encoder(space, width, scaled)

    def action_encoder(self, space, width, scaled):
        return BoxEncoder(*kind_of(space).bounds(space), width, scaled)

    def head(self, space, width, scaled):
        return GaussianHead(space["shape"], *kind_of(space).bounds(space), width, scaled)

    def distribution(self, space):
        return DIAGONAL_GAUSSIAN


class ImagePart(BoxPart):
    """As an action an image is a Box like any other."""

    kind = "image"

    def observation_encoder(self, space, width, scaled, scale):
        centre, unit = 127.5, 127.5
        if scaled:
            centre, unit = float(scale.centre), float(scale.unit)
        return ImageEncoder(space["shape"], width, centre, unit)


class TreePart(Part):
    """Of a Dict or a Tuple each part by itself: its encodings are summed, its heads stand side by side."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def observation_encoder(self, space, width, scaled, scale):
        scales = scale or {}
        return TreeEncoder(
            {
                name: make_observation_encoder(part, width, scaled, scales.get(name))
                for name, part in _parts(space).items()
            }
        )

    def action_encoder(self, space, width, scaled):
        return TreeEncoder({name: make_action_encoder(part, width, scaled) for name, part in _parts(space).items()})

    def head(self, space, width, scaled):
        return TreeHead({name: make_action_head(part, width, scaled) for name, part in _parts(space).items()})

    def distribution(self, space):
        parts = _parts(space)
        counts = {name: num_uniforms(space_from_dict(part)) for name, part in parts.items()}
        return Parts({name: distribution_of(part) for name, part in parts.items()}, counts)


PARTS: dict[str, Part] = {}


def register(*parts: Part) -> None:
    """Adds kinds; raises ValueError for a name that is taken."""
    for part in parts:
        if part.kind in PARTS:
            raise ValueError(f"models have a part for spaces of kind {part.kind!r} already")
        PARTS[part.kind] = part


register(DiscretePart(), MultiDiscretePart(), MultiBinaryPart(), ImagePart(), BoxPart(), TreePart("dict"))
register(TreePart("tuple"))


def make_observation_encoder(space: Space, width: int, scaled: bool = False, scale: Maps = None) -> nn.Module:
    """See `Part.observation_encoder`."""
    return _part(space).observation_encoder(space, width, scaled, scale)


def make_action_encoder(space: Space, width: int, scaled: bool = False) -> nn.Module:
    """See `Part.action_encoder`."""
    return _part(space).action_encoder(space, width, scaled)


def make_action_head(space: Space, width: int, scaled: bool = False) -> nn.Module:
    """See `Part.head`."""
    return _part(space).head(space, width, scaled)


def distribution_of(space: Space) -> Distribution:
    """See `Part.distribution`."""
    return _part(space).distribution(space)


def _part(space: Space) -> Part:
    kind = space.get("kind", "")
    if kind not in PARTS:
        raise UsageError(
            f"models have nothing for the space {describe_space(space)}: expected {', '.join(PARTS)}; "
            "add one with icrl.models.parts.register"
        )
    return PARTS[kind]


def _parts(space: Space) -> dict[str, Space]:
    return kind_of(space).described(space)


def _sizes(space: Space) -> list[int]:
    return np.ravel(space["nvec"]).tolist()
