"""Generators and iterators: what happens is a stream of (parameter, gradient) pairs."""
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter


def _names():
    yield from ((name, "low") for name in ("linear", "matmul", "conv1d", "conv2d"))
    yield from ((name, "widest") for name in ("add", "sub", "mul", "div", "maximum"))
    yield from ((n, "widest") for n in ("gelu", "relu", "embedding", "transpose", "reshape"))


POLICIES = dict(_names())


def cast_policy(op: str) -> str:
    return POLICIES[op] if op in POLICIES else "float32"


def _is_half(dtype: torch.dtype) -> bool:
    return dtype == torch.bfloat16 or dtype == torch.float16


def _walk(values: Iterable[Any]) -> Iterator[Tensor]:
    for x in values:
        if isinstance(x, Tensor) and x.is_floating_point():
            yield x


def _cast(policy: str, values: list, low: torch.dtype) -> Iterator[Any]:
    dtypes = [x.dtype for x in _walk(values)]
    for x in values:
        if not isinstance(x, Tensor) or not x.is_floating_point() or torch.float64 in dtypes:
            yield x
        elif policy == "low":
            yield x.to(low)
        elif policy == "float32" and _is_half(x.dtype):
            yield x.to(torch.float32)
        elif policy == "widest" and _is_half(x.dtype) and len(set(dtypes)) > 1:
            yield x.to(torch.float32)
        else:
            yield x


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if not (isinstance(low, torch.dtype) and _is_half(low)):
        raise ValueError("low")

    def apply(op, *args, **keywords):
        stream = _cast(cast_policy(op), [*args, *keywords.values()], low)
        new_args = [next(stream) for _ in args]
        return model.run(op, *new_args, **dict(zip(keywords, stream)))

    return model(*inputs, apply=apply)


def _once(params: Iterable[Parameter]) -> Iterator[Parameter]:
    seen = set()
    for p in params:
        if id(p) not in seen:
            seen.add(id(p))
            yield p


def _with_gradient(params: Iterable[Parameter]) -> Iterator[Parameter]:
    return (p for p in _once(params) if p.grad is not None)


