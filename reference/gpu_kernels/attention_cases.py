"""Cases of `flash_attention` and `flash_attention_backward`.

Takes: `Draw`. Gives: case makers. Does not cover: speed and memory.

Widths of heads are powers of two except where a check is about others.
"""

import torch

from grader.author import Call, CaseSteps, Draw, Expect, Raises, case

from .inputs import HALF, SINGLE, heads
from .oracle import flash_attention, flash_attention_backward

Tensor = torch.Tensor
Triple = tuple[Tensor, Tensor, Tensor]


def _qkv(draw: Draw, query_heads: tuple[int, int], lengths: tuple[int, int], width: int) -> Triple:
    """Return q [1 or 2 if small, H, T, D], k and v [.., G, S, D]: heads after tokens in memory."""
    (count, groups), (queries, keys) = query_heads, lengths
    rows = 1 + draw.index % 2 * (queries < 60 and count < 4)
    q = heads(draw, rows, count, queries, width)
    return q, heads(draw, rows, groups, keys, width), heads(draw, rows, groups, keys, width)


def _forward(qkv: Triple, *, scale: float | None = None, causal: bool = False) -> CaseSteps:
    keywords: dict[str, object] = {} if scale is None else {"scale": scale}
    if causal:
        keywords["causal"] = True
    got = yield Call("flash_attention", *qkv, **keywords)
    want = lambda: flash_attention(*qkv, scale, causal)  # noqa: E731 - called after the reply
    yield Expect(got, want, label="output and log-sum-exp")


@case("flash_attention", "output", public=2, hidden=4)
def output(draw: Draw) -> CaseSteps:
    """Heads 80, 128 and 64 wide, no mask; one query; 129 queries; float16."""
    width = (80, 80, 128, 64)[draw.index]
    queries = (draw.integer(17, 40), draw.integer(33, 50), 1, 129)[draw.index]
    q, k, v = _qkv(draw, (1, 1), (queries, draw.integer(35, 60)), width)
    dtype = HALF if draw.index in (1, 3) else SINGLE
    yield from _forward((q.to(dtype), k.to(dtype), v.to(dtype)))


@case("flash_attention", "causal", hidden=3)
def causal(draw: Draw) -> CaseSteps:
    """As many queries as keys, and fewer: the last query sees all keys.

    With 62 fewer, the mask's corner is one off that of a tile.
    """
    queries = (draw.integer(17, 31), draw.integer(17, 25), draw.integer(3, 9))[draw.index]
    keys = queries + (draw.integer(20, 30), 0, 62)[draw.index]
    yield from _forward(_qkv(draw, (1, 1), (queries, keys), 16), causal=True)


@case("flash_attention", "sees_nothing", hidden=2)
def sees_nothing(draw: Draw) -> CaseSteps:
    """More queries than keys under the causal mask, few and many: the first see none."""
    keys = (draw.integer(3, 15), draw.integer(33, 40))[draw.index]
    queries = keys + (draw.integer(5, 9), 40)[draw.index]
    yield from _forward(_qkv(draw, (1, 1), (queries, keys), 16), causal=True)


@case("flash_attention", "grouped_heads", hidden=3)
def grouped_heads(draw: Draw) -> CaseSteps:
    """2 or 3 query heads share a key/value head; all share one."""
    shared = ((4, 2), (6, 2), (4, 1))[draw.index]
    yield from _forward(_qkv(draw, shared, (draw.integer(2, 9), draw.integer(17, 30)), 16))


@case("flash_attention", "scores", hidden=4)
def scores(draw: Draw) -> CaseSteps:
    """A given scale, a negative one, 0, scores from −20000 down, no two of them closer than 500."""
    q, k, v = _qkv(draw, (2, 2), (draw.integer(5, 20), 2 * draw.integer(9, 15) + 1), 16)
    if draw.index == 1:
        # float32 holds such scores to 0.002, and weights no better: so one key takes all.
        steps = torch.tensor(draw.shuffled(range(k.shape[2])))
        q, k = torch.full_like(q, -1000), torch.ones_like(k) * (1 + 0.025 * steps)[:, None]
        yield from _forward((q, k, v), scale=20000 / 16000)
        return
    yield from _forward((q, k, v), scale=(1.5, 0.0, -0.7, 0.0)[draw.index])


@case("flash_attention", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """What does not fit raises ValueError."""
    q, k, v = _qkv(draw, (4, 2), (3, 5), 8)
    wide = draw.normal_tensor(1, 1, 2, 129)
    bad = [
        ("3 query heads for 2", (q[:, :3], k, v)),
        ("a query without heads", (q[:, 0], k, v)),
        ("values with fewer keys", (q, k, v[:, :, 1:])),
        ("keys of another width", (q, k[..., 1:], v)),
        ("keys and values of another width", (q, k[..., 1:], v[..., 1:])),
        ("keys of another dtype", (q, k.half(), v)),
        ("two rows of keys too many", (q, k.repeat(3, 1, 1, 1), v.repeat(3, 1, 1, 1))),
        ("values of another dtype", (q, k, v.half())),
        ("values of another width", (q, k, v[..., 1:])),
        ("one key/value head more", (q, k, torch.cat([v, v[:, :1]], dim=1))),
        ("integers", (q.int(), k.int(), v.int())),
        ("float64", (q.double(), k.double(), v.double())),
        ("heads 0 wide", (q[..., :0], k[..., :0], v[..., :0])),
        ("heads 129 wide", (wide, wide, wide)),
    ]
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call("flash_attention", *arguments), "ValueError", what)


