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

# Style: whole pieces belong to one rank each; everything is sent from one to another.


def _to_all(flat: Tensor, source: int) -> None:
    """Send `flat` from `source` to all others."""
    rank, world = dist.get_rank(), dist.get_world_size()
    if rank == source:
        for work in [dist.isend(flat, to) for to in range(world) if to != source]:
            work.wait()
    else:
        dist.recv(flat, source)


def _sum_at(flat: Tensor, owner: int) -> Tensor | None:
    """Return the sum over all ranks on `owner`, None elsewhere."""
    rank, world = dist.get_rank(), dist.get_world_size()
    if rank != owner:
        dist.send(flat, owner)
        return None
    total, incoming = flat.clone(), torch.empty_like(flat)
    for source in range(world):
        if source != rank:
            dist.recv(incoming, source)
            total += incoming
    return total


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """Rank 0 sends each tensor to each other rank."""
    tensors = {id(t): t for t in [*module.parameters(), *module.buffers()]}
    for tensor in tensors.values():
        if tensor.numel():
            raw = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor).flatten()
            _to_all(raw.view(torch.uint8), 0)
            tensor.copy_(raw.view(tensor.shape))


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """All all-reduces fly at once."""
    params = [param for param in module.parameters() if param.requires_grad]
    used = _used_anywhere([param.grad is not None for param in params])
    flying = []
    for param, any_rank in zip(params, used, strict=True):
        if any_rank:
            grad = param.new_zeros(param.shape) if param.grad is None else param.grad
            dense = grad.detach().clone(memory_format=torch.contiguous_format)
            if dense.numel():
                flying.append((param, dense, dist.all_reduce(dense, async_op=True)))
            else:
                param.grad = dense
    for param, dense, work in flying:
        work.wait()
        param.grad = dense.div_(dist.get_world_size())


class _Bucket:
    """Parameters whose gradients travel together."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.params, self.bytes = dtype, [], 0
        self.clear()

    def clear(self) -> None:
        self.arrived: set[Parameter] = set()
        self.work, self.flat = None, None

    def fits(self, param: Parameter, limit: int) -> bool:
        more = param.numel() * param.element_size()
        return param.dtype == self.dtype and self.bytes + more <= limit

    def add(self, param: Parameter) -> None:
        self.params.append(param)
        self.bytes += param.numel() * param.element_size()

    @property
    def complete(self) -> bool:
        return len(self.arrived) == len(self.params)

    def launch(self) -> None:
        self.flat = torch.zeros(sum(p.numel() for p in self.params), dtype=self.dtype)
        for param, part in self.parts():
            if param.grad is not None:
                part.copy_(param.grad)
        self.work = dist.all_reduce(self.flat, async_op=True)

    def parts(self) -> list[tuple[Parameter, Tensor]]:
        cuts = self.flat.split([param.numel() for param in self.params])
        return [(p, cut.view(p.shape)) for p, cut in zip(self.params, cuts, strict=True)]


class _Quiet:
    def __init__(self, ddp: "DDP") -> None:
        self.ddp = ddp

    def __enter__(self) -> None:
        self.ddp.quiet += 1

    def __exit__(self, *_: object) -> None:
        self.ddp.quiet -= 1


class DDP(nn.Module):
    """Buckets are objects; hooks tell them who has arrived."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        params = [param for param in module.parameters() if param.requires_grad]
        if bucket_bytes < 1 or not params:
            raise ValueError("bucket_bytes is below 1, or nothing requires a gradient")
        self.module = module
        self.quiet = 0
        self._buckets: list[_Bucket] = []
        self._bucket_of: dict[Parameter, _Bucket] = {}
        for param in reversed(params):
            if not self._buckets or not self._buckets[-1].fits(param, bucket_bytes):
                self._buckets.append(_Bucket(param.dtype))
            self._buckets[-1].add(param)
            self._bucket_of[param] = self._buckets[-1]
            param.register_post_accumulate_grad_hook(self._hook)

    def _hook(self, param: Parameter) -> None:
        if self.quiet:
            return
        self._bucket_of[param].arrived.add(param)
        for bucket in self._buckets:
            if bucket.work is None:
                if not bucket.complete:
                    break
                with torch.no_grad():
                    bucket.launch()

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    def no_sync(self) -> AbstractContextManager[None]:
        return _Quiet(self)

    @torch.no_grad()
    def finish_backward(self) -> None:
        for bucket in self._buckets:
            if bucket.work is None:
                bucket.launch()
        params = [param for bucket in self._buckets for param in bucket.params]
        used = _used_anywhere([param.grad is not None for param in params])
        live = {param for param, flag in zip(params, used, strict=True) if flag}
        for bucket in self._buckets:
            bucket.work.wait()
            for param, part in bucket.parts():
                if param in live:
                    param.grad = part / dist.get_world_size()
            bucket.clear()


