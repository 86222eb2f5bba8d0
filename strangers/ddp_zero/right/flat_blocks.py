"""Data parallelism and ZeRO on `torch.distributed`: five problems, one rank's side of each."""

# One file by design: it is what you hand in.

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

Tensor = torch.Tensor
Parameter = nn.Parameter


def reduce_scatter(shard_S: Tensor, whole_NS: Tensor) -> None:
    """Write the sum over all ranks of this rank's part of `whole_NS` into `shard_S`.

    Each part goes to its owner alone: (N - 1) * S numbers leave each rank.

    Args:
        shard_S: where the sum goes, contiguous.
        whole_NS: N parts of S numbers side by side, contiguous; part r belongs to rank r.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    parts = whole_NS.view(world, -1)
    shard_S.copy_(parts[rank])
    incoming = torch.empty_like(shard_S)
    for distance in range(1, world):
        to, source = (rank + distance) % world, (rank - distance) % world
        both = [
            dist.P2POp(dist.isend, parts[to], to),
            dist.P2POp(dist.irecv, incoming, source),
        ]
        for work in dist.batch_isend_irecv(both):  # together: NCCL would wait for one, for good
            work.wait()
        shard_S += incoming

from contextlib import contextmanager  # noqa: E402


def _unique(module: nn.Module) -> list[Tensor]:
    return list({id(t): t for t in [*module.parameters(), *module.buffers()]}.values())


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """Flat buffers of bytes, up to 4 MiB each."""
    batch: list[Tensor] = []

    def flush() -> None:
        if not batch:
            return
        raw = [t.contiguous().reshape(-1).view(torch.uint8) for t in batch]
        flat = torch.cat(raw)
        dist.broadcast(flat, src=0)
        if dist.get_rank() != 0:
            for t, part in zip(batch, flat.split([len(r) for r in raw]), strict=True):
                t.copy_(part.clone().view(t.dtype).view(t.shape))
        batch.clear()

    size = 0
    for tensor in _unique(module):
        if not tensor.numel():
            continue
        bytes_ = tensor.numel() * tensor.element_size()
        if size + bytes_ > 4 << 20:
            flush()
            size = 0
        batch.append(tensor)
        size += bytes_
    flush()


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """One flat all-reduce per dtype."""
    params = [p for p in module.parameters() if p.requires_grad]
    if not params:
        return
    used = torch.tensor([p.grad is not None for p in params]).to(torch.int32)
    dist.all_reduce(used)
    live = [p for p, count in zip(params, used.tolist(), strict=True) if count > 0]
    for dtype in sorted({p.dtype for p in live}, key=str):
        same = [p for p in live if p.dtype == dtype]
        sizes = [p.numel() for p in same]
        flat = torch.zeros(sum(sizes), dtype=dtype)
        for part, p in zip(flat.split(sizes), same, strict=True):
            if p.grad is not None:
                part.copy_(p.grad.reshape(-1))
        if flat.numel():
            dist.all_reduce(flat)
        flat.div_(dist.get_world_size())
        for part, p in zip(flat.split(sizes), same, strict=True):
            if p.grad is None:
                p.grad = torch.empty_like(p)
            p.grad.copy_(part.view(p.shape))


class DDP(nn.Module):
    """Preallocated flat buckets with views; gradients are copied in when they arrive."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        if bucket_bytes < 1:
            raise ValueError(f"bucket_bytes is {bucket_bytes}")
        super().__init__()
        self.module = module
        self._params = [p for p in module.parameters() if p.requires_grad][::-1]
        if not self._params:
            raise ValueError("nothing to train")
        self._quiet = 0
        open_: dict[torch.dtype, list[int]] = {}  # one open bucket per dtype
        closed: list[list[int]] = []
        filled: dict[torch.dtype, int] = {}
        for i, p in enumerate(self._params):
            size = p.numel() * p.element_size()
            if p.dtype in open_ and filled[p.dtype] + size > bucket_bytes:
                closed.append(open_.pop(p.dtype))
            if p.dtype not in open_:
                open_[p.dtype], filled[p.dtype] = [], 0
            open_[p.dtype].append(i)
            filled[p.dtype] += size
        closed += open_.values()
        closed.sort(key=lambda members: members[-1])
        self._members = closed
        self._flat = []
        self._view: dict[int, Tensor] = {}
        self._home = [0] * len(self._params)
        for b, members in enumerate(closed):
            sizes = [self._params[i].numel() for i in members]
            flat = torch.zeros(sum(sizes), dtype=self._params[members[0]].dtype)
            self._flat.append(flat)
            for i, view in zip(members, flat.split(sizes), strict=True):
                self._view[i] = view.view(self._params[i].shape)
                self._home[i] = b
        self._begin()
        for i, p in enumerate(self._params):
            p.register_post_accumulate_grad_hook(lambda p, i=i: self._arrive(i, p))

    def _begin(self) -> None:
        self._here = torch.zeros(len(self._params), dtype=torch.bool)
        self._sent: list[Any] = []

    def _arrive(self, i: int, param: Tensor) -> None:
        if self._quiet:
            return
        self._view[i].copy_(param.grad)
        self._here[i] = True
        self._send(force=False)

    def _send(self, *, force: bool) -> None:
        for b in range(len(self._sent), len(self._flat)):
            if not force and not bool(self._here[self._members[b]].all()):
                return
            self._sent.append(dist.all_reduce(self._flat[b], async_op=True))

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Any:
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    @torch.no_grad()
    def finish_backward(self) -> None:
        for i, p in enumerate(self._params):
            if not self._here[i]:
                if p.grad is None:
                    self._view[i].zero_()
                else:
                    self._view[i].copy_(p.grad)
        self._send(force=True)
        used = torch.tensor([p.grad is not None for p in self._params]).to(torch.uint8)
        work = dist.all_reduce(used, op=dist.ReduceOp.MAX, async_op=True)
        for flat, sent in zip(self._flat, self._sent, strict=True):
            sent.wait()
            flat.div_(dist.get_world_size())
        work.wait()
        for i, p in enumerate(self._params):
            if used[i]:
                if p.grad is None:
                    p.grad = torch.empty_like(p)
                p.grad.copy_(self._view[i])
        self._begin()


