"""Plain loops, one parameter after another; eager checks first."""
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
HALF = (torch.bfloat16, torch.float16)


def cast_policy(op: str) -> str:
    if op in ("linear", "matmul", "conv1d", "conv2d"):
        return "low"
    if op in ("add", "sub", "mul", "div", "maximum"):
        return "widest"
    if op in ("gelu", "relu", "embedding", "transpose", "reshape"):
        return "widest"
    return "float32"


def _is_float(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def _target(op: str, dtypes: set, low: torch.dtype):
    """The dtype that half tensors (and for "low" all) become; None: nothing is cast."""
    if not dtypes or torch.float64 in dtypes:
        return None
    policy = cast_policy(op)
    if policy == "low":
        return low
    if policy == "float32":
        return torch.float32
    if len(dtypes) == 1:
        return None
    return torch.float32


def autocast_forward(model: Any, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    if low not in HALF:
        raise ValueError("low must be bfloat16 or float16")

    def apply(op, *args, **keywords):
        dtypes = set()
        for x in args:
            if _is_float(x):
                dtypes.add(x.dtype)
        for x in keywords.values():
            if _is_float(x):
                dtypes.add(x.dtype)
        target = _target(op, dtypes, low)
        if target is not None:
            new_args = []
            for x in args:
                new_args.append(x.to(target) if _is_float(x) else x)
            new_keywords = {}
            for name, x in keywords.items():
                new_keywords[name] = x.to(target) if _is_float(x) else x
            args, keywords = new_args, new_keywords
        return model.run(op, *args, **keywords)

    return model(*inputs, apply=apply)


def _unique(params):
    found, seen = [], set()
    for p in params:
        if id(p) not in seen:
            seen.add(id(p))
            found.append(p)
    return found


def _is_count(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 0


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
        beta1, beta2 = betas
        if not lr >= 0 or not eps >= 0 or not weight_decay >= 0:
            raise ValueError("lr, eps and weight_decay must be at least 0")
        if not 0 <= beta1 < 1 or not 0 <= beta2 < 1:
            raise ValueError("betas must be in [0, 1)")
        if not params:
            raise ValueError("no parameter")
        for p in params:
            if p.dtype not in (torch.float32, *HALF):
                raise ValueError(f"dtype {p.dtype}")
        self.params = params
        self._lr, self._beta1, self._beta2 = lr, beta1, beta2
        self._eps, self._weight_decay = eps, weight_decay
        self._own = _unique(params)
        self._t, self._w, self._m, self._v = [], [], [], []
        for p in self._own:
            self._t.append(0)
            self._w.append(None if p.dtype == torch.float32 else p.detach().to(torch.float32))
            self._m.append(torch.zeros(p.shape, dtype=torch.float32, device=p.device))
            self._v.append(torch.zeros(p.shape, dtype=torch.float32, device=p.device))

    def _master(self, i: int) -> Tensor:
        return self._own[i].detach() if self._w[i] is None else self._w[i]

    @torch.no_grad()
    def step(self) -> None:
        for i, p in enumerate(self._own):
            if p.grad is None:
                continue
            self._t[i] += 1
            t, w, m, v = self._t[i], self._master(i), self._m[i], self._v[i]
            g = p.grad.to(torch.float32)
            w.mul_(1 - self._lr * self._weight_decay)
            m.mul_(self._beta1).add_(g, alpha=1 - self._beta1)
            v.mul_(self._beta2).add_(g * g, alpha=1 - self._beta2)
            denominator = (v / (1 - self._beta2**t)).sqrt_().add_(self._eps)
            w.sub_((m / (1 - self._beta1**t)).div_(denominator), alpha=self._lr)
            if self._w[i] is not None:
                p.copy_(w)

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        state = {"steps": [], "master": [], "m": [], "v": []}
        for i in range(len(self._own)):
            state["steps"].append(self._t[i])
            state["master"].append(self._master(i).clone())
            state["m"].append(self._m[i].clone())
            state["v"].append(self._v[i].clone())
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if set(state) != {"steps", "master", "m", "v"}:
            raise ValueError("keys")
        for entries in state.values():
            if len(entries) != len(self._own):
                raise ValueError("number of entries")
        for n in state["steps"]:
            if not _is_count(n):
                raise ValueError("steps")
        for key in ("master", "m", "v"):
            for x, p in zip(state[key], self._own):
                if not isinstance(x, torch.Tensor) or x.dtype != torch.float32 or x.shape != p.shape:
                    raise ValueError(key)
        for i, p in enumerate(self._own):
            self._t[i] = state["steps"][i]
            self._master(i).copy_(state["master"][i])
            self._m[i].copy_(state["m"][i])
            self._v[i].copy_(state["v"][i])
            if self._w[i] is not None:
                p.copy_(self._w[i])


def _overflows(g: Tensor) -> bool:
    return not bool(torch.isfinite(g).all())


@torch.no_grad()
def _divide_(g: Tensor, scale: float) -> None:
    g.copy_(g.to(torch.float32) / scale)


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
        if not growth_factor > 1:
            raise ValueError("growth_factor")
        if not 0 < backoff_factor < 1:
            raise ValueError("backoff_factor")
        if not growth_interval >= 1:
            raise ValueError("growth_interval")
        self._scale = float(init_scale)
        self._growth, self._backoff, self._interval = growth_factor, backoff_factor, growth_interval
        self._good = 0
        self._begin()

    def _begin(self) -> None:
        self._divided = []  # parameters
        self._unscaled = []  # (optimizer, overflows, has gradients)
        self._stepped = []

    def _record(self, optimizer):
        for entry in self._unscaled:
            if entry[0] is optimizer:
                return entry
        return None

    def _was_stepped(self, optimizer) -> bool:
        for o in self._stepped:
            if o is optimizer:
                return True
        return False

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        return loss.to(torch.float32) * self._scale

    def unscale_(self, optimizer: Any) -> None:
        if self._record(optimizer) is not None:
            raise RuntimeError("unscaled or stepped already")
        with_gradient = []
        for p in _unique(optimizer.params):
            if p.grad is not None:
                if p.grad.dtype not in (torch.float32, torch.bfloat16):
                    raise ValueError(f"gradient in {p.grad.dtype}")
                with_gradient.append(p)
        overflow = False
        done = set(id(p) for p in self._divided)
        for p in with_gradient:
            if id(p) not in done:
                _divide_(p.grad, self._scale)
                self._divided.append(p)
            if _overflows(p.grad):
                overflow = True
        self._unscaled.append((optimizer, overflow, len(with_gradient) > 0))

    def step(self, optimizer: Any) -> bool:
        if self._was_stepped(optimizer):
            raise RuntimeError("stepped already")
        if self._record(optimizer) is None:
            self.unscale_(optimizer)
        self._stepped.append(optimizer)
        if self._record(optimizer)[1]:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        if not self._unscaled:
            raise RuntimeError("nothing was unscaled or stepped")
        any_overflow = any_gradient = False
        for _, overflow, has in self._unscaled:
            any_overflow = any_overflow or overflow
            any_gradient = any_gradient or has
        if any_overflow:
            self._scale = max(1.0, self._scale * self._backoff)
            self._good = 0
        elif any_gradient:
            self._good += 1
            if self._good >= self._interval:
                self._scale = min(2.0**24, self._scale * self._growth)
                self._good = 0
        self._begin()

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) != {"scale", "good_rounds"}:
            raise ValueError("keys")
        if not 1 <= state["scale"] <= 2**24:
            raise ValueError("scale")
        if not state["good_rounds"] >= 0:
            raise ValueError("good_rounds")
        self._scale, self._good = float(state["scale"]), int(state["good_rounds"])
        self._begin()


@torch.no_grad()
def clip_and_step(optimizer: Any, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    if not 0 < scale < math.inf:
        raise ValueError("scale")
    if not max_norm >= 0:
        raise ValueError("max_norm")
    gradients = []
    for p in _unique(optimizer.params):
        if p.grad is not None:
            if p.grad.dtype not in (torch.float32, torch.bfloat16):
                raise ValueError("dtype of a gradient")
            gradients.append(p.grad)
    for g in gradients:
        _divide_(g, scale)
    for g in gradients:
        if _overflows(g):
            return torch.tensor(math.inf, dtype=torch.float32), False
    total = 0.0
    for g in gradients:
        total += float(g.to(torch.float64).square().sum())
    norm = math.sqrt(total)
    if norm > max_norm:
        for g in gradients:
            g.copy_(g.to(torch.float64) * (max_norm / norm))
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True


def _kept(targets: Tensor) -> int:
    return int((targets != -100).sum())


def accumulate(
    model: Any, micro_batches: Sequence[tuple[Tensor, Tensor]], *, scale: float = 1.0
) -> tuple[Tensor, list[Tensor | None]]:
    if not 0 < scale < math.inf:
        raise ValueError("scale")
    if len(micro_batches) == 0:
        raise ValueError("no piece")
    total = 0
    for inputs, targets in micro_batches:
        if inputs.shape[0] != targets.shape[0]:
            raise ValueError("rows")
        total += _kept(targets)
    if total == 0:
        raise ValueError("no target")
    parameters = list(model.parameters())
    wanting = [i for i, p in enumerate(parameters) if p.requires_grad]
    sums: list[Tensor | None] = [None] * len(parameters)
    loss_sum = torch.zeros((), dtype=torch.float64)
    for inputs, targets in micro_batches:
        n = _kept(targets)
        if n == 0:
            continue
        loss = model.loss(inputs, targets)
        loss_sum += loss.detach().double().cpu() * n
        if wanting and loss.requires_grad:
            pieces = torch.autograd.grad(
                loss.float() * scale, [parameters[i] for i in wanting], allow_unused=True
            )
            for i, g in zip(wanting, pieces):
                if g is not None:
                    part = g.to(torch.float32) * (n / total)
                    sums[i] = part if sums[i] is None else sums[i] + part
            del pieces
        del loss
    for p in parameters:
        p.grad = None
    gradients = []
    for s in sums:
        gradients.append(None if s is None else s / scale)
    return (loss_sum / total).float(), gradients


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    if x.dtype != torch.float32 or noise.dtype != torch.int32:
        raise ValueError("dtype")
    if x.shape != noise.shape:
        raise ValueError("shape")
    if bool(((noise < 0) | (noise > 65535)).any()):
        raise ValueError("noise")
    bits = x.detach().clone().view(torch.int32)
    upper = (bits >> 16) + (((bits & 0xFFFF) + noise) >= 65536).to(torch.int32)
    upper[torch.isnan(x)] = 0x7FC0
    return upper.to(torch.int16).view(torch.bfloat16)


class _Policed:
    """A model whose loss runs under the policy, in the form that `accumulate` wants."""

    def __init__(self, model, low):
        self._model, self._low = model, low

    def parameters(self):
        return self._model.parameters()

    def loss(self, tokens, targets):
        class Caller:
            run = staticmethod(self._model.run)

            def __call__(_, *inputs, apply):
                return self._model.loss(*inputs, apply=apply)

        return autocast_forward(Caller(), tokens, targets, low=self._low)


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
    if low not in HALF:
        raise ValueError("low")
    if not lr >= 0 or not weight_decay >= 0 or not max_norm >= 0 or not 1 <= init_scale <= 2**24:
        raise ValueError("a number is out of its range")
    for p in model.parameters():
        p.grad = None
        p.data = p.data.to(low)
    parameters = list(model.parameters())
    wanting = [i for i, p in enumerate(parameters) if p.requires_grad]
    masters = [Parameter(parameters[i].detach().float()) for i in wanting]
    optimizer = MasterAdamW(masters, lr=lr, weight_decay=weight_decay) if masters else None
    policed = _Policed(model, low)
    scale = float(init_scale)
    losses = []
    for pieces in batches:
        loss, gradients = accumulate(policed, pieces, scale=scale)
        losses.append(loss)
        if optimizer is None:
            continue
        for i, master in zip(wanting, masters):
            master.grad = gradients[i]
        _, stepped = clip_and_step(optimizer, 1.0, max_norm)
        if not stepped:
            scale = max(1.0, scale / 2)
            continue
        with torch.no_grad():
            for i, master in zip(wanting, masters):
                parameters[i].copy_(master)
    return torch.tensor([float(loss) for loss in losses], dtype=torch.float32)


def found_inf_everywhere(optimizer: Any) -> bool:
    found = 0.0
    device = torch.device("cpu")
    for p in optimizer.params:
        device = p.device
        if p.grad is not None and _overflows(p.grad):
            found = 1.0
    flag = torch.tensor([found], device=device)
    dist = torch.distributed
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    if flag.item() > 0:
        return True
    optimizer.step()
    return False
