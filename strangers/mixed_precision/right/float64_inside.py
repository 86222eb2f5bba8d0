"""Where float32 is asked for at the end, compute in float64 or integers and round once."""
import math
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, NamedTuple

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
BIG = float(2**24)
SETS = {
    "low": {"linear", "matmul", "conv1d", "conv2d"},
    "widest": {"add", "sub", "mul", "div", "maximum"} | {"gelu", "relu", "embedding", "transpose", "reshape"},
}


def cast_policy(op: str) -> str:
    for policy, ops in SETS.items():
        if op in ops:
            return policy
    return "float32"


class _Arguments(NamedTuple):
    args: tuple
    keywords: dict

    def floats(self):
        values = (*self.args, *self.keywords.values())
        return [x for x in values if torch.is_tensor(x) and x.dtype.is_floating_point]

    def to(self, dtype, only_half):
        def one(x):
            if not torch.is_tensor(x) or not x.dtype.is_floating_point:
                return x
            if only_half and x.dtype.itemsize != 2:
                return x
            return x.to(dtype)

        return _Arguments(tuple(map(one, self.args)), {k: one(x) for k, x in self.keywords.items()})


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if str(low) not in ("torch.bfloat16", "torch.float16"):
        raise ValueError("low")

    def apply(op, *args, **keywords):
        given = _Arguments(args, keywords)
        dtypes = {x.dtype for x in given.floats()}
        policy = cast_policy(op)
        if torch.float64 not in dtypes:
            if policy == "low":
                given = given.to(low, only_half=False)
            if policy == "float32" or policy == "widest" and len(dtypes) > 1:
                given = given.to(torch.float32, only_half=True)
        return model.run(op, *given.args, **given.keywords)

    return model(*inputs, apply=apply)


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
        params = tuple(params)
        allowed = {torch.float32: False, torch.bfloat16: True, torch.float16: True}
        if len(params) == 0 or not all(p.dtype in allowed for p in params):
            raise ValueError("params")
        if not (0 <= lr and 0 <= eps and 0 <= weight_decay):
            raise ValueError("lr, eps or weight_decay")
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise ValueError("betas")
        self.params = list(params)
        self._settings = lr, betas[0], betas[1], eps, weight_decay
        # rows of a table: parameter, is it low, master, m, v; and the counts beside it
        first = [i for i, p in enumerate(params) if not any(p is q for q in params[:i])]
        self._table = []
        for i in first:
            p, is_low = params[i], allowed[params[i].dtype]
            master = p.detach().float() if is_low else None
            m, v = (torch.zeros(p.shape, dtype=torch.float32, device=p.device) for _ in "mv")
            self._table.append((p, is_low, master, m, v))
        self._counts = [0 for _ in first]

    @torch.no_grad()
    def step(self) -> None:
        lr, beta1, beta2, eps, decay = self._settings
        for row, (p, is_low, master, m, v) in enumerate(self._table):
            if p.grad is None:
                continue
            t = self._counts[row] = self._counts[row] + 1
            w = master if is_low else p
            g = p.grad.float()
            m.copy_(torch.lerp(g, m, beta1))
            v.copy_(torch.addcmul(v * beta2, g, g, value=1 - beta2))
            m_hat = m.div(-math.expm1(t * math.log(beta1)) if beta1 > 0 else 1.0)
            v_hat = v.div(-math.expm1(t * math.log(beta2)) if beta2 > 0 else 1.0)
            change = m_hat.div_(v_hat.sqrt_().add_(eps))
            w.copy_(torch.sub(w * (1 - lr * decay), change, alpha=lr))
            if is_low:
                p.copy_(w)

    def zero_grad(self) -> None:
        for p, *_ in self._table:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        columns = [(p.detach() if master is None else master, m, v) for p, _, master, m, v in self._table]
        copies = [[x.clone() for x in column] for column in zip(*columns)]
        return {"steps": [*self._counts], **dict(zip(("master", "m", "v"), copies))}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if set(state) != {"steps", "master", "m", "v"}:
            raise ValueError("keys")
        try:
            rows = list(zip(self._table, *(state[k] for k in ("steps", "master", "m", "v")), strict=True))
        except ValueError:
            raise ValueError("each list wants an entry per parameter") from None
        for (p, *_), t, *tensors in rows:
            fine = isinstance(t, int) and not isinstance(t, bool) and t >= 0
            for x in tensors:
                fine = fine and torch.is_tensor(x) and x.dtype == torch.float32 and x.shape == p.shape
            if not fine:
                raise ValueError("entries")
        self._counts = [t for _, t, *_ in rows]
        for (p, is_low, master, m, v), _, new_w, new_m, new_v in rows:
            m.copy_(new_m)
            v.copy_(new_v)
            if is_low:
                master.copy_(new_w)
            p.copy_(new_w)


