"""Closures, map, reduce and partial; state in plain dictionaries and tuples."""
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from itertools import chain
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
LOW = {torch.bfloat16, torch.float16}


def cast_policy(op: str) -> str:
    match op:
        case "linear" | "matmul" | "conv1d" | "conv2d":
            return "low"
        case "add" | "sub" | "mul" | "div" | "maximum":
            return "widest"
        case "gelu" | "relu" | "embedding" | "transpose" | "reshape":
            return "widest"
        case _:
            return "float32"


def _floating(x: Any) -> bool:
    return torch.is_tensor(x) and x.is_floating_point()


def _caster(policy: str, dtypes: frozenset, low: torch.dtype) -> Callable[[Tensor], Tensor]:
    def keep(x):
        return x

    def up(x):
        return x.to(torch.float32) if x.dtype in LOW else x

    if torch.float64 in dtypes:
        return keep
    widest = reduce(torch.promote_types, dtypes) if dtypes else low
    return {
        "low": lambda x: x.to(low),
        "float32": up,
        "widest": lambda x: x.to(widest),
    }[policy]


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if not (isinstance(low, torch.dtype) and low in LOW):
        raise ValueError("low")

    def apply(op, *args, **keywords):
        dtypes = frozenset(x.dtype for x in filter(_floating, chain(args, keywords.values())))
        cast = _caster(cast_policy(op), dtypes, low)
        fix = lambda x: cast(x) if _floating(x) else x  # noqa: E731
        return model.run(op, *map(fix, args), **{k: fix(x) for k, x in keywords.items()})

    return model(*inputs, apply=apply)


def _fresh(p: Parameter) -> dict[str, Any]:
    zeros = partial(torch.zeros, p.shape, dtype=torch.float32, device=p.device)
    master = p.detach() if p.dtype == torch.float32 else p.detach().to(torch.float32)
    return {"p": p, "steps": 0, "master": master, "m": zeros(), "v": zeros()}


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
        b1, b2 = betas
        conditions = [lr >= 0, 0 <= b1 < 1, 0 <= b2 < 1, eps >= 0, weight_decay >= 0]
        params = list(params)
        conditions += [len(params) > 0]
        conditions += [p.dtype in LOW | {torch.float32} for p in params]
        if not all(conditions):
            raise ValueError("a number is out of its range, or the parameters are")
        self.params = params
        self._update = partial(_adamw, lr=lr, b1=b1, b2=b2, eps=eps, decay=weight_decay)
        self._states = list(map(_fresh, {id(p): p for p in params}.values()))

    @torch.no_grad()
    def step(self) -> None:
        for s in filter(lambda s: s["p"].grad is not None, self._states):
            s["steps"] += 1
            if s["p"].dtype == torch.float32:
                s["master"] = s["p"].detach()
            new = self._update(s["steps"], s["master"], s["m"], s["v"], s["p"].grad.float())
            for key, value in zip(("master", "m", "v"), new):
                s[key].copy_(value)
            if s["p"].dtype != torch.float32:
                s["p"].copy_(s["master"])

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        take = lambda key: [s[key].clone() for s in self._states]  # noqa: E731
        return {"steps": [s["steps"] for s in self._states]} | {k: take(k) for k in ("master", "m", "v")}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        n = len(self._states)
        if set(state.keys()) != {"steps", "master", "m", "v"} or any(len(e) != n for e in state.values()):
            raise ValueError("keys or lengths")

        def whole(x):
            return isinstance(x, int) and x is not True and x is not False and x >= 0

        def like(x, s):
            return torch.is_tensor(x) and x.dtype == torch.float32 and x.shape == s["p"].shape

        tensors = chain.from_iterable(zip(state[k], self._states) for k in ("master", "m", "v"))
        if not all(map(whole, state["steps"])) or not all(like(*pair) for pair in tensors):
            raise ValueError("entries")
        for s, t, w, m, v in zip(self._states, *(state[k] for k in ("steps", "master", "m", "v"))):
            s["steps"] = t
            for mine, theirs in ((s["master"], w), (s["m"], m), (s["v"], v), (s["p"], w)):
                mine.copy_(theirs)


