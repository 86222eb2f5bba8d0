"""`kv_write` moves numbers: it is exact, and touches nothing but its slots."""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, load

op = load("kv_write")


def check(k, v, slots, caches):
    slots = torch.as_tensor(slots, device=DEVICE)
    want = tuple(cache.clone() for cache in caches)
    op.naive_kv_write(k, v, slots, *want)
    op.kv_write(k, v, slots, caches)
    for ours, theirs in zip(caches, want, strict=True):
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert torch.equal(ours.nan_to_num(7.0), theirs.nan_to_num(7.0))


def draw(tokens, g, d, *, dtype=torch.float32):
    return torch.randn(2, tokens, g, d, device=DEVICE).to(dtype)


def poison(pages, page_size, g, d, *, dtype=torch.float32):
    shape = (pages, page_size, g, d)
    return tuple(torch.full(shape, float("nan"), device=DEVICE, dtype=dtype) for _ in range(2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("page_size", [1, 2, 16, 17, 256])
def test_around_the_border_of_a_page(page_size, dtype):
    slots = sorted({0, max(0, page_size - 1), page_size, page_size + 1, 3 * page_size - 1})
    slots = [slot for slot in slots if slot < 3 * page_size][::-1]
    k, v = draw(len(slots), 2, 20, dtype=dtype)
    check(k, v, slots, poison(3, page_size, 2, 20, dtype=dtype))


def test_padding_goes_nowhere():
    k, v = draw(5, 2, 8)
    k[1], v[1] = float("nan"), float("nan")
    caches = tuple(torch.zeros(3, 4, 2, 8, device=DEVICE) for _ in range(2))
    check(k, v, [5, -1, 0, -7, 11], caches)
    assert not caches[0][0, 1:].any()


def test_a_slot_behind_the_cache_is_not_written():
    k, v = draw(2, 1, 8)
    whole = torch.zeros(2, 6, 2, 1, 8, device=DEVICE)
    slots = torch.tensor([4, 8], device=DEVICE)
    op.kv_write(k, v, slots, (whole[0, :4], whole[1, :4]))
    assert not whole[:, 4:].any()
    with pytest.raises(ValueError, match="expected below 8, got 8"):
        op.check_slots(slots, pages=4, page_size=2)
    with pytest.raises(ValueError, match="expected each once"):
        op.check_slots(torch.tensor([3, 3]), pages=4, page_size=2)
    op.check_slots(torch.tensor([7, -1, -1]), pages=4, page_size=2)
    op.check_slots(torch.tensor([], dtype=torch.int64), pages=4, page_size=2)


def test_heads_wider_than_a_block():
    k, v = draw(2, 9, 128)
    check(k, v, [3, 1], poison(2, 2, 9, 128))


def test_views():
    k, v = (x.transpose(0, 1)[:, ::2] for x in draw(8, 6, 10))
    cache = torch.zeros(2, 4, 10, 4, 3, device=DEVICE).permute(0, 1, 4, 3, 2)
    check(k, v, torch.tensor([9, 2, 11, 0, 7, 4], dtype=torch.int32), (cache[0], cache[1]))


def test_no_tokens():
    k, v = draw(0, 2, 8)
    check(k, v, torch.zeros(0, dtype=torch.int64), poison(1, 1, 2, 8))


K, S, C = torch.zeros(3, 2, 8), torch.zeros(3, dtype=torch.int64), torch.zeros(4, 2, 2, 8)


@pytest.mark.parametrize(
    "args",
    [
        (K[0], K, S, (C, C)),
        (K, K[:2], S, (C, C)),
        (K, K, S[:2], (C, C)),
        (K, K, S.float(), (C, C)),
        (K, K, S, (C[0], C)),
        (K, K, S, (C, C[:3])),
        (K, K, S, (C[..., :4], C[..., :4])),
        (K, K, S, (C.half(), C.half())),
        (K, K, S.to("meta"), (C, C)),
    ],
)
def test_bad_input(args):
    with pytest.raises(ValueError, match="expected"):
        op.kv_write(*args)


def test_arithmetic():
    assert op.bytes_moved(tokens=3, heads=2, width=8, element_bytes=2) == 3 * 136
    assert op.flops(tokens=3) == 0
