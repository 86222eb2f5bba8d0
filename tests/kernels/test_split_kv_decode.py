"""`split_kv_decode` against the oracle of `paged_decode`, however a sequence is split.

Tolerance as in `flash_attention`: 128 u in fp32, 3 · 2^-11 in fp16, relative to the largest
element. The merge is in fp32 and adds a few u.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, load
from tests.kernels.pages import draw_pages

op = load("split_kv_decode")
U = ROUNDOFF[torch.float32]
TOLERANCE = {dtype: 3 * ROUNDOFF[dtype] for dtype in DTYPES} | {torch.float32: 128 * U}


def check(lengths, parts, *, h=4, d=16, dtype=torch.float32, sharpness=1.0, **sizes):
    q = (sharpness * torch.randn(len(lengths), h, d, device=DEVICE)).to(dtype)
    pages = draw_pages(lengths, d=d, dtype=dtype, **sizes)
    o, lse = op.split_kv_decode(q, *pages, parts=parts)
    want_o, want_lse = op.naive_split_kv_decode(q, *pages, scale=d**-0.5)
    assert_near(o, want_o, TOLERANCE[dtype])
    assert_near(lse, want_lse, 128 * U)
    return o, lse


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_parts(parts, dtype):
    check([100, 7, 33], parts, h=2, g=1, dtype=dtype)


@pytest.mark.parametrize("page_size", [1, 16, 17, 256])
def test_page_sizes(page_size):
    check([70, 16], 3, h=2, g=1, page_size=page_size)


def test_more_parts_than_tokens():
    check([3, 1, 5], 8)


def test_an_empty_sequence_is_zero():
    o, lse = check([0, 9, 0], 4)
    assert not o[[0, 2]].any()
    assert (lse[[0, 2]] == -float("inf")).all()


def test_a_part_may_hold_all_of_the_probability():
    """Scores of hundreds: one token weighs 1, and the mean of the parts would be far off."""
    check([130], 5, sharpness=100.0)


@pytest.mark.parametrize("d", [1, 64, 80, 128])
def test_widths(d):
    check([33], 2, h=2, g=1, d=d, dtype=torch.float16)


@pytest.mark.parametrize("heads", [(8, 1), (6, 3)])
def test_query_heads_in_groups(heads):
    h, g = heads
    check([40], 3, h=h, g=g)


def test_parts_are_chosen_to_fill_the_device():
    assert op.choose_parts(heads=8, tokens=32768) >= 10
    assert op.choose_parts(heads=1000, tokens=32768) == 1
    assert op.choose_parts(heads=1, tokens=300) == 1
    check([600], None, g=1)


Q, C = torch.zeros(2, 4, 8), torch.zeros(5, 16, 2, 8)
T, L = torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ((Q, (C, C), T, L), 0),
        ((Q, (C, C), T, L), 257),
        ((Q[0], (C, C), T, L), 2),
        ((Q[:1], (C, C), T, L), 2),
        ((Q, (C, C), T, L[:1]), 2),
    ],
)
def test_bad_input(args, parts):
    with pytest.raises(ValueError, match="expected"):
        op.split_kv_decode(*args, parts=parts)


def test_arithmetic():
    sizes = {"tokens": 10, "B": 2, "H": 4, "G": 2, "D": 8, "C": 3, "element_bytes": 2}
    assert op.bytes_moved(**sizes) == 2 * 28 * 8 * 2 + 32 + 8 * 8 * 3 * 9
    assert op.flops(tokens=10, H=4, D=8) == 1280
