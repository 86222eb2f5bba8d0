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

# Style: all numbers of a group in one line, cut among the ranks as in the handout's picture.

from contextlib import contextmanager  # noqa: E402
from functools import partial  # noqa: E402


def _exchange(ops: list[dist.P2POp]) -> None:
    for work in dist.batch_isend_irecv(ops) if ops else []:
        work.wait()


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """A batch of point-to-point messages per tensor, bytes all of them."""
    rank, world = dist.get_rank(), dist.get_world_size()
    unique = {id(t): t for source in (module.parameters(), module.buffers()) for t in source}
    for tensor in unique.values():
        raw = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)
        if raw.numel() == 0:
            continue
        if rank == 0:
            _exchange([dist.P2POp(dist.isend, raw, peer) for peer in range(1, world)])
        else:
            _exchange([dist.P2POp(dist.irecv, raw, 0)])
            tensor.copy_(raw.view(tensor.dtype).view(tensor.shape))


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Make zeros where a rank has none, then average everything in place."""
    params = [p for p in module.parameters() if p.requires_grad]
    used = _used_anywhere([p.grad is not None for p in params])
    for p in (p for p, flag in zip(params, used, strict=True) if flag):
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        if p.grad.is_contiguous():
            flat = p.grad.view(-1)
        else:
            flat = p.grad.flatten()
        if len(flat):
            dist.all_reduce(flat)
        p.grad.copy_(flat.view(p.shape)).div_(dist.get_world_size())


class DDP(nn.Module):
    """A table of offsets into one line per dtype; a bucket is a slice of it."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        self.module = module
        self._line = [p for p in reversed(list(module.parameters())) if p.requires_grad]
        if bucket_bytes < 1 or not self._line:
            raise ValueError("bucket_bytes < 1 or nothing to train")
        self._ends: list[int] = []  # bucket b is _line[_ends[b - 1]:_ends[b]]
        room = 0
        for i, p in enumerate(self._line):
            if i and (p.dtype != self._line[i - 1].dtype or p.nbytes > room):
                self._ends.append(i)
            if not i or self._ends[-1:] == [i]:
                room = bucket_bytes
            room -= p.nbytes
        self._ends.append(len(self._line))
        self._on = True
        self._renew()
        for i, p in enumerate(self._line):
            p.register_post_accumulate_grad_hook(partial(self._hook, i))

    def _renew(self) -> None:
        self._have = bytearray(len(self._line))
        self._jobs: list[tuple[list[Parameter], Tensor, Any]] = []

    def _hook(self, i: int, _: Tensor) -> None:
        if self._on:
            self._have[i] = 1
            self._go()

    @torch.no_grad()
    def _go(self) -> None:
        while len(self._jobs) < len(self._ends):
            begin = self._ends[len(self._jobs) - 1] if self._jobs else 0
            end = self._ends[len(self._jobs)]
            if not all(self._have[begin:end]):
                return
            some = self._line[begin:end]
            flat = torch.zeros(sum(p.numel() for p in some), dtype=some[0].dtype)
            at = 0
            for p in some:
                if p.grad is not None:
                    flat[at : at + p.numel()] = p.grad.reshape(-1)
                at += p.numel()
            self._jobs.append((some, flat, dist.all_reduce(flat, async_op=True)))

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Any:
        was, self._on = self._on, False
        try:
            yield
        finally:
            self._on = was

    @torch.no_grad()
    def finish_backward(self) -> None:
        self._have = bytearray(b"\1" * len(self._line))
        self._go()
        used = _used_anywhere([p.grad is not None for p in self._line])
        at = 0
        for some, flat, work in self._jobs:
            work.wait()
            flat.div_(dist.get_world_size())
            for p in some:
                part, flat = flat[: p.numel()], flat[p.numel() :]
                if used[at]:
                    p.grad = part.clone().view(p.shape)
                at += 1
        self._renew()


