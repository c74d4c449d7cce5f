"""Any causal model of `transformers`, fed with embedded tokens, under the project's own rule of the window.

Keys and values are kept where the project's own transformer keeps its own (`cache`): the model's layers are given a
cache that stores them there. So lanes may hold unequal numbers of tokens, each at positions of its own, and a mask
says which places a token reads. A recurrent model (mamba) keeps its own cache of states.

Shape suffixes: B lanes, T tokens, D width, S places that are read, H heads, E channels of a head, N tokens of a set,
Q queries.
"""

import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache, DynamicCache

from icrl.errors import UsageError
from icrl.models.backbones.base import Backbone, State, on
from icrl.models.backbones.cache import CachedState, Prefill
from icrl.models.backbones.held import HeldState
from icrl.models.backbones.hf_config import ATTENTION, make_model
from icrl.models.backbones.options import HFOptions
from icrl.models.backbones.sets import SetMemory, ranks, set_mask

RECURRENT = ("mamba", "falcon_mamba")
"""Models of transformers whose layers keep states of one size."""
Take = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a layer's new keys and values `(B, H, T, E)` to those that it attends to `(B, H, S, E)`."""


class _TakenKeys(Cache):
    """What a model of transformers sees of a cache: its layers call `update`."""

    def __init__(self, take: Take) -> None:
        super().__init__(layers=[])
        self._take = take

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_, **__) -> tuple[Tensor, Tensor]:
        return self._take(layer_idx, key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # Positions are told.


class _RecurrentState(HeldState):
    """The states of a recurrent model's layers, in the cache that transformers has for them."""

    def __init__(self, lanes: int, device: torch.device, cache: DynamicCache) -> None:
        super().__init__(lanes, device)
        self.cache = cache

    def _take(self, index: NDArray[np.int64]) -> None:
        self.cache = deepcopy(self.cache)
        self.cache.reorder_cache(on(index, self.device))
        self.held_lengths = self.held_lengths[index]

    def _clear(self, index: NDArray[np.int64]) -> None:
        rows = on(index, self.device)
        for layer in self.cache.layers:
            for held in vars(layer).values():
                for states in held.values() if isinstance(held, dict) else [held]:
                    if isinstance(states, Tensor):
                        states.index_fill_(0, rows, 0)
        self.held_lengths = self.held_lengths.copy()
        self.held_lengths[index] = 0


class HF(Backbone):
    """A model of transformers by its `model_type`, of random or pretrained weights."""

    Options: ClassVar[type] = HFOptions

    def __init__(self, options: HFOptions, *, tokens_per_decision: int = 1, positions: bool = True) -> None:
        super().__init__(options, tokens_per_decision=tokens_per_decision, positions=positions)
        self.model, self.options = make_model(options, self.context)
        self.no_split_modules = tuple(self.model._no_split_modules or ())
        takes = inspect.signature(self.model.forward).parameters
        self._cache_name = next((name for name in ("cache", "past_key_values", "cache_params") if name in takes), None)
        types = set(getattr(self.model.config, "layer_types", None) or ())
        self.recurrent = self.model.config.model_type in RECURRENT
        self.reads_sets = not self.recurrent
        if self._cache_name is None or not (self.recurrent or ("position_ids" in takes and types <= ATTENTION)):
            raise UsageError(
                f"{self.model.config.model_type} is not supported: expected a model of attention alone that takes "
                f"position_ids, such as llama, qwen3, gpt2 or mistral, or one of {', '.join(RECURRENT)}"
            )
        if self.recurrent and not positions:
            raise UsageError(self._no_sets())

    def forward(self, x_BTD: Tensor, *, causal: bool = True, lengths: Tensor | None = None) -> Tensor:
        B, T, _ = x_BTD.shape
        if self.recurrent:
            return self._run(x_BTD) if causal else self.encode_set(x_BTD)
        self._check_context(T)
        if causal and self.positions:
            return self._run(x_BTD)
        mask_BTS = _set_bias(ranks(B, T, lengths if not causal else None, x_BTD.device), causal, x_BTD.dtype)
        return self._run(x_BTD, mask_BTS, slice(0, T))

    def start(self, lanes: int) -> State:
        if self.recurrent:
            return _RecurrentState(lanes, self._weight.device, DynamicCache(config=self.model.config))
        return CachedState(lanes, self.context, self.kept, self.width, self._weight)

    @torch.inference_mode()
    def prefill(self, x_BTD: Tensor, lengths_B: NDArray[np.int64], state: State) -> None:
        if not self.recurrent:
            state.fill(x_BTD, lengths_B)
            self._encode(state, np.arange(len(lengths_B)), int(lengths_B.max(initial=0)))
        elif longest := int(lengths_B.max(initial=0)):
            # Padded on the left, where what is masked leaves the states at their zeros.
            source_BT = on(np.arange(longest) - longest + lengths_B[:, None], x_BTD.device)
            rows_B1 = torch.arange(len(lengths_B), device=x_BTD.device)[:, None]
            x_BTD, inside_BT = x_BTD[rows_B1, source_BT.clamp(min=0)], source_BT >= 0
            self._run_recurrent(x_BTD, state.cache, attention_mask=inside_BT.to(x_BTD.dtype))
            state.held_lengths = lengths_B.astype(np.int64)

    @torch.inference_mode()
    def step(self, x_BTD: Tensor, state: State) -> Tensor:
        self._check_step(x_BTD, state)
        x_BTD, tokens = state.spread(x_BTD), x_BTD.shape[1]
        if self.recurrent:
            parts = [self._run_recurrent(x_BTD[:, t : t + 1], state.cache) for t in range(tokens)]
            state.held_lengths = state.held_lengths + tokens
            return state.shown(torch.cat(parts, dim=1))
        if len(lanes := state.make_room(tokens)):
            self._encode(state, lanes, int(state.held_lengths[lanes].max()))
        state.write(x_BTD)
        places = state.expect(tokens)

        def append(layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> tuple[Tensor, Tensor]:
            state.store(layer, k_BHTE, v_BHTE)
            return state.held(layer)

        y_BTD = self._run(x_BTD, state.bias(), places, append)
        state.set_lengths(state.held_lengths + tokens)
        return state.shown(y_BTD)

    def encode_set(self, x_BND: Tensor, lengths: Tensor | None = None, *, causal: bool = False) -> SetMemory:
        if self.recurrent:
            raise UsageError(self._no_sets())
        if self.positions:
            raise UsageError("a set has no order: make the backbone with positions=False")
        B, N, _ = x_BND.shape
        memory = SetMemory(ranks(B, N, lengths, x_BND.device), causal)

        def keep(layer: int, k_BHNE: Tensor, v_BHNE: Tensor) -> tuple[Tensor, Tensor]:
            memory.put(layer, k_BHNE, v_BHNE)
            return k_BHNE, v_BHNE

        if N:
            self._run(x_BND, _set_bias(memory.rank_BN, causal, x_BND.dtype), slice(0, N), keep)
            if not memory.keys_BHNE:
                raise UsageError("transformers keeps no keys under gradient checkpointing, and a set needs them: "
                                 "leave it off")  # fmt: skip
        return memory

    def query(self, x_BQD: Tensor, memory: SetMemory, seen: Tensor | None = None) -> Tensor:
        if seen is not None and not memory.causal:
            raise UsageError("seen needs a set that was encoded with causal=True: its tokens have read one another")
        B, Q, _ = x_BQD.shape
        to_set_BQN = memory.bias(seen, x_BQD.dtype)[:, 0].expand(B, Q, -1)
        to_self_BQQ = _set_bias(torch.full((B, Q), torch.iinfo(torch.int64).max, device=x_BQD.device), False,
                                x_BQD.dtype)  # fmt: skip

        def both(layer: int, k_BHQE: Tensor, v_BHQE: Tensor) -> tuple[Tensor, Tensor]:
            keys_BHNE, values_BHNE = memory.layer(layer, k_BHQE)
            return torch.cat((keys_BHNE, k_BHQE), dim=2), torch.cat((values_BHNE, v_BHQE), dim=2)

        return self._run(x_BQD, torch.cat((to_set_BQN, to_self_BQQ), dim=2), slice(0, Q), both)

    def memory_of(self, state: CachedState) -> SetMemory:
        return SetMemory.of(state)

    def _encode(self, state: CachedState, lanes: NDArray[np.int64], num_tokens: int) -> None:
        """Keys and values of the first tokens of these lanes."""
        for index, x_BTD in state.parts(lanes, num_tokens):
            prefill = Prefill(state, index)

            def store(layer: int, k_BHTE: Tensor, v_BHTE: Tensor, prefill=prefill) -> tuple[Tensor, Tensor]:
                prefill.store(layer, k_BHTE, v_BHTE)
                return k_BHTE, v_BHTE

            mask_1TS = _set_bias(ranks(1, num_tokens, None, x_BTD.device), True, x_BTD.dtype)
            self._run(x_BTD, mask_1TS, slice(0, num_tokens), store)

    def _run(
        self,
        x_BTD: Tensor,
        bias_BTS: Tensor | None = None,
        places: slice | Tensor | None = None,
        take: Take | None = None,
    ) -> Tensor:
        """Outputs `(B, T, D)`, by default of a plain causal forward.

        Args:
            bias_BTS: 0 for what a token reads, minus infinity for the rest.
            places: positions of the tokens, all zero for a backbone without.
            take: where the layers' keys and values go, and what they attend to.
        """
        told = {"use_cache": take is not None}
        if take is not None:
            told[self._cache_name] = _TakenKeys(take)
        if bias_BTS is not None:
            # With four dimensions a mask is taken as it is. Without one, positions that do not rise by one are taken
            # for several sequences in a row.
            told["attention_mask"] = rearrange(bias_BTS, "b t s -> b 1 t s").to(x_BTD.dtype)
            position_BT = torch.arange(places.start, places.stop, device=x_BTD.device)[None] if isinstance(
                places, slice) else places  # fmt: skip
            told["position_ids"] = position_BT if self.positions else torch.zeros_like(position_BT)
        return self.model(inputs_embeds=x_BTD, **told).last_hidden_state

    def _run_recurrent(self, x_BTD: Tensor, cache: DynamicCache, **told: Tensor) -> Tensor:
        return self.model(inputs_embeds=x_BTD, use_cache=True, **{self._cache_name: cache}, **told).last_hidden_state

    @property
    def width(self) -> int:
        return self.model.config.hidden_size


def _set_bias(rank_BN: Tensor, causal: bool, dtype: torch.dtype) -> Tensor:
    """`(B, N, N)`: 0 for what a token of a set reads, minus infinity for the rest."""
    mask_BNN = set_mask(rank_BN, causal)[:, 0]
    return torch.zeros(mask_BNN.shape, dtype=dtype, device=mask_BNN.device).masked_fill_(~mask_BNN, -torch.inf)
