"""What is right, slowly and obviously, in float64 wherever numbers are rounded.

Takes: inputs of a case. Gives: expected values of attention over pages. Does not cover: who holds
which block and who runs when (see `models`), errors, speed, memory.
"""

import math

import torch

Tensor = torch.Tensor


def sequence_tokens(x: Tensor, table: Tensor, length: int) -> Tensor:
    """Return the tokens of one sequence, [S, H, D], from the pages [P, N, H, D] it uses."""
    pages = -(-length // x.shape[1])
    return x[table[:pages]].flatten(0, 1)[:length]


def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None, *, first: int = 0
) -> tuple[Tensor, Tensor]:
    """Return attention of queries [T, Hq, D] over tokens [S, H, D], and its log-sum-exp, float64.

    Query i sees the first `first + i` tokens; none if that is not positive.
    """
    count, heads, dim = q.shape
    out = torch.zeros(q.shape, dtype=torch.float64)
    lse = torch.full((count, heads), -math.inf, dtype=torch.float64)
    seen = torch.arange(count) + first
    some = seen > 0
    if some.any():
        group = heads // k.shape[1]
        k, v = (x.double().repeat_interleave(group, dim=1).transpose(0, 1) for x in (k, v))
        factor = 1 / math.sqrt(dim) if scale is None else scale
        scores = q[some].double().transpose(0, 1) @ k.transpose(1, 2) * factor
        unseen = torch.arange(k.shape[1]) >= seen[some][:, None]
        scores = scores.masked_fill(unseen, -math.inf)
        out[some] = (torch.softmax(scores, dim=-1) @ v).transpose(0, 1)
        lse[some] = torch.logsumexp(scores, dim=-1).t()
    return out, lse


def paged_decode(
    q: Tensor, caches: tuple[Tensor, Tensor], table: Tensor, lengths: Tensor, scale: float | None
) -> tuple[Tensor, Tensor]:
    """Return attention of one query per sequence in the dtype of `q`, and its float32 lse."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    lse = torch.zeros(q.shape[:2], dtype=torch.float64)
    for b, length in enumerate(lengths.tolist()):
        k, v = (sequence_tokens(x, table[b], length) for x in caches)
        out[b : b + 1], lse[b : b + 1] = attend(q[b : b + 1], k, v, scale, first=length)
    return out.to(q.dtype), lse.float()


def paged_prefill(
    q: Tensor,
    starts: list[int],
    caches: tuple[Tensor, Tensor],
    table: Tensor,
    lengths: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    """Return causal attention of packed chunks, in the dtype of `q`."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    for b, length in enumerate(lengths.tolist()):
        k, v = (sequence_tokens(x, table[b], length) for x in caches)
        mine = slice(starts[b], starts[b + 1])
        first = length - (starts[b + 1] - starts[b]) + 1
        out[mine], _ = attend(q[mine], k, v, scale, first=first)
    return out.to(q.dtype)


def merge(o: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """Return the attention over all parts [C, B, Hq, D], in float64, as float32."""
    full = (lse > -math.inf)[..., None]
    weights = torch.softmax(lse.double(), dim=0).nan_to_num()[..., None]  # NaN: no part is full
    out = (weights * torch.where(full, o.double(), 0.0)).sum(dim=0)
    return out.float(), torch.logsumexp(lse.double(), dim=0).float()


def table_hash(parent: int, tokens: tuple[int, ...], modulus: int) -> int:
    """Return what `TableHash` of the harness returns."""
    value = parent
    for token in tokens:
        value = (value * 1_000_003 + token + 1) % modulus
    return value
