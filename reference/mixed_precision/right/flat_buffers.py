"""Small records and closures: state in tuples, norms by `hypot`, rounding by whole numbers."""

import math
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from harness import OPERATIONS

LOW_OPS = "linear matmul conv1d conv2d".split()
WIDE_OPS = "add sub mul div maximum gelu relu embedding transpose reshape".split()


def cast_policy(op):
    for answer, ops in (("low", LOW_OPS), ("widest", WIDE_OPS)):
        if op in ops:
            return answer
    return "float32"


def _floats(values):
    return [x for x in values if torch.is_tensor(x) and torch.is_floating_point(x)]


def _casting(low):
    def apply(op, *args, **keywords):
        kinds = {x.dtype for x in _floats([*args, *keywords.values()])}
        single = kinds - {torch.float64} == kinds and kinds
        to = None
        if single:
            match cast_policy(op):
                case "low":
                    to = low
                case "float32":
                    to = torch.float32
                case "widest" if len(kinds) > 1:
                    to = torch.float32
        if to is not None:
            args = tuple(x.to(to) if _floats([x]) else x for x in args)
            keywords = {k: x.to(to) if _floats([x]) else x for k, x in keywords.items()}
        return OPERATIONS[op](*args, **keywords)

    return apply


def autocast_forward(model, *inputs, low=torch.bfloat16):
    if str(low) not in ("torch.bfloat16", "torch.float16"):
        raise ValueError(low)
    return model(*inputs, apply=_casting(low))


@dataclass
class _Row:
    p: torch.nn.Parameter
    t: int = 0
    state: tuple = field(default=())

    def __post_init__(self):
        w = self.p.data.float() if self.p.dtype != torch.float32 else self.p.data
        self.state = (w, torch.zeros_like(w), torch.zeros_like(w))

    def save(self):
        if self.state[0] is not self.p.data:
            self.p.data.copy_(self.state[0])


