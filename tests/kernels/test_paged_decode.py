"""`paged_decode` against fp64.

Tolerance as in `flash_attention`: 128 u in fp32, 3 · 2^-11 in fp16, relative to the largest
element.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, load
from tests.kernels.pages import draw_pages

op = load("paged_decode")
U = ROUNDOFF[torch.float32]
TOLERANCE = {dtype: 3 * ROUNDOFF[dtype] for dtype in DTYPES} | {torch.float32: 128 * U}


def check(q, pages, *, scale=None):
    o, lse = op.paged_decode(q, *pages, scale=scale)
    size = q.shape[-1] ** -0.5 if scale is None else scale
    want_o, want_lse = op.naive_paged_decode(q, *pages, scale=size)
    assert o.dtype == q.dtype
    assert_near(o, want_o, TOLERANCE[q.dtype])
    assert_near(lse, want_lse, 128 * U)


def draw(lengths, *, h=4, d=16, dtype=torch.float32, **sizes):
    q = torch.randn(len(lengths), h, d, device=DEVICE).to(dtype)
    return q, draw_pages(lengths, d=d, dtype=dtype, **sizes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("page_size", [1, 2, 16, 17, 64, 256])
def test_page_sizes(page_size, dtype):
    lengths = [0, 1, max(1, page_size - 1), page_size, page_size + 1, 40]
    check(*draw(lengths, h=2, g=1, page_size=page_size, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 64, 80, 128])
def test_widths(d, dtype):
    check(*draw([33, 5], h=2, g=1, d=d, dtype=dtype))


@pytest.mark.parametrize("heads", [(1, 1), (8, 1), (8, 2), (40, 2), (6, 6)])
def test_query_heads_in_groups(heads):
    h, g = heads
    check(*draw([20, 3], h=h, g=g))


def test_an_empty_sequence_is_zero():
    q, pages = draw([0, 0])
    o, lse = op.paged_decode(q, *pages)
    assert not o.any()
    assert (lse == -float("inf")).all()


@pytest.mark.parametrize("scale", [0.0, -0.3, 100.0])
def test_any_scale(scale):
    check(*draw([50], h=2, g=1), scale=scale)


def test_views():
    q, (caches, table, lengths) = draw([20, 35], h=6, g=3)
    caches = tuple(x.transpose(1, 3).contiguous().transpose(1, 3) for x in caches)
    wide = torch.stack([table, table], dim=2)[..., 0].long()
    check(q.mT.contiguous().mT, (caches, wide, torch.stack([lengths, lengths], dim=1)[:, 0]))


def test_pages_can_be_checked_beforehand():
    _, ((k_cache, _), table, lengths) = draw([20, 35])
    sizes = {"pages": k_cache.shape[0], "page_size": 16}
    op.check_pages(table, lengths, **sizes)
    with pytest.raises(ValueError, match="expected 0 to"):
        op.check_pages(table, -lengths, **sizes)
    with pytest.raises(ValueError, match="expected page numbers"):
        op.check_pages(table, lengths + 16, **sizes)


Q, C = torch.zeros(2, 4, 8), torch.zeros(5, 16, 2, 8)
T, L = torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)


@pytest.mark.parametrize(
    "args",
    [
        (Q[0], (C, C), T, L),
        (Q, (C, C[:3]), T, L),
        (Q, (C.half(), C.half()), T, L),
        (Q[..., :4], (C, C), T, L),
        (Q[:, :3], (C, C), T, L),
        (Q[:1], (C, C), T, L),
        (Q, (C[:, :0], C[:, :0]), T, L),
        (Q, (C, C), T.float(), L),
        (Q, (C, C), T, L[:1]),
        (Q, (C, C), T[0], L),
        (Q, (C, C), T.to("meta"), L),
    ],
)
def test_bad_input(args):
    with pytest.raises(ValueError, match="expected"):
        op.paged_decode(*args)


def test_arithmetic():
    sizes = {"tokens": 10, "B": 2, "H": 4, "G": 2, "D": 8, "element_bytes": 2}
    assert op.bytes_moved(**sizes) == 2 * 28 * 8 * 2 + 32
    assert op.flops(tokens=10, H=4, D=8) == 1280
