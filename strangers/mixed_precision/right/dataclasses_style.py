"""Small dataclasses that own the state; checks in helpers of their own."""
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter


@dataclass(frozen=True)
class Policy:
    low: frozenset
    widest: frozenset

    def of(self, op: str) -> str:
        return "low" if op in self.low else "widest" if op in self.widest else "float32"


TABLE = Policy(
    low=frozenset("linear matmul conv1d conv2d".split()),
    widest=frozenset(
        "add sub mul div maximum gelu relu embedding transpose reshape".split()
    ),
)


def cast_policy(op: str) -> str:
    return TABLE.of(op)


@dataclass
class Autocast:
    model: Any
    low: torch.dtype

    def __post_init__(self) -> None:
        if self.low != torch.bfloat16 and self.low != torch.float16:
            raise ValueError("low")

    @staticmethod
    def tensors(args, keywords):
        for x in [*args, *keywords.values()]:
            if isinstance(x, Tensor) and x.dtype.is_floating_point:
                yield x

    def cast_low(self, x: Tensor) -> Tensor:
        return x if x.dtype == self.low else x.to(self.low)

    def cast_float32(self, x: Tensor) -> Tensor:
        return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x

    def __call__(self, op: str, *args: Any, **keywords: Any) -> Tensor:
        dtypes = [x.dtype for x in self.tensors(args, keywords)]
        cast = self.chosen(cast_policy(op), dtypes)

        def each(x):
            return cast(x) if isinstance(x, Tensor) and x.dtype.is_floating_point else x

        args = [each(x) for x in args]
        keywords = {k: each(x) for k, x in keywords.items()}
        return self.model.run(op, *args, **keywords)

    def chosen(self, policy: str, dtypes: list):
        if torch.float64 in dtypes:
            return lambda x: x
        if policy == "low":
            return self.cast_low
        if policy == "float32":
            return self.cast_float32
        mixed = any(d != dtypes[0] for d in dtypes)
        return self.cast_float32 if mixed else lambda x: x


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    return model(*inputs, apply=Autocast(model, low))


@dataclass
class Slot:
    """What AdamW keeps for one parameter."""

    parameter: Parameter
    t: int = 0
    copy: Tensor | None = None
    m: Tensor = field(init=False)
    v: Tensor = field(init=False)

    def __post_init__(self) -> None:
        p = self.parameter
        self.m = torch.zeros(p.shape, dtype=torch.float32, device=p.device)
        self.v = torch.zeros(p.shape, dtype=torch.float32, device=p.device)
        if p.dtype != torch.float32:
            self.copy = torch.empty(p.shape, dtype=torch.float32, device=p.device).copy_(p.detach())

    @property
    def w(self) -> Tensor:
        return self.parameter.detach() if self.copy is None else self.copy

    def publish(self) -> None:
        if self.copy is not None:
            self.parameter.detach().copy_(self.copy)

    def advance(self, hyper: "Hyper") -> None:
        g = self.parameter.grad
        if g is None:
            return
        g = g.detach().float()
        self.t += 1
        self.w.mul_(1.0 - hyper.lr * hyper.weight_decay)
        self.m.mul_(hyper.betas[0]).add_(g * (1.0 - hyper.betas[0]))
        self.v.mul_(hyper.betas[1]).add_(g.square().mul_(1.0 - hyper.betas[1]))
        m_hat = self.m / (1.0 - hyper.betas[0] ** self.t)
        v_hat = self.v / (1.0 - hyper.betas[1] ** self.t)
        self.w.sub_(m_hat.mul_(hyper.lr).div_(v_hat.sqrt_().add_(hyper.eps)))
        self.publish()


