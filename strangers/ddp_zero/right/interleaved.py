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

_NAMES = ("lr", "betas", "eps", "weight_decay")


def _checked(group: dict[str, Any], defaults: dict[str, Any], known: list[Any]) -> dict[str, Any]:
    params = group["params"]
    params = [params] if isinstance(params, Tensor) else list(params)
    full = {"params": params, **{name: group.get(name, defaults[name]) for name in _NAMES}}
    if not params:
        raise ValueError("a group has no parameters")
    if len({id(param) for param in [*known, *params]}) != len(known) + len(params):
        raise ValueError("a parameter is given twice")
    if any(not full[name] >= 0 for name in ("lr", "eps", "weight_decay")):
        raise ValueError("lr, eps and weight_decay must be at least 0")
    if any(not 0 <= beta < 1 for beta in full["betas"]):
        raise ValueError("betas must lie in [0, 1)")
    return full


def _all_checked(params: Iterable[Any], defaults: dict[str, Any]) -> list[dict[str, Any]]:
    given = list(params)
    dicts = given if given and isinstance(given[0], dict) else [{"params": given}]
    full: list[dict[str, Any]] = []
    for group in dicts:
        full.append(_checked(group, defaults, [p for before in full for p in before["params"]]))
    return full


def _check_saved(saved: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    sizes = [len(group["params"]) for group in groups]
    if [len(group["params"]) for group in saved["param_groups"]] != sizes:
        raise ValueError("groups do not fit")
    if [i for group in saved["param_groups"] for i in group["params"]] != list(range(sum(sizes))):
        raise ValueError("numbers of parameters do not fit")
    params = [param for group in groups for param in group["params"]]
    for i, entry in saved["state"].items():
        if i not in range(len(params)):
            raise ValueError(f"there is no parameter {i}")
        for key in ("exp_avg", "exp_avg_sq"):
            if entry[key].shape != params[i].shape:
                raise ValueError(f"{key} of parameter {i} does not fit")


def _take_options(saved: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    for group, other in zip(groups, saved["param_groups"], strict=True):
        for name in _NAMES:
            group[name] = tuple(other[name]) if name == "betas" else other[name]


def _numbered(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    result, begin = [], 0
    for group in groups:
        numbers = list(range(begin, begin + len(group["params"])))
        result.append({"params": numbers, **{name: group[name] for name in _NAMES}})
        begin += len(numbers)
    return result


def _used_anywhere(flags: list[bool]) -> list[bool]:
    """Say for each flag whether any rank has it: a byte each over the network."""
    if not flags:
        return []
    used = torch.tensor(flags, dtype=torch.uint8)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in used.tolist()]


def _homes(module: nn.Module, units: Sequence[str]) -> list[list[Parameter]]:
    """Return the parameters of the root, then those of each unit."""
    named = dict(module.named_modules())
    for name in units:
        if name == "" or name not in named or list(units).count(name) != 1:
            raise ValueError(f"{name!r} is no unit")
    at = {id(named[name]): number for number, name in enumerate(units, 1)}
    homes: dict[Parameter, set[int]] = {}

    def walk(part: nn.Module, home: int) -> None:
        home = at.get(id(part), home)
        for param in part.parameters(recurse=False):
            homes.setdefault(param, set()).add(home)
        for child in part.children():
            walk(child, home)

    walk(module, 0)
    result: list[list[Parameter]] = [[] for _ in range(len(units) + 1)]
    for param in module.parameters():
        result[min(homes[param]) if len(homes[param]) == 1 else 0].append(param)
    return result


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        return [tensor for item in items for tensor in _tensors(item)]
    return []

# Style: number i of a parameter belongs to rank i % N; strides instead of cuts.

from contextlib import contextmanager  # noqa: E402
from functools import partial  # noqa: E402


def _dealt(flat: Tensor) -> Tensor:
    """Return [N, S]: row r has the numbers of rank r, zeros at the end."""
    world = dist.get_world_size()
    padded = flat.new_zeros(-(-len(flat) // world) * world)
    padded[: len(flat)] = flat
    return padded.view(-1, world).t().contiguous()


def _undealt(rows_NS: Tensor, count: int) -> Tensor:
    return rows_NS.t().reshape(-1)[:count]


def _gathered(mine_S: Tensor, count: int) -> Tensor:
    rows_NS = mine_S.new_empty(dist.get_world_size(), len(mine_S))
    if rows_NS.numel():
        dist.all_gather(list(rows_NS.unbind()), mine_S.contiguous())
    return _undealt(rows_NS, count)


def _mean_of(flat: Tensor) -> Tensor:
    rows_NS = _dealt(flat)
    mine_S = torch.empty_like(rows_NS[0])
    if rows_NS.numel():
        reduce_scatter(mine_S, rows_NS)
    return mine_S / dist.get_world_size()


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """A chain: each rank passes on what it got."""
    rank, world = dist.get_rank(), dist.get_world_size()
    done: set[int] = set()
    for tensor in (*module.parameters(), *module.buffers()):
        if id(tensor) in done or not tensor.numel():
            continue
        done.add(id(tensor))
        dense = tensor.detach().reshape(-1).clone()
        raw = dense.view(torch.uint8)
        if rank > 0:
            dist.recv(raw, rank - 1)
        if rank + 1 < world:
            dist.send(raw, rank + 1)
        if rank > 0:
            tensor.data.copy_(dense.view_as(tensor))


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Reduce to dealt rows, divide there, gather again."""
    params = [p for p in module.parameters() if p.requires_grad]
    for p, used in zip(params, _used_anywhere([p.grad is not None for p in params]), strict=True):
        if used:
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            p.grad = _gathered(_mean_of(grad.reshape(-1)), p.numel()).reshape(p.shape).clone()


class DDP(nn.Module):
    """A table of bucket numbers; counters in tensors; hooks on the graph's own nodes."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        if not bucket_bytes >= 1:
            raise ValueError("a bucket holds at least a byte")
        self.module = module
        self._trained = [p for p in module.parameters() if p.requires_grad]
        if not self._trained:
            raise ValueError("there is nothing to average")
        self._order = list(range(len(self._trained)))[::-1]
        self._bucket, bucket, size, dtype = {}, -1, 0, None
        for number in self._order:
            param = self._trained[number]
            own = param.numel() * param.element_size()
            if dtype != param.dtype or size + own > bucket_bytes:
                bucket, size, dtype = bucket + 1, 0, param.dtype
            size += own
            self._bucket[number] = bucket
        self._count = bucket + 1
        self._muted = False
        self._nodes = []
        for number, param in enumerate(self._trained):
            with torch.enable_grad():
                node = param.view_as(param).grad_fn.next_functions[0][0]
            node.register_hook(partial(self._seen, number))
            self._nodes.append(node)
        self._clear()

    def _clear(self) -> None:
        self._left = [0] * self._count
        for number in self._order:
            self._left[self._bucket[number]] += 1
        self._flying: list[tuple[Tensor, Any]] = []

    def _members(self, bucket: int) -> list[Parameter]:
        return [self._trained[n] for n in self._order if self._bucket[n] == bucket]

    @torch.no_grad()
    def _seen(self, number: int, *_: object) -> None:
        if self._muted:
            return
        self._left[self._bucket[number]] -= 1
        while len(self._flying) < self._count and self._left[len(self._flying)] <= 0:
            self._fly()

    def _fly(self) -> None:
        members = self._members(len(self._flying))
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in members]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        self._flying.append((flat, dist.all_reduce(flat, async_op=True)))

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Any:
        before, self._muted = self._muted, True
        try:
            yield
        finally:
            self._muted = before

    @torch.no_grad()
    def finish_backward(self) -> None:
        while len(self._flying) < self._count:
            self._fly()
        used = _used_anywhere([p.grad is not None for p in self._trained])
        live = {p for p, flag in zip(self._trained, used, strict=True) if flag}
        for bucket, (flat, work) in enumerate(self._flying):
            work.wait()
            at = 0
            for param in self._members(bucket):
                if param in live:
                    mean = flat[at : at + param.numel()].view(param.shape)
                    param.grad = torch.div(mean, dist.get_world_size())
                at += param.numel()
        self._clear()


class ZeroOptimizer:
    """Chunks of a parameter, dealt like cards."""

    CHUNK = 3 << 16

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
        if stage not in (1, 2):
            raise ValueError(f"stage {stage}")
        self.stage = stage
        self._defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.param_groups: list[dict[str, Any]] = []
        self._slots: list[dict[str, Any]] = []
        for group in _all_checked(params, self._defaults):
            self._enter(group)

    def _enter(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        for param in group["params"]:
            slot = {"p": param, "group": group, "t": 0, "m": None, "v": None, "g": None}
            slot |= {"used": False, "ready": False, "done": False}
            self._slots.append(slot)
            if self.stage == 2 and param.requires_grad:
                param.register_post_accumulate_grad_hook(partial(self._arrive, slot))

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._enter(_checked(group, self._defaults, [slot["p"] for slot in self._slots]))

    def _arrive(self, slot: dict[str, Any], _: Tensor) -> None:
        slot["ready"] = True
        for other in reversed(self._slots):
            if other["done"]:
                continue
            if not other["ready"] and other["p"].requires_grad:
                break
            self._absorb(other)

    def _chunks(self, tensor: Tensor) -> Sequence[Tensor]:
        return tensor.reshape(-1).split(self.CHUNK) if tensor.numel() else []

    @torch.no_grad()
    def _absorb(self, slot: dict[str, Any]) -> None:
        param, slot["done"] = slot["p"], True
        if param.requires_grad:
            slot["used"] = slot["used"] or param.grad is not None
            means = self._means(param)
            old = slot["g"] or [torch.zeros_like(mean) for mean in means]
            slot["g"] = [a + b for a, b in zip(old, means, strict=True)]
        param.grad = None

    def _means(self, param: Tensor) -> list[Tensor]:
        if param.grad is not None:
            return [_mean_of(chunk) for chunk in self._chunks(param.grad)]
        return [_mean_of(torch.zeros_like(chunk)) for chunk in self._chunks(param.detach())]

    def finish_backward(self) -> None:
        if self.stage == 1:
            return
        for slot in reversed(self._slots):
            if not slot["done"]:
                self._absorb(slot)
        for slot in self._slots:
            slot["ready"] = slot["done"] = False

    @torch.no_grad()
    def step(self) -> None:
        mine = [s["used"] if self.stage == 2 else s["p"].grad is not None for s in self._slots]
        mine = [flag and s["p"].requires_grad for flag, s in zip(mine, self._slots, strict=True)]
        for slot, used in zip(self._slots, _used_anywhere(mine), strict=True):
            if used:
                slot["t"] += 1
                self._step_one(slot)

    def _step_one(self, slot: dict[str, Any]) -> None:
        param, rank = slot["p"], dist.get_rank()
        chunks = self._chunks(param.detach())
        if slot["m"] is None:
            for key in "mv":
                slot[key] = [torch.zeros_like(_dealt(chunk)[rank]) for chunk in chunks]
        beta1, beta2 = slot["group"]["betas"]
        lr, eps = slot["group"]["lr"], slot["group"]["eps"]
        rate = lr / (1 - beta1 ** slot["t"])
        for index, chunk in enumerate(chunks):
            if self.stage == 2:
                g = slot["g"][index]
            elif param.grad is not None:
                g = _mean_of(self._chunks(param.grad)[index])
            else:
                g = _mean_of(torch.zeros_like(chunk))
            p, m, v = _dealt(chunk)[rank].clone(), slot["m"][index], slot["v"][index]
            p *= 1 - lr * slot["group"]["weight_decay"]
            m += (g - m) * (1 - beta1)
            v += (g * g - v) * (1 - beta2)
            p -= rate * m / (torch.sqrt(v / (1 - beta2 ** slot["t"])) + eps)
            chunk.copy_(_gathered(p, len(chunk)))

    def zero_grad(self) -> None:
        for slot in self._slots:
            slot["p"].grad, slot["g"], slot["used"] = None, None, False

    def state_dict(self) -> dict[str, Any]:
        state = {}
        for number, slot in enumerate(self._slots):
            if not slot["t"]:
                continue
            whole = {}
            for key in "mv":
                flat = torch.empty(slot["p"].numel(), dtype=slot["p"].dtype)
                for part, mine in zip(self._chunks(flat), slot[key], strict=True):
                    part.copy_(_gathered(mine, len(part)))
                whole[key] = flat.view(slot["p"].shape)
            state[number] = {"step": slot["t"], "exp_avg": whole["m"], "exp_avg_sq": whole["v"]}
        if dist.get_rank() > 0:
            return {}
        return {"state": state, "param_groups": _numbered(self.param_groups)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _check_saved(state_dict, self.param_groups)
        _take_options(state_dict, self.param_groups)
        rank = dist.get_rank()
        for number, slot in enumerate(self._slots):
            saved = state_dict["state"].get(number)
            slot["t"] = 0 if saved is None else int(saved["step"])
            for key, name in (("m", "exp_avg"), ("v", "exp_avg_sq")):
                slot[key] = None
                if saved is not None:
                    whole = saved[name].detach().to(slot["p"].dtype)
                    slot[key] = [_dealt(chunk)[rank].clone() for chunk in self._chunks(whole)]


class FSDP(nn.Module):
    """Every parameter dealt by itself; torch's backward pre-hooks of modules."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        self._homes = _homes(module, units)
        self.module = module
        self._shard_of: dict[Parameter, Parameter] = {}
        for params in self._homes:
            for p in params:
                own = _dealt(p.detach().reshape(-1))[dist.get_rank()].clone()
                self._shard_of[p] = Parameter(own, p.requires_grad)
                p.data = p.detach().clone(memory_format=torch.contiguous_format)
                p.untyped_storage().resize_(0)
        self._whole: set[int] = set()
        self._waits = dict.fromkeys(range(len(units) + 1), 0)
        self._in_backward: list[int] = []
        self._dirty: set[int] = set()
        modules = [module, *(module.get_submodule(name) for name in units)]
        inside = [{id(m) for m in part.modules()} for part in modules]
        self._around = [
            {o for o, ids in enumerate(inside) if id(part) in ids} for part in modules
        ]
        self._depth = dict.fromkeys(range(len(units) + 1), 0)
        for unit, part in enumerate(modules):
            if unit:
                part.register_forward_pre_hook(partial(self._enter, unit))
                part.register_forward_hook(partial(self._exit, unit))
                part.register_full_backward_pre_hook(partial(self._back, unit))

    def _gather(self, unit: int) -> None:
        if unit in self._whole:
            return
        self._whole.add(unit)
        for p in self._homes[unit]:
            p.untyped_storage().resize_(p.numel() * p.element_size())
            p.data.view(-1).copy_(_gathered(self._shard_of[p].detach(), p.numel()))

    def _free(self, unit: int) -> None:
        self._whole.discard(unit)
        for p in self._homes[unit]:
            p.untyped_storage().resize_(0)

    def _enter(self, unit: int, *_: object) -> None:
        self._depth[unit] += 1
        self._gather(unit)

    def _exit(self, unit: int, _: object, __: object, outputs: Any) -> None:
        self._depth[unit] -= 1
        if torch.is_grad_enabled() and any(t.requires_grad for t in _tensors(outputs)):
            self._waits[unit] += 1
        if self._depth[unit] == 0:
            self._free(unit)

    def _back(self, unit: int, *_: object) -> None:
        for other in list(self._in_backward):
            if other not in self._around[unit]:
                self._in_backward.remove(other)
                if self._waits[other] == 0:
                    self._reduce(other)
                self._free(other)
        self._waits[unit] -= 1
        self._dirty.add(unit)
        if unit not in self._in_backward:
            self._in_backward.append(unit)
        self._gather(unit)

    @torch.no_grad()
    def _reduce(self, unit: int) -> None:
        self._dirty.discard(unit)
        for p in self._homes[unit]:
            if p.requires_grad:
                grad = torch.zeros(p.shape, dtype=p.dtype) if p.grad is None else p.grad
                p.grad = None
                mean, shard = _mean_of(grad.reshape(-1)), self._shard_of[p]
                shard.grad = mean if shard.grad is None else shard.grad + mean

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        before = 0 in self._whole
        self._whole.discard(0)
        self._gather(0)
        result = self.module(*args, **kwargs)
        if not (torch.is_grad_enabled() or before):
            self._free(0)
        return result

    def finish_backward(self) -> None:
        for unit in sorted(self._dirty | {0}):
            self._reduce(unit)
        for unit in range(len(self._homes)):
            self._free(unit)
            self._waits[unit] = 0
        self._in_backward.clear()

    def shards(self) -> list[Parameter]:
        return list(self._shard_of.values())

    def full_state(self) -> dict[str, Tensor]:
        return {
            name: _gathered(self._shard_of[p].detach(), p.numel()).clone().view(p.shape)
            for name, p in self.module.named_parameters()
        }


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """All ranks' sums of squares, then added in the order of ranks."""
    if max_norm != max_norm or max_norm <= 0:
        raise ValueError("max_norm must be above 0")
    mine = torch.zeros(1, dtype=torch.float64)
    for shard in shards:
        wide = shard.detach().double().flatten()
        mine += torch.einsum("i,i->", wide, wide)
    rows = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, mine)
    norm = torch.cat(rows).sum().sqrt()
    if norm.isfinite().item() and norm.item() > max_norm:
        for shard in shards:
            shard.data.mul_((max_norm / norm).item())
    return norm