def _holders(optimizer: Any, refuse: bool = True) -> list[Parameter]:
    params = list(optimizer.params)
    first = [p.grad is not None and not any(p is q for q in params[:i]) for i, p in enumerate(params)]
    found = list(compress(params, first))
    if refuse and any(p.grad.dtype not in (torch.float32, torch.bfloat16) for p in found):
        raise ValueError("gradients in this dtype cannot be unscaled")
    return found


def _overflow(p: Parameter) -> bool:
    # 0 · x is 0 for what is finite and NaN for the rest
    return bool((p.grad.detach() * 0).isnan().any())


def _unscale(p: Parameter, scale: float) -> None:
    with torch.no_grad():
        p.grad.copy_(p.grad.to(torch.float32).divide(scale).to(p.grad.dtype))


class _Part:
    def __init__(self, optimizer, overflow, any_gradient):
        self.optimizer, self.overflow, self.any_gradient = optimizer, overflow, any_gradient
        self.stepped = False


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not 1 <= init_scale <= BIG:
            raise ValueError("init_scale")
        if not 1 < growth_factor:
            raise ValueError("growth_factor")
        if not 0 < backoff_factor < 1:
            raise ValueError("backoff_factor")
        if not 1 <= growth_interval:
            raise ValueError("growth_interval")
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._remaining_of = growth_interval
        self._set(init_scale, 0)

    def _set(self, scale: float, good: int) -> None:
        self._scale, self._good = float(scale), int(good)
        self._parts: list[_Part] = []
        self._divided: list[Parameter] = []

    def _find(self, optimizer: Any) -> _Part | None:
        for part in self._parts:
            if part.optimizer is optimizer:
                return part
        return None

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        return loss.float() * torch.full_like(loss, self._scale, dtype=torch.float32, requires_grad=False)

    def unscale_(self, optimizer: Any) -> None:
        if self._find(optimizer):
            raise RuntimeError("this optimizer had its turn in this round")
        holders = _holders(optimizer)
        done = {id(p) for p in self._divided}
        for p in holders:
            if id(p) not in done:
                _unscale(p, self._scale)
                self._divided.append(p)
        self._parts.append(_Part(optimizer, any(map(_overflow, holders)), len(holders) != 0))

    def step(self, optimizer: Any) -> bool:
        part = self._find(optimizer)
        if part is not None and part.stepped:
            raise RuntimeError("this optimizer was stepped in this round")
        if part is None:
            self.unscale_(optimizer)
            part = self._find(optimizer)
        part.stepped = True
        if not part.overflow:
            optimizer.step()
        return not part.overflow

    def update(self) -> None:
        if not self._parts:
            raise RuntimeError("no optimizer had its turn")
        scale, good = self._scale, self._good
        if any(part.overflow for part in self._parts):
            scale, good = scale * self._backoff_factor, 0
        elif any(part.any_gradient for part in self._parts):
            good += 1
            if good >= self._remaining_of:
                scale, good = scale * self._growth_factor, 0
        self._set(min(max(scale, 1.0), BIG), good)

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) != {"scale", "good_rounds"} or not 1 <= state["scale"] <= BIG:
            raise ValueError("keys or scale")
        if not state["good_rounds"] >= 0:
            raise ValueError("good_rounds")
        self._set(state["scale"], state["good_rounds"])


