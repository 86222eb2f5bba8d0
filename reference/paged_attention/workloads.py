"""What is measured: growth of bookkeeping, peak memory, times on a GPU.

Takes: `Draw` and a size. Gives: workloads. Does not cover: tiers and points (see
`assignment.toml`).

Sizes are chosen so that what a bad idea costs outweighs what every call costs; numbers are shifted
copies of a few random ones, as drawing each would cost the judge time.
"""

import itertools
import math
from collections import deque

import torch

from grader.author import (
    Call,
    Draw,
    Expect,
    New,
    PhaseEnd,
    PhaseStart,
    ReclaimArguments,
    Work,
    WorkloadSteps,
    workload,
)

from .inputs import Pages
from .oracle import paged_decode, paged_prefill

Tensor = torch.Tensor

MODULUS = (1 << 61) - 1


def _shifted(draw: Draw, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return normal numbers: 64 KiB of random ones, repeated with a shift."""
    short = draw.normal_tensor(16381).to(dtype)
    return short.repeat(math.prod(shape) // 16381 + 1)[: math.prod(shape)].reshape(shape)


def _long_pages(
    draw: Draw, lengths: list[int], heads: int, *, dtype: torch.dtype, pool: int = 0
) -> Pages:
    """Return a pool of pages of 16 tokens and heads of 64 numbers, in a random order.

    `pool` is how many pages it has, if that is more than are in use.
    """
    used = [-(-length // 16) for length in lengths]
    n_pages = max(pool, sum(used))
    order = torch.tensor(draw.shuffled(range(n_pages)))[: sum(used)]
    table = torch.zeros(len(lengths), max(used), dtype=torch.int64)
    for b, mine in enumerate(order.split(used)):
        table[b, : len(mine)] = mine
    shape = (n_pages, 16, heads, 64)
    k, v = _shifted(draw, *shape, dtype=dtype), _shifted(draw, *shape, dtype=dtype)
    return Pages(k=k, v=v, table=table, lengths=torch.tensor(lengths))


def _reading(pages: Pages, group: int) -> Work:
    """Return the work of reading every key and value once, for so many query heads each."""
    numbers = int(pages.lengths.sum()) * pages.k[0, 0].numel()
    nbytes = 2 * numbers * pages.k.element_size()
    return Work(bytes_moved=nbytes, flops=4 * group * numbers)


@workload("BlockAllocator", "growth", sizes=(16384, 65536, 262144))
def allocator_growth(draw: Draw, size: int) -> WorkloadSteps:
    """Of a large pool, 128 blocks at a time are taken and given back; then a 32nd at once."""
    allocator = yield New("BlockAllocator", size)
    yield PhaseStart()
    free = deque(range(size))
    for count in [128] * 96 + [size // 32]:
        blocks = [free.popleft() for _ in range(count)]
        got = yield Call(allocator, "allocate", count)
        yield Expect(got, blocks, label="blocks")
        blocks = draw.shuffled(blocks)
        yield Call(allocator, "release", blocks)
        free.extend(blocks)
        yield Work(bytes_moved=32 * count)  # counts and queue, read and written
    got = yield Call(allocator, "n_free")
    yield Expect(got, size, label="n_free")


@workload("write_kv", "write_memory", sizes=(8192,))
def write_memory(draw: Draw, size: int) -> WorkloadSteps:
    """A pool of 64 MiB is filled by 32 writes whose buffers are taken back."""
    heads, dim, page, writes = 8, 128, 16, 32
    pool = yield New("harness:PagePool", size // page, page, heads, dim)
    slots = torch.tensor(draw.shuffled(range(size)))
    base = _shifted(draw, 2, size // writes, heads, dim)
    want = torch.zeros(2, size, heads, dim)
    for number, mine in enumerate(slots.split(size // writes)):
        chunk = base * (number + 1)
        yield Call("write_kv", pool, chunk[0], chunk[1], mine)
        yield ReclaimArguments()
        want[:, mine] = chunk
    yield PhaseEnd()
    for name, whole in zip(("k_PNHD", "v_PNHD"), want, strict=True):
        got = yield Call(pool, name)
        yield Expect(got, whole.view(-1, page, heads, dim), label=name, exact=True)


def _decode(draw: Draw, pages: Pages, group: int) -> WorkloadSteps:
    heads, dim = pages.k.shape[2:]
    q = draw.normal_tensor(len(pages.lengths), heads * group, dim).to(pages.k.dtype)
    got = yield Call("paged_decode", q, *pages.arguments)
    yield _reading(pages, group)

    def want() -> Tensor:
        return paged_decode(q, pages.caches, pages.table, pages.lengths, None)[0]

    yield Expect(got, want, label="attention")


@workload("paged_decode", "decode_memory", sizes=(8192,))
def decode_memory(draw: Draw, size: int) -> WorkloadSteps:
    """12 long sequences among 4 short ones, in half precision: 48 MiB of a pool of 64.

    All tables are as wide as those of the long ones, and the short ones have few pages.
    """
    pages = _long_pages(draw, [size, size, 64, size] * 4, 2, dtype=torch.float16, pool=size)
    yield from _decode(draw, pages, 4)


@workload("paged_decode", "decode_time", sizes=(4096,))
def decode_time(draw: Draw, size: int) -> WorkloadSteps:
    """One new token for each of 64 sequences of 4096 tokens, in half precision."""
    yield from _decode(draw, _long_pages(draw, [size] * 64, 8, dtype=torch.float16), 4)


def _split(draw: Draw, pages: Pages, n_splits: int) -> WorkloadSteps:
    heads, dim = pages.k.shape[2:]
    q = draw.normal_tensor(1, heads * 4, dim).to(pages.k.dtype)
    got = yield Call("split_kv_decode", q, *pages.arguments, n_splits=n_splits)
    yield _reading(pages, 4)

    def want() -> tuple[Tensor, Tensor]:
        return paged_decode(q, pages.caches, pages.table, pages.lengths, None)

    yield Expect(got, want, label="output and log-sum-exp")


@workload("paged_decode", "page_size_growth", sizes=(16, 64, 256))
def page_size_growth(draw: Draw, size: int) -> WorkloadSteps:
    """A decoding step of 64 sequences of 4096 tokens, in `size` pages each: the same bytes."""
    page = 4096 // size
    table = torch.tensor(draw.shuffled(range(64 * size))).view(64, size)
    k, v = (_shifted(draw, 64 * size, page, 8, 64, dtype=torch.float16) for _ in "kv")
    yield from _decode(draw, Pages(k=k, v=v, table=table, lengths=torch.full((64,), 4096)), 4)


@workload("split_kv_decode", "split_memory", sizes=(65536,))
def split_memory(draw: Draw, size: int) -> WorkloadSteps:
    """65536 tokens in 32 parts, in half precision: 32 MiB of a pool of 64."""
    pages = _long_pages(draw, [size], 2, dtype=torch.float16, pool=size // 8)
    yield from _split(draw, pages, 32)


@workload("split_kv_decode", "split_time", sizes=(32768,))
def split_time(draw: Draw, size: int) -> WorkloadSteps:
    """32768 tokens in a batch of one, in half precision, in 32 parts."""
    yield from _split(draw, _long_pages(draw, [size], 8, dtype=torch.float16), 32)


@workload("PrefixCache", "lookup_growth", sizes=(1024, 2048, 4096))
def lookup_growth(draw: Draw, size: int) -> WorkloadSteps:
    """Long prompts in blocks of 4, in a pool that is 32 times as large as one of them.

    Each is allocated, found while others hold it, released, and found again where it lies free.
    """
    hashing = yield New("harness:TableHash", MODULUS)
    cache = yield New("PrefixCache", 8 * size, 4, hashing)
    yield PhaseStart()
    free = deque(range(8 * size))
    for _ in range(2):
        tokens = draw.integer_tensor(size, low=0, high=999).tolist()
        *hits, end = (free.popleft() for _ in range(size // 4))
        got = yield Call(cache, "allocate", tokens)
        yield Expect(got, ([*hits, end], 0), label="a new prompt")
        second, third = free.popleft(), free.popleft()
        got = yield Call(cache, "allocate", tokens)
        yield Expect(got, ([*hits, second], size - 4), label="a known prompt")
        for last in (second, end):
            yield Call(cache, "release", [*hits, last])
        got = yield Call(cache, "allocate", tokens)
        yield Expect(got, ([*hits, third], size - 4), label="a known prompt whose blocks are free")
        yield Call(cache, "release", [*hits, third])
        free.extend((second, end, third, *hits[::-1]))
        yield Work(bytes_moved=96 * size)  # tokens and hashes, read and written
    got = yield Call(cache, "n_free")
    yield Expect(got, 8 * size, label="n_free")


@workload("fork", "fork_memory", sizes=(4096,))
def fork_memory(draw: Draw, size: int) -> WorkloadSteps:
    """A sequence of 32 MiB is forked four times, and each fork goes on."""
    heads, dim, page, chunk = 8, 128, 16, 512
    base = _shifted(draw, 2, chunk, heads, dim)
    cache = yield New("ForkingCache", size // page + 8, page, heads, dim)
    got = yield Call(cache, "create")
    yield Expect(got, 0, label="create")
    stored = []
    for number in range(size // chunk):
        stored.append((base * (number + 1))[:, : chunk - (number == 0)])  # the last page is open
        yield Call(cache, "append", 0, stored[-1][0], stored[-1][1])
        yield ReclaimArguments()
    for number in range(1, 5):
        yield Call(cache, "fork", 0)
        own = base[:, :1] + number
        yield Call(cache, "append", number, own[0], own[1])
        yield ReclaimArguments()
    yield PhaseEnd()
    got = yield Call(cache, "n_free")
    yield Expect(got, 4, label="n_free after four forks and a write to each")
    got = yield Call(cache, "gather", 4)
    want = torch.cat([*stored, base[:, :1] + 4], dim=1)
    yield Expect(got, (want[0], want[1]), label="the fourth fork", exact=True)


def _prefill(draw: Draw, pages: Pages, counts: list[int], group: int) -> WorkloadSteps:
    starts = list(itertools.accumulate(counts, initial=0))
    q = _shifted(draw, starts[-1], pages.k.shape[2] * group, 64, dtype=pages.k.dtype)
    got = yield Call("paged_prefill", q, torch.tensor(starts), *pages.arguments)
    yield _reading(pages, group)

    def want() -> Tensor:
        return paged_prefill(q, starts, pages.caches, pages.table, pages.lengths)

    yield Expect(got, want, label="attention")


@workload("paged_prefill", "prefill_memory", sizes=(320,))
def prefill_memory(draw: Draw, size: int) -> WorkloadSteps:
    """A prompt of 320 tokens beside 31 sequences of 64 with one new token each, in half precision.

    They use 144 of the 8192 pages of the pool, 32 MiB.
    """
    lengths, counts = [64] * 16 + [size] + [64] * 15, [1] * 16 + [size] + [1] * 15
    pages = _long_pages(draw, lengths, 1, dtype=torch.float16, pool=8192)
    yield from _prefill(draw, pages, counts, 8)


@workload("paged_prefill", "prefill_time", sizes=(4096,))
def prefill_time(draw: Draw, size: int) -> WorkloadSteps:
    """Chunks of 256 new tokens of 4 sequences of 4096 tokens, in half precision."""
    pages = _long_pages(draw, [size] * 4, 8, dtype=torch.float16)
    yield from _prefill(draw, pages, [256] * 4, 4)
