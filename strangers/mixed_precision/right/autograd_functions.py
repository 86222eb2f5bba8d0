"""Subclasses of torch's own classes: autograd.Function for casts, torch.optim inside, Module inside."""
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter


class _To(torch.autograd.Function):
    """A cast with a backward pass of its own: the gradient goes back in the dtype that came."""

    @staticmethod
    def forward(ctx, x, dtype):
        ctx.came = x.dtype
        return x.to(dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.to(ctx.came), None


def _to(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else _To.apply(x, dtype)


class _Table(dict):
    def __missing__(self, op):
        return "float32"


_TABLE = _Table()
for _op in ("linear", "matmul", "conv1d", "conv2d"):
    _TABLE[_op] = "low"
for _op in ("add", "sub", "mul", "div", "maximum", "gelu", "relu", "embedding", "transpose", "reshape"):
    _TABLE[_op] = "widest"


def cast_policy(op: str) -> str:
    return _TABLE[op]


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    halves = (torch.bfloat16, torch.float16)
    if all(low is not half for half in halves):
        raise ValueError("low")

    def low_(floats):
        return low

    def float32_(floats):
        return torch.float32

    def widest_(floats):
        first = floats[0].dtype
        for x in floats:
            first = torch.promote_types(first, x.dtype)
        return first

    choose = {"low": low_, "float32": float32_, "widest": widest_}

    def apply(op, *args, **keywords):
        floats = [
            x
            for x in (*args, *keywords.values())
            if isinstance(x, Tensor) and x.dtype.is_floating_point
        ]
        if not floats or any(x.dtype == torch.float64 for x in floats):
            return model.run(op, *args, **keywords)
        dtype = choose[cast_policy(op)](floats)
        cast = {id(x): _to(x, dtype) for x in floats}  # one cast of what is given twice
        args = [cast.get(id(x), x) for x in args]
        keywords = {name: cast.get(id(x), x) for name, x in keywords.items()}
        return model.run(op, *args, **keywords)

    return model(*inputs, apply=apply)


class MasterAdamW:
    """One torch.optim.AdamW for each parameter, over a float32 parameter of its own."""

    def __init__(
        self,
        params: Iterable[Parameter],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.params = list(params)
        if not self.params:
            raise ValueError("no parameter")
        if not (lr >= 0 and eps >= 0 and weight_decay >= 0 and all(0 <= b < 1 for b in betas)):
            raise ValueError("range")
        for p in self.params:
            if p.dtype not in (torch.float32, torch.bfloat16, torch.float16):
                raise ValueError("dtype")
        self._inner: OrderedDict[Parameter, torch.optim.AdamW] = OrderedDict()
        for p in self.params:
            if p in self._inner:
                continue
            master = Parameter(p.detach() if p.dtype == torch.float32 else p.detach().float())
            self._inner[p] = torch.optim.AdamW(
                [master], lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay, foreach=False
            )
            self._inner[p].state[master] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros(p.shape, dtype=torch.float32, device=p.device),
                "exp_avg_sq": torch.zeros(p.shape, dtype=torch.float32, device=p.device),
            }

    def _parts(self):
        for p, inner in self._inner.items():
            (master,) = inner.param_groups[0]["params"]
            yield p, inner, master, inner.state[master]

    @torch.no_grad()
    def step(self) -> None:
        for p, inner, master, _ in self._parts():
            if p.grad is None:
                continue
            master.grad = p.grad.detach().float()
            inner.step()
            master.grad = None
            if p.dtype != torch.float32:
                p.copy_(master)

    def zero_grad(self) -> None:
        for p in self._inner:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        state: dict[str, list[Any]] = {"steps": [], "master": [], "m": [], "v": []}
        for _, _, master, s in self._parts():
            state["steps"].append(int(s["step"]))
            state["master"].append(master.detach().clone())
            state["m"].append(s["exp_avg"].clone())
            state["v"].append(s["exp_avg_sq"].clone())
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if set(state) != {"steps", "master", "m", "v"}:
            raise ValueError("keys")
        if any(len(entries) != len(self._inner) for entries in state.values()):
            raise ValueError("entries")
        for p, t, *tensors in zip(self._inner, *(state[k] for k in ("steps", "master", "m", "v"))):
            if type(t) is not int or t < 0:
                raise ValueError("steps")
            for x in tensors:
                if not isinstance(x, Tensor) or x.dtype != torch.float32 or x.shape != p.shape:
                    raise ValueError("tensors")
        for i, (p, _, master, s) in enumerate(self._parts()):
            s["step"].fill_(state["steps"][i])
            s["exp_avg"].copy_(state["m"][i])
            s["exp_avg_sq"].copy_(state["v"][i])
            master.copy_(state["master"][i])
            p.copy_(master)


class _Gradients(OrderedDict):
    """Parameter → gradient of an optimizer, tied ones once."""

    def __init__(self, optimizer: Any, *, checked: bool = True) -> None:
        super().__init__((p, p.grad) for p in optimizer.params if p.grad is not None)
        if checked:
            for g in self.values():
                if g.dtype not in (torch.float32, torch.bfloat16):
                    raise ValueError("dtype of a gradient")

    @torch.no_grad()
    def divide(self, scale: float, but: Iterable[Parameter] = ()) -> None:
        for p, g in self.items():
            if p not in but:
                g.copy_(g.type(torch.float32).div(scale))

    def overflow(self) -> bool:
        return any(not g.isfinite().all().item() for g in self.values())


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        for fine in (
            1 <= init_scale <= 2**24,
            growth_factor > 1,
            0 < backoff_factor < 1,
            growth_interval >= 1,
        ):
            if not fine:
                raise ValueError("out of range")
        self._factors = growth_factor, backoff_factor, growth_interval
        self._buffer = {"scale": float(init_scale), "good_rounds": 0}
        self._clear()

    def _clear(self) -> None:
        self._divided: set[Parameter] = set()
        self._optimizers: list[Any] = []
        self._verdicts: list[str] = []
        self._stepped: list[bool] = []

    def _index(self, optimizer: Any) -> int | None:
        hits = [i for i, o in enumerate(self._optimizers) if o is optimizer]
        return hits[0] if hits else None

    def get_scale(self) -> float:
        return self._buffer["scale"]

    def scale(self, loss: Tensor) -> Tensor:
        return _to(loss, torch.float32) * self.get_scale()

    def unscale_(self, optimizer: Any) -> None:
        if self._index(optimizer) is not None:
            raise RuntimeError("once in a round")
        gradients = _Gradients(optimizer)
        gradients.divide(self.get_scale(), but=self._divided)
        self._divided.update(gradients)
        self._optimizers.append(optimizer)
        self._stepped.append(False)
        self._verdicts.append(
            "empty" if not gradients else "overflow" if gradients.overflow() else "good"
        )

    def step(self, optimizer: Any) -> bool:
        if self._index(optimizer) is None:
            self.unscale_(optimizer)
        index = self._index(optimizer)
        if self._stepped[index]:
            raise RuntimeError("once in a round")
        self._stepped[index] = True
        if self._verdicts[index] == "overflow":
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        if not self._verdicts:
            raise RuntimeError("no round")
        growth, backoff, interval = self._factors
        if "overflow" in self._verdicts:
            self._buffer["scale"] = max(1.0, self._buffer["scale"] * backoff)
            self._buffer["good_rounds"] = 0
        elif "good" in self._verdicts:
            self._buffer["good_rounds"] += 1
            if self._buffer["good_rounds"] >= interval:
                self._buffer["scale"] = min(2.0**24, self._buffer["scale"] * growth)
                self._buffer["good_rounds"] = 0
        self._clear()

    def state_dict(self) -> dict[str, float | int]:
        return self._buffer.copy()

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) != {"scale", "good_rounds"}:
            raise ValueError("keys")
        if not 1 <= state["scale"] <= 2**24:
            raise ValueError("scale")
        if not state["good_rounds"] >= 0:
            raise ValueError("good_rounds")
        self._buffer = {"scale": float(state["scale"]), "good_rounds": int(state["good_rounds"])}
        self._clear()


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (scale > 0 and math.isfinite(scale)) or not max_norm >= 0:
        raise ValueError("scale or max_norm")
    gradients = _Gradients(optimizer)
    gradients.divide(scale)
    if gradients.overflow():
        return torch.tensor(math.inf), False
    doubles = [g.double().flatten() for g in gradients.values()]
    everything = torch.cat(doubles) if doubles else torch.zeros(0, dtype=torch.float64)
    norm = torch.einsum("i,i->", everything, everything).sqrt()
    if norm > max_norm:
        everything *= max_norm / norm
        for g, part in zip(gradients.values(), everything.split([g.numel() for g in gradients.values()])):
            g.copy_(part.view(g.shape))
    optimizer.step()
    return norm.to(torch.float32), True


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError("scale")
    counts = []
    for inputs, targets in micro_batches:
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError("rows")
        counts.append((targets != -100).sum())
    total = sum(int(n) for n in counts)
    if total == 0:
        raise ValueError("no target")
    parameters = list(model.parameters())
    before = [p.grad for p in parameters]
    sums: list[Tensor | None] = [None] * len(parameters)
    loss_sum = torch.zeros((), dtype=torch.float64)
    try:
        for (inputs, targets), n in zip(micro_batches, counts):
            if n == 0:
                continue
            for p in parameters:
                p.grad = None
            loss_sum += _backward(model, inputs, targets, scale) * float(n)
            for i, p in enumerate(parameters):
                if p.grad is not None:
                    part = p.grad.float() * (float(n) / total)
                    sums[i] = part if sums[i] is None else sums[i].add_(part)
    except BaseException:
        for p, g in zip(parameters, before):
            p.grad = g
        raise
    for p in parameters:
        p.grad = None
    return (loss_sum / total).float(), [None if s is None else s.div_(scale) for s in sums]


def _backward(model, inputs, targets, scale) -> float:
    loss = model.loss(inputs, targets)
    if loss.requires_grad:
        (_to(loss, torch.float32) * scale).backward()
    return float(loss.detach())


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if x.dtype != torch.float32 or noise.dtype != torch.int32:
        raise ValueError("dtype")
    if x.shape != noise.shape or bool(noise.lt(0).any()) or bool(noise.gt(65535).any()):
        raise ValueError("noise")
    x = x.detach()
    bits = x.view(torch.int32)
    magnitude = bits & 0x7FFFFFFF  # at most 0x7F800000 where x is a number: no overflow below
    rounded = torch.where(magnitude > 0x7F800000, 0x7FC0, (magnitude + noise) >> 16)
    signed = torch.where(bits < 0, rounded - 32768, rounded)
    return signed.to(torch.int16).view(torch.bfloat16)


class _Under(torch.nn.Module):
    """A module around a model: its forward is the loss, its `loss` is that under the policy."""

    def __init__(self, model, low):
        super().__init__()
        self.inner, self.low = model, low
        self.run = model.run

    def forward(self, tokens, targets, *, apply):
        return self.inner.loss(tokens, targets, apply=apply)

    def loss(self, tokens, targets):
        return autocast_forward(self, tokens, targets, low=self.low)


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
    if all(low is not half for half in (torch.bfloat16, torch.float16)):
        raise ValueError("low")
    if not (lr >= 0 and weight_decay >= 0 and max_norm >= 0 and 1 <= init_scale <= 2**24):
        raise ValueError("range")
    parameters = list(model.parameters())
    for p in parameters:
        p.grad = None
        p.data = p.data.to(low)
    wanting = OrderedDict(
        (i, Parameter(p.detach().to(torch.float32))) for i, p in enumerate(parameters) if p.requires_grad
    )
    inner = None
    if wanting:
        inner = torch.optim.AdamW(
            wanting.values(), lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay
        )
        inner.params = list(wanting.values())  # the form that clip_and_step wants
    under, scale, losses = _Under(model, low), float(init_scale), []
    for pieces in batches:
        loss, gradients = accumulate(under, pieces, scale=scale)
        losses.append(loss)
        if inner is None:
            continue
        for i, master in wanting.items():
            master.grad = gradients[i]
        if clip_and_step(inner, 1.0, max_norm)[1]:
            with torch.no_grad():
                for i, master in wanting.items():
                    parameters[i].copy_(master)
        else:
            scale = max(1.0, scale / 2)
    return torch.stack(losses).float() if losses else torch.empty(0)


def found_inf_everywhere(optimizer: Any) -> bool:
    overflow = _Gradients(optimizer, checked=False).overflow()
    world = 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        world = torch.distributed.get_world_size()
    if world > 1:
        # MIN of "fine" is the same question
        fine = torch.tensor([0 if overflow else 1], dtype=torch.int32)
        torch.distributed.all_reduce(fine, op=torch.distributed.ReduceOp.MIN)
        overflow = not bool(fine.item())
    if not overflow:
        optimizer.step()
    return overflow
