"""`flash_attention_backward` against fp64 autograd of the forward pass's oracle.

Tolerance, relative to the largest element of each gradient. fp32: as forward, probabilities are
exact to 100 u; dp and delta are sums of D products of the size of the result; sums over T and S add
√T·u: 256 u. TF32 is off by 2^-11 of each factor, 30 times as much. fp16: p and ds are rounded to
2^-11 before the second product, o before delta; each gradient is rounded once: 6 · 2^-11.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, load

forward = load("flash_attention")
op = load("flash_attention_backward")
U = ROUNDOFF[torch.float32]
TOLERANCE = {dtype: 6 * ROUNDOFF[dtype] for dtype in DTYPES} | {torch.float32: 256 * U}


def draw(b=1, h=2, g=1, t=33, s=33, d=64, *, dtype=torch.float32):
    q, do = torch.randn(2, b, h, t, d, device=DEVICE).to(dtype)
    k, v = torch.randn(2, b, g, s, d, device=DEVICE).to(dtype)
    return do, q, k, v


def check(do, q, k, v, *, scale=None, causal=True):
    results = forward.flash_attention(q, k, v, scale=scale, causal=causal)
    got = op.flash_attention_backward(do, (q, k, v), results, scale=scale, causal=causal)
    size = q.shape[-1] ** -0.5 if scale is None else scale
    want = op.naive_flash_attention_backward(do, q, k, v, scale=size, causal=causal)
    for ours, theirs, like in zip(got, want, (q, k, v), strict=True):
        assert ours.dtype == like.dtype
        assert_near(ours, theirs, TOLERANCE[q.dtype])
    return got


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 64, 80, 128])
def test_widths(d, dtype):
    check(*draw(h=1, t=40, s=40, d=d, dtype=dtype))


@pytest.mark.parametrize("causal", [False, True])
def test_129_tokens(causal):
    check(*draw(h=1, t=129, s=129, d=16, dtype=torch.float16), causal=causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 50), (5, 40), (40, 5), (50, 1)])
def test_fewer_or_more_queries_than_keys(lengths, causal):
    t, s = lengths
    dq, _, _ = check(*draw(h=1, t=t, s=s, d=16, dtype=torch.float16), causal=causal)
    if causal:
        assert not dq[:, :, : max(0, t - s)].any()


@pytest.mark.parametrize("heads", [(8, 1), (6, 3), (2, 2)])
def test_sums_over_the_heads_of_a_group(heads):
    h, g = heads
    check(*draw(b=2, h=h, g=g, t=10, s=20, d=16))


@pytest.mark.parametrize("scale", [0.0, -0.3, 1.0])
def test_any_scale(scale):
    do, q, k, v = draw(h=1, d=16)
    check(do, q / 2, k, v, scale=scale)


def test_views():
    do, q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in draw(b=2, d=32))
    check(do, q, k, v)
    check(*(x.transpose(2, 3) for x in draw(t=32, s=32, d=20)))


def test_no_keys():
    do, q, k, v = draw(s=0)
    results = forward.flash_attention(q, k, v)
    dq, dk, _ = op.flash_attention_backward(do, (q, k, v), results)
    assert not dq.any()
    assert dk.shape == k.shape


Q, K, L = torch.zeros(2, 4, 3, 8), torch.zeros(2, 2, 5, 8), torch.zeros(2, 4, 3)


@pytest.mark.parametrize(
    "args",
    [
        (Q[0], (Q, K, K), (Q, L)),
        (Q, (Q, K, K[:, :1]), (Q, L)),
        (Q, (Q, K, K), (Q[:, :, :2], L)),
        (Q, (Q, K, K), (Q.half(), L)),
        (Q, (Q, K, K), (Q, L[:1])),
        (Q, (Q, K, K), (Q, L.double())),
        (Q.to("meta"), (Q, K, K), (Q, L)),
    ],
)
def test_bad_input(args):
    with pytest.raises(ValueError, match="expected"):
        op.flash_attention_backward(*args)


def test_arithmetic():
    sizes = {"B": 2, "H": 4, "T": 3, "S": 5, "D": 8}
    assert op.bytes_moved(**sizes, G=2, element_bytes=2) == 4 * 2 * 8 * 2 * 22 + 96
    assert op.flops(**sizes, causal=False) == 10 * 2 * 4 * 8 * 15
    assert op.flops(**sizes, causal=True) == 10 * 2 * 4 * 8 * 12
