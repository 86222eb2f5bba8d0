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


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
    """Return attention of one query [Hq, D] over tokens [S, H, D], and its log-sum-exp, float64."""
    heads, dim = q.shape
    factor = 1 / math.sqrt(dim) if scale is None else scale
    group = heads // k.shape[1]
    out = torch.zeros(heads, dim, dtype=torch.float64)
    lse = torch.full((heads,), -math.inf, dtype=torch.float64)
    for h in range(heads):
        if k.shape[0]:
            scores = k[:, h // group].double() @ q[h].double() * factor
            out[h] = torch.softmax(scores, dim=0) @ v[:, h // group].double()
            lse[h] = torch.logsumexp(scores, dim=0)
    return out, lse


def paged_decode(
    q: Tensor, caches: tuple[Tensor, Tensor], table: Tensor, lengths: Tensor, scale: float | None
) -> tuple[Tensor, Tensor]:
    """Return attention of one query per sequence in the dtype of `q`, and its float32 lse."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    lse = torch.zeros(q.shape[:2], dtype=torch.float64)
    for b, length in enumerate(lengths.tolist()):
        k, v = (sequence_tokens(x, table[b], length) for x in caches)
        out[b], lse[b] = attend(q[b], k, v, scale)
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
    """Return causal attention of packed chunks, one query at a time, in the dtype of `q`."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    for b, length in enumerate(lengths.tolist()):
        k, v = (sequence_tokens(x, table[b], length) for x in caches)
        for row in range(starts[b], starts[b + 1]):
            seen = max(0, length - (starts[b + 1] - row) + 1)
            out[row], _ = attend(q[row], k[:seen], v[:seen], scale)
    return out.to(q.dtype)


def merge(o: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """Return the attention over all parts [C, B, Hq, D], head by head, in float64, as float32."""
    _, rows, heads, dim = o.shape
    out, total = torch.zeros(rows, heads, dim), torch.full((rows, heads), -math.inf)
    for b in range(rows):
        for h in range(heads):
            full = [c for c in range(o.shape[0]) if lse[c, b, h] > -math.inf]
            if full:
                parts = lse[full, b, h].double()
                out[b, h] = torch.softmax(parts, dim=0) @ o[full, b, h].double()
                total[b, h] = torch.logsumexp(parts, dim=0)
    return out, total


def table_hash(parent: int, tokens: tuple[int, ...], modulus: int) -> int:
    """Return what `TableHash` of the harness returns."""
    value = parent
    for token in tokens:
        value = (value * 1_000_003 + token + 1) % modulus
    return value
