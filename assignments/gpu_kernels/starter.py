# %% [markdown]
# # GPU kernels
#
# Eight problems, graded one by one; a problem you leave alone costs only its own points. Read
# `README.md` first: it has the theory, the arithmetic and how each problem is graded.
#
# Work in the cells tagged `export`: they are what is graded. Everything a check relies on is fixed
# in the docstrings and in the rules below.
#
# Shape letters: **M** rows, **N** columns, **K** the inner dimension of a product, **H** columns of
# a norm (in attention: query heads), **V** vocabulary, **B** batch, **G** key/value heads,
# **T** queries, **S** keys, **D** width of a head. A tensor's name ends with its shape: `x_MN`.
#
# Rules that hold everywhere:
#
# * The arithmetic is yours, in Triton kernels. torch may allocate, view, copy, cast, tell shapes,
#   and move numbers to places that no number decides, as `torch.cat` does. Every operator of torch
#   that computes raises an error while you are graded. `README.md` lists what is allowed.
# * Inputs stay as they are. They may have any strides: transposed, sliced, or 0 (`expand`).
# * What you return is new: neither an input nor a view of one. Make it contiguous and put it on the
#   device of the inputs, as callers expect; only its values, shape and dtype are graded.
# * dtypes are float16, bfloat16 and float32 unless a docstring says otherwise. Arithmetic is that
#   of float32 (`tl.dot` with `input_precision="ieee"`), results are rounded once, at the end.
#   Whether attention rounds probabilities and their gradients to the dtype of q, for the product
#   that follows, is not graded.
# * A wrong rank, shape or dtype raises `ValueError`.

# %% tags=["export"]
"""GPU kernels: eight problems, from the first kernel to the backward pass of attention."""

# One file by design: it is what you hand in.

import torch

Tensor = torch.Tensor

# %% [markdown]
# ## 1 · `matrix_add`
# The first kernel of every course: a grid, a tile for each program, a mask at the edge.


# %% tags=["export"]
def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    """Return `x + y`; M or N may be 0.

    Offsets may exceed 2³¹ elements.

    Raises:
        ValueError: unless both are matrices of the same shape and dtype.
    """
    raise NotImplementedError


# %% [markdown]
# ## 2 · `softmax`
# A row may be longer than what one program can hold.


# %% tags=["export"]
def softmax(x_MN: Tensor) -> Tensor:
    """Return the softmax of each row, in the dtype of x; M may be 0.

    Entries may be −inf (their probability is 0) and finite ones as large as their dtype allows; a
    row of nothing but −inf is NaN in all of its entries.

    Raises:
        ValueError: unless x is a matrix of at least one column and of a dtype from the list above.
    """
    raise NotImplementedError


# %% [markdown]
# ## 3 · RMSNorm, forward and backward
# `y = x · rstd · w` with `rstd = 1 / √(mean(x²) + eps)`, mean over the H columns of a row.


# %% tags=["export"]
def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Return the normalised rows, in the dtype of x, and `rstd_M` in float32; M may be 0.

    Args:
        x_MH: H from 1 to 8192; other widths are not graded.
        w_H: one weight per column; its dtype may differ from that of x.
        eps: inside the square root; 0 is allowed.

    Raises:
        ValueError: unless x is a matrix, w a vector of its width, and eps at least 0.
    """
    raise NotImplementedError


def rmsnorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients dx, in the dtype of x, and dw, in the dtype of w.

    With x̂ = x · rstd and g = dy · w: `dx = rstd · (g − x̂ · mean(g · x̂))` and `dw = Σ dy · x̂`
    over all rows, added in float32; with M = 0, dw is 0.

    Args:
        dy_MH: gradient of y, shape and dtype of x.
        x_MH: as in the forward pass. A backward pass with H = 1 is not graded: dx is rounding then.
        w_H: as in the forward pass; its dtype may differ from that of x here, too.
        rstd_M: float32, from the forward pass: eps is in it. Any stride, as all inputs.

    Raises:
        ValueError: unless dy is like x, w a vector of its width, rstd a float32 vector of M.
    """
    raise NotImplementedError


# %% [markdown]
# ## 4 · LayerNorm, forward and backward
# `y = (x − mean) · rstd · w + b` with `rstd = 1 / √(var + eps)`; the variance divides by H.


# %% tags=["export"]
def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normalised rows, in the dtype of x, and `mean_M` and `rstd_M` in float32.

    A mean that is many thousand times the deviation must not spoil the variance.

    Args:
        x_MH: H from 1 to 8192, other widths are not graded; M may be 0.
        w_H: one weight per column; its dtype may differ from that of x.
        b_H: one bias per column; its dtype may differ from that of x.
        eps: inside the square root; 0 is allowed.

    Raises:
        ValueError: unless x is a matrix, w and b vectors of its width, and eps at least 0.
    """
    raise NotImplementedError


def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, *, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients dx, in the dtype of x, and dw and db, in the dtype of w.

    With x̂ = (x − mean) · rstd and g = dy · w:
    `dx = rstd · (g − mean(g) − x̂ · mean(g · x̂))`; `dw = Σ dy · x̂` and `db = Σ dy` over all rows,
    added in float32; with M = 0, dw and db are 0.

    Args:
        dy_MH: gradient of y, shape and dtype of x.
        x_MH: as in the forward pass. A backward pass with H = 1 is not graded.
        w_H: as in the forward pass; its dtype may differ from that of x here, too.
        mean_M: float32, from the forward pass; any stride, as all inputs.
        rstd_M: float32, from the forward pass: eps is in it. Any stride, as all inputs.

    Raises:
        ValueError: unless dy is like x, w a vector of its width, mean and rstd float32 vectors
            of M.
    """
    raise NotImplementedError


