"""What torch has is used: its fused AdamW on one master at a time, its norms, its bits."""

import math

import torch
import torch.distributed as dist
from harness import run

Tensor = torch.Tensor


def cast_policy(op):
    match op:
        case "linear" | "matmul" | "conv1d" | "conv2d":
            return "low"
        case "add" | "sub" | "mul" | "div" | "maximum" | "gelu" | "relu":
            return "widest"
        case "embedding" | "transpose" | "reshape":
            return "widest"
    return "float32"


def _target(op, kinds, low):
    if not kinds or torch.float64 in kinds:
        return None
    rule = cast_policy(op)
    if rule == "widest":
        return next(iter(kinds)) if len(kinds) == 1 else torch.float32
    return low if rule == "low" else torch.float32


class _Runner:
    def __init__(self, low):
        if low not in (torch.float16, torch.bfloat16):
            raise ValueError(f"low: {low}")
        self._low = low

    def __call__(self, op, *args, **keywords):
        kinds = {
            x.dtype
            for x in (*args, *keywords.values())
            if isinstance(x, Tensor) and x.is_floating_point()
        }
        target = _target(op, kinds, self._low)
        if target is None or kinds == {target}:
            return run(op, *args, **keywords)
        return run(
            op,
            *(self._cast(x, target) for x in args),
            **{name: self._cast(x, target) for name, x in keywords.items()},
        )

    @staticmethod
    def _cast(x, target):
        return x.to(target) if isinstance(x, Tensor) and x.is_floating_point() else x


def autocast_forward(model, *inputs, low=torch.bfloat16):
    return model(*inputs, apply=_Runner(low))


