"""No flat buffers: each parameter is reduced, divided, stepped and gathered by itself.

`DDP` reduces gradients where they lie; `FSDP` replaces the forward of each unit and finds the
beginning of its backward pass with a function of its own in the graph.
"""

import math

import torch
import torch.distributed as dist
from torch import nn


def broadcast_module(module):
    for tensor in dict.fromkeys([*module.parameters(), *module.buffers()]):
        if tensor.is_contiguous():
            dist.broadcast(tensor.data, src=0)
        else:
            packed = tensor.data.contiguous()
            dist.broadcast(packed, src=0)
            tensor.data.copy_(packed)


def _anywhere(flags):
    counts = torch.tensor([int(flag) for flag in flags], dtype=torch.int64)
    dist.all_reduce(counts)
    return [count > 0 for count in counts.tolist()]


def average_gradients(module):
    params = [p for p in module.parameters() if p.requires_grad]
    used = _anywhere(p.grad is not None for p in params)
    for param in (p for p, flag in zip(params, used, strict=True) if flag):
        param.grad = torch.zeros_like(param) if param.grad is None else param.grad
        param.grad /= dist.get_world_size()
        dist.all_reduce(param.grad)


class _Silence:
    def __init__(self, ddp):
        self.ddp = ddp

    def __enter__(self):
        self.before, self.ddp.speaks = self.ddp.speaks, False

    def __exit__(self, *_):
        self.ddp.speaks = self.before
        return False


class DDP(nn.Module):
    """Buckets are lists of gradients; small ones are joined when they leave."""

    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__()
        if bucket_bytes < 1:
            raise ValueError("bucket_bytes")
        self.module, self.speaks = module, True
        self.queue = [p for p in reversed(list(module.parameters())) if p.requires_grad]
        if not self.queue:
            raise ValueError("module")
        self.bucket_bytes = bucket_bytes
        self.ready, self.flying, self.sent = set(), [], 0
        for param in self.queue:
            param.register_post_accumulate_grad_hook(self.arrive)

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def no_sync(self):
        return _Silence(self)

    def arrive(self, param):
        if self.speaks:
            self.ready.add(param)
            while self.sent < len(self.queue) and self.ready.issuperset(self.bucket()):
                self.send()

    def bucket(self):
        """Return the parameters that leave next."""
        first = self.queue[self.sent]
        members, size = [first], first.nbytes
        for param in self.queue[self.sent + 1 :]:
            size += param.nbytes
            if size > self.bucket_bytes or param.dtype != first.dtype:
                break
            members.append(param)
        return members

    def send(self):
        members = self.bucket()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in members]
        joined = torch.cat([x.reshape(-1) for x in parts]) if len(parts) > 1 else parts[0]
        self.flying.append((members, joined, dist.all_reduce(joined, async_op=True)))
        self.sent += len(members)

    def finish_backward(self):
        while self.sent < len(self.queue):
            self.send()
        used = dict(zip(self.queue, _anywhere(p.grad is not None for p in self.queue), strict=True))
        for members, joined, work in self.flying:
            work.wait()
            joined /= dist.get_world_size()
            sizes = [p.numel() for p in members]
            for param, part in zip(members, joined.reshape(-1).split(sizes), strict=True):
                if not used[param]:
                    continue
                if param.grad is None:
                    param.grad = part.view(param.shape).clone()
                elif part.data_ptr() != param.grad.data_ptr():
                    param.grad.copy_(part.view(param.shape))
        self.ready, self.flying, self.sent = set(), [], 0