@dataclass(frozen=True)
class Hyper:
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float

    def __post_init__(self) -> None:
        for name in ("lr", "eps", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(name)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas")


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
        self._hyper = Hyper(lr, tuple(betas), eps, weight_decay)
        self.params = list(params)
        if len(self.params) == 0:
            raise ValueError("no parameter")
        if any(p.dtype not in (torch.float32, torch.bfloat16, torch.float16) for p in self.params):
            raise ValueError("dtype")
        by_id = {id(p): p for p in self.params}
        self._slots = [Slot(p) for p in by_id.values()]

    def step(self) -> None:
        with torch.no_grad():
            for slot in self._slots:
                slot.advance(self._hyper)

    def zero_grad(self) -> None:
        for slot in self._slots:
            slot.parameter.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        return {
            "steps": [s.t for s in self._slots],
            "master": [s.w.clone() for s in self._slots],
            "m": [s.m.clone() for s in self._slots],
            "v": [s.v.clone() for s in self._slots],
        }

    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if sorted(state) != ["m", "master", "steps", "v"]:
            raise ValueError("keys")
        if {len(x) for x in state.values()} != {len(self._slots)}:
            raise ValueError("lengths")
        rows = list(zip(self._slots, state["steps"], state["master"], state["m"], state["v"]))
        for slot, t, *tensors in rows:
            if not isinstance(t, int) or isinstance(t, bool) or t < 0:
                raise ValueError("steps")
            for x in tensors:
                if not isinstance(x, Tensor):
                    raise ValueError("no tensor")
                if x.dtype != torch.float32 or x.shape != slot.parameter.shape:
                    raise ValueError("dtype or shape")
        with torch.no_grad():
            for slot, t, w, m, v in rows:
                slot.t = t
                slot.w.copy_(w)
                slot.m.copy_(m)
                slot.v.copy_(v)
                slot.publish()


def overflows(g: Tensor) -> bool:
    return bool((g - g != 0).any())  # inf - inf and NaN - NaN are NaN


def gradients_to_unscale(optimizer: Any) -> list[Parameter]:
    found = list({id(p): p for p in optimizer.params if p.grad is not None}.values())
    for p in found:
        if p.grad.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"cannot unscale {p.grad.dtype}")
    return found


def divide_(g: Tensor, scale: float) -> None:
    with torch.no_grad():
        if g.dtype == torch.float32:
            g.div_(scale)
        else:
            g.copy_(g.float().div_(scale))


@dataclass
class Turn:
    """An optimizer's part in a round."""

    optimizer: Any
    overflow: bool
    had_gradient: bool
    stepped: bool = False


@dataclass
class Round:
    turns: list[Turn] = field(default_factory=list)
    divided: dict[int, Parameter] = field(default_factory=dict)

    def turn(self, optimizer: Any) -> Turn | None:
        return next((t for t in self.turns if t.optimizer is optimizer), None)


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        ranges = {
            "init_scale": 1 <= init_scale <= 2**24,
            "growth_factor": growth_factor > 1,
            "backoff_factor": 0 < backoff_factor < 1,
            "growth_interval": growth_interval >= 1,
        }
        for name, fine in ranges.items():
            if not fine:
                raise ValueError(f"{name} is out of its range")
        self._scale = float(init_scale)
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._good_rounds = 0
        self._round = Round()

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        factor = torch.tensor(self._scale, dtype=torch.float32, device=loss.device)
        return loss.to(torch.float32) * factor

    def unscale_(self, optimizer: Any) -> None:
        if self._round.turn(optimizer):
            raise RuntimeError("once per round")
        parameters = gradients_to_unscale(optimizer)
        for p in parameters:
            if id(p) not in self._round.divided:
                divide_(p.grad, self._scale)
                self._round.divided[id(p)] = p
        overflow = any(overflows(p.grad) for p in parameters)
        self._round.turns.append(Turn(optimizer, overflow, bool(parameters)))

    def step(self, optimizer: Any) -> bool:
        turn = self._round.turn(optimizer)
        if turn is None:
            self.unscale_(optimizer)
            turn = self._round.turns[-1]
        elif turn.stepped:
            raise RuntimeError("one step per round")
        turn.stepped = True
        if turn.overflow:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        turns = self._round.turns
        if not turns:
            raise RuntimeError("no round")
        if any(t.overflow for t in turns):
            self._scale = max(self._scale * self._backoff_factor, 1.0)
            self._good_rounds = 0
        elif any(t.had_gradient for t in turns):
            self._good_rounds += 1
            if self._good_rounds >= self._growth_interval:
                self._good_rounds = 0
                self._scale = min(self._scale * self._growth_factor, float(2**24))
        self._round = Round()

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good_rounds}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if sorted(state) != ["good_rounds", "scale"]:
            raise ValueError("keys")
        scale, good = state["scale"], state["good_rounds"]
        if not (1 <= scale <= 2**24) or not good >= 0:
            raise ValueError("range")
        self._scale, self._good_rounds, self._round = float(scale), int(good), Round()


def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not math.isfinite(scale) or scale <= 0 or math.isnan(max_norm) or max_norm < 0:
        raise ValueError("out of range")
    parameters = gradients_to_unscale(optimizer)
    for p in parameters:
        divide_(p.grad, scale)
    if any(overflows(p.grad) for p in parameters):
        return torch.tensor(float("inf")), False
    squares = [torch.sum(p.grad.double() ** 2) for p in parameters]
    norm = float(sum(squares)) ** 0.5
    if norm > max_norm:
        factor = max_norm / norm
        with torch.no_grad():
            for p in parameters:
                p.grad.copy_((p.grad.double() * factor).to(p.grad.dtype))
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True


@dataclass
class Piece:
    inputs: Tensor
    targets: Tensor
    kept: int = 0

    def __post_init__(self) -> None:
        if self.inputs.shape[:1] != self.targets.shape[:1]:
            raise ValueError("rows of inputs and targets differ")
        self.kept = int(self.targets.ne(-100).sum())