def _backward(
    draw: Draw,
    qkv: Triple,
    *,
    do: Tensor | None = None,
    scale: float | None = None,
    causal: bool = False,
) -> CaseSteps:
    keywords: dict[str, object] = {} if scale is None else {"scale": scale}
    if causal:
        keywords["causal"] = True
    forward = flash_attention(*qkv, scale, causal)
    do = draw.normal_tensor(*qkv[0].shape, dtype=qkv[0].dtype) if do is None else do
    got = yield Call("flash_attention_backward", do, qkv, forward, **keywords)
    want = lambda: flash_attention_backward(do, qkv, scale, causal)  # noqa: E731 - as above
    yield Expect(got, want, label="dq, dk and dv")


@case("flash_attention_backward", "gradients", public=2, hidden=3)
def gradients(draw: Draw) -> CaseSteps:
    """Heads 80, 128, 64 wide, no mask; a gradient in other strides; 1, 65 queries; float16."""
    width = (80, 64, 128)[draw.index]
    queries = (draw.integer(9, 20), 65, 1)[draw.index]
    qkv = _qkv(draw, (1, 1), (queries, draw.integer(17, 25)), width)
    if draw.index == 1:
        q, k, v = qkv
        qkv = q.to(HALF), k.to(HALF), v.to(HALF)
    do = heads(draw, *qkv[0].shape, dtype=qkv[0].dtype).mT.contiguous().mT  # tokens are dense
    yield from _backward(draw, qkv, do=do)


@case("flash_attention_backward", "causal", hidden=2)
def backward_causal(draw: Draw) -> CaseSteps:
    """62 queries fewer than keys, so that the mask's corner is one off a tile's; and as many."""
    queries = (draw.integer(3, 9), draw.integer(17, 25))[draw.index]
    keys = queries + (62, 0)[draw.index]
    yield from _backward(draw, _qkv(draw, (1, 1), (queries, keys), 16), causal=True)


@case("flash_attention_backward", "sees_nothing", hidden=2)
def backward_sees_nothing(draw: Draw) -> CaseSteps:
    """More queries than keys under the causal mask, few and many: the first add nothing."""
    keys = (draw.integer(3, 12), draw.integer(33, 40))[draw.index]
    queries = keys + (draw.integer(3, 6), 20)[draw.index]
    yield from _backward(draw, _qkv(draw, (1, 1), (queries, keys), 16), causal=True)


@case("flash_attention_backward", "grouped_heads", hidden=2)
def backward_grouped_heads(draw: Draw) -> CaseSteps:
    """Gradients of a key/value head are sums over the query heads that read it."""
    shared = ((4, 2), (3, 1))[draw.index]
    qkv = _qkv(draw, shared, (draw.integer(2, 9), draw.integer(3, 15)), 16)
    yield from _backward(draw, qkv)


@case("flash_attention_backward", "scale", hidden=2)
def backward_scale(draw: Draw) -> CaseSteps:
    """A given scale, a negative one."""
    qkv = _qkv(draw, (1, 1), (draw.integer(2, 9), draw.integer(3, 15)), 16)
    yield from _backward(draw, qkv, scale=(0.6, -0.3)[draw.index])


@case("flash_attention_backward", "bad_input", hidden=1)
def backward_bad_input(draw: Draw) -> CaseSteps:
    """What does not fit raises ValueError."""
    qkv = _qkv(draw, (2, 2), (3, 5), 8)
    q, k, v = qkv
    o, lse = flash_attention(*qkv, None, False)
    bad = [
        ("a gradient with a query less", (q[:, :, 1:], qkv, (o, lse))),
        ("a gradient of another dtype", (q.half(), qkv, (o, lse))),
        ("a gradient without heads", (q[:, 0], qkv, (o, lse))),
        ("an output of another dtype", (q, qkv, (o.half(), lse))),
        ("an output with a query less", (q, qkv, (o[:, :, 1:], lse))),
        ("a log-sum-exp with a query less", (q, qkv, (o, lse[..., 1:]))),
        ("keys of another dtype", (q, (q, k.half(), v), (o, lse))),
        ("a log-sum-exp with a head less", (q, qkv, (o, lse[:, 1:]))),
        ("a log-sum-exp in float16", (q, qkv, (o, lse.half()))),
        ("values with fewer keys", (q, (q, k, v[:, :, 1:]), (o, lse))),
        ("3 query heads for 2", (q[:, :1], (q[:, :1], k, v), (o[:, :1], lse[:, :1]))),
    ]
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call("flash_attention_backward", *arguments), "ValueError", what)
