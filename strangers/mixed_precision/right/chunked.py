"""Tiles: long tensors are worked on in pieces of a fixed size, through flat views."""
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
TILE = 1 << 16
HALF_DTYPES = frozenset({torch.bfloat16, torch.float16})
LOW_OPERATIONS = frozenset({"linear", "matmul", "conv1d", "conv2d"})
WIDEST_OPERATIONS = frozenset({"add", "sub", "mul", "div", "maximum"}) | frozenset(
    {"gelu", "relu", "embedding", "transpose", "reshape"}
)


def cast_policy(op: str) -> str:
    for names, policy in ((LOW_OPERATIONS, "low"), (WIDEST_OPERATIONS, "widest")):
        if op in names:
            return policy
    return "float32"


# the width of a dtype; two half dtypes of the same width have a common one of the next
_WIDTH = {torch.bfloat16: 16, torch.float16: 16, torch.float32: 32, torch.float64: 64}


def _common(dtypes: list[torch.dtype]) -> torch.dtype:
    best = dtypes[0]
    for d in dtypes[1:]:
        if d == best:
            continue
        if _WIDTH[d] == _WIDTH[best]:
            best = torch.float32
        elif _WIDTH[d] > _WIDTH[best]:
            best = d
    return best


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if not any(low is d for d in HALF_DTYPES):
        raise ValueError("low is bfloat16 or float16")

    def apply(op, *args, **keywords):
        everything = dict(enumerate(args)) | keywords  # places are ints, names are strings
        floats = {
            k: x for k, x in everything.items() if isinstance(x, Tensor) and x.is_floating_point()
        }
        if floats and all(x.dtype != torch.float64 for x in floats.values()):
            policy = cast_policy(op)
            if policy == "low":
                target = low
            elif policy == "float32":
                target = torch.float32
            else:
                target = _common([x.dtype for x in floats.values()])
            for k, x in floats.items():
                everything[k] = x.to(target)
        args = [everything[i] for i in range(len(args))]
        return model.run(op, *args, **{k: everything[k] for k in keywords})

    return model(*inputs, apply=apply)


def _tiles(n: int):
    return [slice(start, min(start + TILE, n)) for start in range(0, n, TILE)]


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
        given = list(params)
        for number in (lr, eps, weight_decay):
            if math.isnan(number) or number < 0:
                raise ValueError(f"{number} is out of range")
        for beta in betas:
            if math.isnan(beta) or beta < 0 or beta >= 1:
                raise ValueError(f"beta {beta}")
        if not given:
            raise ValueError("no parameters")
        for p in given:
            if p.dtype != torch.float32 and p.dtype not in HALF_DTYPES:
                raise ValueError(f"{p.dtype}")
        self.params = given
        self._lr, (self._b1, self._b2), self._eps, self._wd = lr, betas, eps, weight_decay
        self._own = list({id(p): p for p in given}.values())
        # one flat buffer for all moments and masters: parameter i is at _starts[i] (masters of
        # float32 parameters take no room)
        self._starts, self._w_starts, at, w_at = [], [], 0, 0
        for p in self._own:
            self._starts.append(at)
            self._w_starts.append(w_at)
            at += p.numel()
            w_at += p.numel() if p.dtype in HALF_DTYPES else 0
        device = given[0].device
        self._m = torch.zeros(at, dtype=torch.float32, device=device)
        self._v = torch.zeros(at, dtype=torch.float32, device=device)
        self._w = torch.zeros(w_at, dtype=torch.float32, device=device)
        self._t = [0] * len(self._own)
        for i, p in enumerate(self._own):
            if p.dtype in HALF_DTYPES:
                self._slice(self._w, i).view(p.shape).copy_(p.detach())

    def _slice(self, buffer: Tensor, i: int) -> Tensor:
        start = (self._w_starts if buffer is self._w else self._starts)[i]
        return buffer[start : start + self._own[i].numel()]

    def _flat_master(self, i: int) -> Tensor:
        """The master, flat; a copy where a float32 parameter is not contiguous."""
        p = self._own[i]
        return self._slice(self._w, i) if p.dtype in HALF_DTYPES else p.detach().reshape(-1)

    @torch.no_grad()
    def step(self) -> None:
        for i, p in enumerate(self._own):
            if p.grad is None:
                continue
            self._t[i] += 1
            c1, c2 = 1 - self._b1 ** self._t[i], 1 - self._b2 ** self._t[i]
            w_flat, g_flat = self._flat_master(i), p.grad.reshape(-1)
            m_flat, v_flat = self._slice(self._m, i), self._slice(self._v, i)
            for tile in _tiles(p.numel()):
                w, m, v, g = w_flat[tile], m_flat[tile], v_flat[tile], g_flat[tile].float()
                w *= 1 - self._lr * self._wd
                m *= self._b1
                m += (1 - self._b1) * g
                v *= self._b2
                v += (1 - self._b2) * g.pow(2)
                w -= self._lr * (m / c1) / (torch.sqrt(v / c2) + self._eps)
            p.copy_(w_flat.view(p.shape))

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        state = {"steps": list(self._t), "master": [], "m": [], "v": []}
        for i, p in enumerate(self._own):
            state["master"].append(self._flat_master(i).clone().view(p.shape))
            state["m"].append(self._slice(self._m, i).clone().view(p.shape))
            state["v"].append(self._slice(self._v, i).clone().view(p.shape))
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if set(state) != {"steps", "master", "m", "v"}:
            raise ValueError("keys")
        for key in state:
            if len(state[key]) != len(self._own):
                raise ValueError(f"entries of {key}")
            for p, x in zip(self._own, state[key]):
                if key == "steps":
                    fine = type(x) is int and x >= 0
                else:
                    fine = isinstance(x, Tensor) and x.dtype == torch.float32 and x.shape == p.shape
                if not fine:
                    raise ValueError(f"an entry of {key}")
        self._t = list(state["steps"])
        for i, p in enumerate(self._own):
            self._slice(self._m, i).view(p.shape).copy_(state["m"][i])
            self._slice(self._v, i).view(p.shape).copy_(state["v"][i])
            if p.dtype in HALF_DTYPES:
                self._slice(self._w, i).view(p.shape).copy_(state["master"][i])
            p.copy_(state["master"][i])