# %% [markdown]
# ## 5 · `cross_entropy` with its gradient
# With a vocabulary of 50257, logits are the largest tensor of a training step: hold no second one
# beside their gradient.


# %% tags=["export"]
def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    """Return the mean loss, a float32 scalar, and its gradient with respect to x, in x's dtype.

    The loss of a row is `log Σ exp(x) − x[target]`; the mean is over the rows whose target is not
    `ignore_index`. Such a row has a gradient of 0, whatever it holds (NaN, perhaps). If all rows
    are ignored, the loss is NaN and the gradient 0.

    Args:
        x_MV: logits; M = 0 is not graded. Entries may be −inf, but not at the target of a row
            that counts.
        target_M: int32 or int64, each from 0 to V − 1 or `ignore_index`; others are not graded.
        ignore_index: any integer of 64 bits, also one from 0 to V − 1, which then is no target.

    Raises:
        ValueError: unless x is a matrix of at least one column, target an int32 or int64 vector of
            M.
    """
    raise NotImplementedError


# %% [markdown]
# ## 6 · `matmul` with its epilogue
# Bias and GELU act on the float32 accumulator, before the one rounding.


# %% tags=["export"]
def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    """Return `activation(a @ b + bias)` in the dtype of a, accumulated in float32.

    M, N or K may be 0; with K = 0 the product is 0, and bias and activation act on it: each row of
    the result is `activation(bias)`.

    Args:
        a_MK: any strides.
        b_KN: the dtype of a, any strides.
        bias_N: added to each row; its dtype may differ from that of a; None: no bias.
        activation: "none"; "gelu", x · Φ(x) with Φ(x) = (1 + erf(x/√2)) / 2; or "gelu_tanh",
            x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2.

    Raises:
        ValueError: unless a and b are matrices of one dtype with the same K, bias a vector of N,
            and activation one of the three.
    """
    raise NotImplementedError


# %% [markdown]
# ## 7 · `flash_attention`
# Softmax and both products in one pass over the keys, without a T × S matrix in memory.


# %% tags=["export"]
def flash_attention(
    q_BHTD: Tensor,
    k_BGSD: Tensor,
    v_BGSD: Tensor,
    *,
    scale: float | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `softmax(scale · q kᵀ) v`, like q, and the log-sum-exp of the scores, `lse_BHT`.

    The log-sum-exp is natural, of the scaled scores that a query sees, in float32. A query that
    sees no key has an output of 0 and a log-sum-exp of −inf.

    Args:
        q_BHTD: T at least 1, D from 1 to 128, not only powers of two.
        k_BGSD: S at least 1; H is a multiple of G, and query head h reads key/value head
            h // (H / G): with H = 6 and G = 2, heads 0, 1, 2 read head 0.
        v_BGSD: like k.
        scale: any finite number, also a negative one; 0 is a scale like any other; None: 1/√D.
        causal: query i sees key j only if `j <= i + S − T`: the last query sees all keys.

    Raises:
        ValueError: unless all three have rank 4, one dtype, one B and one D, k and v one shape,
            1 <= D <= 128, and H is a multiple of G.
    """
    raise NotImplementedError


# %% [markdown]
# ## 8 · `flash_attention_backward`
# Probabilities are one product away from the log-sum-exp: compute them again, store none.


# %% tags=["export"]
def flash_attention_backward(
    do_BHTD: Tensor,
    qkv: tuple[Tensor, Tensor, Tensor],
    forward: tuple[Tensor, Tensor],
    *,
    scale: float | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients dq, dk and dv, each with shape and dtype of its tensor.

    A query that saw no key has a log-sum-exp of −inf and adds nothing to any gradient. The
    gradient of a key/value head is the sum over all query heads that read it.

    Args:
        do_BHTD: gradient of the output, like q; all of its entries are finite.
        qkv: q, k and v of the forward pass.
        forward: its output, like q, and its log-sum-exp, float32 [B, H, T].
        scale: as in the forward pass.
        causal: as in the forward pass.

    Raises:
        ValueError: if q, k and v do not fit as in the forward pass, do or the output is not like q,
            or the log-sum-exp is not float32 [B, H, T].
    """
    raise NotImplementedError


# %% [markdown]
# ## Public cases
# Passing them does not mean that the hidden ones pass: those have other shapes, strides and values.

# %% tags=["scratch", "active-ipynb"]
# from grader.student import check
#
# check("matrix_add", matrix_add)
# check("softmax", softmax)
# check("rmsnorm", rmsnorm=rmsnorm, rmsnorm_backward=rmsnorm_backward)
# check("layernorm", layernorm=layernorm, layernorm_backward=layernorm_backward)
# check("cross_entropy", cross_entropy)
# check("matmul", matmul)
# check("flash_attention", flash_attention)
# check("flash_attention_backward", flash_attention_backward)
