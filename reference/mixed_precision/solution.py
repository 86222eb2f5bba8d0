"""The reference: fused AdamW on a GPU, one tensor at a time on a CPU, sums in float32."""

# ruff: noqa: PLR0913 - a kernel has a parameter for each of its numbers

import math

import torch
import torch.distributed as dist
import triton
import triton.language as tl

Tensor = torch.Tensor
Parameter = torch.nn.Parameter

LOW = (torch.bfloat16, torch.float16)
UNSCALED = (torch.float32, torch.bfloat16)
LARGEST_SCALE = 2.0**24
IGNORED = -100

_LOW_OPERATIONS = frozenset({"linear", "matmul", "conv1d", "conv2d"})
_WIDEST_OPERATIONS = frozenset(
    {"add", "sub", "mul", "div", "maximum", "gelu", "relu", "embedding", "transpose", "reshape"}
)


def _require(holds, message):
    if not holds:
        raise ValueError(message)


# --- 1 · autocast


def _precision(op):
    if op in _LOW_OPERATIONS:
        return "low"
    return "widest" if op in _WIDEST_OPERATIONS else "float32"


def cast_policy(op: str) -> str:
    return _precision(op)


def _is_float(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def _dtype_for(op, dtypes, low):
    """Return the dtype that a tensor of each of `dtypes` gets, or None for its own."""
    if not dtypes or torch.float64 in dtypes:
        return None
    match _precision(op):
        case "low":
            return low
        case "float32":
            return torch.float32
    return dtypes.pop() if len(dtypes) == 1 else torch.float32


def _cast_for(op, tensors, low):
    dtype = _dtype_for(op, {x.dtype for x in tensors}, low)
    return lambda x: x.to(dtype) if dtype is not None and _is_float(x) else x


def autocast_forward(model, *inputs: Tensor, low: torch.dtype = torch.bfloat16) -> Tensor:
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")
    return _under_policy(model, inputs, low, model.run)


def _under_policy(model, inputs, low, run):
    def apply(op, *args, **keywords):
        cast = _cast_for(op, [x for x in (*args, *keywords.values()) if _is_float(x)], low)
        return run(op, *map(cast, args), **{name: cast(x) for name, x in keywords.items()})

    return model(*inputs, apply=apply)


# --- 2 · MasterAdamW


@triton.jit
def _adamw_kernel(
    p_N, g_N, w_N, m_N, v_N, N, keep, rate, beta1, fresh1, beta2, fresh2, root2, eps,
    BLOCK_N: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = n < N
    g = tl.load(g_N + n, mask=inside).to(tl.float32)
    m = beta1 * tl.load(m_N + n, mask=inside) + fresh1 * g
    v = beta2 * tl.load(v_N + n, mask=inside) + fresh2 * g * g
    w = keep * tl.load(w_N + n, mask=inside) - rate * m / (tl.sqrt_rn(v) * root2 + eps)
    tl.store(m_N + n, m, mask=inside)
    tl.store(v_N + n, v, mask=inside)
    tl.store(w_N + n, w, mask=inside)
    tl.store(p_N + n, w, mask=inside)  # rounds to nearest


def _is_flat(*tensors):
    return all(x.is_contiguous() for x in tensors)


class _Slot:
    """Master weight and moments of one parameter."""

    def __init__(self, parameter):
        self.parameter = parameter
        self.steps = 0
        data = parameter.detach()
        self.master = data if data.dtype is torch.float32 else data.float()
        self.m = torch.zeros_like(self.master)
        self.v = torch.zeros_like(self.master)

    def step(self, gradient, rule):
        self.steps += 1
        parts = (self.parameter.detach(), gradient, self.master, self.m, self.v)
        if gradient.is_cuda and _is_flat(*parts):
            self._step_fused(parts, rule)
        else:
            self._step_plain(gradient.float(), rule)

    def _step_fused(self, parts, rule):
        count, block = self.master.numel(), 1024
        _adamw_kernel[(triton.cdiv(count, block),)](
            *parts,
            count,
            1 - rule.lr * rule.weight_decay,
            rule.lr / (1 - rule.beta1**self.steps),
            *(rule.beta1, 1 - rule.beta1, rule.beta2, 1 - rule.beta2),
            *((1 - rule.beta2**self.steps) ** -0.5, rule.eps),
            BLOCK_N=block,
            num_warps=4,
        )

    def _step_plain(self, g, rule):
        self.master.mul_(1 - rule.lr * rule.weight_decay)
        self.m.mul_(rule.beta1).add_(g, alpha=1 - rule.beta1)
        self.v.mul_(rule.beta2).addcmul_(g, g, value=1 - rule.beta2)
        root = (self.v / (1 - rule.beta2**self.steps)).sqrt_().add_(rule.eps)
        self.master.addcdiv_(self.m, root, value=-rule.lr / (1 - rule.beta1**self.steps))
        self.publish()

    def publish(self):
        """Round the master weight into the parameter."""
        if self.master.data_ptr() != self.parameter.data_ptr():
            self.parameter.detach().copy_(self.master)


class _Rule:
    def __init__(self, lr, betas, eps, weight_decay):
        _require(lr >= 0, f"lr: expected at least 0, got {lr}")
        _require(all(0 <= b < 1 for b in betas), f"betas: expected numbers in [0, 1), got {betas}")
        _require(eps >= 0, f"eps: expected at least 0, got {eps}")
        _require(weight_decay >= 0, f"weight_decay: expected at least 0, got {weight_decay}")
        self.lr, self.eps, self.weight_decay = lr, eps, weight_decay
        self.beta1, self.beta2 = betas


class MasterAdamW:
    def __init__(
        self,
        params,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.params = list(params)
        self._rule = _Rule(lr, betas, eps, weight_decay)
        _require(self.params, "params: expected at least one parameter")
        for p in self.params:
            _require(p.dtype in (*LOW, torch.float32), f"params: a parameter of {p.dtype}")
        self._slots = [_Slot(p) for p in dict.fromkeys(self.params)]

    @torch.no_grad()
    def step(self) -> None:
        for slot in self._slots:
            if slot.parameter.grad is not None:
                slot.step(slot.parameter.grad, self._rule)

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict:
        return {
            "steps": [slot.steps for slot in self._slots],
            "master": [slot.master.clone() for slot in self._slots],
            "m": [slot.m.clone() for slot in self._slots],
            "v": [slot.v.clone() for slot in self._slots],
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        _require(set(state) == {"steps", "master", "m", "v"}, f"state: keys {sorted(state)}")
        for name, entries in state.items():
            _require(len(entries) == len(self._slots), f"{name}: {len(entries)} entries")
            for slot, entry in zip(self._slots, entries, strict=True):
                self._require_entry(name, entry, slot.master.shape)
        for i, slot in enumerate(self._slots):
            slot.steps = state["steps"][i]
            slot.master.copy_(state["master"][i])
            slot.m.copy_(state["m"][i])
            slot.v.copy_(state["v"][i])
            slot.publish()

    @staticmethod
    def _require_entry(name, entry, shape):
        if name == "steps":
            _require(type(entry) is int and entry >= 0, f"steps: {entry!r}")
        else:
            good = entry.dtype is torch.float32 and entry.shape == shape
            _require(good, f"{name}: expected float32 {tuple(shape)}")


# --- 3 · GradScaler


def _gradients_of(params):
    """Return the parameters that have a gradient, each once.

    Raises:
        ValueError: one of them is neither float32 nor bfloat16.
    """
    found = [p for p in dict.fromkeys(params) if p.grad is not None]
    for p in found:
        _require(p.grad.dtype in UNSCALED, f"a gradient of {p.grad.dtype}: expected {UNSCALED}")
    return found


def _divide(gradient, scale):
    gradient.copy_(gradient.float() / scale)


def _overflows(params):
    return not all(bool(torch.isfinite(p.grad).all()) for p in params)


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        _require(1 <= init_scale <= LARGEST_SCALE, f"init_scale: {init_scale}")
        _require(growth_factor > 1, f"growth_factor: {growth_factor}")
        _require(0 < backoff_factor < 1, f"backoff_factor: {backoff_factor}")
        _require(growth_interval >= 1, f"growth_interval: {growth_interval}")
        self._scale = float(init_scale)
        self._growth, self._backoff = growth_factor, backoff_factor
        self._interval = growth_interval
        self._good_rounds = 0
        self._begin_round()

    def _begin_round(self):
        self._overflowed = {}  # by id of the optimizer, which is kept so that the id stays its own
        self._kept = []
        self._stepped = set()
        self._divided = set()
        self._had_gradient = False

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        return loss.float() * self._scale

    @torch.no_grad()
    def unscale_(self, optimizer) -> None:
        if id(optimizer) in self._overflowed:
            raise RuntimeError("unscale_: this optimizer was unscaled in this round already")
        params = _gradients_of(optimizer.params)
        for p in params:
            if p not in self._divided:
                _divide(p.grad, self._scale)
                self._divided.add(p)
        self._had_gradient |= bool(params)
        self._overflowed[id(optimizer)] = _overflows(params)
        self._kept.append(optimizer)

    def step(self, optimizer) -> bool:
        if id(optimizer) in self._stepped:
            raise RuntimeError("step: this optimizer was stepped in this round already")
        if id(optimizer) not in self._overflowed:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        if self._overflowed[id(optimizer)]:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        if not self._overflowed:
            raise RuntimeError("update: no optimizer was unscaled or stepped in this round")
        if any(self._overflowed.values()):
            self._scale = max(self._scale * self._backoff, 1.0)
            self._good_rounds = 0
        elif self._had_gradient:
            self._good_rounds += 1
            if self._good_rounds == self._interval:
                self._scale = min(self._scale * self._growth, LARGEST_SCALE)
                self._good_rounds = 0
        self._begin_round()

    def state_dict(self) -> dict:
        return {"scale": self._scale, "good_rounds": self._good_rounds}

    def load_state_dict(self, state: dict) -> None:
        _require(set(state) == {"scale", "good_rounds"}, f"state: keys {sorted(state)}")
        _require(1 <= state["scale"] <= LARGEST_SCALE, f"scale: {state['scale']}")
        _require(state["good_rounds"] >= 0, f"good_rounds: {state['good_rounds']}")
        self._scale, self._good_rounds = float(state["scale"]), int(state["good_rounds"])
        self._begin_round()


# --- 4 · clip_and_step


def _global_norm(gradients):
    """Return the norm, inf or NaN if one overflows: squares of float32 numbers fit float64."""
    squares = [g.double().square().sum() for g in gradients]
    return math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0


def _clip(gradients, norm, max_norm):
    if norm > max_norm:
        for g in gradients:  # the factor may be smaller than any float32
            g.copy_(g.double() * (max_norm / norm))


def _require_scale(scale):
    _require(0 < scale < math.inf, f"scale: expected a positive finite number, got {scale}")


@torch.no_grad()
def clip_and_step(optimizer, scale: float, max_norm: float) -> tuple[Tensor, bool]:
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    for p in params:
        _divide(p.grad, scale)
    gradients = [p.grad for p in params]
    norm = _global_norm(gradients)
    if not math.isfinite(norm):
        return torch.tensor(math.inf), False
    _clip(gradients, norm, max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True


# --- 5 · accumulate


def _kept_counts(micro_batches):
    _require(len(micro_batches) > 0, "micro_batches: expected at least one")
    for inputs, targets in micro_batches:
        same = len(inputs) == len(targets)
        _require(same, f"{len(inputs)} rows of inputs, {len(targets)} of targets")
    counts = [int((targets != IGNORED).sum()) for _, targets in micro_batches]
    _require(sum(counts) > 0, "micro_batches: every target is -100")
    return counts


def accumulate(model, micro_batches, *, scale: float = 1.0) -> tuple[Tensor, list]:
    _require_scale(scale)
    return _accumulate(model, micro_batches, scale)


def _accumulate(model, micro_batches, scale):
    counts = _kept_counts(micro_batches)
    params = list(model.parameters())
    for p in params:
        p.grad = None
    wanted = [p for p in params if p.requires_grad]
    total = torch.zeros((), dtype=torch.float32, device=wanted[0].device)
    sums = dict.fromkeys(wanted)
    for (inputs, targets), count in zip(micro_batches, counts, strict=True):
        if count:
            share = count / sum(counts)
            loss = model.loss(inputs, targets).float()
            total += loss.detach() * share
            found = torch.autograd.grad(loss * (scale * share), wanted, allow_unused=True)
            _add(sums, found)
    for gradient in sums.values():
        if gradient is not None:
            gradient.div_(scale)
    return total, [sums.get(p) for p in params]


def _add(sums, gradients):
    for (p, so_far), g in zip(list(sums.items()), gradients, strict=True):
        if g is not None:
            # A copy: autograd may return one tensor for two parameters.
            sums[p] = g.to(torch.float32, copy=True) if so_far is None else so_far.add_(g)


# --- 6 · stochastic_round


def stochastic_round(x: Tensor, noise: Tensor) -> Tensor:
    _require(x.dtype is torch.float32, f"x: expected float32, got {x.dtype}")
    _require(noise.dtype is torch.int32, f"noise: expected int32, got {noise.dtype}")
    _require(x.shape == noise.shape, f"noise: expected shape {x.shape}, got {noise.shape}")
    if noise.numel():
        low, high = noise.aminmax()
        _require(low >= 0 and high < 65536, f"noise: expected 0 … 65535, got {low} … {high}")
    # Sign and magnitude: adding to the pattern moves away from zero, carries into the exponent
    # included. Of what comes out, NaN alone can be wrong: it may carry into the sign.
    bits = (x.view(torch.int32) + noise) & -65536
    rounded = bits.view(torch.float32).to(torch.bfloat16)
    return torch.where(x.isnan(), torch.nan, rounded)


# --- 7 · train


class _Cast:
    """A model whose loss runs under the policy."""

    def __init__(self, model, low):
        self._model, self._low = model, low
        self.parameters = model.parameters

    def loss(self, tokens, targets):
        return _under_policy(self._model.loss, (tokens, targets), self._low, self._model.run)


@torch.no_grad()
def _clipped_step(slots, gradients, rule, max_norm):
    """Clip and step; return whether it could be done."""
    found = [g for g in gradients if g is not None]
    norm = _global_norm(found)
    if not math.isfinite(norm):
        return False
    _clip(found, norm, max_norm)
    for slot, gradient in zip(slots, gradients, strict=True):
        if gradient is not None:
            slot.step(gradient, rule)
    return True


def train(
    model,
    batches,
    *,
    low: torch.dtype = torch.bfloat16,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    init_scale: float = 65536.0,
) -> Tensor:
    _require(low in LOW, f"low: expected bfloat16 or float16, got {low}")
    for p in model.parameters():
        p.data = p.data.to(low)  # the same object, so that tied parameters stay tied
    slots = [_Slot(p) for p in model.parameters()]
    rule = _Rule(lr, (0.9, 0.999), 1e-8, weight_decay)
    scale, losses = init_scale, []
    for pieces in batches:
        loss, gradients = _accumulate(_Cast(model, low), pieces, scale)
        losses.append(loss)
        if not _clipped_step(slots, gradients, rule, max_norm):
            scale = max(scale / 2, 1.0)
    return torch.stack(losses)


# --- 8 · found_inf_everywhere


def _overflows_here(optimizer):
    return _overflows([p for p in optimizer.params if p.grad is not None])


def found_inf_everywhere(optimizer) -> bool:
    flag = torch.tensor([float(_overflows_here(optimizer))])
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    found = bool(flag.item())
    if not found:
        optimizer.step()
    return found
