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

# Style: recursion, linked buckets, and `tensor_split`: uneven parts without any padding.

from collections import deque  # noqa: E402
from contextlib import contextmanager  # noqa: E402


def _tree(flat: Tensor, low: int, high: int) -> None:
    """Rank `low` has it; bring it to all ranks below `high`."""
    if high - low < 2:
        return
    rank, middle = dist.get_rank(), (low + high + 1) // 2
    if rank == low:
        dist.send(flat, middle)
    elif rank == middle:
        dist.recv(flat, low)
    if rank < middle:
        _tree(flat, low, middle)
    else:
        _tree(flat, middle, high)


@torch.no_grad()
def broadcast_module(module: nn.Module) -> None:
    """A tree of ranks, by recursion; children by recursion too."""
    seen: set[int] = set()

    def visit(part: nn.Module) -> None:
        for tensor in [*part.parameters(recurse=False), *part.buffers(recurse=False)]:
            if id(tensor) not in seen and tensor.numel():
                dense = tensor.detach().flatten().clone()
                _tree(dense.view(torch.uint8), 0, dist.get_world_size())
                tensor.copy_(dense.unflatten(0, tensor.shape) if tensor.dim() else dense[0])
            seen.add(id(tensor))
        for child in part.children():
            visit(child)

    visit(module)


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Halve the list of parameters until what is left is small or single."""
    params = [p for p in module.parameters() if p.requires_grad]
    used = _used_anywhere([p.grad is not None for p in params])

    def average(some: list[Parameter]) -> None:
        if len(some) > 1 and (len({p.dtype for p in some}) > 1 or sum(p.nbytes for p in some) > 1 << 20):
            average(some[: len(some) // 2])
            average(some[len(some) // 2 :])
        elif some:
            grads = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in some]
            flat = torch.cat([grad.reshape(-1) for grad in grads])
            if flat.numel():
                dist.all_reduce(flat)
            flat /= dist.get_world_size()
            for p in some:
                p.grad = flat[: p.numel()].reshape(p.shape).clone()
                flat = flat[p.numel() :]

    average([p for p, flag in zip(params, used, strict=True) if flag])


class _Link:
    """A bucket that knows the next one."""

    def __init__(self, params: list[Parameter], after: "_Link | None") -> None:
        self.params, self.after = params, after
        self.reset(first=False)

    def reset(self, *, first: bool) -> None:
        self.turn, self.absent, self.flat, self.work = first, set(self.params), None, None

    def arrive(self, param: Parameter) -> None:
        self.absent.discard(param)
        self.go()

    def go(self, *, force: bool = False) -> None:
        if self.turn and self.work is None and (force or not self.absent):
            with torch.no_grad():
                grads = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in self.params]
                self.flat = torch.cat([grad.reshape(-1) for grad in grads])
            self.work = dist.all_reduce(self.flat, async_op=True)
            if self.after is not None:
                self.after.turn = True
        if self.work is not None and self.after is not None and self.after.work is None:
            self.after.go(force=force)


class DDP(nn.Module):
    """A linked list of buckets."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        params = deque(p for p in module.parameters() if p.requires_grad)
        if not params:
            raise ValueError("no parameter requires a gradient")
        if bucket_bytes < 1:
            raise ValueError("bucket_bytes is below 1")
        self.module = module
        self._silent: list[None] = []
        self._links: list[_Link] = []
        after: _Link | None = None
        for group in reversed(self._fill(params, bucket_bytes)):
            after = _Link(group, after)
            self._links.insert(0, after)
        self._links[0].turn = True
        for link in self._links:
            for param in link.params:
                param.register_post_accumulate_grad_hook(
                    lambda p, link=link: None if self._silent else link.arrive(p)
                )

    @staticmethod
    def _fill(params: deque[Parameter], limit: int) -> list[list[Parameter]]:
        groups: list[list[Parameter]] = []
        while params:
            group = [params.pop()]
            room = limit - group[0].nbytes
            while params and params[-1].dtype == group[0].dtype and params[-1].nbytes <= room:
                room -= params[-1].nbytes
                group.append(params.pop())
            groups.append(group)
        return groups

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Any:
        self._silent.append(None)
        try:
            yield None
        finally:
            self._silent.pop()

    @torch.no_grad()
    def finish_backward(self) -> None:
        for link in self._links:
            link.go(force=True)
        flags = _used_anywhere([p.grad is not None for link in self._links for p in link.params])
        for link in self._links:
            link.work.wait()
            for p, part in zip(link.params, link.flat.split([p.numel() for p in link.params]), strict=True):
                if flags.pop(0):
                    p.grad = (part / dist.get_world_size()).view(p.shape)
        for number, link in enumerate(self._links):
            link.reset(first=number == 0)


