"""What a network is put together from, by the kind of space: encoders, heads, and what a head's numbers mean."""

from icrl.models.parts.distributions import Distribution
from icrl.models.parts.encoders import EMBEDDING_STD, squash
from icrl.models.parts.kinds import (
    PARTS,
    Part,
    distribution_of,
    make_action_encoder,
    make_action_head,
    make_observation_encoder,
    register,
)
from icrl.models.parts.trees import to_torch

__all__ = [
    "EMBEDDING_STD", "PARTS", "Distribution", "Part", "distribution_of", "make_action_encoder", "make_action_head",
    "make_observation_encoder", "register", "squash", "to_torch",
]  # fmt: skip
