"""A table and `torch._foreach`-free loops: gradients through `backward`, bits through `view`."""

import math

import torch
import torch.distributed
from harness import run

HALVES = {torch.bfloat16, torch.float16}
TABLE = {name: "low" for name in ("linear", "matmul", "conv1d", "conv2d")}
TABLE |= {name: "widest" for name in ("add", "sub", "mul", "div", "maximum", "gelu", "relu")}
TABLE |= {name: "widest" for name in ("embedding", "transpose", "reshape")}


def cast_policy(op):
    return TABLE.get(op, "float32")


class _Policy:
    def __init__(self, low):
        if low not in HALVES:
            raise ValueError(f"low must be a half dtype, not {low}")
        self.low = low

    def __call__(self, op, *args, **keywords):
        floats = [
            x.dtype
            for x in list(args) + list(keywords.values())
            if isinstance(x, torch.Tensor) and x.dtype.is_floating_point
        ]
        if not floats or torch.float64 in floats:
            return run(op, *args, **keywords)
        wanted = {"low": self.low, "float32": torch.float32}.get(cast_policy(op))
        if wanted is None:
            wanted = floats[0]
            for other in floats[1:]:
                wanted = torch.promote_types(wanted, other)

        def cast(x):
            return x.type(wanted) if isinstance(x, torch.Tensor) and x.is_floating_point() else x

        return run(op, *[cast(x) for x in args], **{k: cast(x) for k, x in keywords.items()})


def autocast_forward(model, *inputs, low=torch.bfloat16):
    return model(*inputs, apply=_Policy(low))