def _finite(g: Tensor) -> bool:
    flat = g.detach().reshape(-1)
    return all(bool(torch.isfinite(flat[tile]).all()) for tile in _tiles(flat.numel()))


def _to_unscale(optimizer: Any) -> list[Parameter]:
    found = []
    for p in optimizer.params:
        if p.grad is not None and all(p is not q for q in found):
            found.append(p)
    if any(p.grad.dtype != torch.float32 and p.grad.dtype != torch.bfloat16 for p in found):
        raise ValueError("a gradient is neither float32 nor bfloat16")
    return found


@torch.no_grad()
def _divide(g: Tensor, scale: float) -> None:
    divisor = torch.tensor(scale, dtype=torch.float32, device=g.device)
    g.copy_(g.to(torch.float32) / divisor)


class GradScaler:
    GREATEST = 2.0**24

    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not (1 <= init_scale <= self.GREATEST):
            raise ValueError("init_scale")
        if not growth_factor > 1:
            raise ValueError("growth_factor")
        if not (0 < backoff_factor < 1):
            raise ValueError("backoff_factor")
        if not growth_interval >= 1:
            raise ValueError("growth_interval")
        self.__dict__.update(
            _scale=float(init_scale),
            _growth_factor=growth_factor,
            _backoff_factor=backoff_factor,
            _interval=growth_interval,
            _good=0,
        )
        self._new_round()

    def _new_round(self) -> None:
        # four parallel lists
        self._optimizers, self._overflow, self._stepped = [], [], []
        self._parameters = []  # divided in this round

    def _place(self, optimizer: Any) -> int:
        for i, o in enumerate(self._optimizers):
            if o is optimizer:
                return i
        return -1

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        return loss.float() * self._scale

    def unscale_(self, optimizer: Any) -> None:
        if self._place(optimizer) >= 0:
            raise RuntimeError("unscaled or stepped before")
        found = _to_unscale(optimizer)
        before = {id(p) for p in self._parameters}
        for p in found:
            if id(p) not in before:
                _divide(p.grad, self._scale)
                self._parameters.append(p)
        self._optimizers.append(optimizer)
        self._overflow.append(not all(_finite(p.grad) for p in found))
        self._stepped.append(False)

    def step(self, optimizer: Any) -> bool:
        if self._place(optimizer) < 0:
            self.unscale_(optimizer)
        i = self._place(optimizer)
        if self._stepped[i]:
            raise RuntimeError("stepped before")
        self._stepped[i] = True
        if self._overflow[i]:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        if len(self._optimizers) == 0:
            raise RuntimeError("update before unscale_ or step")
        if True in self._overflow:
            self._scale = max(1.0, self._scale * self._backoff_factor)
            self._good = 0
        elif self._parameters:  # some optimizer had a gradient
            self._good += 1
        if self._good >= self._interval and self._parameters:
            self._good = 0
            self._scale = min(self.GREATEST, self._scale * self._growth_factor)
        self._new_round()

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": float(self._scale), "good_rounds": int(self._good)}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if len(state) != 2 or "scale" not in state or "good_rounds" not in state:
            raise ValueError("keys")
        if not (1 <= state["scale"] <= self.GREATEST) or not (state["good_rounds"] >= 0):
            raise ValueError("values")
        self._scale = float(state["scale"])
        self._good = int(state["good_rounds"])
        self._new_round()


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (0 < scale < math.inf and max_norm >= 0):
        raise ValueError("scale or max_norm")
    gradients = [p.grad for p in _to_unscale(optimizer)]
    for g in gradients:
        _divide(g, scale)
    if not all(_finite(g) for g in gradients):
        return torch.full((), math.inf), False
    squares = []
    for g in gradients:
        flat = g.reshape(-1)
        for tile in _tiles(flat.numel()):
            squares.append(float(flat[tile].double().square().sum()))
    norm = math.sqrt(math.fsum(squares))
    if norm > max_norm:
        for g in gradients:
            g.copy_(g.double().mul_(max_norm).div_(norm))
    optimizer.step()
    return torch.full((), norm, dtype=torch.float32), True


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not 0 < scale < math.inf:
        raise ValueError("scale")
    counts = []
    for inputs, targets in micro_batches:
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError("rows")
        counts.append(targets.numel() - int((targets == -100).sum()))
    total = sum(counts)
    if total < 1:
        raise ValueError("no targets")
    parameters = list(model.parameters())
    places = {i: p for i, p in enumerate(parameters) if p.requires_grad}
    sums: list[Tensor | None] = [None] * len(parameters)
    loss_sum = 0.0

    def add(inputs, targets, n):
        loss = model.loss(inputs, targets)
        if places and loss.requires_grad:
            # one parameter's float32 gradient at a time
            found = torch.autograd.grad(
                loss.to(torch.float32) * scale, list(places.values()), allow_unused=True
            )
            for i, g in zip(places, found):
                if g is not None:
                    if sums[i] is None:
                        sums[i] = torch.zeros(g.shape, dtype=torch.float32, device=g.device)
                    sums[i].add_(g.float(), alpha=n / total)
        return float(loss.detach()) * (n / total)

    for (inputs, targets), n in zip(micro_batches, counts):
        if n > 0:
            loss_sum += add(inputs, targets, n)
    for s in sums:
        if s is not None:
            s.div_(scale)
    for p in parameters:
        p.grad = None
    return torch.tensor(loss_sum, dtype=torch.float32), sums


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if x.dtype != torch.float32:
        raise ValueError("x")
    if noise.dtype != torch.int32 or noise.shape != x.shape:
        raise ValueError("noise")
    x_flat, n_flat = x.detach().reshape(-1), noise.reshape(-1)
    out = torch.empty(x_flat.shape, dtype=torch.bfloat16, device=x.device)
    for tile in _tiles(x_flat.numel()):
        part, n = x_flat[tile], n_flat[tile]
        if bool((n >> 16 != 0).any()):  # negative ones too: an arithmetic shift
            raise ValueError("numbers of noise")
        halves = part.contiguous().view(torch.int16).view(-1, 2)  # little endian: low, high
        low, high = halves[:, 0].to(torch.int32) & 0xFFFF, halves[:, 1].to(torch.int32)
        rounded = (high + (low + n > 65535)).to(torch.int16).view(torch.bfloat16)
        out[tile] = torch.where(part.isnan(), math.nan, rounded.float()).to(torch.bfloat16)
    return out.view(x.shape)


