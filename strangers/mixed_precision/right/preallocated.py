"""Buffers made once: out= arguments and in-place operations; state in slots."""
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
_LOW_OPS = ["linear", "matmul", "conv1d", "conv2d"]
_WIDE_OPS = ["add", "sub", "mul", "div", "maximum"]
_WIDE_OPS += ["gelu", "relu", "embedding", "transpose", "reshape"]


def cast_policy(op: str) -> str:
    policy = "float32"
    if op in _LOW_OPS:
        policy = "low"
    elif op in _WIDE_OPS:
        policy = "widest"
    return policy


def _half(x: Tensor) -> bool:
    return x.dtype == torch.float16 or x.dtype == torch.bfloat16


class _Cast:
    """apply() of one call: makes lists of its arguments once and replaces in place."""

    def __init__(self, run, low):
        self.run, self.low = run, low

    def __call__(self, op, *args, **keywords):
        values = list(args) + list(keywords.values())
        places = [
            i for i, x in enumerate(values) if isinstance(x, Tensor) and x.is_floating_point()
        ]
        if not any(values[i].dtype == torch.float64 for i in places):
            policy = cast_policy(op)
            if policy == "low":
                for i in places:
                    values[i] = values[i].to(self.low)
            elif policy == "float32" or self.differ(values, places):
                for i in places:
                    if _half(values[i]):
                        values[i] = values[i].float()
        return self.run(op, *values[: len(args)], **dict(zip(keywords, values[len(args) :])))

    @staticmethod
    def differ(values, places):
        return any(values[i].dtype != values[places[0]].dtype for i in places)


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if low != torch.float16 and low != torch.bfloat16:
        raise ValueError("low")
    return model(*inputs, apply=_Cast(model.run, low))


