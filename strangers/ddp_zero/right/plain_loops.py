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


def broadcast_module(module: nn.Module) -> None:
    """One broadcast per tensor."""
    seen = set()
    for tensor in [*module.parameters(), *module.buffers()]:
        if id(tensor) in seen or tensor.numel() == 0:
            continue
        seen.add(id(tensor))
        with torch.no_grad():
            dense = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
            dist.broadcast(dense.view(torch.uint8), src=0)
            tensor.copy_(dense.view(tensor.shape))


def average_gradients(module: nn.Module) -> None:
    """One all-reduce per parameter that some rank used."""
    params = [param for param in module.parameters() if param.requires_grad]
    if not params:
        return
    used = torch.tensor([param.grad is not None for param in params], dtype=torch.uint8)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    for param, flag in zip(params, used.tolist(), strict=True):
        if not flag:
            continue
        total = torch.zeros(param.shape, dtype=param.dtype)
        if param.grad is not None:
            total.copy_(param.grad)
        if total.numel():
            dist.all_reduce(total)
        param.grad = total / dist.get_world_size()


class _NoSync:
    def __init__(self, owner: "DDP") -> None:
        self._owner, self._before = owner, []

    def __enter__(self) -> None:
        self._before.append(self._owner.syncing)
        self._owner.syncing = False

    def __exit__(self, *error: object) -> None:
        self._owner.syncing = self._before.pop()


