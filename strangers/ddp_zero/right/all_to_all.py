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

# Style: dataclasses; reduce-scatter is an all-to-all and a sum.

import dataclasses  # noqa: E402
import math  # noqa: E402
from contextlib import contextmanager  # noqa: E402


def _scattered_sum(whole_NS: Tensor) -> Tensor:
    """Return the sum over ranks of this rank's row of [N, S], added in the order of ranks."""
    if whole_NS.numel() == 0:
        return whole_NS.new_zeros(whole_NS.shape[1])
    got_NS = torch.empty_like(whole_NS)
    dist.all_to_all_single(got_NS, whole_NS)
    return got_NS.sum(dim=0, dtype=whole_NS.dtype)


def _padded(flat: Tensor) -> Tensor:
    world = dist.get_world_size()
    share = math.ceil(flat.numel() / world)
    return nn.functional.pad(flat, (0, share * world - flat.numel())).view(world, share)


def _all_rows(row_S: Tensor) -> Tensor:
    out = row_S.new_empty(dist.get_world_size() * row_S.numel())
    if out.numel():
        dist.all_gather_into_tensor(out, row_S)
    return out


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """Start all broadcasts, then wait for all."""
    tensors = list(dict.fromkeys([*module.parameters(), *module.buffers()]))
    jobs = []
    for tensor in tensors:
        if tensor.numel() > 0:
            dense = tensor.detach().contiguous().clone().view(-1)
            job = dist.broadcast(dense.view(torch.uint8), src=0, async_op=True)
            jobs.append((job, tensor, dense))
    for job, tensor, dense in jobs:
        job.wait()
        tensor.copy_(dense.view(tensor.size()))


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Count the users of each parameter; average where there are some."""
    params = [p for p in module.parameters() if p.requires_grad]
    users = torch.zeros(len(params), dtype=torch.int64)
    for i, p in enumerate(params):
        users[i] = 0 if p.grad is None else 1
    if len(params):
        dist.all_reduce(users, op=dist.ReduceOp.SUM)
    for i in users.nonzero().flatten().tolist():
        p = params[i]
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        dense = p.grad.contiguous()
        if dense.numel():
            dist.all_reduce(dense)
        p.grad.copy_(dense / dist.get_world_size())


@dataclasses.dataclass
class _Bin:
    params: list[Parameter] = dataclasses.field(default_factory=list)
    nbytes: int = 0
    missing: int = 0
    flat: Tensor | None = None
    work: Any = None

    def put(self, param: Parameter) -> None:
        self.params.append(param)
        self.nbytes += param.nbytes
        self.missing += 1

    def go(self) -> None:
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.params]
        self.flat = torch.hstack([torch.flatten(grad) for grad in grads])
        self.work = dist.all_reduce(self.flat, async_op=True)

    def reset(self) -> None:
        self.missing, self.flat, self.work = len(self.params), None, None


class DDP(nn.Module):
    """Bins of parameters and a counter of the next one to leave."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        if bucket_bytes < 1:
            raise ValueError(f"bucket_bytes must be at least 1, not {bucket_bytes}")
        if not any(p.requires_grad for p in module.parameters()):
            raise ValueError("no parameter requires a gradient")
        self.module = module
        self._bins = [_Bin()]
        self._next = 0
        self._sync = True
        for param in reversed([p for p in module.parameters() if p.requires_grad]):
            bin_ = self._bins[-1]
            other = bool(bin_.params) and bin_.params[0].dtype != param.dtype
            if bin_.params and (other or bin_.nbytes + param.nbytes > bucket_bytes):
                bin_ = _Bin()
                self._bins.append(bin_)
            bin_.put(param)
            param.register_post_accumulate_grad_hook(self._make_hook(bin_))

    def _make_hook(self, bin_: _Bin) -> Any:
        def hook(_: Tensor) -> None:
            if self._sync:
                bin_.missing -= 1
                self._advance(lambda one: one.missing <= 0)

        return hook

    @torch.no_grad()
    def _advance(self, may_go: Any) -> None:
        while self._next < len(self._bins) and may_go(self._bins[self._next]):
            self._bins[self._next].go()
            self._next += 1

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Any:
        before = self._sync
        self._sync = False
        try:
            yield
        finally:
            self._sync = before

    @torch.no_grad()
    def finish_backward(self) -> None:
        self._advance(lambda _: True)
        everyone = [p for bin_ in self._bins for p in bin_.params]
        used = iter(_used_anywhere([p.grad is not None for p in everyone]))
        for bin_ in self._bins:
            bin_.work.wait()
            parts = bin_.flat.div_(dist.get_world_size()).split([p.numel() for p in bin_.params])
            for param, part in zip(bin_.params, parts, strict=True):
                if next(used):
                    param.grad = part.view(param.shape).clone()
            bin_.reset()
        self._next = 0