class ZeroOptimizer:
    """Pieces of at most 256 Ki numbers, each owned by the rank that has least so far."""

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
            raise ValueError("stage is 1 or 2")
        self._stage = stage
        self._defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups: list[dict[str, Any]] = []
        self._params: list[Parameter] = []
        self._steps: list[int] = []
        self._pieces: list[list[tuple[int, int, int]]] = []  # begin, end, owner
        self._load = [0] * dist.get_world_size()
        self._moments: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._sums: dict[tuple[int, int], Tensor] = {}
        self._used: set[int] = set()
        for group in _all_checked(params, self._defaults):
            self._adopt(group)

    def _adopt(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        for param in group["params"]:
            number, pieces = len(self._params), []
            for begin in range(0, param.numel(), 1 << 18):
                end = min(begin + (1 << 18), param.numel())
                owner = self._load.index(min(self._load))
                self._load[owner] += (end - begin) * param.element_size()
                pieces.append((begin, end, owner))
            self._params.append(param)
            self._steps.append(0)
            self._pieces.append(pieces)
            if self._stage == 2 and param.requires_grad:
                param.register_post_accumulate_grad_hook(lambda _, n=number: self._hook(n))
        self._restart()

    def _restart(self) -> None:
        self._waiting = list(range(len(self._params)))
        self._here: set[int] = set()

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._adopt(_checked(group, self._defaults, self._params))

    def _hook(self, number: int) -> None:
        self._here.add(number)
        while self._waiting:
            last = self._waiting[-1]
            if self._params[last].requires_grad and last not in self._here:
                return
            self._shift(self._waiting.pop())

    @torch.no_grad()
    def _shift(self, number: int) -> None:
        param = self._params[number]
        if param.requires_grad:
            if param.grad is not None:
                self._used.add(number)
            for begin, end, owner in self._pieces[number]:
                total = self._mean(number, begin, end, owner)
                if total is not None:
                    key = (number, begin)
                    self._sums[key] = self._sums[key] + total if key in self._sums else total
        param.grad = None

    def _mean(self, number: int, begin: int, end: int, owner: int) -> Tensor | None:
        grad = self._params[number].grad
        if grad is None:
            part = torch.zeros(end - begin, dtype=self._params[number].dtype)
        else:
            part = grad.reshape(-1)[begin:end].contiguous()
        total = _sum_at(part, owner)
        return None if total is None else total / dist.get_world_size()

    def finish_backward(self) -> None:
        if self._stage == 2:
            while self._waiting:
                self._shift(self._waiting.pop())
            self._restart()

    @torch.no_grad()
    def step(self) -> None:
        flags = [
            param.requires_grad
            and (number in self._used if self._stage == 2 else param.grad is not None)
            for number, param in enumerate(self._params)
        ]
        used = _used_anywhere(flags)
        options = [group for group in self.param_groups for _ in group["params"]]
        for number, param in enumerate(self._params):
            if not used[number]:
                continue
            self._steps[number] += 1
            for begin, end, owner in self._pieces[number]:
                part = param.detach().view(-1)[begin:end]
                if self._stage == 2:
                    grad = self._sums.get((number, begin))
                else:
                    grad = self._mean(number, begin, end, owner)
                if grad is not None:
                    self._adamw(number, begin, part, grad, options[number])
                _to_all(part, owner)

    def _adamw(self, number: int, begin: int, p: Tensor, g: Tensor, o: dict[str, Any]) -> None:
        key = (number, begin)
        if key not in self._moments:
            self._moments[key] = (torch.zeros_like(p), torch.zeros_like(p))
        m, v = self._moments[key]
        (beta1, beta2), t = o["betas"], self._steps[number]
        p.sub_(p, alpha=o["lr"] * o["weight_decay"])
        m.copy_(beta1 * m + (1 - beta1) * g)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        p.sub_(m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + o["eps"]), alpha=o["lr"])

    def zero_grad(self) -> None:
        for param in self._params:
            param.grad = None
        self._sums.clear()
        self._used.clear()

    def state_dict(self) -> dict[str, Any]:
        rank, state = dist.get_rank(), {}
        for number, param in enumerate(self._params):
            if self._steps[number] == 0:
                continue
            both = [torch.zeros(param.numel(), dtype=param.dtype) for _ in range(2)]
            for begin, end, owner in self._pieces[number]:
                for which, flat in enumerate(both):
                    if rank == owner:
                        moment = self._moments[number, begin][which]
                        flat[begin:end] = moment
                        if owner:
                            dist.send(moment, 0)
                    elif rank == 0:
                        dist.recv(flat[begin:end], owner)
            m, v = (flat.view(param.shape) for flat in both)
            state[number] = {"step": self._steps[number], "exp_avg": m, "exp_avg_sq": v}
        if rank:
            return {}
        return {"state": state, "param_groups": _numbered(self.param_groups)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _check_saved(state_dict, self.param_groups)
        _take_options(state_dict, self.param_groups)
        self._steps = [0] * len(self._params)
        self._moments.clear()
        for number, entry in state_dict["state"].items():
            self._steps[number] = int(entry["step"])
            for begin, end, owner in self._pieces[number]:
                if owner == dist.get_rank():
                    self._moments[number, begin] = tuple(
                        entry[key].detach().reshape(-1)[begin:end].to(self._params[number].dtype, copy=True)
                        for key in ("exp_avg", "exp_avg_sq")
                    )


class _Held:
    """A parameter: uneven shards, cut where they end."""

    def __init__(self, param: Parameter) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        self.param = param
        base, more = divmod(param.numel(), world)
        self.sizes = [base + (r < more) for r in range(world)]
        begin = sum(self.sizes[:rank])
        self.flat = param.detach().reshape(-1).clone()
        self.shard = Parameter(self.flat[begin : begin + self.sizes[rank]].clone(), param.requires_grad)
        param.data = self.flat.view(param.shape)
        self.free()

    def free(self) -> None:
        self.flat.untyped_storage().resize_(0)

    def fill(self, flat: Tensor) -> None:
        parts = list(flat.split(self.sizes))
        parts[dist.get_rank()].copy_(self.shard.detach())
        for source, part in enumerate(parts):
            if part.numel():
                _to_all(part, source)

    def gather(self) -> None:
        self.flat.untyped_storage().resize_(self.flat.numel() * self.flat.element_size())
        self.fill(self.flat)

    def reduce(self) -> None:
        if not self.shard.requires_grad:
            return
        grad = self.param.grad
        if grad is None:
            grad = torch.zeros(self.param.shape, dtype=self.param.dtype)
        self.param.grad = None
        mean = torch.zeros(self.shard.shape, dtype=self.shard.dtype)
        for owner, part in enumerate(grad.reshape(-1).split(self.sizes)):
            if part.numel():
                total = _sum_at(part.contiguous(), owner)
                if total is not None:
                    mean = total / dist.get_world_size()
        self.shard.grad = mean if self.shard.grad is None else self.shard.grad + mean


class _Unit:
    def __init__(self, params: list[Parameter]) -> None:
        self.held = [_Held(param) for param in params]
        self.whole, self.calls, self.running, self.dirty = False, 0, False, False

    def gather(self) -> None:
        if not self.whole:
            for held in self.held:
                held.gather()
        self.whole = True

    def free(self) -> None:
        for held in self.held:
            held.free()
        self.whole = False

    def reduce(self) -> None:
        for held in self.held:
            held.reduce()
        self.dirty = False


class FSDP(nn.Module):
    """Backward pre-hooks of torch bring a unit back."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        homes = _homes(module, units)
        self.module = module
        self._units = [_Unit(params) for params in homes]
        self._open: list[_Unit] = []  # forward passes that run, outermost first
        named = dict(module.named_modules())
        for name, unit in zip(units, self._units[1:], strict=True):
            named[name].register_forward_pre_hook(lambda *_, unit=unit: self._enter(unit))
            named[name].register_forward_hook(lambda _, __, out, unit=unit: self._exit(unit, out))

    def _enter(self, unit: _Unit) -> None:
        self._open.append(unit)
        unit.gather()

    def _exit(self, unit: _Unit, outputs: Any) -> Any:
        self._open.pop()
        if unit not in self._open:
            unit.free()
        tensors = [tensor for tensor in _tensors(outputs) if tensor.requires_grad]
        if not torch.is_grad_enabled() or not tensors:
            return None
        unit.calls += 1
        call = {"unit": unit, "around": list(self._open), "begun": False}
        if isinstance(outputs, Tensor):
            outputs = outputs.view_as(outputs)  # a node of its own, whoever made the tensor
            tensors = [outputs]
        for tensor in tensors:
            tensor.register_hook(lambda _: self._begin_backward(call))
        return outputs

    def _begin_backward(self, call: dict[str, Any]) -> None:
        if call["begun"]:
            return
        call["begun"] = True
        unit = call["unit"]
        for other in self._units[1:]:
            if other.running and other is not unit and other not in call["around"]:
                other.running = False
                if other.calls == 0:
                    other.reduce()
                other.free()
        unit.calls -= 1
        unit.running = unit.dirty = True
        unit.gather()

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        root = self._units[0]
        kept, root.whole = root.whole, False
        root.gather()
        self._open = []
        outputs = self.module(*args, **kwargs)
        if not kept and not torch.is_grad_enabled():
            root.free()
        return outputs

    @torch.no_grad()
    def finish_backward(self) -> None:
        for unit in self._units:
            if unit.dirty or unit is self._units[0]:
                unit.reduce()
            unit.free()
            unit.calls, unit.running = 0, False

    def shards(self) -> list[Parameter]:
        return [held.shard for unit in self._units for held in unit.held]

    def full_state(self) -> dict[str, Tensor]:
        held = {one.param: one for unit in self._units for one in unit.held}
        state = {}
        for name, param in self.module.named_parameters():
            flat = torch.empty(param.numel(), dtype=param.dtype)
            held[param].fill(flat)
            state[name] = flat.view(param.shape)
        return state


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """Rank 0 adds up and tells."""
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")
    squares = [shard.detach().to(torch.float64).pow(2).sum() for shard in shards]
    mine = torch.stack([torch.zeros((), dtype=torch.float64), *squares]).sum().reshape(1)
    total = _sum_at(mine, 0)
    total = mine if total is None else total
    _to_all(total, 0)
    norm = total[0].sqrt()
    if max_norm < norm < torch.inf:
        with torch.no_grad():
            for shard in shards:
                shard.copy_(shard.double().mul_(max_norm / norm))
    return norm