class MasterAdamW:
    def __init__(self, params, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        self.params = list(params)
        if not self.params or min(lr, eps, weight_decay) < 0:
            raise ValueError("no parameters, or a negative number")
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise ValueError("betas")
        if any(p.dtype not in HALVES | {torch.float32} for p in self.params):
            raise ValueError("dtype of a parameter")
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self._unique = []
        for p in self.params:
            if not any(p is q for q in self._unique):
                self._unique.append(p)
        self._t = [0] * len(self._unique)
        self._w = [p.detach().to(torch.float32) for p in self._unique]
        self._m = [torch.zeros_like(w) for w in self._w]
        self._v = [torch.zeros_like(w) for w in self._w]

    @torch.no_grad()
    def step(self):
        beta1, beta2 = self.betas
        for i, p in enumerate(self._unique):
            if p.grad is None:
                continue
            self._t[i] += 1
            w, m, v = self._w[i], self._m[i], self._v[i]
            w *= 1 - self.lr * self.weight_decay
            g = p.grad.float()
            m.lerp_(g, 1 - beta1)
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            below = v.sqrt().div_(math.sqrt(1 - beta2 ** self._t[i])).add_(self.eps)
            w.addcdiv_(m, below, value=-self.lr / (1 - beta1 ** self._t[i]))
            p.copy_(w)

    def zero_grad(self):
        for p in self._unique:
            p.grad = None

    def state_dict(self):
        groups = {"master": self._w, "m": self._m, "v": self._v}
        copies = {name: [x.clone() for x in group] for name, group in groups.items()}
        return {"steps": list(self._t), **copies}

    @torch.no_grad()
    def load_state_dict(self, state):
        if sorted(state) != ["m", "master", "steps", "v"]:
            raise ValueError("keys of a state")
        if any(len(entries) != len(self._unique) for entries in state.values()):
            raise ValueError("entries of a state")
        if not all(isinstance(t, int) and t >= 0 for t in state["steps"]):
            raise ValueError("steps of a state")
        for name in ("master", "m", "v"):
            for x, p in zip(state[name], self._unique, strict=True):
                if x.dtype != torch.float32 or x.shape != p.shape:
                    raise ValueError(f"{name} of a state")
        self._t = list(state["steps"])
        for name, group in (("master", self._w), ("m", self._m), ("v", self._v)):
            for mine, given in zip(group, state[name], strict=True):
                mine.copy_(given)
        for p, w in zip(self._unique, self._w, strict=True):
            p.copy_(w)


def _present(params):
    found = []
    for p in params:
        if p.grad is not None and not any(p is q for q in found):
            found.append(p)
    if any(p.grad.dtype not in (torch.float32, torch.bfloat16) for p in found):
        raise ValueError("a gradient that is neither float32 nor bfloat16")
    return found


class GradScaler:
    def __init__(
        self,
        *,
        init_scale=65536.0,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
    ):
        good = 1 <= init_scale <= 2**24 and growth_factor > 1
        if not (good and 0 < backoff_factor < 1 and growth_interval >= 1):
            raise ValueError("a number is out of its range")
        self._scale, self._good = float(init_scale), 0
        self._factors = growth_factor, backoff_factor
        self._interval = growth_interval
        self._forget()

    def _forget(self):
        self._seen, self._done, self._divided = [], [], []

    def _entry(self, optimizer):
        return next((entry for entry in self._seen if entry["of"] is optimizer), None)

    def get_scale(self):
        return self._scale

    def scale(self, loss):
        return loss.to(torch.float32) * self._scale

    def unscale_(self, optimizer):
        if self._entry(optimizer) is not None:
            raise RuntimeError("unscaled already")
        params = _present(optimizer.params)
        for p in params:
            if not any(p is q for q in self._divided):
                p.grad.copy_(p.grad.float().div_(self._scale))
                self._divided.append(p)
        bad = any(not torch.isfinite(p.grad).all() for p in params)
        self._seen.append({"of": optimizer, "bad": bad, "any": len(params) > 0})

    def step(self, optimizer):
        if any(optimizer is other for other in self._done):
            raise RuntimeError("stepped already")
        if self._entry(optimizer) is None:
            self.unscale_(optimizer)
        self._done.append(optimizer)
        if not self._entry(optimizer)["bad"]:
            optimizer.step()
            return True
        return False

    def update(self):
        if not self._seen:
            raise RuntimeError("nothing happened in this round")
        if any(entry["bad"] for entry in self._seen):
            self._good = 0
            self._scale = max(1.0, self._scale * self._factors[1])
        elif any(entry["any"] for entry in self._seen):
            self._good = (self._good + 1) % self._interval
            if self._good == 0:
                self._scale = min(2.0**24, self._scale * self._factors[0])
        self._forget()

    def state_dict(self):
        return {"scale": self._scale, "good_rounds": self._good}

    def load_state_dict(self, state):
        if sorted(state) != ["good_rounds", "scale"]:
            raise ValueError("keys of a state")
        if not (1 <= state["scale"] <= 2**24 and state["good_rounds"] >= 0):
            raise ValueError("a number is out of its range")
        self._scale, self._good = state["scale"], state["good_rounds"]
        self._forget()


def clip_and_step(optimizer, scale, max_norm):
    if not (scale > 0 and math.isfinite(scale) and max_norm >= 0):
        raise ValueError("scale or max_norm")
    params = _present(optimizer.params)
    for p in params:
        p.grad.copy_(p.grad.float() / scale)
    if any(not torch.isfinite(p.grad).all() for p in params):
        return torch.tensor(float("inf")), False
    norms = [torch.linalg.vector_norm(p.grad, dtype=torch.float64) for p in params]
    norm = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
    if norm > max_norm:
        for p in params:
            p.grad.copy_(p.grad.double().mul(max_norm / norm))
    optimizer.step()
    return torch.tensor(norm).float(), True


def accumulate(model, micro_batches, *, scale=1.0):
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError("scale")
    if any(x.shape[0] != t.shape[0] for x, t in micro_batches):
        raise ValueError("rows")
    kept = [int(t.ne(-100).sum()) for _, t in micro_batches]
    if sum(kept) == 0:
        raise ValueError("nothing to learn from")
    params = list(model.parameters())
    total, sums = 0.0, [None] * len(params)
    for p in params:
        p.grad = None
    for (x, t), count in zip(micro_batches, kept, strict=True):
        if count == 0:
            continue
        loss = model.loss(x, t)
        (loss.float() * scale).backward()
        total = total + loss.detach().float() * count / sum(kept)
        for i, p in enumerate(params):
            if p.grad is not None:
                part = p.grad.float() * (count / sum(kept))
                sums[i] = part if sums[i] is None else sums[i] + part
                p.grad = None
    return total, [None if s is None else s / scale for s in sums]


def stochastic_round(x, noise):
    if x.dtype != torch.float32 or noise.dtype != torch.int32 or x.shape != noise.shape:
        raise ValueError("dtype or shape")
    if ((noise < 0) | (noise > 65535)).any():
        raise ValueError("noise")
    bits = x.contiguous().view(torch.int32)
    lower = (bits & ~0xFFFF).view(torch.float32)
    upper = ((bits & ~0xFFFF) + 0x10000).view(torch.float32)
    up = (bits & 0xFFFF) + noise >= 0x10000
    chosen = torch.where(up & x.isfinite(), upper, lower)
    return torch.where(x.isnan(), x, chosen).to(torch.bfloat16)


class _Wrapped:
    def __init__(self, model, low):
        self.model, self.policy = model, _Policy(low)

    def parameters(self):
        return self.model.parameters()

    def loss(self, tokens, targets):
        return self.model.loss(tokens, targets, apply=self.policy)


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
    wrapped, scale, losses = _Wrapped(model, low), init_scale, []
    model.to(low)
    params = list(model.parameters())
    # AdamW over float32 stand-ins, which get the accumulated gradients as they are.
    stand_ins = [torch.nn.Parameter(p.detach().float()) for p in params]
    optimizer = MasterAdamW(stand_ins, lr=lr, weight_decay=weight_decay)
    for pieces in batches:
        loss, gradients = accumulate(wrapped, pieces, scale=scale)
        losses.append(loss)
        for stand_in, gradient in zip(stand_ins, gradients, strict=True):
            stand_in.grad = gradient
        _, stepped = clip_and_step(optimizer, 1.0, max_norm)
        if not stepped:
            scale = max(scale * 0.5, 1.0)
            continue
        with torch.no_grad():
            for p, stand_in in zip(params, stand_ins, strict=True):
                if p.requires_grad:
                    p.copy_(stand_in)
    return torch.stack(losses)


def found_inf_everywhere(optimizer):
    bad = sum(int((~p.grad.isfinite()).sum()) for p in optimizer.params if p.grad is not None)
    votes = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(votes, bad)
    if any(votes):
        return True
    optimizer.step()
    return False