@dataclass
class Sums:
    parameters: list[Parameter]
    scale: float
    loss: float = 0.0
    tensors: dict[int, Tensor] = field(default_factory=dict)

    def add(self, loss: Tensor, weight: float) -> None:
        self.loss += float(loss.detach()) * weight
        wanting = [(i, p) for i, p in enumerate(self.parameters) if p.requires_grad]
        if not wanting or not loss.requires_grad:
            return
        scaled = loss.float() * self.scale
        found = torch.autograd.grad(scaled, [p for _, p in wanting], allow_unused=True)
        for (i, p), g in zip(wanting, found):
            if g is None:
                continue
            if i not in self.tensors:
                self.tensors[i] = torch.zeros(p.shape, dtype=torch.float32, device=p.device)
            self.tensors[i] += g.float() * weight

    def gradients(self) -> list[Tensor | None]:
        return [
            self.tensors[i] / self.scale if i in self.tensors else None
            for i in range(len(self.parameters))
        ]


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (0 < scale and math.isfinite(scale)):
        raise ValueError("scale")
    pieces = [Piece(inputs, targets) for inputs, targets in micro_batches]
    total = sum(piece.kept for piece in pieces)
    if total == 0:
        raise ValueError("nothing to learn from")
    sums = Sums(list(model.parameters()), scale)
    for piece in pieces:
        if piece.kept:
            sums.add(model.loss(piece.inputs, piece.targets), piece.kept / total)
    for p in sums.parameters:
        p.grad = None
    return torch.tensor(sums.loss, dtype=torch.float32), sums.gradients()


@dataclass(frozen=True)
class Bits:
    """The bits of float32 numbers in halves."""

    upper: Tensor
    low: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Bits":
        whole = x.detach().view(torch.int32)
        return cls(whole >> 16, whole & 0xFFFF)


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if (x.dtype, noise.dtype) != (torch.float32, torch.int32):
        raise ValueError("dtypes")
    if tuple(x.shape) != tuple(noise.shape):
        raise ValueError("shapes")
    if not bool(((noise >= 0) & (noise <= 0xFFFF)).all()):
        raise ValueError("numbers of noise")
    bits = Bits.of(x)
    carried = (bits.low + noise) >> 16
    upper = torch.where(torch.isnan(x.detach()), torch.full_like(bits.upper, 0x7FC0), bits.upper + carried)
    return upper.to(torch.int16).view(torch.bfloat16)


@dataclass
class LossModel:
    """Looks like a model to `autocast_forward`; its call is the loss."""

    model: Any
    low: torch.dtype

    def run(self, op, *args, **keywords):
        return self.model.run(op, *args, **keywords)

    def __call__(self, tokens, targets, *, apply):
        return self.model.loss(tokens, targets, apply=apply)

    def parameters(self):
        return self.model.parameters()

    def loss(self, tokens, targets):
        return autocast_forward(self, tokens, targets, low=self.low)


@dataclass
class Pair:
    parameter: Parameter
    master: Parameter
    index: int


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
    if low != torch.bfloat16 and low != torch.float16:
        raise ValueError("low")
    Hyper(lr, (0.9, 0.999), 1e-8, weight_decay)
    if not max_norm >= 0 or not 1 <= init_scale <= 2**24:
        raise ValueError("max_norm or init_scale")
    parameters = list(model.parameters())
    for p in parameters:
        p.grad = None
        p.data = p.data.to(low)
    pairs = [
        Pair(p, Parameter(p.detach().to(torch.float32)), i)
        for i, p in enumerate(parameters)
        if p.requires_grad
    ]
    optimizer = None
    if pairs:
        optimizer = MasterAdamW([x.master for x in pairs], lr=lr, weight_decay=weight_decay)
    scale, losses = init_scale, []
    for pieces in batches:
        loss, gradients = accumulate(LossModel(model, low), pieces, scale=scale)
        losses.append(loss)
        if optimizer is None:
            continue
        for x in pairs:
            x.master.grad = gradients[x.index]
        _, took = clip_and_step(optimizer, 1.0, max_norm)
        if took:
            for x in pairs:
                x.parameter.detach().copy_(x.master.detach())
        else:
            scale = max(1.0, scale / 2)
    return torch.stack(losses) if losses else torch.zeros(0)


def found_inf_everywhere(optimizer: Any) -> bool:
    dist = torch.distributed
    mine = any(p.grad is not None and overflows(p.grad.detach()) for p in optimizer.params)
    flag = torch.tensor([1 if mine else 0], dtype=torch.uint8)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    found = bool(flag[0])
    if not found:
        optimizer.step()
    return found
