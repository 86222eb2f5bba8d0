"""Recursion over nested arguments, enums for states, checks last where nothing has moved yet."""
import enum
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter


class P(enum.Enum):
    low = ("linear", "matmul", "conv1d", "conv2d")
    widest = ("add", "sub", "mul", "div", "maximum", "gelu", "relu", "embedding", "transpose", "reshape")
    float32 = ()


def cast_policy(op: str) -> str:
    return next((p.name for p in P if op in p.value), P.float32.name)


def _collect(x: Any) -> list[torch.dtype]:
    if isinstance(x, Tensor):
        return [x.dtype] if x.is_floating_point() else []
    if isinstance(x, (tuple, list)):
        return _collect(x[0]) + _collect(x[1:]) if x else []
    if isinstance(x, dict):
        return _collect(list(x.values()))
    return []


def _replace(x: Any, f) -> Any:
    if isinstance(x, Tensor):
        return f(x) if x.is_floating_point() else x
    if type(x) in (tuple, list):
        return type(x)(_replace(y, f) for y in x)
    if type(x) is dict:
        return {k: _replace(y, f) for k, y in x.items()}
    return x


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    halves = [torch.bfloat16, torch.float16]
    if low not in halves:
        raise ValueError("low")

    def apply(op, *args, **keywords):
        dtypes = _collect([args, keywords])
        policy = cast_policy(op)
        f = None
        if torch.float64 in dtypes:
            pass
        elif policy == "low":
            f = lambda x: x.to(low)  # noqa: E731
        elif policy == "float32" or len(set(dtypes)) > 1:
            f = lambda x: x.to(torch.float32) if x.dtype in halves else x  # noqa: E731
        if f is not None:
            args, keywords = _replace(args, f), _replace(keywords, f)
        return model.run(op, *args, **keywords)

    return model(*inputs, apply=apply)


class _Single:
    """AdamW of one float32 or low parameter; moments are made at its first step (lazy)."""

    def __init__(self, p: Parameter) -> None:
        self.p, self.t = p, 0
        self.m = self.v = None
        self.copy = p.detach().to(torch.float32) if p.dtype != torch.float32 else None

    def master(self) -> Tensor:
        return self.p.data if self.copy is None else self.copy

    def moments(self) -> tuple[Tensor, Tensor]:
        if self.m is None:
            self.m = torch.zeros(self.p.shape, dtype=torch.float32, device=self.p.device)
            self.v = torch.zeros_like(self.m)
        return self.m, self.v

    def step(self, g: Tensor, lr, beta1, beta2, eps, decay) -> None:
        self.t += 1
        m, v = self.moments()
        w = self.master()
        w.add_(w, alpha=-lr * decay)
        torch.add(m * beta1, g, alpha=1 - beta1, out=m)
        torch.addcmul(v * beta2, g, g, value=1 - beta2, out=v)
        root = torch.sqrt(v / (1 - beta2**self.t))
        root += eps
        w.addcdiv_(m / (1 - beta1**self.t), root, value=-lr)
        self.write()

    def write(self) -> None:
        if self.copy is not None:
            self.p.data.copy_(self.copy)


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
        params = list(params)
        if not params:
            raise ValueError("no parameter")
        if any(p.dtype not in (torch.float32, torch.float16, torch.bfloat16) for p in params):
            raise ValueError("dtype")
        beta1, beta2 = betas
        for low, x, high in (
            (0, lr, None),
            (0, beta1, 1),
            (0, beta2, 1),
            (0, eps, None),
            (0, weight_decay, None),
        ):
            if not x >= low or (high is not None and not x < high):
                raise ValueError("a number is out of its range")
        self.params = params
        self._numbers = lr, beta1, beta2, eps, weight_decay
        self._singles: dict[int, _Single] = {}
        for p in params:
            if id(p) not in self._singles:
                self._singles[id(p)] = _Single(p)

    @torch.no_grad()
    def step(self) -> None:
        for s in self._singles.values():
            if s.p.grad is not None:
                s.step(s.p.grad.float(), *self._numbers)

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        singles = self._singles.values()
        return {
            "steps": [s.t for s in singles],
            "master": [s.master().clone() for s in singles],
            "m": [s.moments()[0].clone() for s in singles],
            "v": [s.moments()[1].clone() for s in singles],
        }

    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if set(state) != {"steps", "master", "m", "v"}:
            raise ValueError("keys")
        singles = list(self._singles.values())
        if not all(len(state[k]) == len(singles) for k in state):
            raise ValueError("entries")
        if not all(isinstance(t, int) and not isinstance(t, bool) and t >= 0 for t in state["steps"]):
            raise ValueError("steps")
        for key in ("master", "m", "v"):
            for s, x in zip(singles, state[key]):
                if not (
                    isinstance(x, Tensor) and x.dtype == torch.float32 and x.shape == s.p.shape
                ):
                    raise ValueError(key)
        with torch.no_grad():
            for s, t, w, m, v in zip(singles, state["steps"], state["master"], state["m"], state["v"]):
                s.t = t
                s.master().copy_(w)
                s.moments()[0].copy_(m)
                s.moments()[1].copy_(v)
                s.write()