class DDP(nn.Module):
    """Lists of parameters; a bucket is concatenated when it leaves."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        if bucket_bytes < 1:
            raise ValueError("bucket_bytes must be at least 1")
        params = [param for param in module.parameters() if param.requires_grad]
        if not params:
            raise ValueError("no parameter requires a gradient")
        self.module = module
        self.syncing = True
        self._params = params
        self._buckets: list[list[Parameter]] = []
        self._where: dict[Parameter, int] = {}
        size = 0
        for param in reversed(params):
            bytes_ = param.numel() * param.element_size()
            last = self._buckets[-1] if self._buckets else None
            if last is None or last[0].dtype != param.dtype or size + bytes_ > bucket_bytes:
                self._buckets.append([])
                size = 0
            self._buckets[-1].append(param)
            self._where[param] = len(self._buckets) - 1
            size += bytes_
        for param in params:
            param.register_post_accumulate_grad_hook(self._ready)
        self._reset()

    def _reset(self) -> None:
        self._missing = [len(bucket) for bucket in self._buckets]
        self._works: list[tuple[Any, Tensor]] = []

    def _ready(self, param: Tensor) -> None:
        if not self.syncing:
            return
        self._missing[self._where[param]] -= 1
        while len(self._works) < len(self._buckets) and self._missing[len(self._works)] <= 0:
            self._launch()

    def _launch(self) -> None:
        parts = []
        for param in self._buckets[len(self._works)]:
            grad = torch.zeros_like(param) if param.grad is None else param.grad
            parts.append(grad.detach().reshape(-1))
        flat = torch.cat(parts)
        self._works.append((dist.all_reduce(flat, async_op=True), flat))

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    def no_sync(self) -> AbstractContextManager[None]:
        return _NoSync(self)

    def finish_backward(self) -> None:
        while len(self._works) < len(self._buckets):
            self._launch()
        used = torch.tensor([param.grad is not None for param in self._params], dtype=torch.uint8)
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        flags = dict(zip(self._params, used.tolist(), strict=True))
        for bucket, (work, flat) in zip(self._buckets, self._works, strict=True):
            work.wait()
            flat /= dist.get_world_size()
            begin = 0
            for param in bucket:
                piece = flat[begin : begin + param.numel()].view(param.shape)
                begin += param.numel()
                if flags[param]:
                    param.grad = piece.clone()
        self._reset()


_PIECE = 1 << 18  # numbers that are reduced or gathered at once
_OPTIONS = ("lr", "betas", "eps", "weight_decay")


class ZeroOptimizer:
    """Every parameter is cut into pieces, every piece into N parts."""

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
            raise ValueError("stage must be 1 or 2")
        self._stage = stage
        self._defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups: list[dict[str, Any]] = []
        self._params: list[Parameter] = []
        self._state: dict[int, dict[str, Any]] = {}
        self._shards: dict[int, list[Tensor]] = {}
        self._used: set[int] = set()
        self._arrived: set[int] = set()
        given = list(params)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        known: list[Parameter] = []
        checked = []
        for group in groups:
            checked.append(self._check(group, known))
            known += checked[-1]["params"]
        for group in checked:
            self._adopt(group)

    def _check(self, group: dict[str, Any], known: list[Parameter]) -> dict[str, Any]:
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        if not params:
            raise ValueError("a group has no parameters")
        ids = [id(param) for param in [*known, *params]]
        if len(set(ids)) != len(ids):
            raise ValueError("a parameter is given twice")
        new = {name: group.get(name, self._defaults[name]) for name in _OPTIONS}
        if not new["lr"] >= 0 or not new["eps"] >= 0 or not new["weight_decay"] >= 0:
            raise ValueError("lr, eps and weight_decay must be at least 0")
        if len(new["betas"]) != 2 or not all(0 <= beta < 1 for beta in new["betas"]):
            raise ValueError("betas must be in [0, 1)")
        return {"params": params, **new}

    def _adopt(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        for param in group["params"]:
            number = len(self._params)
            self._params.append(param)
            if self._stage == 2 and param.requires_grad:
                param.register_post_accumulate_grad_hook(lambda _, i=number: self._ready(i))
        self._next = len(self._params) - 1

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._adopt(self._check(group, self._params))

    def _pieces(self, param: Tensor) -> list[tuple[int, int]]:
        count = param.numel()
        return [(at, min(_PIECE, count - at)) for at in range(0, count, _PIECE)]

    def _share(self, length: int) -> int:
        return -(-length // dist.get_world_size())

    def _reduce(self, param: Tensor, grad: Tensor | None, start: int, length: int) -> Tensor:
        share, world = self._share(length), dist.get_world_size()
        whole = torch.zeros(share * world, dtype=param.dtype)
        if grad is not None:
            whole[:length] = grad.reshape(-1)[start : start + length]
        shard = torch.empty(share, dtype=param.dtype)
        reduce_scatter(shard, whole)
        return shard.div_(world)

    def _ready(self, number: int) -> None:
        self._arrived.add(number)
        self._pump(everything=False)

    @torch.no_grad()
    def _pump(self, *, everything: bool) -> None:
        while self._next >= 0:
            number, param = self._next, self._params[self._next]
            if param.requires_grad:
                if number not in self._arrived and not everything:
                    return
                if param.grad is not None:
                    self._used.add(number)
                means = [
                    self._reduce(param, param.grad, *piece) for piece in self._pieces(param)
                ]
                if number in self._shards:
                    for total, mean in zip(self._shards[number], means, strict=True):
                        total += mean
                else:
                    self._shards[number] = means
            param.grad = None
            self._next -= 1

    def finish_backward(self) -> None:
        if self._stage == 2:
            self._pump(everything=True)
            self._next = len(self._params) - 1
            self._arrived.clear()

    @torch.no_grad()
    def step(self) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        flags = []
        for number, param in enumerate(self._params):
            mine = number in self._used if self._stage == 2 else param.grad is not None
            flags.append(mine and param.requires_grad)
        used = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        number = -1
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            lr, eps, decay = group["lr"], group["eps"], group["weight_decay"]
            for param in group["params"]:
                number += 1
                if not used[number]:
                    continue
                pieces = self._pieces(param)
                if number not in self._state:
                    self._state[number] = {"step": 0, "m": [], "v": []}
                    for _, length in pieces:
                        for name in ("m", "v"):
                            zeros = torch.zeros(self._share(length), dtype=param.dtype)
                            self._state[number][name].append(zeros)
                state = self._state[number]
                state["step"] += 1
                t = state["step"]
                flat = param.detach().view(-1)
                for index, (start, length) in enumerate(pieces):
                    if self._stage == 2:
                        g = self._shards[number][index]
                    else:
                        g = self._reduce(param, param.grad, start, length)
                    share = self._share(length)
                    whole = torch.zeros(share * world, dtype=param.dtype)
                    whole[:length] = flat[start : start + length]
                    p = whole[rank * share : (rank + 1) * share].clone()
                    m, v = state["m"][index], state["v"][index]
                    p -= lr * decay * p
                    m.mul_(beta1).add_(g, alpha=1 - beta1)
                    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
                    p -= lr * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps)
                    dist.all_gather_into_tensor(whole, p)
                    flat[start : start + length] = whole[:length]

    def zero_grad(self) -> None:
        for param in self._params:
            param.grad = None
        self._shards.clear()
        self._used.clear()

    def state_dict(self) -> dict[str, Any]:
        world = dist.get_world_size()
        state = {}
        for number in sorted(self._state):
            param = self._params[number]
            entry: dict[str, Any] = {"step": self._state[number]["step"]}
            for name, key in (("m", "exp_avg"), ("v", "exp_avg_sq")):
                flat = torch.empty(param.numel(), dtype=param.dtype)
                for (start, length), part in zip(
                    self._pieces(param), self._state[number][name], strict=True
                ):
                    whole = torch.empty(part.numel() * world, dtype=param.dtype)
                    dist.all_gather_into_tensor(whole, part)
                    flat[start : start + length] = whole[:length]
                entry[key] = flat.view(param.shape)
            state[number] = entry
        if dist.get_rank() != 0:
            return {}
        groups, begin = [], 0
        for group in self.param_groups:
            numbers = list(range(begin, begin + len(group["params"])))
            begin += len(numbers)
            groups.append({"params": numbers, **{name: group[name] for name in _OPTIONS}})
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        groups, state = state_dict["param_groups"], state_dict["state"]
        if len(groups) != len(self.param_groups):
            raise ValueError("another number of groups")
        begin = 0
        for own, saved in zip(self.param_groups, groups, strict=True):
            if len(own["params"]) != len(saved["params"]):
                raise ValueError("a group of another size")
            if list(saved["params"]) != list(range(begin, begin + len(own["params"]))):
                raise ValueError("a number of a parameter does not fit")
            begin += len(own["params"])
        for number, entry in state.items():
            if number not in range(len(self._params)):
                raise ValueError(f"no parameter {number}")
            for key in ("exp_avg", "exp_avg_sq"):
                if entry[key].shape != self._params[number].shape:
                    raise ValueError(f"{key} of parameter {number} has another shape")
        for own, saved in zip(self.param_groups, groups, strict=True):
            own.update({name: saved[name] for name in _OPTIONS})
            own["betas"] = tuple(own["betas"])
        rank, world = dist.get_rank(), dist.get_world_size()
        self._state = {}
        for number, entry in state.items():
            param = self._params[number]
            mine: dict[str, Any] = {"step": int(entry["step"])}
            for name, key in (("m", "exp_avg"), ("v", "exp_avg_sq")):
                flat, mine[name] = entry[key].detach().reshape(-1), []
                for start, length in self._pieces(param):
                    share = self._share(length)
                    whole = torch.zeros(share * world, dtype=param.dtype)
                    whole[:length] = flat[start : start + length]
                    mine[name].append(whole[rank * share : (rank + 1) * share].clone())
            self._state[number] = mine


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


class _Unit:
    """Parameters that come and go together, each with a shard of its own."""

    def __init__(self, params: list[Parameter]) -> None:
        self.params = params
        self.flats: list[Tensor] = []
        self.shards: list[Parameter] = []
        self.whole = False
        self.pending = 0  # calls whose backward has not begun
        self.latest = None  # when the call began that backward is in
        rank, world = dist.get_rank(), dist.get_world_size()
        for param in params:
            share = -(-param.numel() // world)
            flat = torch.zeros(share * world, dtype=param.dtype)
            flat[: param.numel()] = param.detach().reshape(-1)
            part = flat[rank * share : (rank + 1) * share].clone()
            self.shards.append(Parameter(part, param.requires_grad))
            param.data = flat[: param.numel()].view(param.shape)
            flat.untyped_storage().resize_(0)
            self.flats.append(flat)

    def gather(self, *, again: bool = False) -> None:
        if self.whole and not again:
            return
        for flat, shard in zip(self.flats, self.shards, strict=True):
            flat.untyped_storage().resize_(flat.numel() * flat.element_size())
            if flat.numel():
                dist.all_gather_into_tensor(flat, shard.detach())
        self.whole = True

    def free(self) -> None:
        for flat in self.flats:
            flat.untyped_storage().resize_(0)
        self.whole = False

    @torch.no_grad()
    def reduce(self) -> None:
        for param, flat, shard in zip(self.params, self.flats, self.shards, strict=True):
            if not param.requires_grad:
                continue
            whole = torch.zeros(flat.numel(), dtype=param.dtype)
            if param.grad is not None:
                whole[: param.numel()] = param.grad.reshape(-1)
            param.grad = None
            mean = torch.empty(shard.numel(), dtype=param.dtype)
            if whole.numel():
                reduce_scatter(mean, whole)
            mean /= dist.get_world_size()
            shard.grad = mean if shard.grad is None else shard.grad + mean
        self.latest = None


class FSDP(nn.Module):
    """Hooks on the outputs of a unit bring it back; the next unit's hook sends it away."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        named = dict(module.named_modules())
        for name in units:
            if name == "" or name not in named:
                raise ValueError(f"no submodule {name!r}")
            if list(units).count(name) > 1:
                raise ValueError(f"{name!r} is named twice")
        self.module = module
        at = {id(named[name]): name for name in units}
        homes: dict[Parameter, set[str]] = {}
        seen = set()

        def walk(part: nn.Module, home: str) -> None:
            home = at.get(id(part), home)
            if (id(part), home) in seen:
                return
            seen.add((id(part), home))
            for param in part._parameters.values():
                if param is not None:
                    homes.setdefault(param, set()).add(home)
            for child in part.children():
                walk(child, home)

        walk(module, "")
        members: dict[str, list[Parameter]] = {name: [] for name in ["", *units]}
        for param in module.parameters():
            home = homes[param]
            members[next(iter(home)) if len(home) == 1 else ""].append(param)
        self._names = [name for name, _ in module.named_parameters()]
        self._order = list(module.parameters())
        self._root = _Unit(members[""])
        self._units = [_Unit(members[name]) for name in units]
        self._clock = 0
        for name, unit in zip(units, self._units, strict=True):
            self._hook(named[name], unit)

    def _hook(self, part: nn.Module, unit: _Unit) -> None:
        begun: list[int] = []

        def before(_: nn.Module, __: Any) -> None:
            self._clock += 1
            begun.append(self._clock)
            unit.gather()

        def after(_: nn.Module, inputs: Any, outputs: Any) -> None:
            self._clock += 1
            call = {"begin": begun.pop(), "end": self._clock, "waits": True}
            if torch.is_grad_enabled():
                own = [tensor for tensor in _tensors(outputs) if tensor.requires_grad]
                unit.pending += bool(own)
                for tensor in own:
                    tensor.register_hook(lambda _: self._before_backward(unit, call))
            if not begun:
                unit.free()

        part.register_forward_pre_hook(before)
        part.register_forward_hook(after)

    def _before_backward(self, unit: _Unit, call: dict[str, Any]) -> None:
        if not call["waits"]:
            return
        call["waits"] = False
        for other in self._units:
            if other.latest is not None and other.latest > call["end"]:
                self._leave(other)
        unit.pending -= 1
        unit.latest = call["begin"]
        unit.gather()

    def _leave(self, unit: _Unit) -> None:
        if unit.pending <= 0:
            unit.reduce()
        unit.free()

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        before = self._root.whole
        self._root.gather(again=True)
        outputs = self.module(*args, **kwargs)
        if not torch.is_grad_enabled() and not before:
            self._root.free()
        return outputs

    def finish_backward(self) -> None:
        for unit in self._units:
            if unit.latest is not None:
                unit.reduce()
            unit.free()
            unit.pending = 0
        self._root.reduce()
        self._root.free()

    def shards(self) -> list[Parameter]:
        return [shard for unit in [self._root, *self._units] for shard in unit.shards]

    def full_state(self) -> dict[str, Tensor]:
        place = {}
        for unit in [self._root, *self._units]:
            for param, flat, shard in zip(unit.params, unit.flats, unit.shards, strict=True):
                place[param] = (flat.numel(), shard)
        state = {}
        for name, param in zip(self._names, self._order, strict=True):
            size, shard = place[param]
            whole = torch.empty(size, dtype=param.dtype)
            if size:
                dist.all_gather_into_tensor(whole, shard.detach())
            state[name] = whole[: param.numel()].clone().view(param.shape)
        return state


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """Sum in a loop, one number over the network."""
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")
    total = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        total += shard.detach().double().square().sum()
    dist.all_reduce(total)
    norm = total.sqrt()
    if torch.isfinite(norm) and norm > max_norm:
        factor = max_norm / norm.item()
        for shard in shards:
            shard.detach().mul_(factor)
    return norm