@dataclasses.dataclass
class _Piece:
    begin: int
    end: int
    m: Tensor | None = None
    v: Tensor | None = None
    g: Tensor | None = None


@dataclasses.dataclass(eq=False)
class _Entry:
    param: Parameter
    options: dict[str, Any]
    pieces: list[_Piece]
    t: int = 0
    used: bool = False
    arrived: bool = False
    reduced: bool = False

    def mean(self, piece: _Piece) -> Tensor:
        if self.param.grad is None:
            flat = torch.zeros(piece.end - piece.begin, dtype=self.param.dtype)
        else:
            flat = self.param.grad.reshape(-1)[piece.begin : piece.end]
        return _scattered_sum(_padded(flat)).div_(dist.get_world_size())

    def reduce(self) -> None:
        self.reduced = True
        if not self.param.requires_grad:
            self.param.grad = None
            return
        self.used |= self.param.grad is not None
        for piece in self.pieces:
            mean = self.mean(piece)
            piece.g = mean if piece.g is None else piece.g.add_(mean)
        self.param.grad = None

    def step(self, *, sharded: bool) -> None:
        self.t += 1
        lr, eps, decay = (self.options[name] for name in ("lr", "eps", "weight_decay"))
        beta1, beta2 = self.options["betas"]
        flat = self.param.detach().view(-1)
        for piece in self.pieces:
            g = piece.g if sharded else self.mean(piece)
            window = flat[piece.begin : piece.end]
            p = _padded(window)[dist.get_rank()].clone()
            if piece.m is None or piece.v is None:
                piece.m, piece.v = torch.zeros_like(p), torch.zeros_like(p)
            p = p - lr * decay * p
            piece.m = torch.add(beta1 * piece.m, g, alpha=1 - beta1)
            piece.v = torch.addcmul(beta2 * piece.v, g, g, value=1 - beta2)
            root = torch.sqrt(piece.v / (1 - math.pow(beta2, self.t)))
            p = p - lr * (piece.m / (1 - math.pow(beta1, self.t))) / (root + eps)
            window.copy_(_all_rows(p)[: len(window)])

    def whole(self, name: str) -> Tensor:
        parts = [_all_rows(getattr(x, name))[: x.end - x.begin] for x in self.pieces]
        flat = torch.cat([torch.empty(0, dtype=self.param.dtype), *parts])
        return flat.view(self.param.shape)