class MasterAdamW:
    def __init__(
        self,
        params: Iterable[Parameter],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.params = [p for p in params]
        for wrong, why in (
            (not lr >= 0, "lr"),
            (not all(0 <= b < 1 for b in betas), "betas"),
            (not eps >= 0, "eps"),
            (not weight_decay >= 0, "weight_decay"),
            (not self.params, "no parameter"),
            (any(p.dtype != torch.float32 and not _is_half(p.dtype) for p in self.params), "dtype"),
        ):
            if wrong:
                raise ValueError(why)
        self._lr, self._betas, self._eps, self._decay = lr, betas, eps, weight_decay
        self._order = list(_once(self.params))
        self._t = {p: 0 for p in self._order}
        self._low_masters = {p: p.detach().float() for p in self._order if _is_half(p.dtype)}
        self._m = {p: torch.zeros_like(p.detach(), dtype=torch.float32) for p in self._order}
        self._v = {p: torch.zeros_like(p.detach(), dtype=torch.float32) for p in self._order}

    def _master(self, p: Parameter) -> Tensor:
        return self._low_masters[p] if p in self._low_masters else p.detach()

    def _moments(self) -> Iterator[tuple[Parameter, Tensor]]:
        """Move the moments of each parameter with a gradient; give it and its direction."""
        beta1, beta2 = self._betas
        for p in self._order:
            if p.grad is None:
                continue
            g = p.grad.to(torch.float32)
            m, v = self._m[p], self._v[p]
            m += (g - m) * (1 - beta1)
            v *= beta2
            v += (1 - beta2) * g * g
            self._t[p] += 1
            first = m / (1 - beta1 ** self._t[p])
            second = v / (1 - beta2 ** self._t[p])
            yield p, first / (second.sqrt() + self._eps)

    @torch.no_grad()
    def step(self) -> None:
        for p, direction in self._moments():
            w = self._master(p)
            w *= 1 - self._lr * self._decay
            w -= self._lr * direction
            if p in self._low_masters:
                p.copy_(w)

    def zero_grad(self) -> None:
        for p in _once(self.params):
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        return {
            "steps": list(self._t.values()),
            "master": [self._master(p).clone() for p in self._order],
            "m": [x.clone() for x in self._m.values()],
            "v": [x.clone() for x in self._v.values()],
        }

    def _complaints(self, state) -> Iterator[str]:
        if set(state) != {"steps", "master", "m", "v"}:
            yield "keys"
            return
        for key, entries in state.items():
            if len(entries) != len(self._order):
                yield f"{key}: {len(entries)} entries"
                return
        for t in state["steps"]:
            if not isinstance(t, int) or isinstance(t, bool) or t < 0:
                yield f"steps: {t}"
        for key in ("master", "m", "v"):
            for p, x in zip(self._order, state[key]):
                if not isinstance(x, Tensor) or x.dtype != torch.float32 or x.shape != p.shape:
                    yield key

    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        for complaint in self._complaints(state):
            raise ValueError(complaint)
        with torch.no_grad():
            for i, p in enumerate(self._order):
                self._t[p] = state["steps"][i]
                self._m[p].copy_(state["m"][i])
                self._v[p].copy_(state["v"][i])
                self._master(p).copy_(state["master"][i])
                p.copy_(self._master(p))


def _bad_entries(g: Tensor) -> bool:
    return bool((torch.isinf(g) | torch.isnan(g)).any())


def _checked(optimizer: Any) -> list[Parameter]:
    def stream():
        for p in _with_gradient(optimizer.params):
            if p.grad.dtype not in (torch.float32, torch.bfloat16):
                raise ValueError("gradients in float16 cannot be unscaled")
            yield p

    return list(stream())  # all of them are checked before one is divided


def _divided(parameters: Iterable[Parameter], scale: float) -> Iterator[Parameter]:
    with torch.no_grad():
        for p in parameters:
            p.grad.copy_(torch.true_divide(p.grad.to(torch.float32), scale))
            yield p


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not 1 <= init_scale <= 2**24:
            raise ValueError("init_scale")
        if not growth_factor > 1 or not 0 < backoff_factor < 1 or not growth_interval >= 1:
            raise ValueError("factors or interval")
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._start(float(init_scale), 0)

    def _start(self, scale: float, good: int) -> None:
        self._life = self._rounds(scale, good)
        next(self._life)

    def _rounds(self, scale: float, good: int) -> Iterator[None]:
        """The scale's life, one round per yield; True, False and None are sent: bad, good, neither."""
        while True:
            self._scale, self._good = scale, good
            self._seen: dict[int, list] = {}
            self._gone: set[Parameter] = set()
            bad = yield
            if bad is True:
                scale, good = max(scale * self._backoff_factor, 1.0), 0
            elif bad is False:
                good += 1
                if good >= self._growth_interval:
                    scale, good = min(scale * self._growth_factor, 2.0**24), 0

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        return self._scale * loss.float()

    def unscale_(self, optimizer: Any) -> None:
        if id(optimizer) in self._seen:
            raise RuntimeError("unscaled or stepped already")
        parameters = _checked(optimizer)
        fresh = [p for p in parameters if p not in self._gone]
        self._gone.update(_divided(fresh, self._scale))
        bad = None
        for p in parameters:
            bad = bool(bad) or _bad_entries(p.grad)
        self._seen[id(optimizer)] = [optimizer, bad, False]

    def step(self, optimizer: Any) -> bool:
        entry = self._seen.get(id(optimizer))
        if entry is None:
            self.unscale_(optimizer)
            entry = self._seen[id(optimizer)]
        if entry[2]:
            raise RuntimeError("stepped already")
        entry[2] = True
        if not entry[1]:
            optimizer.step()
        return not entry[1]

    def update(self) -> None:
        if not self._seen:
            raise RuntimeError("no optimizer took part")
        answers = {bad for _, bad, _ in self._seen.values()}
        self._life.send(True if True in answers else False if False in answers else None)

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) != {"scale", "good_rounds"}:
            raise ValueError("keys")
        if not 1 <= state["scale"] <= 2**24 or not state["good_rounds"] >= 0:
            raise ValueError("range")
        self._start(float(state["scale"]), int(state["good_rounds"]))