_NAMES = ("lr", "betas", "eps", "weight_decay")
_BLOCK = 1 << 19


class _Block:
    """A window of a group's numbers, laid side by side: whole, my part, and what crosses both."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.spans: list[tuple[int, int, int, int]] = []  # number, begin in it, count, place here
        self.size = 0

    def close(self) -> None:
        world, rank = dist.get_world_size(), dist.get_rank()
        self.share = -(-self.size // world)
        low, high = rank * self.share, (rank + 1) * self.share
        self.mine = []  # number, where in my share
        for number, _, count, place in self.spans:
            a, b = max(place, low), min(place + count, high)
            if a < b:
                self.mine.append((number, slice(a - low, b - low)))
        self.m = self.v = self.grad = None

    def fill(self, source: Any) -> Tensor:
        """Return the window padded to N shares; `source(number)` gives a tensor or None."""
        flat = torch.zeros(self.share * dist.get_world_size(), dtype=self.dtype)
        for number, begin, count, place in self.spans:
            tensor = source(number)
            if tensor is not None:
                flat[place : place + count] = tensor.reshape(-1)[begin : begin + count]
        return flat

    def part(self, flat: Tensor) -> Tensor:
        return flat.view(dist.get_world_size(), -1)[dist.get_rank()].clone()

    def mean(self, source: Any) -> Tensor:
        shard = torch.empty(self.share, dtype=self.dtype)
        reduce_scatter(shard, self.fill(source))
        return shard.div_(dist.get_world_size())

    def gather(self, shard: Tensor) -> Tensor:
        flat = torch.empty(self.share * dist.get_world_size(), dtype=self.dtype)
        dist.all_gather_into_tensor(flat, shard)
        return flat


class ZeroOptimizer:
    """Windows over all parameters of a group, each cut into N shares."""

    def __init__(
        self,
        params: Iterable[Any],
        *,
        stage: int = 1,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        items = list(params)
        if not items:
            raise ValueError("no parameters")
        if stage != 1 and stage != 2:
            raise ValueError("no such stage")
        self._two = stage == 2
        self._default = dict(zip(_NAMES, (lr, betas, eps, weight_decay), strict=True))
        self.param_groups: list[dict[str, Any]] = []
        self._all: list[Parameter] = []
        self._t: list[int] = []
        self._seen: list[bool] = []
        self._blocks: list[_Block] = []
        self._blocks_of: list[list[int]] = []
        dicts = items if isinstance(items[0], dict) else [{"params": items}]
        ready: list[dict[str, Any]] = []
        for item in dicts:
            ready.append(self._verify(item, [p for g in ready for p in g["params"]]))
        for item in ready:
            self._take(item)

    def _verify(self, group: dict[str, Any], before: list[Parameter]) -> dict[str, Any]:
        got = group["params"]
        got = [got] if isinstance(got, Tensor) else list(got)
        out = {"params": got} | {k: group[k] if k in group else self._default[k] for k in _NAMES}
        if len(got) == 0:
            raise ValueError("empty group")
        if len({id(p) for p in before + got}) < len(before) + len(got):
            raise ValueError("parameter twice")
        for k in ("lr", "eps", "weight_decay"):
            if not out[k] >= 0:
                raise ValueError(f"{k} is {out[k]}")
        b1, b2 = out["betas"]
        if not (0 <= b1 < 1 and 0 <= b2 < 1):
            raise ValueError(f"betas are {out['betas']}")
        return out

    def _take(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        block = None
        for p in group["params"]:
            number = len(self._all)
            self._all.append(p)
            self._t.append(0)
            self._seen.append(False)
            self._blocks_of.append([])
            at = 0
            while at < p.numel():
                if block is None or block.size == _BLOCK or block.dtype != p.dtype:
                    if block is not None:
                        block.close()
                    block = _Block(p.dtype)
                    self._blocks.append(block)
                count = min(p.numel() - at, _BLOCK - block.size)
                block.spans.append((number, at, count, block.size))
                self._blocks_of[number].append(len(self._blocks) - 1)
                block.size += count
                at += count
            if self._two and p.requires_grad:
                p.register_post_accumulate_grad_hook(lambda _, n=number: self._come(n))
        if block is not None:
            block.close()
        self._rewind()

    def _rewind(self) -> None:
        self._todo = len(self._blocks)  # blocks below this one are not reduced yet
        self._came = [False] * len(self._all)

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._take(self._verify(group, self._all))

    def _come(self, number: int) -> None:
        self._came[number] = True
        while self._todo and all(
            self._came[n] or not self._all[n].requires_grad
            for n, *_ in self._blocks[self._todo - 1].spans
        ):
            self._reduce_last()

    @torch.no_grad()
    def _reduce_last(self) -> None:
        self._todo -= 1
        block = self._blocks[self._todo]
        numbers = [n for n, *_ in block.spans]
        if any(self._all[n].requires_grad for n in numbers):
            for n in numbers:
                self._seen[n] |= self._all[n].grad is not None and self._all[n].requires_grad
            mean = block.mean(lambda n: self._all[n].grad if self._all[n].requires_grad else None)
            block.grad = mean if block.grad is None else block.grad + mean
        for n in numbers:
            if self._blocks_of[n][0] == self._todo:  # the rest of it was reduced before
                self._all[n].grad = None

    def finish_backward(self) -> None:
        if not self._two:
            return
        while self._todo:
            self._reduce_last()
        for number, p in enumerate(self._all):
            if p.grad is not None:  # it has no numbers
                self._seen[number] = True
                p.grad = None
        self._rewind()

    @torch.no_grad()
    def step(self) -> None:
        here = [
            p.requires_grad and (seen if self._two else p.grad is not None)
            for p, seen in zip(self._all, self._seen, strict=True)
        ]
        used = torch.tensor(here).to(torch.uint8)
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        on = used.bool().tolist()
        self._t = [t + flag for t, flag in zip(self._t, on, strict=True)]
        options = [group for group in self.param_groups for _ in group["params"]]
        for block in self._blocks:
            if not any(on[n] for n, *_ in block.spans):
                continue
            grad = block.grad
            if not self._two:
                grad = block.mean(lambda n: self._all[n].grad if on[n] else None)
            if block.m is None:
                block.m = torch.zeros(block.share, dtype=block.dtype)
                block.v = torch.zeros(block.share, dtype=block.dtype)
            shard = block.part(block.fill(lambda n: self._all[n].detach()))
            for n, where in block.mine:
                if on[n]:
                    o, t = options[n], self._t[n]
                    self._adamw(shard[where], grad[where], block.m[where], block.v[where], o, t)
            flat = block.gather(shard)
            for n, begin, count, place in block.spans:
                if on[n]:
                    target = self._all[n].detach().view(-1)[begin : begin + count]
                    target.copy_(flat[place : place + count])

    @staticmethod
    def _adamw(p: Tensor, g: Tensor, m: Tensor, v: Tensor, o: dict[str, Any], t: int) -> None:
        b1, b2 = o["betas"]
        p.mul_(1 - o["lr"] * o["weight_decay"])
        m.lerp_(g, 1 - b1)
        v.mul_(b2).addcmul_(g, g, value=1 - b2)
        p.addcdiv_(m, (v / (1 - b2**t)).sqrt_().add_(o["eps"]), value=-o["lr"] / (1 - b1**t))

    def zero_grad(self) -> None:
        for p in self._all:
            p.grad = None
        for block in self._blocks:
            block.grad = None
        self._seen = [False] * len(self._all)

    def state_dict(self) -> dict[str, Any]:
        state: dict[int, dict[str, Any]] = {
            n: {
                "step": t,
                "exp_avg": torch.zeros(self._all[n].shape, dtype=self._all[n].dtype),
                "exp_avg_sq": torch.zeros(self._all[n].shape, dtype=self._all[n].dtype),
            }
            for n, t in enumerate(self._t)
            if t > 0
        }
        for block in self._blocks:
            if block.m is None:
                continue
            for key, shard in (("exp_avg", block.m), ("exp_avg_sq", block.v)):
                flat = block.gather(shard)
                for n, begin, count, place in block.spans:
                    if n in state:
                        target = state[n][key].view(-1)[begin : begin + count]
                        target.copy_(flat[place : place + count])
        groups, first = [], 0
        for group in self.param_groups:
            last = first + len(group["params"])
            groups.append({"params": list(range(first, last))} | {k: group[k] for k in _NAMES})
            first = last
        return {"state": state, "param_groups": groups} if dist.get_rank() == 0 else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        theirs, state = state_dict["param_groups"], state_dict["state"]
        if [len(g["params"]) for g in theirs] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("groups do not fit")
        if [n for g in theirs for n in g["params"]] != list(range(len(self._all))):
            raise ValueError("numbers do not fit")
        for n, entry in state.items():
            if n not in range(len(self._all)):
                raise ValueError(f"number {n} does not fit")
            shapes = {tuple(entry["exp_avg"].shape), tuple(entry["exp_avg_sq"].shape)}
            if shapes != {tuple(self._all[n].shape)}:
                raise ValueError(f"shapes of {n} do not fit")
        for own, their in zip(self.param_groups, theirs, strict=True):
            for k in _NAMES:
                own[k] = tuple(their[k]) if k == "betas" else their[k]
        self._t = [int(state[n]["step"]) if n in state else 0 for n in range(len(self._all))]
        for block in self._blocks:
            m = block.fill(lambda n: state[n]["exp_avg"] if n in state else None)
            v = block.fill(lambda n: state[n]["exp_avg_sq"] if n in state else None)
            block.m, block.v = block.part(m), block.part(v)


class _Flat:
    """The parameters of a unit that share dtype and fate, in one buffer."""

    def __init__(self, params: list[Parameter]) -> None:
        world, rank = dist.get_world_size(), dist.get_rank()
        self.params = params
        self.sizes = [p.numel() for p in params]
        self.share = -(-sum(self.sizes) // world)
        self.trained = params[0].requires_grad
        self.flat = torch.zeros(self.share * world, dtype=params[0].dtype)
        at = 0
        for p, size in zip(params, self.sizes, strict=True):
            view = self.flat[at : at + size].view(p.shape)
            view.copy_(p.detach())
            p.data = view
            at += size
        own = self.flat[rank * self.share : (rank + 1) * self.share].clone()
        self.shard = Parameter(own, self.trained)
        self.bytes = self.flat.untyped_storage().nbytes()
        self.free()

    def free(self) -> None:
        self.flat.untyped_storage().resize_(0)

    def gather(self) -> None:
        self.flat.untyped_storage().resize_(self.bytes)
        if self.share:
            dist.all_gather_into_tensor(self.flat, self.shard.detach())

    def reduce(self) -> None:
        if not self.trained:
            return
        whole = torch.zeros(self.flat.numel(), dtype=self.flat.dtype)
        at = 0
        for p, size in zip(self.params, self.sizes, strict=True):
            if p.grad is not None:
                whole[at : at + size] = p.grad.reshape(-1)
                p.grad = None
            at += size
        mean = torch.empty_like(self.shard, requires_grad=False)
        if self.share:
            reduce_scatter(mean, whole)
        mean.div_(dist.get_world_size())
        if self.shard.grad is None:
            self.shard.grad = mean
        else:
            self.shard.grad.add_(mean)

    def state(self) -> dict[Parameter, Tensor]:
        flat = torch.empty(self.flat.numel(), dtype=self.flat.dtype)
        if self.share:
            dist.all_gather_into_tensor(flat, self.shard.detach())
        parts = flat[: sum(self.sizes)].split(self.sizes)
        return {p: x.clone().view(p.shape) for p, x in zip(self.params, parts, strict=True)}


class FSDP(nn.Module):
    """Flat buffers; backward pre-hooks of the modules themselves."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        names = [name for name, _ in module.named_modules()]
        if len(set(units)) != len(units) or any(u == "" or u not in names for u in units):
            raise ValueError(f"no units: {units}")
        self.module = module
        modules = dict(module.named_modules())
        unit_at = {id(modules[u]): i + 1 for i, u in enumerate(units)}
        owner: dict[Parameter, int] = {}
        queue, done = [(module, 0)], set()
        while queue:
            part, unit = queue.pop()
            unit = unit_at.get(id(part), unit)
            if (id(part), unit) in done:
                continue
            done.add((id(part), unit))
            for p in part.parameters(recurse=False):
                owner[p] = unit if owner.get(p, unit) == unit else 0
            queue += [(child, unit) for child in part.children()]
        self._flats: list[list[_Flat]] = [[] for _ in range(len(units) + 1)]
        kinds: dict[tuple[int, torch.dtype, bool], list[Parameter]] = {}
        for p in module.parameters():
            kinds.setdefault((owner[p], p.dtype, p.requires_grad), []).append(p)
        for (unit, *_), params in kinds.items():
            self._flats[unit].append(_Flat(params))
        self._whole = [False] * (len(units) + 1)
        self._calls = [0] * (len(units) + 1)  # forward calls whose backward is to come
        self._active: list[int] = []  # units in backward
        self._dirty: set[int] = set()  # units with gradients of their own
        self._stack: list[int] = []
        for i, u in enumerate(units):
            self._hook(modules[u], i + 1)

    def _gather(self, unit: int) -> None:
        if not self._whole[unit]:
            for flat in self._flats[unit]:
                flat.gather()
            self._whole[unit] = True

    def _free(self, unit: int) -> None:
        for flat in self._flats[unit]:
            flat.free()
        self._whole[unit] = False

    def _hook(self, part: nn.Module, unit: int) -> None:

        def enter(*_: Any) -> None:
            self._stack.append(unit)
            self._gather(unit)

        def leave(_: nn.Module, __: Any, outputs: Any) -> Any:
            self._stack.pop()
            if unit not in self._stack:
                self._free(unit)
            if not torch.is_grad_enabled():
                return None
            keep = [*self._stack, unit]
            tensors: list[Tensor] = []

            def collect(value: Any) -> None:
                if isinstance(value, Tensor) and value.requires_grad:
                    tensors.append(value)
                elif isinstance(value, dict):
                    for item in value.values():
                        collect(item)
                elif isinstance(value, list | tuple):
                    for item in value:
                        collect(item)

            collect(outputs)
            if not tensors:
                return None
            self._calls[unit] += 1
            first = [True]

            def begin(*grads: Tensor) -> tuple[Tensor, ...]:
                if first[0]:
                    first[0] = False
                    self._backward(unit, keep)
                return grads

            wrapped = iter(_Gate.apply(begin, *tensors))

            def rebuild(value: Any) -> Any:
                if isinstance(value, Tensor) and value.requires_grad:
                    return next(wrapped)
                if isinstance(value, dict):
                    return type(value)((k, rebuild(x)) for k, x in value.items())
                if isinstance(value, tuple) and hasattr(value, "_fields"):
                    return type(value)(*(rebuild(x) for x in value))
                if isinstance(value, list | tuple):
                    return type(value)(rebuild(x) for x in value)
                return value

            return rebuild(outputs)

        part.register_forward_pre_hook(enter)
        part.register_forward_hook(leave)

    def _backward(self, unit: int, keep: list[int]) -> None:
        for other in [a for a in self._active if a not in keep]:
            self._retire(other)
        self._calls[unit] -= 1
        if unit not in self._active:
            self._active.append(unit)
        self._dirty.add(unit)
        self._gather(unit)

    def _retire(self, unit: int) -> None:
        self._active.remove(unit)
        if self._calls[unit] <= 0:
            self._reduce(unit)
        self._free(unit)

    def _reduce(self, unit: int) -> None:
        for flat in self._flats[unit]:
            flat.reduce()
        self._dirty.discard(unit)


    def forward(self, *args: object, **kwargs: object) -> Tensor:
        was = self._whole[0]
        self._whole[0] = False  # what is there may be older than the last step
        self._gather(0)
        self._stack.clear()
        out = self.module(*args, **kwargs)
        if not torch.is_grad_enabled() and not was:
            self._free(0)
        return out

    def finish_backward(self) -> None:
        for unit in [0, *sorted(self._dirty)]:
            self._reduce(unit)
        self._active.clear()
        self._calls = [0] * len(self._calls)
        for unit in range(len(self._flats)):
            self._free(unit)

    def shards(self) -> list[Parameter]:
        return [flat.shard for flats in self._flats for flat in flats]

    def full_state(self) -> dict[str, Tensor]:
        found: dict[Parameter, Tensor] = {}
        for flats in self._flats:
            for flat in flats:
                found |= flat.state()
        return {name: found[p] for name, p in self.module.named_parameters()}


class _Gate(torch.autograd.Function):
    """Pass tensors on; tell somebody when their gradients come back."""

    @staticmethod
    def forward(ctx: Any, begin: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.begin = begin
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.begin(*grads))


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """One flat float64 vector at a time, squared by `dot`."""
    if not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm}")
    flats = (shard.detach().reshape(-1).to(torch.float64) for shard in shards)
    total = torch.tensor([sum(torch.dot(flat, flat).item() for flat in flats)], dtype=torch.float64)
    dist.all_reduce(total)
    norm = total.sqrt()[0]
    if bool(norm.isfinite()) and norm.item() > max_norm:
        for shard in shards:
            shard.data.copy_(shard.detach().double() * (max_norm / norm))
    return norm
