"""What a training step is made of, each part in the fastest exact form that PyTorch has on a CPU.

- `linear`: in fp32 PyTorch calls MKL, which leaves the wide registers of many processors unused; oneDNN, which is
  part of PyTorch as well, took half the time on such a machine, and its bf16 products are what PyTorch calls anyway.
- `squared_relu` and `rms_norm`: the chains of operations that autograd would record pass over the widest arrays of
  the model several times more than the formula needs.
- `rotary`: queries, keys and values of all heads in one complex product.
- `causal_attention`: in fp32 even where the model runs in bf16.

On other devices, in other types and under autocast these are the plain PyTorch functions.

Shape suffixes: B lanes, T tokens, H heads, E channels of a head, F = E / 2 frequencies; M rows, I inputs, O outputs.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROTARY_BASE = 10_000.0
_EPSILON = 1e-6
INITIAL_GAIN = 0.4
"""Of the linear layers. At width 64 their initial weights have the standard deviation 0.05, as the embeddings have."""
# Below this many, oneDNN's own preparations take longer than the product.
_FEW_ROWS = 64


def _plain_fp32(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


@lru_cache(maxsize=1)
def onednn_product() -> Callable[[Tensor, Tensor], Tensor] | None:
    """`f(a_MI, b_OI)` = a bᵀ by oneDNN, or None where this build of PyTorch lacks it.

    The operator is PyTorch's own but not documented, so it is tried, and its result compared, before it is used.
    """
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        operator = torch.ops.mkldnn._linear_pointwise.default

        def product(a_MI: Tensor, b_OI: Tensor) -> Tensor:
            return operator(a_MI, b_OI, None, "none", [], "")

        with torch.inference_mode(False), torch.no_grad():
            a_MI, b_IO = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(3, 4)
            return product if torch.equal(product(a_MI, b_IO.t()), a_MI @ b_IO) else None
    except (AttributeError, RuntimeError, TypeError):
        return None


class _OneDnnLinear(torch.autograd.Function):
    """y = x Wᵀ; dx = dy W; dW = dyᵀ x."""

    @staticmethod
    def forward(ctx, x_MI: Tensor, weight_OI: Tensor) -> Tensor:
        ctx.save_for_backward(x_MI, weight_OI)
        return onednn_product()(x_MI, weight_OI)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy_MO: Tensor) -> tuple[Tensor | None, Tensor | None]:
        product = onednn_product()
        x_MI, weight_OI = ctx.saved_tensors
        dx_MI = product(dy_MO, weight_OI.t()) if ctx.needs_input_grad[0] else None
        dweight_OI = None
        if ctx.needs_input_grad[1]:
            # The long dimension is summed over; the shorter of the other two goes first, which is the faster order.
            if weight_OI.shape[0] <= weight_OI.shape[1]:
                dweight_OI = product(dy_MO.t(), x_MI.t())
            else:
                dweight_OI = product(x_MI.t(), dy_MO.t()).t()
        return dx_MI, dweight_OI


class Linear(nn.Linear):
    """`nn.Linear` without a bias.

    Args:
        gain: the initial weights have the standard deviation gain / sqrt(inputs).
    """

    def __init__(self, inputs: int, outputs: int, gain: float = INITIAL_GAIN) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        rows = x.numel() // self.in_features
        if rows < _FEW_ROWS or not _plain_fp32(x) or (product := onednn_product()) is None:
            return F.linear(x, self.weight)
        x_MI = x.reshape(rows, self.in_features)
        y_MO = _OneDnnLinear.apply(x_MI, self.weight) if torch.is_grad_enabled() else product(x_MI, self.weight)
        return y_MO.view(*x.shape[:-1], self.out_features)


class _SquaredReLU(torch.autograd.Function):
    """y = max(h, 0)²; dh = 2 max(h, 0) dy."""

    @staticmethod
    def forward(ctx, h: Tensor) -> Tensor:
        positive = h.relu()
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return (dy * positive).mul_(2)


def squared_relu(h: Tensor) -> Tensor:
    """max(h, 0)², elementwise (So et al., 2021)."""
    return _SquaredReLU.apply(h) if torch.is_grad_enabled() else h.relu().square_()


class _RMSNorm(torch.autograd.Function):
    """n = x r, r = (mean(x²) + ε)^-½; dx = r (dn - n mean(n dn))."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        width = x.shape[-1]
        r = torch.linalg.vecdot(x, x).div_(width).add_(_EPSILON).rsqrt_()[..., None]
        normed = x * r
        ctx.save_for_backward(normed, r)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dn: Tensor) -> Tensor:
        normed, r = ctx.saved_tensors
        mean = torch.linalg.vecdot(dn, normed).div_(-normed.shape[-1])[..., None]
        return torch.addcmul(dn, normed, mean).mul_(r)


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean(x²) + ε) over the last dimension (Zhang and Sennrich, 2019).

    There is no learned gain: a linear layer always follows, and a gain in front of it is part of its weights.
    """
    if x.dtype == torch.float32 and x.device.type == "cpu" and torch.is_grad_enabled():
        return _RMSNorm.apply(x)
    return F.rms_norm(x, x.shape[-1:], eps=_EPSILON)


def attention_dtype(x: Tensor) -> torch.dtype:
    """The type that attention runs in: x's own, but on a CPU fp32, whose backward pass takes half of bf16's time."""
    return torch.float32 if x.device.type == "cpu" else x.dtype


@lru_cache(maxsize=16)
def rotary_table(length: int, head_width: int, device: torch.device) -> Tensor:
    """e^(i t base^(-f/F)) for queries and keys, 1 for values: `(length, 3, 1, F)` complex (Su et al., 2021).

    A cached function and not a buffer: there is nothing to save, to broadcast between processes or to lose in
    `from_pretrained`. Made outside inference mode, since a table first made while acting may be trained with later.
    """
    with torch.inference_mode(False):
        half = head_width // 2
        frequency_F = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float64) / half)
        angle_TF = torch.arange(length, dtype=torch.float64)[:, None] * frequency_F
        turn_TF = torch.polar(torch.ones_like(angle_TF), angle_TF)
        table_T3F = torch.stack([turn_TF, turn_TF, torch.ones_like(turn_TF)], dim=1)
        return table_T3F[:, :, None].to(torch.complex64).to(device)


def rotary(qkv_BT3HE: Tensor, table: Tensor) -> Tensor:
    """Turns the channel pairs (2f, 2f + 1) of queries and keys by the angle of their position; leaves the values.

    Args:
        table: rows of `rotary_table`, `(T, 3, 1, F)`, or `(B, 1, 3, 1, F)` where lanes are at positions of their own.

    Returns:
        `(B, T, 3, H, E)` in `attention_dtype`.
    """
    pairs = qkv_BT3HE.float().unflatten(-1, (-1, 2))
    turned = torch.view_as_complex(pairs) * table
    return torch.view_as_real(turned).flatten(-2).to(attention_dtype(qkv_BT3HE))


def causal_attention(q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(q kᵀ / √E) v over the tokens up to each: `(B, H, T, E)`, in the type that `rotary` chose."""
    if q_BHTE.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, is_causal=True, dropout_p=dropout)
    return F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, is_causal=True, dropout_p=dropout)