class _Cut:
    """Numbers of one parameter that one rank owns, at most 256 Ki."""

    def __init__(self, param: Parameter, begin: int, end: int, owner: int) -> None:
        self.param, self.begin, self.end, self.owner = param, begin, end, owner
        self.mine = owner == dist.get_rank()
        self.m = self.v = self.sum = None

    def of(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(-1)[self.begin : self.end]

    def mean(self) -> Tensor | None:
        grad = self.param.grad
        local = torch.zeros(self.end - self.begin, dtype=self.param.dtype) if grad is None else self.of(grad)
        local = local.detach().contiguous()
        if not self.mine:
            _exchange([dist.P2POp(dist.isend, local, self.owner)])
            return None
        others = [rank for rank in range(dist.get_world_size()) if rank != self.owner]
        rows = [torch.empty_like(local) for _ in others]
        _exchange([dist.P2POp(dist.irecv, row, rank) for row, rank in zip(rows, others, strict=True)])
        total = local.clone()
        for row in rows:
            total.add_(row)
        return total.div_(dist.get_world_size())

    def share(self, flat: Tensor) -> Tensor:
        """Bring what the owner has to all."""
        dist.broadcast(flat, src=self.owner)
        return flat


class ZeroOptimizer:
    """A line per group: rank r owns numbers r * S to (r + 1) * S of it."""

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
        if stage != 1 and stage != 2:
            raise ValueError("stage must be 1 or 2")
        self._second = stage == 2
        self._defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups: list[dict[str, Any]] = []
        self._cuts: list[tuple[Parameter, list[_Cut]]] = []
        self._t: list[int] = []
        self._touched: list[bool] = []
        for group in _all_checked(params, self._defaults):
            self._lay_out(group)

    def _lay_out(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        share = max(1, -(-sum(p.numel() for p in group["params"]) // dist.get_world_size()))
        place = 0  # in the line
        for param in group["params"]:
            cuts, at = [], 0
            while at < param.numel():
                owner = (place + at) // share
                end = min(param.numel(), at + (1 << 18), (owner + 1) * share - place)
                cuts.append(_Cut(param, at, end, owner))
                at = end
            place += param.numel()
            number = len(self._cuts)
            self._cuts.append((param, cuts))
            self._t.append(0)
            self._touched.append(False)
            if self._second and param.requires_grad:
                param.register_post_accumulate_grad_hook(partial(self._come, number))
        self._again()

    def _again(self) -> None:
        self._last = len(self._cuts) - 1
        self._came = {number for number, (p, _) in enumerate(self._cuts) if not p.requires_grad}

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._lay_out(_checked(group, self._defaults, [param for param, _ in self._cuts]))

    def _come(self, number: int, _: Tensor) -> None:
        self._came.add(number)
        while self._last in self._came:
            self._take_in()

    @torch.no_grad()
    def _take_in(self) -> None:
        param, cuts = self._cuts[self._last]
        if param.requires_grad:
            self._touched[self._last] |= param.grad is not None
            for cut in cuts:
                mean = cut.mean()
                if mean is not None:
                    cut.sum = mean if cut.sum is None else cut.sum + mean
        param.grad = None
        self._last -= 1

    def finish_backward(self) -> None:
        if self._second:
            while self._last >= 0:
                self._take_in()
            self._again()

    @torch.no_grad()
    def step(self) -> None:
        here = []
        for (param, _), touched in zip(self._cuts, self._touched, strict=True):
            has = touched if self._second else param.grad is not None
            here.append(has and param.requires_grad)
        options = [group for group in self.param_groups for _ in group["params"]]
        for number, used in enumerate(_used_anywhere(here)):
            if not used:
                continue
            self._t[number] += 1
            for cut in self._cuts[number][1]:
                grad = cut.sum if self._second else cut.mean()
                if cut.mine:
                    self._step_cut(cut, grad, options[number], self._t[number])
                cut.share(cut.of(cut.param.detach()))

    @staticmethod
    def _step_cut(cut: _Cut, g: Tensor, group: dict[str, Any], t: int) -> None:
        p = cut.of(cut.param.detach())
        if cut.m is None:
            cut.m, cut.v = torch.zeros_like(p), torch.zeros_like(p)
        beta1, beta2 = group["betas"]
        p.mul_(1 - group["lr"] * group["weight_decay"])
        cut.m.mul_(beta1).add_(g * (1 - beta1))
        cut.v.mul_(beta2).add_(g.square() * (1 - beta2))
        up = cut.m / (1 - beta1**t)
        down = cut.v.div(1 - beta2**t).sqrt_().add_(group["eps"])
        p.sub_(up.div_(down).mul_(group["lr"]))

    def zero_grad(self) -> None:
        for number, (param, cuts) in enumerate(self._cuts):
            param.grad, self._touched[number] = None, False
            for cut in cuts:
                cut.sum = None

    def state_dict(self) -> dict[str, Any]:
        state = {}
        for number, (param, cuts) in enumerate(self._cuts):
            if self._t[number] == 0:
                continue
            m, v = torch.empty(param.shape, dtype=param.dtype), torch.empty(param.shape, dtype=param.dtype)
            for cut in cuts:
                for whole, mine in ((m, cut.m), (v, cut.v)):
                    if cut.mine:
                        cut.of(whole).copy_(mine)
                    cut.share(cut.of(whole))
            state[number] = {"step": self._t[number], "exp_avg": m, "exp_avg_sq": v}
        if dist.get_rank() == 0:
            return {"state": state, "param_groups": _numbered(self.param_groups)}
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _check_saved(state_dict, self.param_groups)
        _take_options(state_dict, self.param_groups)
        for number, (param, cuts) in enumerate(self._cuts):
            entry = state_dict["state"].get(number)
            self._t[number] = 0 if entry is None else int(entry["step"])
            for cut in cuts:
                cut.m = cut.v = None
                if entry is not None and cut.mine:
                    cut.m = cut.of(entry["exp_avg"].detach()).to(param.dtype, copy=True)
                    cut.v = cut.of(entry["exp_avg_sq"].detach()).to(param.dtype, copy=True)


class FSDP(nn.Module):
    """One line per unit and kind of number; torch's hook for any of several gradients."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        homes = _homes(module, units)
        self.module = module
        self._lines: list[list[dict[str, Any]]] = []
        for home in homes:
            kinds: dict[Any, list[Parameter]] = {}
            for p in home:
                kinds.setdefault((p.dtype, p.requires_grad), []).append(p)
            self._lines.append([self._line(params) for params in kinds.values()])
        self._whole: set[int] = set()
        self._clock, self._starts = 0, []
        self._since: dict[int, int] = {}  # unit in backward: when its call began
        self._ahead = [0] * len(homes)
        self._due: set[int] = set()
        for unit, name in enumerate(units, 1):
            part = module.get_submodule(name)
            part.register_forward_pre_hook(partial(self._enter, unit))
            part.register_forward_hook(partial(self._exit, unit))

    @staticmethod
    def _line(params: list[Parameter]) -> dict[str, Any]:
        rank, world = dist.get_rank(), dist.get_world_size()
        count = sum(p.numel() for p in params)
        share = -(-count // world)
        flat = torch.zeros(share * world, dtype=params[0].dtype)
        at = 0
        for p in params:
            flat[at : at + p.numel()] = p.detach().reshape(-1)
            p.data = flat.as_strided(p.shape, torch.empty(p.shape, device="meta").stride(), at)
            at += p.numel()
        shard = Parameter(flat[rank * share :][:share].clone(), params[0].requires_grad)
        flat.untyped_storage().resize_(0)
        return {"params": params, "flat": flat, "shard": shard}

    def _gather(self, unit: int) -> None:
        if unit in self._whole:
            return
        self._whole.add(unit)
        for line in self._lines[unit]:
            flat = line["flat"]
            flat.untyped_storage().resize_(flat.nbytes)
            self._fill(flat, line["shard"])

    @staticmethod
    def _fill(flat: Tensor, shard: Parameter) -> None:
        if len(flat):
            dist.all_gather(list(flat.chunk(dist.get_world_size())), shard.detach())

    def _free(self, unit: int) -> None:
        self._whole.discard(unit)
        for line in self._lines[unit]:
            line["flat"].untyped_storage().resize_(0)

    @torch.no_grad()
    def _reduce(self, unit: int) -> None:
        self._due.discard(unit)
        for line in self._lines[unit]:
            shard = line["shard"]
            if not shard.requires_grad:
                continue
            whole, at = torch.zeros(line["flat"].shape, dtype=shard.dtype), 0
            for p in line["params"]:
                if p.grad is not None:
                    whole[at : at + p.numel()] = p.grad.reshape(-1)
                p.grad = None
                at += p.numel()
            mean = torch.empty(shard.shape, dtype=shard.dtype)
            if len(whole):
                reduce_scatter(mean, whole)
            mean.div_(dist.get_world_size())
            shard.grad = mean if shard.grad is None else shard.grad.add(mean)

    def _enter(self, unit: int, *_: object) -> None:
        self._clock += 1
        self._starts.append((unit, self._clock))
        self._gather(unit)

    def _exit(self, unit: int, _: object, __: object, outputs: Any) -> None:
        self._clock += 1
        _, start = self._starts.pop()
        if unit not in [other for other, _ in self._starts]:
            self._free(unit)
        outs = [t for t in _tensors(outputs) if t.requires_grad]
        if outs and torch.is_grad_enabled():
            self._ahead[unit] += 1
            call = {"unit": unit, "start": start, "end": self._clock, "new": True}
            hook = partial(self._backward, call)
            torch.autograd.graph.register_multi_grad_hook(outs, hook, mode="any")

    def _backward(self, call: dict[str, Any], _: Tensor) -> None:
        if not call["new"]:
            return
        call["new"] = False
        for other, start in sorted(self._since.items()):
            if start > call["end"]:
                del self._since[other]
                if not self._ahead[other]:
                    self._reduce(other)
                self._free(other)
        unit = call["unit"]
        self._ahead[unit] -= 1
        self._since[unit] = call["start"]
        self._due.add(unit)
        self._gather(unit)

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        kept = 0 in self._whole
        self._whole.discard(0)
        self._starts.clear()
        self._gather(0)
        output = self.module(*args, **kwargs)
        if not kept and not torch.is_grad_enabled():
            self._free(0)
        return output

    def finish_backward(self) -> None:
        for unit in sorted(self._due | {0}):
            self._reduce(unit)
        for unit in range(len(self._lines)):
            self._free(unit)
            self._ahead[unit] = 0
        self._since.clear()

    def shards(self) -> list[Parameter]:
        return [line["shard"] for lines in self._lines for line in lines]

    def full_state(self) -> dict[str, Tensor]:
        copies: dict[Parameter, Tensor] = {}
        for lines in self._lines:
            for line in lines:
                flat = torch.empty(line["flat"].shape, dtype=line["flat"].dtype)
                self._fill(flat, line["shard"])
                at = 0
                for p in line["params"]:
                    copies[p] = flat[at : at + p.numel()].clone().view(p.shape)
                    at += p.numel()
        return {name: copies[p] for name, p in self.module.named_parameters()}


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """`hypot` over shards would do too; here inner products."""
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0, not {max_norm}")
    squares = torch.zeros(1, dtype=torch.float64)
    for shard in shards:
        row = shard.detach().to(torch.float64).reshape(1, -1)
        squares += (row @ row.t())[0]
    both = squares.new_empty(dist.get_world_size())
    dist.all_gather_into_tensor(both, squares)
    norm = both.sum().sqrt()
    if norm.isfinite() and norm > max_norm:
        factor = float(max_norm / norm)
        for shard in shards:
            torch.mul(shard.detach(), factor, out=shard.detach())
    return norm