def _finite(gradients: list[Tensor]) -> bool:
    if not gradients:
        return True
    if len(gradients) == 1:
        return bool(gradients[0].isfinite().all())
    half = len(gradients) // 2
    return _finite(gradients[:half]) and _finite(gradients[half:])


def _owners(optimizer: Any) -> list[Parameter]:
    return list({id(p): p for p in optimizer.params if p.grad is not None}.values())


def _refuse_half(parameters: list[Parameter]) -> None:
    if any(p.grad.dtype not in (torch.float32, torch.bfloat16) for p in parameters):
        raise ValueError("a gradient is neither float32 nor bfloat16")


def _divide(p: Parameter, scale: float) -> None:
    with torch.no_grad():
        quotient = p.grad.float() / scale
        p.grad.copy_(quotient)


class S(enum.Enum):
    unscaled = 1
    stepped = 2


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        self._scale, self._good_rounds = float(init_scale), 0
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._reset()
        if not (1 <= self._scale <= 2**24):
            raise ValueError("init_scale")
        if not growth_factor > 1:
            raise ValueError("growth_factor")
        if not 0 < backoff_factor < 1:
            raise ValueError("backoff_factor")
        if not growth_interval >= 1:
            raise ValueError("growth_interval")

    def _reset(self) -> None:
        self._status: dict[int, S] = {}
        self._alive: list[Any] = []  # so that no id is given to another
        self._clean: dict[int, bool] = {}
        self._divided: dict[int, Parameter] = {}

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        return loss.float().multiply(self._scale)

    def unscale_(self, optimizer: Any) -> None:
        key = id(optimizer)
        if key in self._status:
            raise RuntimeError(f"{self._status[key].name} already")
        owners = _owners(optimizer)
        _refuse_half(owners)
        for p in owners:
            if id(p) not in self._divided:
                self._divided[id(p)] = p
                _divide(p, self._scale)
        self._alive.append(optimizer)
        self._clean[key] = _finite([p.grad for p in owners])
        self._status[key] = S.unscaled

    def step(self, optimizer: Any) -> bool:
        key = id(optimizer)
        match self._status.get(key):
            case S.stepped:
                raise RuntimeError("stepped already")
            case None:
                self.unscale_(optimizer)
        self._status[key] = S.stepped
        if self._clean[key]:
            optimizer.step()
        return self._clean[key]

    def update(self) -> None:
        if not self._status:
            raise RuntimeError("update comes after unscale_ or step")
        if not all(self._clean.values()):
            self._scale = max(1.0, self._scale * self._backoff_factor)
            self._good_rounds = 0
        elif self._divided:
            self._good_rounds += 1
            if self._good_rounds >= self._growth_interval:
                self._scale = min(float(2**24), self._scale * self._growth_factor)
                self._good_rounds = 0
        self._reset()

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good_rounds}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) != {"scale", "good_rounds"}:
            raise ValueError("keys")
        scale, good = state["scale"], state["good_rounds"]
        if not (1 <= scale <= 2**24 and good >= 0):
            raise ValueError("out of range")
        self._scale, self._good_rounds = float(scale), int(good)
        self._reset()


def _sum_of_squares(x: Tensor) -> Tensor:
    """Pairwise, by recursion, in float64."""
    if x.numel() <= 4096:
        return x.double().square().sum()
    half = x.numel() // 2
    return _sum_of_squares(x[:half]) + _sum_of_squares(x[half:])


def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    owners = _owners(optimizer)
    _refuse_half(owners)
    if not (scale > 0 and scale < math.inf):
        raise ValueError("scale")
    if not max_norm >= 0:
        raise ValueError("max_norm")
    for p in owners:
        _divide(p, scale)
    if not _finite([p.grad for p in owners]):
        return torch.tensor(math.inf), False
    with torch.no_grad():
        squares = sum((_sum_of_squares(p.grad.reshape(-1)) for p in owners), torch.tensor(0.0).double())
        norm = squares.sqrt()
        if norm > max_norm:
            for p in owners:
                p.grad.copy_(p.grad.double() * (max_norm / norm))
    optimizer.step()
    return norm.float(), True