def _adamw(t, w, m, v, g, *, lr, b1, b2, eps, decay):
    """A step of AdamW as a function: new master, m and v."""
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * (g * g)
    step = (m / (1 - b1**t)) / (torch.sqrt(v / (1 - b2**t)) + eps)
    return w * (1 - lr * decay) - lr * step, m, v


def _checked(optimizer: Any) -> list[tuple[Parameter, Tensor]]:
    pairs = [(p, p.grad) for p in dict.fromkeys(optimizer.params) if p.grad is not None]
    if not all(g.dtype in (torch.float32, torch.bfloat16) for _, g in pairs):
        raise ValueError("gradients must be float32 or bfloat16")
    return pairs


def _over(g: Tensor) -> bool:
    return g.numel() > 0 and not math.isfinite(float(g.detach().float().abs().max()))


@torch.no_grad()
def _unscale(g: Tensor, scale: float) -> None:
    g.copy_((g.float() / scale).to(g.dtype))


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not all(
            (
                1 <= init_scale <= 2**24,
                growth_factor > 1,
                0 < backoff_factor < 1,
                growth_interval >= 1,
            )
        ):
            raise ValueError("out of range")

        def bad(scale, good):
            return max(1.0, scale * backoff_factor), 0

        def fine(scale, good):
            if good + 1 >= growth_interval:
                return min(2.0**24, scale * growth_factor), 0
            return scale, good + 1

        self._transitions = {"bad": bad, "good": fine, "neither": lambda s, g: (s, g)}
        self._now = float(init_scale), 0
        self._forget()

    def _forget(self) -> None:
        self._parts: list[tuple[Any, str]] = []
        self._done: list[Any] = []
        self._divided: set[Parameter] = set()

    def get_scale(self) -> float:
        return self._now[0]

    def scale(self, loss: Tensor) -> Tensor:
        return loss.type(torch.float32).mul(self._now[0])

    def _part(self, optimizer: Any) -> list[str]:
        return [kind for o, kind in self._parts if o is optimizer]

    def unscale_(self, optimizer: Any) -> None:
        if self._part(optimizer):
            raise RuntimeError("already unscaled or stepped")
        pairs = _checked(optimizer)
        for p, g in pairs:
            if p not in self._divided:
                _unscale(g, self._now[0])
        self._divided.update(p for p, _ in pairs)
        kind = "neither" if not pairs else "bad" if any(_over(g) for _, g in pairs) else "good"
        self._parts.append((optimizer, kind))

    def step(self, optimizer: Any) -> bool:
        if any(o is optimizer for o in self._done):
            raise RuntimeError("already stepped")
        if not self._part(optimizer):
            self.unscale_(optimizer)
        self._done.append(optimizer)
        go = self._part(optimizer) != ["bad"]
        if go:
            optimizer.step()
        return go

    def update(self) -> None:
        if not self._parts:
            raise RuntimeError("nothing to update from")
        kinds = {kind for _, kind in self._parts}
        kind = next(k for k in ("bad", "good", "neither") if k in kinds)
        self._now = self._transitions[kind](*self._now)
        self._forget()

    def state_dict(self) -> dict[str, float | int]:
        return dict(zip(("scale", "good_rounds"), self._now))

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) ^ {"scale", "good_rounds"}:
            raise ValueError("keys")
        if not (1 <= state["scale"] <= 2**24 and 0 <= state["good_rounds"]):
            raise ValueError("numbers")
        self._now = float(state["scale"]), int(state["good_rounds"])
        self._forget()


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (0 < scale < float("inf")) or not max_norm >= 0:
        raise ValueError("scale or max_norm")
    gradients = [g for _, g in _checked(optimizer)]
    for g in gradients:
        _unscale(g, scale)
    if any(map(_over, gradients)):
        return torch.tensor(math.inf), False
    # hypot neither overflows nor underflows: the largest entry is taken out of each norm
    norm = reduce(math.hypot, map(_norm_of_one, gradients), 0.0)
    if norm > max_norm:
        for g in gradients:
            g.copy_((g.double() * (max_norm / norm)).to(g.dtype))
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True