def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError("scale")
    if math.isnan(max_norm) or max_norm < 0:
        raise ValueError("max_norm")
    holders = _holders(optimizer)
    for p in holders:
        _unscale(p, scale)
    if any(map(_overflow, holders)):
        return torch.tensor(math.inf, dtype=torch.float32), False
    # numbers are divided by a power of two first, so that no square leaves float32 or float64
    top = max((float(p.grad.abs().max()) for p in holders if p.grad.numel()), default=0.0)
    exponent = math.frexp(top)[1]
    total = sum(float((p.grad.double() * math.ldexp(1.0, -exponent)).square().sum()) for p in holders)
    norm = math.ldexp(math.sqrt(total), exponent)
    if norm > max_norm:
        with torch.no_grad():
            for p in holders:
                p.grad.copy_(p.grad.double().mul(max_norm / norm))
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float64).to(torch.float32), True


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError("scale")
    for x, y in micro_batches:
        if x.shape[0] != y.shape[0]:
            raise ValueError("rows")
    kept = [int((y != -100).count_nonzero()) for _, y in micro_batches]
    if sum(kept) == 0:
        raise ValueError("no target")
    parameters = list(model.parameters())
    leaves = {i: p for i, p in enumerate(parameters) if p.requires_grad}
    sums: dict[int, Tensor] = {}
    seen, mean = 0, 0.0  # a running mean: no product with n is ever large
    for (x, y), n in compress(zip(micro_batches, kept), kept):
        seen += n
        loss = model.loss(x, y)
        mean += (float(loss.detach()) - mean) * (n / seen)
        found = [None] * len(leaves)
        if leaves and loss.requires_grad:
            found = torch.autograd.grad(loss.float() * scale, list(leaves.values()), allow_unused=True)
        del loss
        for i, g in zip(leaves, found):
            if i in sums:
                sums[i].mul_(1 - n / seen)
            if g is not None:
                sums[i] = g.float() * (n / seen) + sums.get(i, 0)
        del found
    for p in parameters:
        p.grad = None
    gradients = [sums[i].div(scale) if i in sums else None for i in range(len(parameters))]
    return torch.tensor(mean, dtype=torch.float32), gradients


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if x.dtype != torch.float32 or noise.dtype != torch.int32 or x.shape != noise.shape:
        raise ValueError("x or noise")
    if noise.numel() and not (0 <= noise.min().item() and noise.max().item() <= 65535):
        raise ValueError("numbers of noise")
    bits = x.detach().view(torch.int32).to(torch.int64)
    sign = torch.where(bits < 0, 1 << 15, 0)
    magnitude = torch.bitwise_and(bits, 0x7FFFFFFF)
    quotient, low = torch.div(magnitude, 65536, rounding_mode="floor"), magnitude % 65536
    quotient = quotient + torch.ge(low + noise, 65536)
    result = torch.where(x.detach().isnan(), 0x7FC0, quotient) + sign
    result = torch.where(result > 32767, result - 65536, result)
    return result.to(torch.int16).view(torch.bfloat16)


class _Loss(NamedTuple):
    model: Any
    low: torch.dtype

    @property
    def run(self):
        return self.model.run

    def parameters(self):
        return self.model.parameters()

    def __call__(self, *inputs, apply):
        return self.model.loss(*inputs, apply=apply)

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
    if str(low) not in ("torch.bfloat16", "torch.float16"):
        raise ValueError("low")
    if not (lr >= 0 and weight_decay >= 0 and max_norm >= 0 and 1 <= init_scale <= BIG):
        raise ValueError("numbers")
    low_params = list(model.parameters())
    for p in low_params:
        p.grad = None
        p.data = p.detach().to(low)
    masters = [Parameter(p.detach().float(), requires_grad=p.requires_grad) for p in low_params]
    trained = [(p, master) for p, master in zip(low_params, masters) if p.requires_grad]
    optimizer = None
    if trained:
        optimizer = MasterAdamW([master for _, master in trained], lr=lr, weight_decay=weight_decay)
    scaler = GradScaler(init_scale=init_scale, growth_interval=2**62)  # never grows
    losses = []
    for pieces in batches:
        loss, gradients = accumulate(_Loss(model, low), pieces, scale=scaler.get_scale())
        losses.append(float(loss))
        if optimizer is None:
            continue
        for master, g in zip(masters, gradients):
            master.grad = g
        if clip_and_step(optimizer, 1.0, max_norm)[1]:
            with torch.no_grad():
                for p, master in trained:
                    p.copy_(master)
        else:
            scaler.load_state_dict({"scale": max(1.0, scaler.get_scale() / 2), "good_rounds": 0})
    return torch.tensor(losses, dtype=torch.float32)


def found_inf_everywhere(optimizer: Any) -> bool:
    mine = any(map(_overflow, _holders(optimizer, refuse=False)))
    flag = torch.tensor(mine, dtype=torch.int8)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    everywhere = flag.item() == 1
    if not everywhere:
        optimizer.step()
    return everywhere