class _LossUnderPolicy:
    def __init__(self, model, low):
        self.model, self.low, self.run = model, low, model.run

    def parameters(self):
        return self.model.parameters()

    def __call__(self, tokens, targets, *, apply):
        return self.model.loss(tokens, targets, apply=apply)

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
    if not any(low is d for d in HALF_DTYPES):
        raise ValueError("low")
    for number in (lr, weight_decay, max_norm):
        if not number >= 0:
            raise ValueError("number")
    if not 1 <= init_scale <= 2**24:
        raise ValueError("init_scale")
    everything = list(model.parameters())
    with torch.no_grad():
        for p in everything:
            p.grad = None
            p.data = p.data.to(low)
    trained = [i for i, p in enumerate(everything) if p.requires_grad]
    masters = [Parameter(everything[i].detach().float()) for i in trained]
    if masters:
        optimizer = MasterAdamW(masters, lr=lr, weight_decay=weight_decay)
    under = _LossUnderPolicy(model, low)
    losses, scale = torch.zeros(len(batches), dtype=torch.float32), float(init_scale)
    for step, pieces in enumerate(batches):
        loss, gradients = accumulate(under, pieces, scale=scale)
        losses[step] = loss
        if not masters:
            continue
        for i, master in zip(trained, masters):
            master.grad = gradients[i]
        _, fine = clip_and_step(optimizer, 1.0, max_norm)
        if fine:
            for i, master in zip(trained, masters):
                everything[i].data.copy_(master.data)
        else:
            scale = max(1.0, scale * 0.5)
    return losses


def found_inf_everywhere(optimizer: Any) -> bool:
    overflow = not all(_finite(p.grad) for p in optimizer.params if p.grad is not None)
    group = torch.distributed
    answer = torch.tensor([overflow], dtype=torch.int64)
    if group.is_available() and group.is_initialized():
        group.all_reduce(answer, op=group.ReduceOp.MAX)
    overflow = int(answer) != 0
    if not overflow:
        optimizer.step()
    return overflow
