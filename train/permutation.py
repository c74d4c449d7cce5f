"""A random permutation of 0 … N-1 that is computed place by place: nothing is stored, whatever N is.

A Feistel network permutes the numbers of 2b bits for any round function (Luby and Rackoff, 1988); a number that lands
outside of 0 … N-1 is permuted again until it lands inside, which keeps it a permutation (Black and Rogaway, 2002).
"""

import numpy as np
from numpy.typing import NDArray

from icrl.seeding import stream_keys

_ROUNDS = 4


def permute(numbers: NDArray[np.int64], size: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """Where the permutation (seed, purpose) of {0, …, size - 1} sends `numbers`: an array of the same shape `(M,)`."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    result = np.asarray(numbers, np.int64).copy()
    pending = np.arange(len(result))
    while len(pending):
        # The network permutes fewer than 4·size numbers, so at least a quarter of what is pending lands inside.
        result[pending] = _feistel(result[pending], half, seed, purpose)
        pending = pending[result[pending] >= size]
    return result


def _feistel(numbers: NDArray[np.int64], half: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """A permutation of the numbers of 2·half bits: (left, right) -> (right, left xor F(right)), four times."""
    mask = np.int64((1 << half) - 1)
    left, right = numbers >> half, numbers & mask
    for turn in range(_ROUNDS):
        noise = stream_keys(seed, f"{purpose}/{turn}", right).astype(np.int64) & mask
        left, right = right, left ^ noise
    return left << half | right
