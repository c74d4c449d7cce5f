"""Random numbers as a function of (seed, purpose, index): no global generator, no order dependence.

Every lane of a batch (an environment, a learner, an evaluated agent) owns a stream of its own, keyed by what the
lane *is* rather than by where it stands in the batch. A lane therefore draws the same numbers alone or among a
thousand others, in one process or in many: that is what makes recording independent of the worker count.

The generator is SplitMix64 used as a counter-based hash (Steele, Lea and Flood, 2014): draw `c` of the stream with
key `k` is `mix(k + c · γ)`. It is vectorised over lanes, and holds no state but the counters.
"""

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
_TO_UNIT = 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection of 64 bits in which every input bit moves every output bit."""
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    return x ^ (x >> _S31)


def stream_keys(seed: int, purpose: str, index: ArrayLike) -> NDArray[np.uint64]:
    """Keys of the streams (seed, purpose, index): an array of `index`'s shape.

    Args:
        seed: any integer from 0 to 2**63 - 1.
        purpose: what the numbers are for ("q-learning"); two purposes never share a stream.
        index: integers, for instance the history's number; shape `(N,)`.
    """
    digest = hashlib.blake2b(f"{int(seed)}/{purpose}".encode(), digest_size=8).digest()
    base = np.frombuffer(digest, dtype="<u8")[0]
    with np.errstate(over="ignore"):
        return _mix(_mix(np.asarray(index).astype(np.uint64) + _GAMMA) + base)


def derive_seed(seed: int, purpose: str, index: int = 0) -> int:
    """A seed below 2**31 for a library that wants an integer (torch, gymnasium)."""
    return int(stream_keys(seed, purpose, [index])[0] >> np.uint64(33))


def permutation(seed: int, purpose: str, length: int) -> NDArray[np.int64]:
    """The numbers 0 … length - 1 in an order drawn from (seed, purpose)."""
    return np.argsort(stream_keys(seed, purpose, np.arange(length)), kind="stable")


class Streams:
    """One stream of random numbers per lane.

    Args:
        keys: shape `(N,)`, from `stream_keys`.
    """

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self.keys = np.asarray(keys, dtype=np.uint64)
        self.counters = np.zeros(self.keys.shape, dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.keys)

    def keep(self, lanes: NDArray[np.int64]) -> None:
        """Lets go of all lanes but these."""
        self.keys, self.counters = self.keys[lanes], self.counters[lanes]

    def bits(self, lanes: NDArray | None = None) -> NDArray[np.uint64]:
        """64 random bits for each lane, or for each of `lanes` (indices); only those lanes advance."""
        if lanes is None:
            self.counters += np.uint64(1)
            return _mix(self.keys + self.counters * _GAMMA)
        self.counters[lanes] += np.uint64(1)
        return _mix(self.keys[lanes] + self.counters[lanes] * _GAMMA)

    def uniform(self, lanes: NDArray | None = None) -> NDArray[np.float64]:
        """Uniform on [0, 1): shape `(N,)`, or that of `lanes`."""
        return (self.bits(lanes) >> _S11) * _TO_UNIT

    def integers(self, high: ArrayLike, lanes: NDArray | None = None) -> NDArray[np.int64]:
        """Uniform on {0, …, high - 1}; `high` is a scalar or one number per lane."""
        return (self.uniform(lanes) * high).astype(np.int64)

    def normal(self, lanes: NDArray | None = None) -> NDArray[np.float64]:
        """Standard normal by the Box-Muller transform: two draws of the stream each."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(lanes)))
        return radius * np.cos(2.0 * np.pi * self.uniform(lanes))

    def uniform_block(self, draws: int, lanes: NDArray | None = None) -> NDArray[np.float64]:
        """The next `draws` uniforms of every lane, or of each of `lanes`, at once: `(draws, N)`; equal to that many
        calls of `uniform`."""
        chosen = slice(None) if lanes is None else lanes
        steps = np.arange(1, draws + 1, dtype=np.uint64)[:, None]
        block = _mix(self.keys[chosen] + (self.counters[chosen] + steps) * _GAMMA)
        self.counters[chosen] += np.uint64(draws)
        return (block >> _S11) * _TO_UNIT