class MasterAdamW:
    def __init__(self, params, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        self.params = [*params]
        ranges = [lr >= 0, eps >= 0, weight_decay >= 0, *(0 <= b < 1 for b in betas)]
        kinds = {p.dtype for p in self.params}
        if not all(ranges) or not kinds:
            raise ValueError("numbers out of range, or no parameters")
        if kinds - {torch.float32, torch.bfloat16, torch.float16}:
            raise ValueError(f"dtypes {kinds}")
        self._numbers = lr, *betas, eps, weight_decay
        self._rows = [_Row(p) for p in {id(p): p for p in self.params}.values()]

    def step(self):
        for row in self._rows:
            if row.p.grad is not None:
                self._step(row, row.p.grad)

    def _step(self, row, gradient):
        lr, beta1, beta2, eps, decay = self._numbers
        row.t += 1
        w, m, v = row.state
        g = gradient.detach().to(torch.float32)
        w.sub_(w, alpha=lr * decay)
        m.sub_(m, alpha=1 - beta1).add_(g, alpha=1 - beta1)
        v.sub_(v, alpha=1 - beta2).add_(g * g, alpha=1 - beta2)
        scale = lr * math.sqrt(1 - beta2**row.t) / (1 - beta1**row.t)
        root = v.sqrt().add_(eps * math.sqrt(1 - beta2**row.t))
        w.sub_(root.reciprocal_().mul_(m), alpha=scale)
        row.save()

    def zero_grad(self):
        for row in self._rows:
            row.p.grad = None

    def state_dict(self):
        columns = zip(*(row.state for row in self._rows), strict=True)
        names = ("master", "m", "v")
        found = {name: [x.clone() for x in c] for name, c in zip(names, columns, strict=True)}
        found["steps"] = [row.t for row in self._rows]
        return found

    def load_state_dict(self, state):
        if set(state) ^ {"steps", "master", "m", "v"}:
            raise ValueError("keys")
        try:
            columns = (state["steps"], state["master"], state["m"], state["v"])
            for row, t, *tensors in zip(self._rows, *columns, strict=True):
                good = all(x.dtype == torch.float32 and x.shape == row.p.shape for x in tensors)
                if not good or type(t) is not int or t < 0:
                    raise ValueError("an entry")
            for row, t, *tensors in zip(self._rows, *columns, strict=True):
                row.t = t
                for mine, given in zip(row.state, tensors, strict=True):
                    mine.copy_(given)
                row.save()
        except (AttributeError, TypeError):
            raise ValueError("an entry of another kind") from None


def _with_gradient(params):
    found = {id(p): p for p in params if p.grad is not None}
    kinds = {p.grad.dtype for p in found.values()} - {torch.float32, torch.bfloat16}
    if kinds:
        raise ValueError(f"gradients of {kinds}")
    return found


def _finite(tensors):
    # NaN and inf times zero are NaN; anything else is zero.
    return all((x.float() * 0).sum().item() == 0 for x in tensors)


class GradScaler:
    def __init__(
        self,
        *,
        init_scale=65536.0,
        growth_factor=2.0,
        backoff_factor=0.5,
        growth_interval=2000,
    ):
        if growth_factor <= 1 or not 0 < backoff_factor < 1 or growth_interval < 1:
            raise ValueError("factors or interval")
        self._up, self._down, self._interval = growth_factor, backoff_factor, growth_interval
        self.load_state_dict({"scale": init_scale, "good_rounds": 0})

    def get_scale(self):
        return self._scale

    def scale(self, loss):
        return torch.mul(loss.float(), self._scale)

    def unscale_(self, optimizer):
        if any(o is optimizer for o, _ in self._round):
            raise RuntimeError("twice")
        found = _with_gradient(optimizer.params)
        for key, p in found.items():
            if key not in self._divided:
                p.grad[...] = p.grad.float() / self._scale
                self._divided[key] = p
        verdict = _finite(p.grad for p in found.values()) if found else None
        self._round.append((optimizer, verdict))

    def step(self, optimizer):
        if any(o is optimizer for o in self._stepped):
            raise RuntimeError("twice")
        if not any(o is optimizer for o, _ in self._round):
            self.unscale_(optimizer)
        self._stepped.append(optimizer)
        (verdict,) = [v for o, v in self._round if o is optimizer]
        if verdict is not False:
            optimizer.step()
        return verdict is not False

    def update(self):
        verdicts = [v for _, v in self._round]
        if not verdicts:
            raise RuntimeError("no round")
        scale, good = self._scale, self._good
        if False in verdicts:
            scale, good = max(scale * self._down, 1.0), 0
        elif True in verdicts:
            good += 1
            if good >= self._interval:
                scale, good = min(scale * self._up, 2.0**24), 0
        self.load_state_dict({"scale": scale, "good_rounds": good})

    def state_dict(self):
        return {"scale": self._scale, "good_rounds": self._good}

    def load_state_dict(self, state):
        if {*state} != {"scale", "good_rounds"} or not 1 <= state["scale"] <= 1 << 24:
            raise ValueError("state")
        if state["good_rounds"] < 0:
            raise ValueError("good_rounds")
        self._scale, self._good = float(state["scale"]), int(state["good_rounds"])
        self._round, self._stepped, self._divided = [], [], {}


def _norm(gradients):
    return math.hypot(*(float(g.double().norm()) for g in gradients))


def clip_and_step(optimizer, scale, max_norm):
    if not 0 < scale < math.inf or not max_norm >= 0:
        raise ValueError((scale, max_norm))
    gradients = [p.grad for p in _with_gradient(optimizer.params).values()]
    for g in gradients:
        g[...] = g.float() / scale
    if not _finite(gradients):
        return torch.full((), torch.inf), False
    norm = _norm(gradients)
    for g in gradients if norm > max_norm else ():
        g[...] = g.double() * (max_norm / norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True


def _masks(micro_batches):
    masks = []
    for inputs, targets in micro_batches:
        if inputs.size(0) != targets.size(0):
            raise ValueError("rows")
        masks.append(float((targets + 100).count_nonzero()))
    if not any(masks):
        raise ValueError("no targets")
    return masks


def accumulate(model, micro_batches, *, scale=1.0):
    if not 0 < scale < math.inf or not len(micro_batches):
        raise ValueError("scale or pieces")
    masks = _masks(micro_batches)
    everything = sum(masks)
    params = [*model.parameters()]
    trained = [i for i, p in enumerate(params) if p.requires_grad]
    sums, loss_sum = {}, torch.zeros(())
    for (inputs, targets), weight in zip(micro_batches, masks, strict=True):
        if weight:
            loss = model.loss(inputs, targets)
            scaled = loss.float() * scale
            wanted = [params[i] for i in trained]
            for i, g in zip(
                trained, torch.autograd.grad(scaled, wanted, allow_unused=True), strict=True
            ):
                if g is not None:
                    sums.setdefault(i, torch.zeros(g.shape)).add_(g.float(), alpha=weight)
            loss_sum = loss_sum + loss.detach().float() * weight
    for p in params:
        p.grad = None
    gradients = [None] * len(params)
    for i, total in sums.items():
        gradients[i] = total / (everything * scale)
    return loss_sum / everything, gradients


def stochastic_round(x, noise):
    if (x.dtype, noise.dtype) != (torch.float32, torch.int32) or x.shape != noise.shape:
        raise ValueError("x or noise")
    if noise.numel() and not 0 <= int(noise.min()) <= int(noise.max()) < 1 << 16:
        raise ValueError("noise out of range")
    bits = x.contiguous().view(torch.int32).long() & 0xFFFFFFFF
    sign, magnitude = bits >> 31, bits & 0x7FFFFFFF
    upper = (magnitude + noise.long()) >> 16
    upper = torch.where(magnitude > 0x7F800000, torch.full_like(upper, 0x7FC0), upper)
    upper = torch.where(magnitude == 0x7F800000, torch.full_like(upper, 0x7F80), upper)
    signed = torch.where(sign == 1, upper - 0x8000, upper)
    return signed.to(torch.int16).view(torch.bfloat16)


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
    if low not in (torch.bfloat16, torch.float16):
        raise ValueError(low)

    class Under:
        parameters = model.parameters

        @staticmethod
        def loss(tokens, targets):
            return model.loss(tokens, targets, apply=_casting(low))

    for p in model.parameters():
        p.data = p.data.to(low)
    optimizer = MasterAdamW(
        [p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=weight_decay
    )
    place = {id(p): i for i, p in enumerate(model.parameters())}
    losses, scale = torch.zeros(len(batches)), init_scale
    for number, pieces in enumerate(batches):
        losses[number], gradients = accumulate(Under, pieces, scale=scale)
        present = [g for g in gradients if g is not None]
        if not _finite(present):
            scale = max(1.0, scale / 2)
            continue
        factor = min(1.0, max_norm / max(_norm(present), 1e-30))
        for row in optimizer._rows:
            gradient = gradients[place[id(row.p)]]
            if gradient is not None:
                optimizer._step(row, gradient * factor)
    return losses


def found_inf_everywhere(optimizer):
    fine = _finite(p.grad for p in optimizer.params if p.grad is not None)
    mine = torch.tensor([not fine], dtype=torch.int32)
    everyone = [torch.zeros_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, mine)
    found = any(int(x) for x in everyone)
    if not found:
        optimizer.step()
    return found