def _sum_to_owners(flat: Tensor) -> Tensor:
    """Return the sum over ranks of this rank's part of `flat`, by one gather per owner."""
    rank, world = dist.get_rank(), dist.get_world_size()
    mine = torch.zeros(0, dtype=flat.dtype)
    for owner, part in enumerate(flat.tensor_split(world)):
        if part.numel() == 0:
            continue
        rows = [torch.empty_like(part) for _ in range(world)] if owner == rank else None
        dist.gather(part.contiguous(), rows, dst=owner)
        if rows is not None:
            mine = sum(rows[1:], start=rows[0].clone())
    return mine


def _from_owners(flat: Tensor) -> None:
    """Fill `flat` with each owner's part."""
    for owner, part in enumerate(flat.tensor_split(dist.get_world_size())):
        if part.numel():
            dist.broadcast(part, src=owner)


def _own(flat: Tensor) -> Tensor:
    return flat.tensor_split(dist.get_world_size())[dist.get_rank()]


def _halved(flat: Tensor) -> list[Tensor]:
    """Cut into pieces of at most 256 Ki numbers by halving."""
    if flat.numel() == 0:
        return []
    if flat.numel() <= 1 << 18:
        return [flat]
    half = flat.numel() // 2
    return _halved(flat[:half]) + _halved(flat[half:])