def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError("scale")
    if not max_norm >= 0:
        raise ValueError("max_norm")
    parameters = list(_divided(_checked(optimizer), scale))
    if any(_bad_entries(p.grad) for p in parameters):
        return torch.tensor(math.inf, dtype=torch.float32), False
    norm = math.sqrt(math.fsum(p.grad.double().pow(2).sum().item() for p in parameters))
    if norm > max_norm:
        with torch.no_grad():
            for p in parameters:
                p.grad.copy_(p.grad.double() * max_norm / norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True


def _pieces(model, micro_batches, scale, leaves) -> Iterator[tuple[int, Tensor, list]]:
    """One piece's targets, loss and gradients at a time; its graph is gone before it comes."""
    for inputs, targets in micro_batches:
        n = int((targets != -100).sum())
        if n > 0:
            yield n, *_one(model, inputs, targets, scale, leaves)


def _one(model, inputs, targets, scale, leaves):
    loss = model.loss(inputs, targets)
    found = [None] * len(leaves)
    if leaves and loss.requires_grad:
        found = torch.autograd.grad(loss.float() * scale, leaves, allow_unused=True)
    return loss.detach(), found


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError("scale")
    for inputs, targets in micro_batches:
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError("rows")
    if not any(bool((targets != -100).any()) for _, targets in micro_batches):
        raise ValueError("no target")
    parameters = list(model.parameters())
    leaves = [p for p in parameters if p.requires_grad]
    sums = [None] * len(leaves)
    total, loss_sum = 0, 0.0
    for n, loss, found in _pieces(model, micro_batches, scale, leaves):
        total += n
        loss_sum = loss_sum + loss.double() * n
        for i, g in enumerate(found):
            if g is not None:
                sums[i] = g.float() * n if sums[i] is None else sums[i].add_(g.float(), alpha=n)
        del found
    for p in parameters:
        p.grad = None
    means = iter([None if s is None else s / total / scale for s in sums])
    return (loss_sum / total).float(), [next(means) if p.requires_grad else None for p in parameters]


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    for right in (
        lambda: x.dtype == torch.float32,
        lambda: noise.dtype == torch.int32,
        lambda: x.shape == noise.shape,
        lambda: noise.numel() == 0 or (int(noise.min()) >= 0 and int(noise.max()) <= 65535),
    ):
        if not right():
            raise ValueError("x or noise")
    bits = x.detach().view(torch.int32)
    low = bits & 65535
    cut = bits - low  # the bits cut off; in two's complement this clears them
    up = (noise + low >= 65536) & ~torch.isnan(x.detach())
    bits = torch.where(up, cut + 65536, cut)
    bits = bits.masked_fill(torch.isnan(x.detach()), 0x7FC00000)
    return bits.view(torch.float32).to(torch.bfloat16)  # exact: the lower half is 0


@contextmanager
def _policy(model, low):
    """`model.loss` under the policy."""

    def forward(*inputs, apply):
        return model.loss(*inputs, apply=apply)

    forward.run = model.run

    class Under:
        def parameters(self):
            return model.parameters()

        def loss(self, *inputs):
            return autocast_forward(forward, *inputs, low=low)

    yield Under()


def _training(model, parameters, batches, low, lr, weight_decay, max_norm, scale) -> Iterator[float]:
    wanting = [p for p in parameters if p.requires_grad]
    masters = {p: Parameter(p.detach().float()) for p in wanting}
    optimizer = MasterAdamW(masters.values(), lr=lr, weight_decay=weight_decay) if masters else None
    with _policy(model, low) as under:
        for pieces in batches:
            loss, gradients = accumulate(under, pieces, scale=scale)
            yield float(loss)
            if optimizer is None:
                continue
            for p, g in zip(parameters, gradients):
                if p in masters:
                    masters[p].grad = g
            if not clip_and_step(optimizer, 1.0, max_norm)[1]:
                scale = max(scale / 2, 1.0)
                continue
            with torch.no_grad():
                for p, master in masters.items():
                    p.copy_(master)


def train(
    model: Any,
    batches: Sequence[Sequence[tuple[Tensor, Tensor]]],
    *,
    low: torch.dtype = torch.bfloat16,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    init_scale: float = 65536.0,
) -> Tensor:
    if not (isinstance(low, torch.dtype) and _is_half(low)):
        raise ValueError("low")
    if not (lr >= 0 and weight_decay >= 0 and max_norm >= 0 and 1 <= init_scale <= 2**24):
        raise ValueError("range")
    parameters = list(model.parameters())
    for p in parameters:
        p.grad = None
        p.data = p.data.to(dtype=low)
    stream = _training(
        model, parameters, batches, low, lr, weight_decay, max_norm, float(init_scale)
    )
    return torch.tensor(list(stream), dtype=torch.float32)


def found_inf_everywhere(optimizer: Any) -> bool:
    flags = (_bad_entries(p.grad) for p in _with_gradient(optimizer.params))
    here = torch.tensor([any(flags)], dtype=torch.float32)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(here)  # a sum of zeros and ones: how many ranks overflow
    if here.item() == 0:
        optimizer.step()
    return here.item() > 0
