"""Few lines, many torch functions: foreach operations, dictionaries, lerp_ and addcdiv_."""
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter

_POLICY = dict.fromkeys(("linear", "matmul", "conv1d", "conv2d"), "low") | dict.fromkeys(
    ("add", "sub", "mul", "div", "maximum", "gelu", "relu", "embedding", "transpose", "reshape"),
    "widest",
)


def cast_policy(op: str) -> str:
    return _POLICY.get(op, "float32")


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if low not in {torch.bfloat16, torch.float16}:
        raise ValueError(f"{low} is no low dtype")

    def floats(values):
        return [x for x in values if isinstance(x, Tensor) and torch.is_floating_point(x)]

    def apply(op: str, *args: Any, **kw: Any) -> Tensor:
        dtypes = {x.dtype for x in floats((*args, *kw.values()))}
        if torch.float64 in dtypes or not dtypes:
            return model.run(op, *args, **kw)
        wanted = {
            "low": low,
            "float32": torch.float32,
            "widest": dtypes.copy().pop() if len(dtypes) == 1 else torch.float32,
        }[cast_policy(op)]

        def cast(x):
            return x.to(dtype=wanted) if floats([x]) else x

        return model.run(op, *map(cast, args), **dict(zip(kw, map(cast, kw.values()))))

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
        self.params = [*params]
        if not (min(lr, eps, weight_decay) >= 0 and lr == lr and eps == eps and weight_decay == weight_decay):
            raise ValueError("lr, eps, weight_decay")
        if not all(0 <= b < 1 for b in betas):
            raise ValueError("betas")
        if not self.params or {p.dtype for p in self.params} - {
            torch.float32,
            torch.bfloat16,
            torch.float16,
        }:
            raise ValueError("params")
        self._hyper = lr, *betas, eps, weight_decay
        self._once = list(dict.fromkeys(self.params))
        self._steps = [0] * len(self._once)
        self._copies = {
            i: p.detach().float() for i, p in enumerate(self._once) if p.dtype != torch.float32
        }
        self._m = [torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in self._once]
        self._v = [torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in self._once]

    def _masters(self) -> list[Tensor]:
        return [self._copies.get(i, p.detach()) for i, p in enumerate(self._once)]

    @torch.no_grad()
    def step(self) -> None:
        lr, b1, b2, eps, decay = self._hyper
        for i, w in enumerate(self._masters()):
            p = self._once[i]
            if p.grad is None:
                continue
            self._steps[i] = t = self._steps[i] + 1
            g = p.grad.float()
            w.mul_(1 - lr * decay)
            self._m[i].lerp_(g, 1 - b1)
            self._v[i].mul_(b2).addcmul_(g, g, value=1 - b2)
            root = self._v[i].sqrt().div_(math.sqrt(1 - b2**t)).add_(eps)
            w.addcdiv_(self._m[i], root, value=-lr / (1 - b1**t))
            if i in self._copies:
                p.copy_(w)

    def zero_grad(self) -> None:
        for p in self._once:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        return {
            "steps": self._steps.copy(),
            "master": [w.clone() for w in self._masters()],
            "m": [m.clone() for m in self._m],
            "v": [v.clone() for v in self._v],
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        shapes = [p.shape for p in self._once]
        ok = set(state) == {"steps", "master", "m", "v"}
        ok = ok and all(len(x) == len(shapes) for x in state.values())
        ok = ok and all(type(n) is int and n >= 0 for n in state["steps"])
        ok = ok and all(
            isinstance(x, Tensor) and x.dtype == torch.float32 and x.shape == shape
            for key in ("master", "m", "v")
            for x, shape in zip(state[key], shapes)
        )
        if not ok:
            raise ValueError("this is not a state of these parameters")
        self._steps = list(state["steps"])
        for mine, theirs in (
            (self._masters(), state["master"]),
            (self._m, state["m"]),
            (self._v, state["v"]),
            (self._once, state["master"]),
        ):
            for a, b in zip(mine, theirs):
                a.copy_(b)


def _gradients(optimizer: Any) -> dict[Parameter, Tensor]:
    """Gradients by parameter, tied ones once; refuses what may not be unscaled."""
    found = {p: p.grad for p in optimizer.params if p.grad is not None}
    if {g.dtype for g in found.values()} - {torch.float32, torch.bfloat16}:
        raise ValueError("gradients must be float32 or bfloat16")
    return found


@torch.no_grad()
def _divide_all(gradients: list[Tensor], scale: float) -> None:
    for g in gradients:
        g.copy_(torch.div(g.float(), scale))


def _any_overflow(gradients: Iterable[Tensor]) -> bool:
    flags = [g.isfinite().all().logical_not() for g in gradients]
    return bool(torch.stack(flags).any()) if flags else False


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not (
            1 <= init_scale <= 2**24
            and growth_factor > 1
            and 0 < backoff_factor < 1
            and growth_interval >= 1
        ):
            raise ValueError("a number is out of its range")
        self._state = {"scale": float(init_scale), "good_rounds": 0}
        self._factors = growth_factor, backoff_factor, growth_interval
        self._reset()

    def _reset(self) -> None:
        self._divided: set[Parameter] = set()
        self._round: dict[int, dict] = {}

    def get_scale(self) -> float:
        return self._state["scale"]

    def scale(self, loss: Tensor) -> Tensor:
        return torch.mul(loss.float(), self._state["scale"])

    def unscale_(self, optimizer: Any) -> None:
        if id(optimizer) in self._round:
            raise RuntimeError("this optimizer was unscaled or stepped in this round")
        gradients = _gradients(optimizer)
        _divide_all([g for p, g in gradients.items() if p not in self._divided], self.get_scale())
        self._divided |= set(gradients)
        self._round[id(optimizer)] = {
            "optimizer": optimizer,  # kept alive, so that its id is its own
            "overflow": _any_overflow(gradients.values()),
            "any": bool(gradients),
            "stepped": False,
        }

    def step(self, optimizer: Any) -> bool:
        if self._round.get(id(optimizer), {"stepped": False})["stepped"]:
            raise RuntimeError("this optimizer was stepped in this round")
        if id(optimizer) not in self._round:
            self.unscale_(optimizer)
        mine = self._round[id(optimizer)]
        mine["stepped"] = True
        if not mine["overflow"]:
            optimizer.step()
        return not mine["overflow"]

    def update(self) -> None:
        if not self._round:
            raise RuntimeError("no optimizer in this round")
        growth, backoff, interval = self._factors
        scale, good = self._state["scale"], self._state["good_rounds"]
        if any(r["overflow"] for r in self._round.values()):
            scale, good = max(scale * backoff, 1.0), 0
        elif any(r["any"] for r in self._round.values()):
            good += 1
            if good >= interval:
                scale, good = min(scale * growth, 2.0**24), 0
        self._state = {"scale": scale, "good_rounds": good}
        self._reset()

    def state_dict(self) -> dict[str, float | int]:
        return dict(self._state)

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if state.keys() != self._state.keys():
            raise ValueError("keys")
        if not (1 <= state["scale"] <= 2**24 and state["good_rounds"] >= 0):
            raise ValueError("numbers")
        self._state = {"scale": float(state["scale"]), "good_rounds": int(state["good_rounds"])}
        self._reset()


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not (scale > 0 and math.isfinite(scale) and max_norm >= 0):
        raise ValueError("scale or max_norm")
    gradients = list(_gradients(optimizer).values())
    _divide_all(gradients, scale)
    if _any_overflow(gradients):
        return torch.tensor(torch.inf), False
    norms = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients]
    norm = torch.stack(norms).norm() if norms else torch.zeros((), dtype=torch.float64)
    if norm > max_norm:
        for g in gradients:
            g.copy_(g.double() * (max_norm / norm))
    optimizer.step()
    return norm.float(), True


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError("scale")
    if any(len(a) != len(b) for a, b in micro_batches):
        raise ValueError("rows")
    counts = [int(torch.count_nonzero(b != -100)) for _, b in micro_batches]
    if not sum(counts):
        raise ValueError("no piece, or no target that counts")
    everything = list(model.parameters())
    leaves = [p for p in everything if p.requires_grad]
    sums: dict[Parameter, Tensor] = {}

    def piece(inputs: Tensor, targets: Tensor, share: float) -> Tensor:
        with torch.enable_grad():
            loss = model.loss(inputs, targets).float()
            scaled = loss * scale
        if leaves and scaled.requires_grad:
            for p, g in zip(leaves, torch.autograd.grad(scaled, leaves, allow_unused=True)):
                if g is not None:
                    g = g.float() * share
                    sums[p] = sums[p].add_(g) if p in sums else g
        return loss.detach() * share

    losses = [
        piece(*pair, n / sum(counts)) for pair, n in zip(micro_batches, counts) if n
    ]
    for p in everything:
        p.grad = None
    return torch.stack(losses).sum(), [
        sums[p].div_(scale) if p in sums else None for p in everything
    ]


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if x.dtype is not torch.float32 or noise.dtype is not torch.int32 or x.shape != noise.shape:
        raise ValueError("dtype or shape")
    if noise.numel() and not (noise.min() >= 0 and noise.max() < 65536):
        raise ValueError("noise")
    x = x.detach()
    wide = x.view(torch.int32).long() & 0xFFFFFFFF
    upper = torch.where(x.isnan(), 0x7FC0, (wide + noise) >> 16)
    upper = torch.where(upper >= 32768, upper - 65536, upper)
    return upper.short().view(torch.bfloat16)


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
    if low not in {torch.bfloat16, torch.float16}:
        raise ValueError("low")
    if not (1 <= init_scale <= 2**24 and max_norm >= 0 and lr >= 0 and weight_decay >= 0):
        raise ValueError("numbers")
    everything = list(model.parameters())
    for p in everything:
        p.grad, p.data = None, p.detach().to(low)

    class Wrapped:
        parameters = staticmethod(lambda: everything)

        @staticmethod
        def loss(tokens, targets):
            def call(*inputs, apply):
                return model.loss(*inputs, apply=apply)

            call.run = model.run
            return autocast_forward(call, tokens, targets, low=low)

    pairs = {i: Parameter(p.detach().float()) for i, p in enumerate(everything) if p.requires_grad}
    optimizer = MasterAdamW(pairs.values(), lr=lr, weight_decay=weight_decay) if pairs else None
    losses, scale = torch.empty(len(batches)), float(init_scale)
    for n, pieces in enumerate(batches):
        losses[n], gradients = accumulate(Wrapped, pieces, scale=scale)
        if optimizer is None:
            continue
        for i, master in pairs.items():
            master.grad = gradients[i]
        if clip_and_step(optimizer, 1.0, max_norm)[1]:
            for i, master in pairs.items():
                everything[i].data.copy_(master.data)
        else:
            scale = max(scale * 0.5, 1.0)
    return losses


def found_inf_everywhere(optimizer: Any) -> bool:
    bad = _any_overflow(p.grad for p in optimizer.params if p.grad is not None)
    flag = torch.tensor(int(bad), dtype=torch.int32)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    if not flag:
        optimizer.step()
    return bool(flag)
