"""Spaces of every kind drawn from a seed, nested ones too, and values of them that gymnasium itself draws."""

from typing import Any

import gymnasium as gym
import numpy as np

S = gym.spaces


def drawn_leaf(rng: np.random.Generator, kind: str, bounded: bool = False) -> gym.Space:
    """A space of that kind; a Box with bounds on both sides where they are asked for."""
    shape = tuple(int(n) for n in rng.integers(1, 4, rng.integers(0, 3)))
    match kind:
        case "discrete":
            return S.Discrete(int(rng.integers(1, 300)), start=int(rng.integers(-200, 200)) * int(rng.integers(2)))
        case "multi_discrete":
            nvec = rng.integers(1, 40, shape or (2,))
            return S.MultiDiscrete(nvec, start=rng.integers(-50, 50, nvec.shape) * rng.integers(2))
        case "multi_binary":
            return S.MultiBinary(shape if len(shape) > 1 else int(rng.integers(1, 5)))
        case "image":
            return S.Box(0, int(rng.choice([1, 255])), (*rng.integers(5, 9, 2), 3)[: rng.integers(2, 4)], np.uint8)
        case "box":
            dtype = np.dtype(rng.choice([np.float32, np.float64, np.int16, np.int64, np.float16]))
            low, high = np.sort(rng.integers(-99, 99, (2, *shape)), axis=0).astype(dtype)
            if dtype.kind == "f" and not bounded:
                low = np.where(rng.random(shape) < 0.3, -np.inf, low).astype(dtype)
                high = np.where(rng.random(shape) < 0.3, np.inf, high).astype(dtype)
            return S.Box(low, high, dtype=dtype.type)
    raise ValueError(kind)


KINDS = ("discrete", "multi_discrete", "multi_binary", "image", "box")


def drawn_tree(rng: np.random.Generator, kinds: tuple[str, ...] = KINDS, bounded: bool = False) -> gym.Space:
    """A Dict or a Tuple, up to three deep."""

    def part(depth: int) -> gym.Space:
        if depth and rng.random() < 0.4:
            return tree(depth - 1)
        return drawn_leaf(rng, str(rng.choice(kinds)), bounded)

    def tree(depth: int) -> gym.Space:
        parts = [part(depth) for _ in range(rng.integers(1, 4))]
        return S.Tuple(parts) if rng.random() < 0.4 else S.Dict(dict(zip("zeit", parts, strict=False)))

    return tree(2)


def drawn_spaces(seed: int, count: int, kinds: tuple[str, ...] = KINDS, bounded: bool = False) -> list[gym.Space]:
    """Each kind some times, and as many trees."""
    rng = np.random.default_rng(seed)
    leaves = [drawn_leaf(rng, kind, bounded) for _ in range(count) for kind in kinds]
    return leaves + [drawn_tree(rng, kinds, bounded) for _ in leaves]


def samples(space: gym.Space, count: int, seed: int = 0) -> list[Any]:
    """Values as gymnasium has them: numbers, arrays, dicts and tuples."""
    space.seed(seed)
    return [space.sample() for _ in range(count)]


def batch(space: gym.Space, values: list[Any]) -> Any:
    """Some values as nested dicts of arrays, put together without the code under test."""
    if isinstance(space, S.Dict):
        return {name: batch(part, [value[name] for value in values]) for name, part in space.items()}
    if isinstance(space, S.Tuple):
        return {str(k): batch(part, [value[k] for value in values]) for k, part in enumerate(space)}
    return np.array(values)


def same(space: gym.Space, rows: Any, expected: Any) -> bool:
    """Whether rows of the framework hold exactly these nested dicts of arrays."""
    if isinstance(expected, dict):
        names = rows.dtype.names if isinstance(rows, np.ndarray) else tuple(rows)
        return {*names} == {*expected} and all(same(space, rows[name], expected[name]) for name in expected)
    return np.array_equal(rows, expected)