class ZeroOptimizer:
    """A list of entries, one per parameter."""

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
        if stage not in {1, 2}:
            raise ValueError("stage must be 1 or 2")
        self._defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self._sharded = stage == 2
        self._entries: list[_Entry] = []
        self.param_groups: list[dict[str, Any]] = []
        for group in _all_checked(params, self._defaults):
            self._append(group)

    def _append(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        for param in group["params"]:
            cuts = [*range(0, param.numel(), 200_000), param.numel()]
            pieces = [_Piece(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if b > a]
            entry = _Entry(param, group, pieces)
            self._entries.append(entry)
            if self._sharded and param.requires_grad:
                param.register_post_accumulate_grad_hook(self._hook(entry))

    def _hook(self, entry: _Entry) -> Any:
        @torch.no_grad()
        def hook(_: Tensor) -> None:
            entry.arrived = True
            for other in reversed(self._entries):
                if other.param.requires_grad and not other.arrived:
                    break
                if not other.reduced:
                    other.reduce()

        return hook

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._append(_checked(group, self._defaults, [entry.param for entry in self._entries]))

    @torch.no_grad()
    def finish_backward(self) -> None:
        if self._sharded:
            for entry in reversed(self._entries):
                if not entry.reduced:
                    entry.reduce()
            for entry in self._entries:
                entry.arrived = entry.reduced = False

    @torch.no_grad()
    def step(self) -> None:
        here = [
            e.param.requires_grad and (e.used if self._sharded else e.param.grad is not None)
            for e in self._entries
        ]
        for entry, used in zip(self._entries, _used_anywhere(here), strict=True):
            if used:
                entry.step(sharded=self._sharded)

    def zero_grad(self) -> None:
        for entry in self._entries:
            entry.param.grad, entry.used = None, False
            for piece in entry.pieces:
                piece.g = None

    def state_dict(self) -> dict[str, Any]:
        state = {
            i: {"step": e.t, "exp_avg": e.whole("m"), "exp_avg_sq": e.whole("v")}
            for i, e in enumerate(self._entries)
            if e.t
        }
        if dist.get_rank():
            return {}
        return {"state": state, "param_groups": _numbered(self.param_groups)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _check_saved(state_dict, self.param_groups)
        _take_options(state_dict, self.param_groups)
        for i, entry in enumerate(self._entries):
            saved = state_dict["state"].get(i)
            entry.t = int(saved["step"]) if saved else 0
            for piece in entry.pieces:
                piece.m = piece.v = None
                if saved:
                    piece.m, piece.v = (
                        _padded(
                            saved[key].detach().reshape(-1)[piece.begin : piece.end].to(entry.param.dtype)
                        )[dist.get_rank()].clone()
                        for key in ("exp_avg", "exp_avg_sq")
                    )


@dataclasses.dataclass(eq=False)
class _Call:
    unit: "_Group"
    begin: int
    end: int = 0
    begun: bool = False


@dataclasses.dataclass(eq=False)
class _Group:
    """Parameters of a unit: one shard per dtype and fate, without padding."""

    params: list[Parameter]
    whole: bool = False
    waiting: int = 0
    current: _Call | None = None
    flats: list[Tensor] = dataclasses.field(default_factory=list)
    shards: list[Parameter] = dataclasses.field(default_factory=list)
    members: list[list[Parameter]] = dataclasses.field(default_factory=list)

    def divide(self) -> None:
        kinds: dict[Any, list[Parameter]] = {}
        for p in self.params:
            kinds.setdefault((p.dtype, p.requires_grad), []).append(p)
        for (_, trained), members in kinds.items():
            flat = _padded(torch.cat([p.detach().reshape(-1) for p in members])).reshape(-1).clone()
            count = sum(p.numel() for p in members)
            at = 0
            for p in members:
                p.data = flat[at : at + p.numel()].view(p.shape)
                at += p.numel()
            share = len(flat) // dist.get_world_size()
            begin = dist.get_rank() * share
            mine = flat[begin : max(begin, min(begin + share, count))].clone()
            self.shards.append(Parameter(mine, trained))
            self.flats.append(flat)
            self.members.append(members)
        self.free()

    def fill(self, flat: Tensor, shard: Parameter) -> None:
        row = torch.zeros(len(flat) // dist.get_world_size(), dtype=flat.dtype)
        row[: len(shard)] = shard.detach()
        if len(row):
            dist.all_gather_into_tensor(flat, row)

    def gather(self) -> None:
        for flat, shard in zip(self.flats, self.shards, strict=True):
            flat.untyped_storage().resize_(len(flat) * flat.element_size())
            self.fill(flat, shard)
        self.whole = True

    def free(self) -> None:
        for flat in self.flats:
            flat.untyped_storage().resize_(0)
        self.whole = False

    def reduce(self) -> None:
        self.current = None
        for members, flat, shard in zip(self.members, self.flats, self.shards, strict=True):
            if not shard.requires_grad:
                continue
            grads = [torch.zeros(p.shape, dtype=p.dtype) if p.grad is None else p.grad for p in members]
            whole = _padded(torch.cat([grad.reshape(-1) for grad in grads]))
            for p in members:
                p.grad = None
            mean = _scattered_sum(whole)[: len(shard)] / dist.get_world_size()
            shard.grad = mean if shard.grad is None else shard.grad.add_(mean)

    def copies(self) -> dict[Parameter, Tensor]:
        found = {}
        for members, like, shard in zip(self.members, self.flats, self.shards, strict=True):
            flat = torch.empty(len(like), dtype=like.dtype)
            self.fill(flat, shard)
            parts = flat[: sum(p.numel() for p in members)].split([p.numel() for p in members])
            found |= {p: part.clone().view(p.shape) for p, part in zip(members, parts, strict=True)}
        return found


class FSDP(nn.Module):
    """Calls are records with a beginning and an end on one clock."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        self._groups = [_Group(params) for params in _homes(module, units)]
        self.module = module
        self._time = 0
        self._running: list[_Call] = []
        for group in self._groups:
            group.divide()
        for name, group in zip(units, self._groups[1:], strict=True):
            part = module.get_submodule(name)
            part.register_forward_pre_hook(self._before(group))
            part.register_forward_hook(self._after(group))

    def _tick(self) -> int:
        self._time += 1
        return self._time

    def _before(self, group: _Group) -> Any:
        def hook(*_: object) -> None:
            self._running.append(_Call(group, self._tick()))
            if not group.whole:
                group.gather()

        return hook

    def _after(self, group: _Group) -> Any:
        def hook(_: object, __: object, outputs: Any) -> None:
            call = self._running.pop()
            call.end = self._tick()
            if not any(other.unit is group for other in self._running):
                group.free()
            if torch.is_grad_enabled():
                outs = [tensor for tensor in _tensors(outputs) if tensor.requires_grad]
                group.waiting += len(outs) > 0
                for tensor in outs:
                    tensor.register_hook(self._backward(call))

        return hook

    def _backward(self, call: _Call) -> Any:
        def hook(_: Tensor) -> None:
            if call.begun:
                return
            call.begun = True
            for group in self._groups[1:]:
                if group.current is not None and group.current.begin > call.end:
                    if group.waiting == 0:
                        with torch.no_grad():
                            group.reduce()
                    group.free()
            call.unit.waiting -= 1
            call.unit.current = call
            if not call.unit.whole:
                call.unit.gather()

        return hook

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        root = self._groups[0]
        keep = root.whole or torch.is_grad_enabled()
        self._running.clear()
        root.gather()
        result = self.module(*args, **kwargs)
        if not keep:
            root.free()
        return result

    @torch.no_grad()
    def finish_backward(self) -> None:
        for number, group in enumerate(self._groups):
            if number == 0 or group.current is not None:
                group.reduce()
            group.free()
            group.waiting = 0

    def shards(self) -> list[Parameter]:
        return [shard for group in self._groups for shard in group.shards]

    def full_state(self) -> dict[str, Tensor]:
        found = {p: copy for group in self._groups for p, copy in group.copies().items()}
        return {name: found[p] for name, p in self.module.named_parameters()}


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """`torch.stack` of the sums of squares."""
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")
    with torch.no_grad():
        sums = torch.zeros(len(shards) + 1, dtype=torch.float64)
        for i, shard in enumerate(shards):
            sums[i] = (shard.double() ** 2).sum()
        total = sums.sum()
        dist.all_reduce(total)
        norm = torch.sqrt(total)
        if math.isfinite(norm) and float(norm) > max_norm:
            torch._foreach_mul_(list(shards), max_norm / float(norm)) if len(shards) else None
        return norm