def _norm_of_one(g: Tensor) -> float:
    if g.numel() == 0:
        return 0.0
    wide = g.reshape(-1).double()
    top = float(wide.abs().max())
    return top and top * math.sqrt(float(torch.dot(wide / top, wide / top)))


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (0 < scale < math.inf):
        raise ValueError("scale")
    if any(x.size(0) != y.size(0) for x, y in micro_batches):
        raise ValueError("rows")
    counts = [(y != -100).sum().item() for _, y in micro_batches]
    total = sum(counts)
    if total == 0:
        raise ValueError("no targets")
    parameters = tuple(model.parameters())
    trained = tuple(p for p in parameters if p.requires_grad)

    def one(piece: tuple[Tensor, Tensor]) -> tuple[Tensor, dict]:
        loss = model.loss(*piece)
        if not trained or not loss.requires_grad:
            return loss.detach(), {}
        found = torch.autograd.grad(loss.float() * scale, trained, allow_unused=True)
        return loss.detach(), {p: g for p, g in zip(trained, found) if g is not None}

    def fold(so_far, step):
        piece, n = step
        loss, found = one(piece)
        return (
            so_far[0] + loss.double() * n,
            so_far[1]
            | {p: (g.float() * (n / total)).add_(so_far[1].get(p, 0)) for p, g in found.items()},
        )

    kept = [(piece, n) for piece, n in zip(micro_batches, counts) if n]
    loss, sums = reduce(fold, kept, (0.0, {}))
    for p in parameters:
        p.grad = None
    return (loss / total).float(), [sums[p] / scale if p in sums else None for p in parameters]


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if x.dtype != torch.float32 or noise.dtype != torch.int32 or x.size() != noise.size():
        raise ValueError("x or noise")
    if torch.any(noise.clamp(0, 65535) != noise):
        raise ValueError("noise")
    x = x.detach()
    # a NaN gets low bits of 0 and a quiet upper half; then one addition does all
    bits = torch.where(x != x, 0x7FC00000, x.view(torch.int32))
    return ((bits + noise) >> 16).to(torch.int16).view(torch.bfloat16)


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
    if not (isinstance(low, torch.dtype) and low in LOW):
        raise ValueError("low")
    if not (lr >= 0 and weight_decay >= 0 and max_norm >= 0 and 1 <= init_scale <= 2**24):
        raise ValueError("a number")
    parameters = list(model.parameters())
    for p in parameters:
        p.grad = None
        p.data = p.data.to(low)
    trained = [i for i, p in enumerate(parameters) if p.requires_grad]
    states = {i: _fresh(parameters[i]) for i in trained}
    update = partial(_adamw, lr=lr, b1=0.9, b2=0.999, eps=1e-8, decay=weight_decay)

    class Form:
        def __call__(self, *inputs, apply):
            return model.loss(*inputs, apply=apply)

        parameters = model.parameters

        def loss(self, tokens, targets):
            return autocast_forward(_Call(self, model.run), tokens, targets, low=low)

    def one_step(scale: float, pieces) -> tuple[float, float]:
        loss, gradients = accumulate(Form(), pieces, scale=scale)
        found = {i: gradients[i] for i in trained if gradients[i] is not None}
        if any(map(_over, found.values())):
            return float(loss), max(1.0, scale / 2)
        norm = reduce(math.hypot, map(_norm_of_one, found.values()), 0.0)
        factor = max_norm / norm if norm > max_norm else 1.0
        with torch.no_grad():
            for i, g in found.items():
                s = states[i]
                s["steps"] += 1
                g = (g.double() * factor).float()
                s["master"], s["m"], s["v"] = update(s["steps"], s["master"], s["m"], s["v"], g)
                s["p"].copy_(s["master"])
        return float(loss), scale

    losses, scale = [], float(init_scale)
    for pieces in batches:
        loss, scale = one_step(scale, pieces)
        losses.append(loss)
    return torch.tensor(losses, dtype=torch.float32)


class _Call:
    def __init__(self, f, run):
        self._f, self.run = f, run

    def __call__(self, *inputs, apply):
        return self._f(*inputs, apply=apply)


def found_inf_everywhere(optimizer: Any) -> bool:
    gradients = (p.grad for p in optimizer.params if p.grad is not None)
    flag = torch.tensor(float(any(map(_over, gradients))))
    d = torch.distributed
    if d.is_available() and d.is_initialized():
        flags = [torch.zeros_like(flag) for _ in range(d.get_world_size())]
        d.all_gather(flags, flag)
        flag = torch.stack(flags).max()
    return bool(flag) or (optimizer.step(), False)[1]
