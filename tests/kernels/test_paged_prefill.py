"""`paged_prefill` against fp64, query by query.

Tolerance as in `flash_attention`: 128 u in fp32, 3 · 2^-11 in fp16, relative to the largest
element.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, load
from tests.kernels.pages import draw_pages

op = load("paged_prefill")
U = ROUNDOFF[torch.float32]
TOLERANCE = {dtype: 3 * ROUNDOFF[dtype] for dtype in DTYPES} | {torch.float32: 128 * U}


def check(counts, lengths, *, h=4, d=16, dtype=torch.float32, scale=None, slack=0, **sizes):
    starts = torch.tensor([0, *counts], device=DEVICE).cumsum(0)
    q = torch.randn(sum(counts), h, d, device=DEVICE).to(dtype)
    pages = draw_pages(lengths, d=d, dtype=dtype, **sizes)
    chunks = (starts, max(counts) + slack)
    op.check_chunks(starts, tokens=sum(counts), longest=max(counts))
    o, lse = op.paged_prefill(q, chunks, *pages, scale=scale)
    size = d**-0.5 if scale is None else scale
    want_o, want_lse = op.naive_paged_prefill(q, chunks, *pages, scale=size)
    assert_near(o, want_o, TOLERANCE[dtype])
    assert_near(lse, want_lse, 128 * U)


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_prompts_chunks_and_decode_steps_in_one_launch(dtype):
    check([33, 7, 1, 0, 16], [33, 40, 20, 9, 16], h=2, g=1, dtype=dtype)


@pytest.mark.parametrize("page_size", [1, 2, 16, 17, 256])
def test_chunks_across_the_border_of_a_page(page_size):
    check([5, 5], [page_size + 3, 18], h=2, g=1, page_size=page_size)


@pytest.mark.parametrize("d", [1, 64, 80, 128])
def test_widths(d):
    check([20], [40], h=2, g=1, d=d, dtype=torch.float16)


@pytest.mark.parametrize("heads", [(8, 1), (6, 3)])
def test_query_heads_in_groups(heads):
    h, g = heads
    check([10], [30], h=h, g=g)


def test_rows_that_see_nothing():
    check([5], [2])


def test_a_longest_chunk_that_none_is():
    check([3, 9], [30, 9], slack=70)


@pytest.mark.parametrize("scale", [0.0, -0.3])
def test_any_scale(scale):
    check([10], [30], scale=scale)


def test_129_tokens():
    check([129], [129], h=1, g=1, dtype=torch.float16)


def test_chunks_can_be_checked_beforehand():
    starts = torch.tensor([0, 3, 5])
    with pytest.raises(ValueError, match="expected to grow"):
        op.check_chunks(starts, tokens=6, longest=3)
    with pytest.raises(ValueError, match="expected to grow"):
        op.check_chunks(torch.tensor([0, 3, 2]), tokens=2, longest=3)
    with pytest.raises(ValueError, match="expected at least 3, got 2"):
        op.check_chunks(starts, tokens=5, longest=2)


Q, C = torch.zeros(7, 4, 8), torch.zeros(5, 16, 2, 8)
T, L = torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)
S = torch.tensor([0, 3, 7])


@pytest.mark.parametrize(
    "args",
    [
        (Q, (S[:2], 4), (C, C), T, L),
        (Q, (S.float(), 4), (C, C), T, L),
        (Q, (S, -1), (C, C), T, L),
        (Q, (S.to("meta"), 4), (C, C), T, L),
        (Q[0], (S, 4), (C, C), T, L),
        (Q, (S, 4), (C, C), T, L[:1]),
        (Q, (S, 4), (C, C[:2]), T, L),
    ],
)
def test_bad_input(args):
    with pytest.raises(ValueError, match="expected"):
        op.paged_prefill(*args)


def test_arithmetic():
    sizes = {"tokens": 10, "T": 4, "H": 4, "G": 2, "D": 8, "element_bytes": 2}
    assert op.bytes_moved(**sizes) == 2 * 36 * 8 * 2 + 64
    assert op.flops(chunks=((2, 5), (3, 1)), H=4, D=8) == 4 * (4 + 5 + 1) * 32
