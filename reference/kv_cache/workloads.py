"""What is measured: growth of `append` and `generate`, peak memory, time of decoding on a GPU.

Takes: `Draw` and a size. Gives: workloads. Does not cover: tiers and points (see
`assignment.toml`).

Sizes are chosen so that what a bad idea costs outweighs what every call costs: the largest cache of
`append` would grow 128 times by 1024 tokens, and a step of `generate` multiplies matrices of 256
columns.
"""

import torch

from grader.author import (
    Call,
    Draw,
    Expect,
    New,
    PhaseEnd,
    ReclaimArguments,
    Work,
    WorkloadSteps,
    workload,
)

from .inputs import Pair, draw_wide_model, new_model
from .oracle import attention, greedy_along

Tensor = torch.Tensor

LOGIT_MARGIN = 1e-3


def _varied(base: Tensor, number: int) -> Tensor:
    """Return other numbers of the same size: drawing each would cost the judge time."""
    return base.roll(number + 1, dims=-1) * (1 + number % 7)


@workload("KVCache", "append_growth", sizes=(8192, 32768, 131072))
def append_growth(draw: Draw, size: int) -> WorkloadSteps:
    """A cache that begins empty takes single tokens and chunks in turns, 16 MiB at most."""
    long = draw.normal_tensor(2, 1, 1, 1023, 16)
    cache = yield New("KVCache", 1, 1, 16)
    pairs: list[Tensor] = []
    for number in range(size // 512):
        pair = _varied(long if number % 2 else long[:, :, :, :1], number)
        yield Call(cache, "append", pair[0], pair[1])
        pairs.append(pair)
    whole = torch.cat(pairs, dim=3)
    # Each token is read once and written once, keys and values.
    yield Work(bytes_moved=2 * whole.nbytes)
    for which, name in enumerate(("keys", "values")):
        got = yield Call(cache, name)
        yield Expect(got, whole[which], label=f"{name} after many chunks", exact=True)


@workload("KVCache", "presized_memory", sizes=(9216,))
def presized_memory(draw: Draw, size: int) -> WorkloadSteps:
    """A cache that is given its capacity takes 72 MiB, in chunks whose buffers are taken back.

    Who doubles instead moves when 64 MiB are full. At 64 MiB it would not show: memory that nobody
    has written to is not counted.
    """
    heads, dim, chunk = 8, 128, 1024
    base = draw.normal_tensor(2, 1, heads, chunk, dim)
    cache = yield New("KVCache", 1, heads, dim, capacity=size)
    for number in range(size // chunk):
        pair = _varied(base, number)
        yield Call(cache, "append", pair[0], pair[1])
        yield ReclaimArguments()
    yield PhaseEnd()
    for which, name in enumerate(("keys", "values")):
        got = yield Call(cache, name)
        want = torch.cat([_varied(base, n)[which] for n in range(size // chunk)], dim=2)
        yield Expect(got, want, label=f"{name} of a full cache", exact=True)


@workload("decode_attention", "grouped_memory", sizes=(16384,))
def grouped_memory(draw: Draw, size: int) -> WorkloadSteps:
    """32 query heads share 4 key/value heads over 16384 tokens."""
    heads, group, dim = 4, 8, 64
    k, v = _long_pair(draw, heads, size, dim)
    q = draw.normal_tensor(1, heads * group, 1, dim)
    lengths = torch.tensor([size])
    got = yield Call("decode_attention", q, k, v, lengths)
    yield Expect(got, lambda: attention(q, k, v, lengths), label="attention")


@workload("decode_attention", "decode_time", sizes=(32768,))
def decode_time(draw: Draw, size: int) -> WorkloadSteps:
    """One new token for each of 16 rows over 32768 stored tokens, in half precision."""
    rows, heads, group, dim = 16, 8, 4, 128
    k, v = (
        _long_pair(draw, rows * heads, size, dim)[which]
        .reshape(rows, heads, size, dim)
        .to(torch.float16)
        for which in (0, 1)
    )
    q = draw.normal_tensor(rows, heads * group, 1, dim, dtype=torch.float16)
    lengths = torch.full((rows,), size)
    got = yield Call("decode_attention", q, k, v, lengths)
    # Every key and value is read once: 2 products of 2 operations for each number and query head.
    flops = 2 * 2 * group * k.numel()
    yield Work(bytes_moved=k.nbytes + v.nbytes, flops=flops, dtype="float16")
    yield Expect(got, lambda: attention(q, k, v, lengths), label="attention")


@workload("generate", "growth", sizes=(24, 72, 216))
def generate_growth(draw: Draw, size: int) -> WorkloadSteps:
    """A prompt of 16 tokens is continued by more and more tokens."""
    spec = draw_wide_model(draw, max_tokens=256)
    prompt = draw.integer_tensor(1, 16, low=0, high=spec.vocab_size - 1)
    model = yield new_model(spec)
    got = yield Call("generate", model, prompt, size)
    yield Expect(
        got,
        lambda: greedy_along(spec, prompt, got, size, margin=LOGIT_MARGIN),
        label="tokens and log-probabilities",
    )


@workload("QuantizedKVCache", "attend_memory", sizes=(8192,))
def attend_memory(draw: Draw, size: int) -> WorkloadSteps:
    """One query attends over 8192 stored tokens, which are 16 MiB as int8 and 64 MiB as floats."""
    heads, group, dim, chunk = 16, 2, 64, 128  # what an append takes for itself is little
    base = draw.normal_tensor(2, 1, heads, chunk, dim)
    cache = yield New("QuantizedKVCache", 1, heads, dim)
    for number in range(size // chunk):
        pair = _varied(base, number)
        yield Call(cache, "append", pair[0], pair[1])
        yield ReclaimArguments()
    q = draw.normal_tensor(1, heads * group, 1, dim, scale=0.3)
    got = yield Call(cache, "attend", q)

    def want() -> Tensor:
        whole = [torch.cat([_varied(base, n)[w] for n in range(size // chunk)], 2) for w in (0, 1)]
        keys, values = (_dequantised(x) for x in whole)
        return attention(q.double(), keys, values, torch.tensor([size])).float()

    yield Expect(got, want, label="attention over the whole cache")


def _dequantised(x: Tensor) -> Tensor:
    """Return what is left of every vector after int8 with a scale, all of them at once."""
    scales = x.double().abs().amax(dim=-1, keepdim=True).float() / 127
    return (x / scales).round() * scales.double()


def _long_pair(draw: Draw, heads: int, size: int, dim: int) -> Pair:
    """Return k and v [1, heads, size, dim] made of shifted copies of a short random one."""
    short = draw.normal_tensor(2, 1, heads, size // 32, dim)
    k, v = torch.cat([short.roll(n, dims=-1) for n in range(32)], dim=3)
    return k, v