class MasterAdamW:
    __slots__ = ("params", "_own", "_lr", "_b1", "_b2", "_eps", "_wd", "_t", "_w", "_m", "_v")

    def __init__(
        self,
        params: Iterable[Parameter],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self._b1, self._b2 = betas
        self._lr, self._eps, self._wd = lr, eps, weight_decay
        if not (lr >= 0 and eps >= 0 and weight_decay >= 0):
            raise ValueError("negative number")
        if not (0 <= self._b1 < 1 and 0 <= self._b2 < 1):
            raise ValueError("betas")
        self.params = list(params)
        if not self.params:
            raise ValueError("no parameter")
        for p in self.params:
            if not _half(p) and p.dtype != torch.float32:
                raise ValueError("dtype")
        self._own = []
        for p in self.params:
            if not any(p is q for q in self._own):
                self._own.append(p)
        n = len(self._own)
        self._t = [0] * n
        self._w, self._m, self._v = [None] * n, [None] * n, [None] * n
        for i, p in enumerate(self._own):
            self._m[i] = p.detach().new_zeros(p.shape, dtype=torch.float32)
            self._v[i] = p.detach().new_zeros(p.shape, dtype=torch.float32)
            if _half(p):
                self._w[i] = p.detach().new_zeros(p.shape, dtype=torch.float32)
                self._w[i].copy_(p.detach())

    @torch.no_grad()
    def step(self) -> None:
        for i, p in enumerate(self._own):
            if p.grad is None:
                continue
            self._t[i] += 1
            w = p.detach() if self._w[i] is None else self._w[i]
            m, v = self._m[i], self._v[i]
            # two scratch tensors, reused for everything
            g = torch.empty_like(m).copy_(p.grad)
            scratch = torch.empty_like(m)
            w.mul_(1 - self._lr * self._wd)
            m.mul_(self._b1)
            torch.mul(g, 1 - self._b1, out=scratch)
            m.add_(scratch)
            v.mul_(self._b2)
            torch.mul(g, g, out=scratch)
            v.add_(scratch.mul_(1 - self._b2))
            torch.div(v, 1 - self._b2 ** self._t[i], out=scratch)
            scratch.sqrt_().add_(self._eps)
            torch.div(m, 1 - self._b1 ** self._t[i], out=g)
            g.div_(scratch).mul_(self._lr)
            w.sub_(g)
            if self._w[i] is not None:
                p.copy_(w)

    def zero_grad(self) -> None:
        for p in self._own:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        masters = [p.detach() if w is None else w for p, w in zip(self._own, self._w)]
        state = {"steps": self._t[:]}
        for key, tensors in (("master", masters), ("m", self._m), ("v", self._v)):
            state[key] = [torch.empty_like(x).copy_(x) for x in tensors]
        return state

    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if sorted(state.keys()) != sorted(["steps", "master", "m", "v"]):
            raise ValueError("keys")
        n = len(self._own)
        if len(state["steps"]) != n or any(
            isinstance(t, bool) or not isinstance(t, int) or t < 0 for t in state["steps"]
        ):
            raise ValueError("steps")
        for key in ("master", "m", "v"):
            if len(state[key]) != n:
                raise ValueError(key)
            for i in range(n):
                x = state[key][i]
                if not torch.is_tensor(x):
                    raise ValueError(key)
                if x.shape != self._own[i].shape or x.dtype != torch.float32:
                    raise ValueError(key)
        with torch.no_grad():
            for i in range(n):
                self._t[i] = state["steps"][i]
                self._m[i].copy_(state["m"][i])
                self._v[i].copy_(state["v"][i])
                if self._w[i] is not None:
                    self._w[i].copy_(state["master"][i])
                self._own[i].copy_(state["master"][i])


def _gradients(optimizer: Any) -> list[Tensor]:
    seen, gradients = [], []
    for p in optimizer.params:
        if p.grad is None or id(p) in seen:
            continue
        if p.grad.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError("dtype of a gradient")
        seen.append(id(p))
        gradients.append(p.grad)
    return gradients


def _scratch_for(gradients: list[Tensor], dtype: torch.dtype) -> Tensor:
    longest = max((g.numel() for g in gradients), default=0)
    device = gradients[0].device if gradients else None
    return torch.empty(longest, dtype=dtype, device=device)


@torch.no_grad()
def _divide_in_place(gradients: list[Tensor], scale: float) -> None:
    scratch = _scratch_for(gradients, torch.float32)
    for g in gradients:
        wide = scratch[: g.numel()].view(g.shape)
        wide.copy_(g)
        g.copy_(wide.div_(scale))


@torch.no_grad()
def _count_overflows(gradients: list[Tensor]) -> int:
    return sum(int(g.numel() - torch.isfinite(g).count_nonzero()) for g in gradients)


class GradScaler:
    __slots__ = ("_scale", "_up", "_down", "_interval", "_good", "_entries", "_divided")

    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not (init_scale >= 1 and init_scale <= 16777216):
            raise ValueError("init_scale")
        if not growth_factor > 1 or not growth_interval >= 1:
            raise ValueError("growth")
        if not (backoff_factor > 0 and backoff_factor < 1):
            raise ValueError("backoff_factor")
        self._scale, self._good = float(init_scale), 0
        self._up, self._down, self._interval = growth_factor, backoff_factor, growth_interval
        self._entries, self._divided = {}, {}

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        if loss.dtype != torch.float32:
            loss = loss.to(torch.float32)
        return loss * self._scale

    def unscale_(self, optimizer: Any) -> None:
        if id(optimizer) in self._entries:
            raise RuntimeError("twice in a round")
        gradients = _gradients(optimizer)
        fresh = {
            id(p): p
            for p in optimizer.params
            if p.grad is not None and id(p) not in self._divided
        }
        _divide_in_place([p.grad for p in fresh.values()], self._scale)
        self._divided |= fresh
        overflow = _count_overflows(gradients) > 0
        self._entries[id(optimizer)] = {"o": optimizer, "bad": overflow, "any": bool(gradients), "stepped": False}

    def step(self, optimizer: Any) -> bool:
        entry = self._entries.get(id(optimizer))
        if entry and entry["stepped"]:
            raise RuntimeError("stepped twice in a round")
        if not entry:
            self.unscale_(optimizer)
            entry = self._entries[id(optimizer)]
        entry["stepped"] = True
        if entry["bad"]:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        if len(self._entries) == 0:
            raise RuntimeError("nothing happened in this round")
        entries = self._entries.values()
        if sum(e["bad"] for e in entries):
            self._scale *= self._down
            if self._scale < 1:
                self._scale = 1.0
            self._good = 0
        elif sum(e["any"] for e in entries):
            self._good += 1
            if self._good >= self._interval:
                self._scale *= self._up
                if self._scale > 16777216:
                    self._scale = 16777216.0
                self._good = 0
        self._entries, self._divided = {}, {}

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) != set(self.state_dict()):
            raise ValueError("keys")
        scale, good = state["scale"], state["good_rounds"]
        if not (scale >= 1 and scale <= 16777216) or not good >= 0:
            raise ValueError("values")
        self._scale, self._good = float(scale), int(good)
        self._entries, self._divided = {}, {}


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (scale > 0 and scale != math.inf) or not max_norm >= 0:
        raise ValueError("scale or max_norm")
    gradients = _gradients(optimizer)
    _divide_in_place(gradients, scale)
    result = torch.empty((), dtype=torch.float32)
    if _count_overflows(gradients):
        return result.fill_(math.inf), False
    norms = torch.zeros(len(gradients), dtype=torch.float64)
    scratch = _scratch_for(gradients, torch.float64)
    for i, g in enumerate(gradients):
        wide = scratch[: g.numel()]
        wide.view(g.shape).copy_(g)
        norms[i] = torch.linalg.vector_norm(wide)
    norm = torch.linalg.vector_norm(norms).item()
    if norm > max_norm:
        for g in gradients:
            wide = scratch[: g.numel()].view(g.shape)
            wide.copy_(g)
            g.copy_(wide.mul_(max_norm / norm))
    optimizer.step()
    return result.fill_(norm), True


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not scale > 0 or scale == math.inf:
        raise ValueError("scale")
    n_pieces = len(micro_batches)
    counts = torch.zeros(n_pieces, dtype=torch.int64)
    for i, (inputs, targets) in enumerate(micro_batches):
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError("rows")
        counts[i] = (targets != -100).sum()
    total = int(counts.sum())
    if total == 0:
        raise ValueError("no target")
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    sums = {id(p): torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in trained}
    touched = set()
    losses = torch.zeros(n_pieces, dtype=torch.float64)
    for i, (inputs, targets) in enumerate(micro_batches):
        if counts[i] == 0:
            continue
        loss = model.loss(inputs, targets)
        losses[i] = loss.item() * int(counts[i])
        if trained and loss.requires_grad:
            scaled = loss.to(torch.float32) * scale
            found = torch.autograd.grad(scaled, trained, allow_unused=True)
            for p, g in zip(trained, found):
                if g is not None:
                    touched.add(id(p))
                    sums[id(p)].add_(g.to(torch.float32), alpha=int(counts[i]) / total)
            del scaled, found
        del loss
    result = []
    for p in parameters:
        p.grad = None
        result.append(sums[id(p)].div_(scale) if id(p) in touched else None)
    return (losses.sum() / total).float(), result


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if not (x.dtype == torch.float32 and noise.dtype == torch.int32 and x.shape == noise.shape):
        raise ValueError("x and noise")
    if noise.numel() > 0:
        least, most = torch.aminmax(noise)
        if least < 0 or most > 65535:
            raise ValueError("noise")
    out = torch.empty(x.shape, dtype=torch.bfloat16, device=x.device)
    bits = torch.empty(x.shape, dtype=torch.int32, device=x.device)
    bits.view(torch.float32).copy_(x.detach())
    carry = torch.empty_like(bits)
    torch.bitwise_and(bits, 0xFFFF, out=carry)
    carry.add_(noise).bitwise_right_shift_(16)
    bits.bitwise_right_shift_(16).add_(carry)
    out.view(torch.int16).copy_(bits)
    out[torch.isnan(x.detach())] = math.nan
    return out


