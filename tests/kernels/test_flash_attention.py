"""`flash_attention` against fp64.

Tolerance, relative to the largest element of the output. fp32: a score is a sum of D products,
exact to about √D·u times its size; with scores up to 10 an exponential is off by 100 u at most, and
the output is a mean of values weighted by them: 128 u = 7.6e-6. TF32 rounds q and k to 2^-11, so
scores are off by 5e-4·√2 of their terms, 40 times as much (`test_rounding_to_tf32_would_fail`).
fp16: products are exact; the weights are rounded to 2^-11 before the second product, the result
once more: 3 · 2^-11. The log-sum-exp is in fp32 for both: as the scores, 128 u of the larger of
itself and 1.
"""

import pytest
import torch

from tests.kernels.nearness import DEVICE, DTYPES, ROUNDOFF, assert_near, error_of, load

op = load("flash_attention")
U = ROUNDOFF[torch.float32]
TOLERANCE = {dtype: 3 * ROUNDOFF[dtype] for dtype in DTYPES} | {torch.float32: 128 * U}


def draw(b=1, h=2, g=1, t=33, s=33, d=64, *, dtype=torch.float32):
    q = torch.randn(b, h, t, d, device=DEVICE).to(dtype)
    k, v = torch.randn(2, b, g, s, d, device=DEVICE).to(dtype)
    return q, k, v


def check(q, k, v, *, scale=None, causal=True):
    o, lse = op.flash_attention(q, k, v, scale=scale, causal=causal)
    assert o.dtype == q.dtype
    size = q.shape[-1] ** -0.5 if scale is None else scale
    want_o, want_lse = op.naive_flash_attention(q, k, v, scale=size, causal=causal)
    assert_near(o, want_o, TOLERANCE[q.dtype])
    assert_near(lse, want_lse, 128 * U)
    return o, lse


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("d", [1, 64, 80, 128])
def test_129_tokens(d, causal, dtype):
    check(*draw(h=1, t=129, s=129, d=d, dtype=dtype), causal=causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 130), (5, 70), (64, 65), (65, 64), (32, 96)])
def test_fewer_or_more_queries_than_keys(lengths, causal):
    t, s = lengths
    check(*draw(h=1, t=t, s=s, dtype=torch.float16), causal=causal)


@pytest.mark.parametrize("lengths", [(70, 5), (130, 1), (100, 60)])
def test_rows_that_see_nothing(lengths):
    t, s = lengths
    o, lse = check(*draw(t=t, s=s))
    assert not o[:, :, : t - s].any()
    assert (lse[:, :, : t - s] == -float("inf")).all()
    assert lse[:, :, t - s :].isfinite().all()


def test_no_keys_and_no_queries():
    q, k, v = draw(s=0)
    o, lse = op.flash_attention(q, k, v)
    assert not o.any()
    assert (lse == -float("inf")).all()
    assert op.flash_attention(q[:, :, :0], k, v)[0].shape == (1, 2, 0, 64)


@pytest.mark.parametrize("heads", [(8, 1), (8, 2), (6, 3), (4, 4)])
def test_query_heads_in_groups(heads):
    h, g = heads
    check(*draw(b=2, h=h, g=g, t=17, s=40, d=16, dtype=torch.float16))


@pytest.mark.parametrize("scale", [0.0, -0.3, 1.0])
def test_any_scale(scale):
    q, k, v = draw(d=16)
    check(q / 2, k, v, scale=scale)


def test_large_logits_do_not_overflow():
    """Scores near 1e5: each row is one value, whatever the finite number that stands for masked."""
    q, _k, v = draw(t=40, s=40, d=16)
    o, lse = op.flash_attention(1000 * q, -1000 * q[:, :1], v, scale=0.1, causal=True)
    assert o.isfinite().all()
    assert lse.isfinite().all()
    assert_near(o[:, :, 0], v[:, :, 0].expand(-1, 2, -1), 4 * U)


def test_constant_rows_are_means():
    q, k, v = draw(t=50, s=50)
    o, _ = op.flash_attention(torch.zeros_like(q), k, v, causal=True)
    means = v.double().cumsum(dim=2) / torch.arange(1, 51, device=DEVICE)[:, None]
    assert_near(o, means.expand(-1, 2, -1, -1), TOLERANCE[torch.float32])


def test_views_with_poison_between():
    buffer = torch.full((2, 90, 3, 4, 20), float("nan"), device=DEVICE, dtype=torch.float16)
    q, k, v = (buffer[:, 1:70:2, i, ::2, 2:18].transpose(1, 2) for i in range(3))
    for tensor in (q, k, v):
        tensor.copy_(torch.randn(2, 2, 35, 16))
    check(q, k, v)
    check(q.transpose(2, 3), k.transpose(2, 3), v.transpose(2, 3))


def test_rounding_to_tf32_would_fail():
    q, k, v = draw()
    want, _ = op.naive_flash_attention(q, k, v, scale=0.125, causal=True)
    rounded = (tensor.half() for tensor in (q, k, v))  # as many bits as TF32
    got, _ = op.naive_flash_attention(*rounded, scale=0.125, causal=True)
    assert error_of(got, want) > 10 * TOLERANCE[torch.float32]


Q, K = torch.zeros(2, 4, 3, 8), torch.zeros(2, 2, 5, 8)


@pytest.mark.parametrize(
    "args",
    [
        (Q[0], K, K),
        (Q, K[0], K),
        (Q, K, K[:, :, :4]),
        (Q, K.half(), K),
        (Q[:1], K, K),
        (Q[..., :4], K, K),
        (Q[:, :3], K, K),
        (Q, K[:, :0], K[:, :0]),
        (Q, K.to("meta"), K),
        (Q.double(), K.double(), K.double()),
        (torch.zeros(1, 1, 1, 129),) * 3,
    ],
)
def test_bad_input(args):
    with pytest.raises(ValueError, match="expected"):
        op.flash_attention(*args)


def test_arithmetic():
    sizes = {"B": 2, "H": 4, "T": 3, "S": 5, "D": 8}
    assert op.bytes_moved(**sizes, G=2, element_bytes=2) == 2 * 8 * 2 * 2 * 22 + 96
    assert op.flops(**sizes, causal=False) == 4 * 2 * 4 * 8 * 15
    assert op.flops(**sizes, causal=True) == 4 * 2 * 4 * 8 * (3 + 4 + 5)
