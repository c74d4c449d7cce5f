"""Keys and values of the context, kept, so that acting costs one token per step on and past a full context.

Past the full context nothing rolls: when a lane's C places are taken, its newest K tokens are encoded anew from
position 0, and acting goes on from there. Each re-encoding pays for C - K steps, and what the cache computes is at
every step a plain causal forward over tokens s(t) … t, which an uncached model computes as well.

Shape suffixes: B lanes, T tokens, D width, H heads, E channels of a head, C context length, A actions, N = B H.
"""

from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icrl.models.config import InContextConfig
from icrl.models.kernels import attention_dtype, causal_attention
from icrl.models.tokens import Tokens

# Tokens encoded at once in a prefill: enough to keep the cores busy, few enough for their caches.
_PREFILL_TOKENS = 4096
# Lanes that a context holds on to when others leave: with fewer, a step costs as much, and products of matrices are
# rounded otherwise, which continuous actions would show.
_LEAST_LANES = 16


def window_start(t: int, context_length: int, kept: int) -> int:
    """First token s(t) of the context in which token t is read: s(t) = 0 while t < C, and then

    s(t) = (floor((t - C) / (C - K)) + 1) · (C - K),

    so that C - K, …, C tokens stand in the context, the newest of them token t. Needs 0 <= K < C.
    """
    if t < context_length:
        return 0
    stride = context_length - kept
    return ((t - context_length) // stride + 1) * stride


class KeyValueCache:
    """Preallocated keys and values of every layer, for lanes that may hold different numbers of tokens.

    Args:
        config: of the model.
        num_lanes: B.
        like: any weight of the model, for its device and type.
    """

    def __init__(self, config: InContextConfig, num_lanes: int, like: Tensor) -> None:
        device, dtype = like.device, attention_dtype(like)
        self.num_lanes, self.n_head, self.head_width = num_lanes, config.n_head, config.width // config.n_head
        # A place beyond a lane's length is read, and weighs nothing: it must hold numbers, hence zeros.
        shape = (num_lanes, config.n_head, config.context_length, self.head_width)
        self.keys_BHCE = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.n_layer)]
        self.values_BHCE = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.n_layer)]
        self.device = device
        self._none = torch.zeros((), device=device, dtype=dtype)
        self.set_lengths(np.zeros(num_lanes, np.int64))

    def set_lengths(self, lengths_B: NDArray[np.int64]) -> None:
        """States how many tokens each lane holds."""
        self.lengths = lengths_B
        longest = int(lengths_B.max(initial=0))
        self.longest = longest
        # Equal lengths, the common case, need neither index nor mask.
        self.equal = bool((lengths_B == longest).all())
        if not self.equal:
            self._lengths_B = torch.from_numpy(lengths_B).to(self.device)
            self._lanes_B = torch.arange(len(lengths_B), device=self.device)
            absent_BC = torch.arange(longest + 1, device=self.device) > self._lengths_B[:, None]
            bias_BC = torch.zeros(absent_BC.shape, device=self.device, dtype=self._none.dtype)
            bias_BC.masked_fill_(absent_BC, -torch.inf)
            self._bias_N1C = bias_BC.repeat_interleave(self.n_head, dim=0)[:, None]

    def keep(self, lanes: NDArray[np.int64]) -> None:
        """Lets go of all lanes but these."""
        index = torch.from_numpy(lanes).to(self.device)
        for layers in (self.keys_BHCE, self.values_BHCE):
            for layer, held_BHCE in enumerate(layers):
                layers[layer] = held_BHCE.index_select(0, index)
        self.num_lanes = len(lanes)
        self.set_lengths(self.lengths[lanes])

    def positions(self, num_tokens: int) -> slice | Tensor:
        return slice(self.longest, self.longest + num_tokens) if self.equal else self._lengths_B

    def store(self, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> None:
        """Appends one token to every lane (T = 1)."""
        for held_BHCE, new_BHTE in ((self.keys_BHCE[layer], k_BHTE), (self.values_BHCE[layer], v_BHTE)):
            if self.equal:
                held_BHCE[:, :, self.longest] = new_BHTE[:, :, 0]
            else:
                held_BHCE[self._lanes_B, :, self._lengths_B] = new_BHTE[:, :, 0]

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        """Appends one token to every lane (T = 1) and attends to all that the lane holds: softmax(q kᵀ / √E) v.

        Two batched products: reading long keys for one query, they are faster than the attention kernel.
        """
        self.store(layer, k_BHTE, v_BHTE)
        q_N1E = q_BHTE.reshape(-1, 1, self.head_width)
        held = (self.keys_BHCE[layer], self.values_BHCE[layer])
        keys_NCE, values_NCE = (x_BHCE.flatten(0, 1)[:, : self.longest + 1] for x_BHCE in held)
        bias, beta = (self._none, 0) if self.equal else (self._bias_N1C, 1)
        scale = self.head_width**-0.5
        scores_N1C = torch.baddbmm(bias, q_N1E, keys_NCE.transpose(1, 2), beta=beta, alpha=scale)
        return torch.bmm(scores_N1C.softmax(-1), values_NCE).view(q_BHTE.shape)


class Prefill:
    """Fills the first T places of some lanes of a cache, during one forward over the tokens of those lanes.

    Tokens are right-padded: a padded place is never attended to from a place before it, and its keys are overwritten
    before the lane's length reaches it.
    """

    def __init__(self, cache: KeyValueCache, lanes: slice | Tensor) -> None:
        self.cache, self.lanes = cache, lanes

    def positions(self, num_tokens: int) -> slice:
        return slice(0, num_tokens)

    def store(self, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> None:
        places = k_BHTE.shape[2]
        self.cache.keys_BHCE[layer][self.lanes, :, :places] = k_BHTE
        self.cache.values_BHCE[layer][self.lanes, :, :places] = v_BHTE

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        self.store(layer, k_BHTE, v_BHTE)
        return causal_attention(q_BHTE, k_BHTE, v_BHTE)


class Context:
    """The context of B lanes: their newest tokens, and the keys and values of those tokens.

    Args:
        model: an `InContextTransformer` in eval mode.
        num_lanes: B.
    """

    def __init__(self, model, num_lanes: int) -> None:
        self.model, self.config, self.num_lanes = model, model.config, num_lanes
        self.cache = KeyValueCache(self.config, num_lanes, model.get_input_embeddings().weight)
        self._tokens: Tokens | None = None
        self._shown: NDArray[np.int64] | None = None
        """The lanes that are left, where others are held still."""

    @torch.inference_mode()
    def prefill(self, tokens_BT: Tokens, lengths_B: NDArray[np.int64]) -> None:
        """Puts a prompt into every lane of an empty context.

        Args:
            tokens_BT: right-padded to T <= C; lane i's newest `lengths_B[i]` tokens, from its s(t) on, t being the
                number of tokens in its whole prompt (see `window_start`).
            lengths_B: may be 0.
        """
        self._allocate(tokens_BT)
        for field in fields(Tokens):
            getattr(self._tokens, field.name)[:, : tokens_BT.shape[1]] = getattr(tokens_BT, field.name)
        self._encode(np.arange(self.num_lanes), int(lengths_B.max(initial=0)))
        self.cache.set_lengths(lengths_B.astype(np.int64))

    @torch.inference_mode()
    def keep(self, lanes: NDArray[np.int64]) -> None:
        """Lets go of all lanes but these, places among those that are left.

        What they hold is copied once half of the lanes can go. Until then those that were let go are held, and read
        what the first that is left reads.
        """
        self._shown = shown = lanes if self._shown is None else self._shown[lanes]
        others = np.delete(np.arange(self.num_lanes), shown)
        held = np.sort(np.concatenate((shown, others[: max(0, _LEAST_LANES - len(shown))])))
        if 2 * len(held) > self.num_lanes:
            return
        if self._tokens is not None:
            self._tokens = self._tokens[torch.from_numpy(held).to(self.model.device)]
        self.cache.keep(held)
        self.num_lanes = len(held)
        self._shown = None if len(held) == len(shown) else np.searchsorted(held, shown)

    @torch.inference_mode()
    def step(self, tokens_B1: Tokens) -> Tensor:
        """Reads one more token in every lane that is left; returns the logits `(B, A)` of the action to be chosen
        there."""
        if self._shown is not None:
            row_B = np.zeros(self.num_lanes, np.int64)
            row_B[self._shown] = np.arange(len(self._shown))
            return self._step(tokens_B1[torch.from_numpy(row_B).to(self.model.device)])[self._shown]
        return self._step(tokens_B1)

    def _step(self, tokens_B1: Tokens) -> Tensor:
        if self._tokens is None:
            self._allocate(tokens_B1)
        if self.cache.longest == self.config.context_length:
            self._make_room()
        cache = self.cache
        for field in fields(Tokens):
            buffer, value = getattr(self._tokens, field.name), getattr(tokens_B1, field.name)
            if cache.equal:
                buffer[:, cache.longest] = value[:, 0]
            else:
                buffer[cache._lanes_B, cache._lengths_B] = value[:, 0]
        logits_BA = self.model(tokens_B1, cache=cache).logits[:, 0]
        cache.set_lengths(cache.lengths + 1)
        return logits_BA

    def _allocate(self, like: Tokens) -> None:
        shape = (self.num_lanes, self.config.context_length)
        self._tokens = Tokens(
            **{
                field.name: torch.zeros(shape + value.shape[2:], dtype=value.dtype, device=self.model.device)
                for field in fields(Tokens)
                if (value := getattr(like, field.name)) is not None
            }
        )

    def _make_room(self) -> None:
        """Encodes anew, from position 0, the newest K tokens of every lane that is full."""
        full, kept = self.config.context_length, self.config.kept
        lanes = np.flatnonzero(self.cache.lengths == full)
        index = torch.from_numpy(lanes).to(self.model.device)
        for field in fields(Tokens):
            buffer = getattr(self._tokens, field.name)
            buffer[index, :kept] = buffer[index, full - kept :]
        self._encode(lanes, kept)
        lengths_B = self.cache.lengths.copy()
        lengths_B[lanes] = kept
        self.cache.set_lengths(lengths_B)

    def _encode(self, lanes: NDArray[np.int64], num_tokens: int) -> None:
        """Computes keys and values of the first `num_tokens` tokens of these lanes, a few lanes at a time."""
        if num_tokens == 0:
            return
        chunk = max(1, _PREFILL_TOKENS // num_tokens)
        for start in range(0, len(lanes), chunk):
            part = lanes[start : start + chunk]
            contiguous = part[-1] - part[0] == len(part) - 1
            index = (
                slice(int(part[0]), int(part[-1]) + 1) if contiguous else torch.from_numpy(part).to(self.cache.device)
            )
            self.model.fill(self._tokens[index, :num_tokens], Prefill(self.cache, index))