class _Pieces:
    def __init__(self, micro_batches) -> None:
        self.pieces = [(x, y, int((y != -100).sum())) for x, y in micro_batches]
        self.total = sum(n for _, _, n in self.pieces)
        if self.total == 0 or any(len(x) != len(y) for x, y, _ in self.pieces):
            raise ValueError("pieces")


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not (scale > 0 and scale < math.inf):
        raise ValueError("scale")
    pieces = _Pieces(micro_batches)
    parameters = list(model.parameters())
    wanting = [p for p in parameters if p.requires_grad]

    def piece(x, y):
        loss = model.loss(x, y)
        found = {}
        if wanting and loss.requires_grad:
            gradients = torch.autograd.grad(loss.float() * scale, wanting, allow_unused=True)
            found = {id(p): g for p, g in zip(wanting, gradients) if g is not None}
        return loss.detach().double(), found

    def go(rest):
        """The sums of a list of pieces: the first and the rest."""
        loss_sum, sums = torch.zeros((), dtype=torch.float64), {}
        for x, y, n in rest:
            if n == 0:
                continue
            loss, found = piece(x, y)
            loss_sum = loss_sum + loss * (n / pieces.total)
            for key, g in found.items():
                sums[key] = sums.get(key, 0) + g.float() * (n / pieces.total)
        return loss_sum, sums

    loss, sums = go(pieces.pieces)
    for p in parameters:
        p.grad = None
    return loss.float(), [sums[id(p)] / scale if id(p) in sums else None for p in parameters]


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if x.dtype != torch.float32 or noise.dtype != torch.int32 or x.shape != noise.shape:
        raise ValueError("x or noise")
    if not torch.equal(noise & 0xFFFF, noise):
        raise ValueError("numbers of noise")
    x = x.detach()
    bits = x.view(torch.int32)
    down = bits & -65536
    up = torch.where(torch.isfinite(x), down + 65536, down)
    chosen = torch.where((bits & 65535) >= 65536 - noise, up, down)
    chosen = torch.where(x.isnan(), 0x7FC00000, chosen)
    return chosen.view(torch.float32).to(torch.bfloat16)


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
    if low not in [torch.bfloat16, torch.float16]:
        raise ValueError("low")
    if not (lr >= 0 and weight_decay >= 0 and max_norm >= 0 and 1 <= init_scale <= 2**24):
        raise ValueError("a number")
    parameters = list(model.parameters())
    for p in parameters:
        p.grad = None
        p.data = p.data.to(low)
    singles = {i: _Single(p) for i, p in enumerate(parameters) if p.requires_grad}

    class View:
        """Gradients of the step in float32, in the form of an optimizer."""

        def __init__(self, gradients):
            self.params = []
            for i, s in singles.items():
                stand_in = Parameter(s.master(), requires_grad=True)
                stand_in.grad = gradients[i]
                stand_in.single = s
                self.params.append(stand_in)

        @torch.no_grad()
        def step(self):
            for stand_in in self.params:
                if stand_in.grad is not None:
                    stand_in.single.step(stand_in.grad, lr, 0.9, 0.999, 1e-8, weight_decay)

    def forward(*inputs, apply):
        return model.loss(*inputs, apply=apply)

    forward.run = model.run

    class Under:
        parameters = staticmethod(model.parameters)
        loss = staticmethod(lambda *inputs: autocast_forward(forward, *inputs, low=low))

    losses, scale = [], float(init_scale)
    for pieces in batches:
        loss, gradients = accumulate(Under, pieces, scale=scale)
        losses.append(loss)
        _, stepped = clip_and_step(View(gradients), 1.0, max_norm)
        scale = scale if stepped else max(1.0, scale / 2)
    return torch.stack(losses) if losses else torch.empty(0, dtype=torch.float32)


def found_inf_everywhere(optimizer: Any) -> bool:
    overflow = not _finite([p.grad for p in _owners(optimizer)])
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        answers = torch.zeros(distributed.get_world_size(), dtype=torch.int32)
        answers[distributed.get_rank()] = int(overflow)
        distributed.all_reduce(answers)
        overflow = bool(answers.any())
    if overflow:
        return True
    optimizer.step()
    return False