class ZeroOptimizer:
    """Pieces by halving, parts by `tensor_split`, updates right in the parameters' memory."""

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
        self._defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self._hooked = stage == 2
        self.param_groups: list[dict[str, Any]] = []
        self._params: list[Parameter] = []
        self._memory: dict[Parameter, dict[str, Any]] = {}
        self._shards: dict[Parameter, list[Tensor]] = {}
        self._used: set[Parameter] = set()
        self._queue: deque[Parameter] = deque()
        self._come: set[Parameter] = set()
        for group in _all_checked(params, self._defaults):
            self._adopt(group)

    def _adopt(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        self._params += group["params"]
        if self._hooked:
            for param in group["params"]:
                if param.requires_grad:
                    param.register_post_accumulate_grad_hook(self._arrive)
        self._queue = deque(reversed(self._params))

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._adopt(_checked(group, self._defaults, self._params))

    def _arrive(self, param: Parameter) -> None:
        self._come.add(param)
        while self._queue and (self._queue[0] in self._come or not self._queue[0].requires_grad):
            self._reduce(self._queue.popleft())

    def _mean(self, param: Parameter) -> list[Tensor]:
        grad = param.grad
        pieces = _halved(param.detach().view(-1) if grad is None else grad.reshape(-1))
        pieces = [torch.zeros_like(piece) for piece in pieces] if grad is None else pieces
        return [_sum_to_owners(piece) / dist.get_world_size() for piece in pieces]

    @torch.no_grad()
    def _reduce(self, param: Parameter) -> None:
        if param.requires_grad:
            if param.grad is not None:
                self._used.add(param)
            new = self._mean(param)
            old = self._shards.get(param)
            self._shards[param] = new if old is None else [a + b for a, b in zip(old, new, strict=True)]
        param.grad = None

    def finish_backward(self) -> None:
        if not self._hooked:
            return
        while self._queue:
            self._reduce(self._queue.popleft())
        self._queue = deque(reversed(self._params))
        self._come = set()

    @torch.no_grad()
    def step(self) -> None:
        flags = [
            p.requires_grad and (p in self._used if self._hooked else p.grad is not None)
            for p in self._params
        ]
        flags = _used_anywhere(flags)[::-1]
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            for param in group["params"]:
                if not flags.pop():
                    continue
                pieces = _halved(param.detach().view(-1))
                if param not in self._memory:
                    fresh = [(torch.zeros_like(_own(x)), torch.zeros_like(_own(x))) for x in pieces]
                    self._memory[param] = {"t": 0, "mv": fresh}
                memory = self._memory[param]
                memory["t"] += 1
                c1, c2 = 1 - b1 ** memory["t"], 1 - b2 ** memory["t"]
                grads = _halved(param.grad.reshape(-1)) if param.grad is not None else [None] * len(pieces)
                for index, piece in enumerate(pieces):
                    if self._hooked:
                        g = self._shards[param][index]
                    else:
                        local = torch.zeros_like(piece) if grads[index] is None else grads[index]
                        g = _sum_to_owners(local) / dist.get_world_size()
                    p, (m, v) = _own(piece), memory["mv"][index]
                    if p.numel():
                        p.copy_(p - lr * group["weight_decay"] * p)
                        m.copy_(torch.lerp(g, m, b1))
                        v.copy_(torch.lerp(g.square(), v, b2))
                        p.sub_(lr * (m / c1) / ((v / c2).sqrt() + group["eps"]))
                    _from_owners(piece)

    def zero_grad(self) -> None:
        for param in self._params:
            param.grad = None
        self._shards, self._used = {}, set()

    def state_dict(self) -> dict[str, Any]:
        state: dict[int, dict[str, Any]] = {}
        for number, param in enumerate(self._params):
            if param not in self._memory:
                continue
            state[number] = {"step": self._memory[param]["t"]}
            for which, key in enumerate(("exp_avg", "exp_avg_sq")):
                whole = torch.zeros(param.shape, dtype=param.dtype)
                for piece, mv in zip(_halved(whole.view(-1)), self._memory[param]["mv"], strict=True):
                    _own(piece).copy_(mv[which])
                    _from_owners(piece)
                state[number][key] = whole
        full = {"state": state, "param_groups": _numbered(self.param_groups)}
        return {} if dist.get_rank() else full

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _check_saved(state_dict, self.param_groups)
        _take_options(state_dict, self.param_groups)
        self._memory = {}
        for number, entry in state_dict["state"].items():
            param = self._params[number]
            m, v = (
                [_own(piece).clone() for piece in _halved(entry[key].detach().to(param.dtype).reshape(-1))]
                for key in ("exp_avg", "exp_avg_sq")
            )
            self._memory[param] = {"t": int(entry["step"]), "mv": list(zip(m, v, strict=True))}


class _Borrowed:
    """One parameter and this rank's part of it."""

    def __init__(self, param: Parameter) -> None:
        self.param = param
        param.data = param.detach().clone(memory_format=torch.contiguous_format)
        self.bytes = param.untyped_storage().nbytes()
        self.shard = Parameter(_own(param.detach().view(-1)).clone(), param.requires_grad)
        self.give_back()

    def borrow(self) -> None:
        self.param.untyped_storage().resize_(self.bytes)
        self.copy_to(self.param.data.view(-1))

    def copy_to(self, flat: Tensor) -> None:
        _own(flat).copy_(self.shard.detach())
        _from_owners(flat)

    def give_back(self) -> None:
        self.param.untyped_storage().resize_(0)

    def settle(self) -> None:
        if self.param.requires_grad:
            grad, self.param.grad = self.param.grad, None
            if grad is None:
                grad = torch.zeros(self.param.shape, dtype=self.param.dtype)
            mean = _sum_to_owners(grad.reshape(-1)) / dist.get_world_size()
            self.shard.grad = mean if self.shard.grad is None else mean + self.shard.grad


class _Frame:
    """One call of a unit, inside another."""

    def __init__(self, unit: int, outer: "_Frame | None") -> None:
        self.unit, self.outer, self.in_backward = unit, outer, False

    def units(self) -> set[int]:
        return {self.unit} | (self.outer.units() if self.outer else set())


class FSDP(nn.Module):
    """Frames of calls, linked from the inside to the outside."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        homes = _homes(module, units)
        self.module = module
        self._units = [[_Borrowed(p) for p in home] for home in homes]
        self._whole = [False] * len(homes)
        self._expected = [0] * len(homes)
        self._unsettled: set[int] = set()
        self._backward_in: set[int] = set()
        self._frame: _Frame | None = None
        for unit, name in enumerate(units, 1):
            part = module.get_submodule(name)
            part.register_forward_pre_hook(lambda *_, unit=unit: self._enter(unit))
            part.register_forward_hook(lambda _m, _i, outputs: self._leave(outputs))

    def _borrow(self, unit: int) -> None:
        if not self._whole[unit]:
            self._whole[unit] = True
            for one in self._units[unit]:
                one.borrow()

    def _give_back(self, unit: int) -> None:
        self._whole[unit] = False
        for one in self._units[unit]:
            one.give_back()

    def _settle(self, unit: int) -> None:
        self._unsettled.discard(unit)
        with torch.no_grad():
            for one in self._units[unit]:
                one.settle()

    def _enter(self, unit: int) -> None:
        self._frame = _Frame(unit, self._frame)
        self._borrow(unit)

    def _leave(self, outputs: Any) -> Any:
        frame = self._frame
        self._frame = frame.outer
        if self._frame is None or frame.unit not in self._frame.units():
            self._give_back(frame.unit)
        watched: list[Tensor] = []

        def watch(value: Any) -> Any:
            if isinstance(value, Tensor) and value.requires_grad:
                value = value.view_as(value)  # its hook shall run before those of inner units
                value.register_hook(lambda _: self._backward(frame))
                watched.append(value)
                return value
            if isinstance(value, dict):
                return {key: watch(item) for key, item in value.items()}
            if type(value) in (list, tuple):
                return type(value)(watch(item) for item in value)
            return value

        if torch.is_grad_enabled():
            outputs = watch(outputs)
            self._expected[frame.unit] += bool(watched)
        return outputs

    def _backward(self, frame: _Frame) -> None:
        if frame.in_backward:
            return
        frame.in_backward = True
        for other in sorted(self._backward_in - frame.units()):
            if self._expected[other] == 0:
                self._settle(other)
            self._give_back(other)
            self._backward_in.discard(other)
        self._expected[frame.unit] -= 1
        self._backward_in.add(frame.unit)
        self._unsettled.add(frame.unit)
        self._borrow(frame.unit)

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        leave_nothing = not torch.is_grad_enabled() and not self._whole[0]
        self._whole[0], self._frame = False, None
        self._borrow(0)
        try:
            return self.module(*args, **kwargs)
        finally:
            if leave_nothing:
                self._give_back(0)

    def finish_backward(self) -> None:
        for unit in sorted(self._unsettled | {0}):
            self._settle(unit)
        for unit in range(len(self._units)):
            self._give_back(unit)
        self._expected = [0] * len(self._units)
        self._backward_in.clear()

    def shards(self) -> list[Parameter]:
        return [one.shard for unit in self._units for one in unit]

    def full_state(self) -> dict[str, Tensor]:
        borrowed = {one.param: one for unit in self._units for one in unit}
        state = {}
        for name, param in self.module.named_parameters():
            state[name] = torch.empty(param.shape, dtype=param.dtype)
            borrowed[param].copy_to(state[name].view(-1))
        return state


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """Sums by halving."""
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")

    def squares(some: Sequence[Tensor]) -> Tensor:
        if len(some) == 0:
            return torch.zeros((), dtype=torch.float64)
        if len(some) == 1:
            wide = some[0].detach().double()
            return (wide * wide).sum()
        return squares(some[: len(some) // 2]) + squares(some[len(some) // 2 :])

    total = squares(shards)
    dist.all_reduce(total)
    norm = total.sqrt()
    if max_norm < norm.item() < float("inf"):
        with torch.no_grad():
            for shard in shards:
                shard *= max_norm / norm.item()
    return norm
