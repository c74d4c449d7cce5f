"""Images: boxes of bytes in two dimensions or more, which stay bytes up to the model."""

from typing import Any

import gymnasium as gym
import numpy as np

from icrl.spaces.box import BoxCodec


class ImageCodec(BoxCodec):
    """`{"kind": "image", "shape": [84, 84, 3]}`, with `low` and `high` where they are not 0 and 255 throughout.

    Datasets and models of before there was this kind describe such a Box as any other; these are still read as such.
    """

    kind = "image"

    def speaks(self, space: gym.Space) -> bool:
        return isinstance(space, gym.spaces.Box) and space.dtype in (np.uint8, bool) and len(space.shape) >= 2

    def to_dict(self, space: gym.spaces.Box) -> dict[str, Any]:
        described = super().to_dict(space)
        found = {"shape": described["shape"]}
        for side, usual in (("low", 0), ("high", 255)):
            values = {*described[side]} if isinstance(described[side], list) else {described[side]}
            if values != {usual}:
                found[side] = values.pop() if len(values) == 1 else described[side]
        return found

    def from_dict(self, description: dict[str, Any]) -> gym.Space:
        if len(description["shape"]) < 2:
            raise ValueError(f"{description['shape']} is not a shape of an image")
        return super().from_dict(_as_box(description))

    def share_a_scale(self, description: dict[str, Any]) -> bool:
        return True

    def scaled_when_read(self, description: dict[str, Any]) -> bool:
        """Bytes are read; the encoder brings them to size."""
        return False

    def bounds(self, description: dict[str, Any]) -> tuple[list[float | None], list[float | None]]:
        return super().bounds(_as_box(description))

    def words(self, description: dict[str, Any]) -> str:
        return f"Image({', '.join(map(str, description['shape']))})"


def _as_box(description: dict[str, Any]) -> dict[str, Any]:
    return {"low": 0, "high": 255} | description | {"dtype": "uint8"}