class MasterAdamW:
    def __init__(self, params, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        self.params = list(params)
        for p in self.params:
            if p.dtype not in (torch.float32, torch.float16, torch.bfloat16):
                raise ValueError(f"a parameter of {p.dtype}")
        self._models = list(dict.fromkeys(self.params))
        self._masters = [self._master_of(p) for p in self._models]
        if not self._masters or min(lr, eps, weight_decay) < 0:
            raise ValueError("no parameters, or a negative number")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas: {betas}")
        names = ("lr", "beta1", "beta2", "eps", "weight_decay")
        self._rule = dict(zip(names, (lr, *betas, eps, weight_decay), strict=True))
        self._m = [torch.zeros(w.shape) for w in self._masters]
        self._v = [torch.zeros(w.shape) for w in self._masters]
        self._steps = [torch.zeros(()) for _ in self._masters]

    @staticmethod
    def _master_of(p):
        if p.dtype is torch.float32:
            return p.data  # shares its memory
        return p.detach().float()

    @torch.no_grad()
    def step(self):
        # One call for each, so that only one float32 gradient lives at a time.
        for i, (p, w) in enumerate(zip(self._models, self._masters, strict=True)):
            if p.grad is None:
                continue
            self._steps[i] += 1
            state = [self._m[i]], [self._v[i]], [], [self._steps[i]]
            rule = {**self._rule, "amsgrad": False, "maximize": False}
            flat = w.contiguous()  # the fused step walks through memory, whatever the strides
            torch._fused_adamw_([flat], [p.grad.float().contiguous()], *state, **rule)
            if flat is not w:
                w.copy_(flat)
            self._publish(p, w)

    @staticmethod
    @torch.no_grad()
    def _publish(p, w):
        if p.dtype is not torch.float32:
            p.copy_(w)

    def zero_grad(self):
        for p in self._models:
            p.grad = None

    def state_dict(self):
        return {
            "steps": [int(step) for step in self._steps],
            "master": [w.clone() for w in self._masters],
            "m": [m.clone() for m in self._m],
            "v": [v.clone() for v in self._v],
        }

    def load_state_dict(self, state):
        if set(state) != {"steps", "master", "m", "v"}:
            raise ValueError(f"keys {sorted(state)}")
        if {len(entries) for entries in state.values()} != {len(self._masters)}:
            raise ValueError("number of entries")
        if any(type(t) is not int or t < 0 for t in state["steps"]):
            raise ValueError("steps")
        for i, w in enumerate(self._masters):
            for name in ("master", "m", "v"):
                x = state[name][i]
                if x.dtype is not torch.float32 or x.shape != w.shape:
                    raise ValueError(f"{name} of parameter {i}")
        for i, (p, w) in enumerate(zip(self._models, self._masters, strict=True)):
            w.copy_(state["master"][i])
            self._steps[i].fill_(state["steps"][i])
            self._m[i].copy_(state["m"][i])
            self._v[i].copy_(state["v"][i])
            self._publish(p, w)


def _gradients(optimizer):
    unique = dict.fromkeys(p for p in optimizer.params if p.grad is not None)
    for p in unique:
        if p.grad.dtype is not torch.float32 and p.grad.dtype is not torch.bfloat16:
            raise ValueError(f"a gradient of {p.grad.dtype}")
    return unique


def _unscale(gradient, scale):
    gradient.copy_(torch.div(gradient.float(), scale))


class GradScaler:
    MAXIMUM = float(1 << 24)

    def __init__(
        self,
        *,
        init_scale=65536.0,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
    ):
        self._check(init_scale)
        if not growth_factor > 1 or not 0 < backoff_factor < 1 or not growth_interval > 0:
            raise ValueError("growth or backoff")
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._current, self._streak = float(init_scale), 0
        self._new_round()

    def _check(self, scale):
        if scale < 1.0 or scale > self.MAXIMUM:
            raise ValueError(f"a scale of {scale}")

    def _new_round(self):
        self._status = {}
        self._touched = set()
        self._any = False

    def get_scale(self):
        return self._current

    def scale(self, loss):
        return loss.float() * self._current

    def unscale_(self, optimizer):
        if optimizer in self._status:
            raise RuntimeError("unscale_() was called in this round already")
        unique = _gradients(optimizer)
        for p in unique:
            if p not in self._touched:
                _unscale(p.grad, self._current)
        self._touched.update(unique)
        self._any = self._any or len(unique) > 0
        finite = all(p.grad.isfinite().all().item() for p in unique)
        self._status[optimizer] = "fine" if finite else "overflow"

    def step(self, optimizer):
        if optimizer not in self._status:
            self.unscale_(optimizer)
        status = self._status[optimizer]
        if status.startswith("stepped"):
            raise RuntimeError("step() was called in this round already")
        self._status[optimizer] = f"stepped, {status}"
        if status == "fine":
            optimizer.step()
        return status == "fine"

    def update(self):
        if not self._status:
            raise RuntimeError("update() before any step()")
        if any(status.endswith("overflow") for status in self._status.values()):
            self._streak = 0
            self._current *= self._backoff_factor
        elif self._any:
            self._streak += 1
            if self._streak == self._growth_interval:
                self._streak = 0
                self._current *= self._growth_factor
        self._current = min(max(self._current, 1.0), self.MAXIMUM)
        self._new_round()

    def state_dict(self):
        return dict(scale=self._current, good_rounds=self._streak)

    def load_state_dict(self, state):
        if state.keys() != {"scale", "good_rounds"}:
            raise ValueError("keys")
        self._check(state["scale"])
        if state["good_rounds"] < 0:
            raise ValueError("good_rounds")
        self._current, self._streak = float(state["scale"]), state["good_rounds"]
        self._new_round()


def clip_and_step(optimizer, scale, max_norm):
    if math.isnan(scale) or math.isinf(scale) or scale <= 0:
        raise ValueError(f"scale: {scale}")
    if math.isnan(max_norm) or max_norm < 0:
        raise ValueError(f"max_norm: {max_norm}")
    unique = _gradients(optimizer)
    for p in unique:
        _unscale(p.grad, scale)
    if not all(p.grad.isfinite().all().item() for p in unique):
        return torch.tensor(torch.inf), False
    flat = [p.grad.reshape(-1).double() for p in unique]
    norm = torch.cat(flat).norm() if flat else torch.zeros((), dtype=torch.float64)
    factor = (max_norm / norm).clamp(max=1.0) if norm > max_norm else None
    if factor is not None:
        for p in unique:
            p.grad.copy_(p.grad.double() * factor)
    optimizer.step()
    return norm.float(), True


def _weights(micro_batches):
    if len(micro_batches) == 0:
        raise ValueError("no pieces")
    if not all(len(inputs) == len(targets) for inputs, targets in micro_batches):
        raise ValueError("inputs and targets of different length")
    counts = torch.tensor([int((targets != -100).sum()) for _, targets in micro_batches])
    if not counts.any():
        raise ValueError("all targets are ignored")
    return (counts / counts.sum()).tolist()


def accumulate(model, micro_batches, *, scale=1.0):
    if not math.isfinite(scale) or scale <= 0:
        raise ValueError(f"scale: {scale}")
    weights = _weights(micro_batches)
    sums: dict = {}
    losses = []
    for p in model.parameters():
        p.grad = None
    for weight, piece in zip(weights, micro_batches, strict=True):
        if weight == 0:
            continue
        loss = model.loss(*piece).float()
        (loss * (weight * scale)).backward()
        losses.append(weight * loss.detach())
        for p in model.parameters():
            if p.grad is not None:
                sums[p] = sums.get(p, 0) + p.grad.float()
            p.grad = None
    found = [sums[p] / scale if p in sums else None for p in model.parameters()]
    return torch.stack(losses).sum(), found


def stochastic_round(x, noise):
    if x.dtype is not torch.float32 or noise.dtype is not torch.int32:
        raise ValueError("dtypes")
    if noise.shape != x.shape or noise.lt(0).any() or noise.ge(2**16).any():
        raise ValueError("noise")
    pattern = x.contiguous().view(torch.int32)
    cut = torch.bitwise_and(pattern, -65536)
    bump = (torch.bitwise_and(pattern, 65535) + noise >= 65536).int() * 65536
    result = torch.add(cut, bump * x.isfinite()).view(torch.float32)
    result[x.isnan()] = torch.nan
    return result.bfloat16()


class _Adapter(torch.nn.Module):
    def __init__(self, model, low):
        super().__init__()
        self.model, self._run = model, _Runner(low)

    def loss(self, tokens, targets):
        return self.model.loss(tokens, targets, apply=self._run)


def train(
    model,
    batches,
    *,
    low=torch.bfloat16,
    lr=1e-3,
    weight_decay=0.01,
    max_norm=1.0,
    init_scale=65536.0,
):
    adapter, scale, losses = _Adapter(model, low), init_scale, []
    adapter.model.to(low)
    trained = [p for p in model.parameters() if p.requires_grad]
    masters = [torch.nn.Parameter(p.detach().float()) for p in trained]
    optimizer = MasterAdamW(masters, lr=lr, weight_decay=weight_decay)
    for pieces in batches:
        loss, gradients = accumulate(adapter, pieces, scale=scale)
        losses.append(loss)
        by_parameter = dict(zip(model.parameters(), gradients, strict=True))
        for w, p in zip(masters, trained, strict=True):
            w.grad = by_parameter[p]
        norm = torch.nn.utils.clip_grad_norm_(masters, max_norm)
        if not norm.isfinite():
            scale = max(scale / 2, 1.0)
            continue
        optimizer.step()
        with torch.no_grad():
            for w, p in zip(masters, trained, strict=True):
                p.copy_(w)
    return torch.stack(losses)


def found_inf_everywhere(optimizer):
    fine = all(p.grad.isfinite().all().item() for p in optimizer.params if p.grad is not None)
    product = torch.tensor(int(fine))
    dist.all_reduce(product, op=dist.ReduceOp.PRODUCT)
    if product.item() == 1:
        optimizer.step()
    return product.item() != 1