class _Lossy:
    def __init__(self, model, low):
        self.model, self.low = model, low
        self.run = model.run
        self.parameters = model.parameters

    def __call__(self, *inputs, apply):
        return self.model.loss(*inputs, apply=apply)

    def loss(self, *inputs):
        return autocast_forward(self, *inputs, low=self.low)


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
    if low != torch.float16 and low != torch.bfloat16:
        raise ValueError("low")
    if not (lr >= 0 and weight_decay >= 0 and max_norm >= 0 and 1 <= init_scale <= 2**24):
        raise ValueError("a number is out of its range")
    parameters = list(model.parameters())
    for p in parameters:
        p.grad = None
        p.data = p.data.to(low)
    trained = [i for i, p in enumerate(parameters) if p.requires_grad]
    # masters and their gradients are made once; gradients are copied into them
    masters = [Parameter(parameters[i].detach().float()) for i in trained]
    buffers = [torch.zeros_like(m, requires_grad=False) for m in masters]
    optimizer = MasterAdamW(masters, lr=lr, weight_decay=weight_decay) if masters else None
    losses = torch.empty(len(batches), dtype=torch.float32)
    under, scale = _Lossy(model, low), float(init_scale)
    for step in range(len(batches)):
        loss, gradients = accumulate(under, batches[step], scale=scale)
        losses[step] = loss
        if optimizer is None:
            continue
        for i, master, buffer in zip(trained, masters, buffers):
            if gradients[i] is None:
                master.grad = None
            else:
                master.grad = buffer.copy_(gradients[i])
        _, stepped = clip_and_step(optimizer, 1.0, max_norm)
        if not stepped:
            scale = max(scale / 2, 1.0)
        else:
            for i, master in zip(trained, masters):
                parameters[i].data.copy_(master.data)
    return losses


def found_inf_everywhere(optimizer: Any) -> bool:
    count = torch.zeros(1, dtype=torch.int64)
    for p in optimizer.params:
        if p.grad is not None:
            count += p.grad.numel() - torch.isfinite(p.grad).count_nonzero().cpu()
    count.clamp_(max=1)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count, torch.distributed.ReduceOp.MAX)
    if count.item() == 0:
        optimizer.step()
        return False
    return True