def _part_size(param):
    return -(-param.numel() // dist.get_world_size())


def _own_place(param):
    """Return which numbers of a flat parameter are this rank's."""
    size = _part_size(param)
    first = min(dist.get_rank() * size, param.numel())
    return slice(first, min(first + size, param.numel()))


def _own_mean(param, gradient):
    """Return this rank's numbers of the mean gradient; parts go straight to their ranks."""
    world, rank, size = dist.get_world_size(), dist.get_rank(), _part_size(param)
    flat = torch.zeros(param.numel(), dtype=param.dtype) if gradient is None else gradient
    flat = flat.reshape(-1)
    cuts = [slice(min(r * size, len(flat)), min((r + 1) * size, len(flat))) for r in range(world)]
    total = flat[cuts[rank]].clone()
    works = []
    if len(total):
        arriving = [torch.empty_like(total) for _ in range(world - 1)]
        others = [r for r in range(world) if r != rank]
        works = [dist.irecv(x, r) for x, r in zip(arriving, others, strict=True)]
    for r in range(world):
        if r != rank and cuts[r].start < cuts[r].stop:
            works.append(dist.isend(flat[cuts[r]], r))
    for work in works:
        work.wait()
    if len(total):
        for other in arriving:
            total += other
    return total / world


def _gathered(mine, numel):
    """Return `numel` numbers of which each rank gives the next ones."""
    world = dist.get_world_size()
    size = -(-numel // world)
    padded = torch.zeros(size, dtype=mine.dtype)
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return torch.cat(parts)[:numel]


class ZeroOptimizer:
    def __init__(
        self, params, *, stage=1, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
    ):
        if stage not in {1, 2}:
            raise ValueError("stage")
        self.stage = stage
        self.usual = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups = []
        self.t, self.m, self.v, self.mean = {}, {}, {}, {}
        self.fired, self.touched, self.done = set(), set(), 0
        self.trained = []
        items = list(params)
        if not items:
            raise ValueError("params")
        for item in items if isinstance(items[0], dict) else [{"params": items}]:
            self.add_param_group(item)

    def everything(self):
        return [p for group in self.param_groups for p in group["params"]]

    def add_param_group(self, group):
        members = group["params"]
        members = [members] if isinstance(members, torch.Tensor) else list(members)
        merged = {**self.usual, **group, "params": members}
        numbers = (merged["lr"], merged["eps"], merged["weight_decay"])
        if any(x < 0 for x in numbers) or any(b < 0 or b >= 1 for b in merged["betas"]):
            raise ValueError("options")
        if not members or len({*members, *self.everything()}) < len(members + self.everything()):
            raise ValueError("params")
        self.param_groups.append(merged)
        new = [p for p in reversed(members) if p.requires_grad]
        self.trained += new
        for param in new:
            place = _own_place(param)
            self.m[param] = torch.zeros(place.stop - place.start, dtype=param.dtype)
            self.v[param] = torch.zeros_like(self.m[param])
            if self.stage == 2:
                param.register_post_accumulate_grad_hook(self.arrive)

    def arrive(self, param):
        self.fired.add(param)
        while self.done < len(self.trained) and self.trained[self.done] in self.fired:
            self.reduce_next()

    def reduce_next(self):
        param = self.trained[self.done]
        self.done += 1
        gradient, param.grad = param.grad, None
        if gradient is not None:
            self.touched.add(param)
        mean = _own_mean(param, gradient)
        self.mean[param] = self.mean[param] + mean if param in self.mean else mean

    def finish_backward(self):
        if self.stage == 2:
            while self.done < len(self.trained):
                self.reduce_next()
            self.done, self.fired = 0, set()

    @torch.no_grad()
    def step(self):
        group_of = {p: group for group in self.param_groups for p in group["params"]}
        used = _anywhere(p.grad is not None or p in self.touched for p in self.trained)
        for param, flag in zip(self.trained, used, strict=True):
            if not flag:
                continue
            self.t[param] = self.t.get(param, 0) + 1
            g = _own_mean(param, param.grad) if self.stage == 1 else self.mean[param]
            mine = param.data.reshape(-1)[_own_place(param)].clone()
            self.move(param, mine, g, group_of[param])
            param.data.copy_(_gathered(mine, param.numel()).view(param.shape))

    def move(self, param, mine, g, group):
        (b1, b2), t, m, v = group["betas"], self.t[param], self.m[param], self.v[param]
        mine -= group["lr"] * group["weight_decay"] * mine
        m += (1 - b1) * (g - m)
        v += (1 - b2) * (g * g - v)
        mine -= group["lr"] * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + group["eps"])

    def zero_grad(self):
        self.touched, self.mean = set(), {}
        for param in self.everything():
            param.grad = None

    def state_dict(self):
        number = {p: n for n, p in enumerate(self.everything())}
        state = {}
        for param in (p for p in self.trained if p in self.t):
            state[number[param]] = {
                "step": self.t[param],
                "exp_avg": _gathered(self.m[param], param.numel()).view(param.shape),
                "exp_avg_sq": _gathered(self.v[param], param.numel()).view(param.shape),
            }
        groups = [{**g, "params": [number[p] for p in g["params"]]} for g in self.param_groups]
        return {} if dist.get_rank() else {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        saved, params = state_dict["param_groups"], self.everything()
        if [len(g["params"]) for g in saved] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("param_groups")
        for n, entry in state_dict["state"].items():
            moments = (entry["exp_avg"], entry["exp_avg_sq"])
            if not 0 <= n < len(params) or any(x.shape != params[n].shape for x in moments):
                raise ValueError("state")
        for own, other in zip(self.param_groups, saved, strict=True):
            own.update({name: other[name] for name in self.usual})
        self.t = {params[n]: entry["step"] for n, entry in state_dict["state"].items()}
        for moment in (*self.m.values(), *self.v.values()):
            moment.zero_()
        for n, entry in state_dict["state"].items():
            place = _own_place(params[n])
            self.m[params[n]] = entry["exp_avg"].reshape(-1)[place].clone()
            self.v[params[n]] = entry["exp_avg_sq"].reshape(-1)[place].clone()


class _BeforeBackward(torch.autograd.Function):
    """Passes a tensor on; in the backward pass, calls a function first."""

    @staticmethod
    def forward(ctx, x, call):
        ctx.call = call
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        ctx.call()
        return gradient, None


class _Borrowed:
    """Parameters whose bytes come and go under the same tensors."""

    def __init__(self, params):
        self.params = params
        self.shards, self.bytes = {}, {}
        for param in params:
            own = param.data.reshape(-1)[_own_place(param)].clone()
            self.shards[param] = nn.Parameter(own, requires_grad=param.requires_grad)
            param.data = param.data.clone()
            self.bytes[param] = param.untyped_storage().nbytes()
        self.give_back()

    def take(self):
        if not self.here:
            for param in self.params:
                param.untyped_storage().resize_(self.bytes[param])
                whole = _gathered(self.shards[param].data, param.numel())
                param.data.copy_(whole.view(param.shape))
            self.here = True

    def give_back(self):
        for param in self.params:
            param.untyped_storage().resize_(0)
        self.here = False

    def reduce(self, param):
        if param.grad is not None:
            gradient, param.grad = param.grad, None
            mean, shard = _own_mean(param, gradient), self.shards[param]
            shard.grad = mean if shard.grad is None else shard.grad + mean


class FSDP(nn.Module):
    def __init__(self, module, units):
        super().__init__()
        inside = {name: part for name, part in module.named_modules() if name}
        if any(unit not in inside for unit in units) or len(set(units)) != len(units):
            raise ValueError("units")
        self.module = module
        self.named = dict(module.named_parameters())
        homes = {}
        for name, param in module.named_parameters(remove_duplicate=False):
            around = sorted((u for u in units if (name + ".").startswith(u + ".")), key=len)
            homes.setdefault(param, set()).add(around[-1] if around else "")
        members = {unit: [] for unit in ["", *units]}
        for param in self.named.values():
            members[min(homes[param]) if len(homes[param]) == 1 else ""].append(param)
        self.parts = {unit: _Borrowed(params) for unit, params in members.items()}
        for unit in units:
            self.wrap(inside[unit], self.parts[unit])
        for unit in units:
            for param in members[unit]:
                if param.requires_grad:
                    self.listen(param, self.parts[unit])

    def wrap(self, part, borrowed):
        inner = part.forward

        def forward(*args, **kwargs):
            borrowed.take()
            result = inner(*args, **kwargs)
            borrowed.give_back()
            if isinstance(result, torch.Tensor) and result.requires_grad:
                result = _BeforeBackward.apply(result, borrowed.take)
            return result

        part.forward = forward

    def listen(self, param, borrowed):
        waiting = self.__dict__.setdefault("waiting", {}).setdefault(id(borrowed), set())

        def arrive(_):
            borrowed.reduce(param)
            waiting.add(param)
            if len(waiting) == len(borrowed.params):  # with frozen ones among them it stays
                waiting.clear()
                borrowed.give_back()

        param.register_post_accumulate_grad_hook(arrive)

    def forward(self, *args, **kwargs):
        root = self.parts[""]
        root.give_back()
        root.take()
        result = self.module(*args, **kwargs)
        if not torch.is_grad_enabled():
            root.give_back()
        return result

    def finish_backward(self):
        for borrowed in self.parts.values():
            for param in borrowed.params:
                borrowed.reduce(param)
            borrowed.give_back()
            self.__dict__.get("waiting", {}).get(id(borrowed), set()).clear()

    def shards(self):
        return [self.shard_of(param) for param in self.named.values()]

    def shard_of(self, param):
        return next(b.shards[param] for b in self.parts.values() if param in b.shards)

    def full_state(self):
        wholes = {}
        for name, param in self.named.items():
            wholes[name] = _gathered(self.shard_of(param).data, param.numel()).view(param.shape)
        return wholes


def clip_grad_norm(shards, max_norm):
    if max_norm != max_norm or max_norm <= 0:
        raise ValueError("max_norm")
    own = math.fsum(float(x) for shard in shards for x in shard.double().square().tolist())
    total = torch.tensor([own], dtype=torch.float64)
    dist.all_reduce(total)
    norm = total[0].sqrt()
    if norm > max_norm and norm != math.inf:
        for shard in shards:
            shard.mul_(max_norm / norm.item())
    return norm
