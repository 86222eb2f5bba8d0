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

# Style: torch's own AdamW on views of the shards; generators; gradients stashed as they come.

from collections.abc import Iterator  # noqa: E402
from contextlib import ExitStack  # noqa: E402


def _state_of(module: nn.Module) -> Iterator[Tensor]:
    seen: set[int] = set()
    for part in module.modules():
        for tensor in [*part._parameters.values(), *part._buffers.values()]:
            if tensor is not None and id(tensor) not in seen and tensor.numel():
                seen.add(id(tensor))
                yield tensor


def broadcast_module(module: nn.Module) -> None:
    """Scatter N times the same bytes."""
    rank, world = dist.get_rank(), dist.get_world_size()
    with torch.no_grad():
        for tensor in _state_of(module):
            raw = tensor.detach().reshape(-1).clone().view(torch.uint8)
            dist.scatter(raw, [raw.clone()] * world if rank == 0 else None, src=0)
            if rank:
                tensor.copy_(raw.view(tensor.dtype).view(tensor.shape))


def _blocks(params: list[Parameter], limit: int) -> Iterator[list[Parameter]]:
    """Yield runs of parameters of one dtype of at most `limit` bytes, or single larger ones."""
    run: list[Parameter] = []
    for param in params:
        size = sum(p.numel() * p.element_size() for p in [*run, param])
        if run and (run[0].dtype != param.dtype or size > limit):
            yield run
            run = []
        run.append(param)
    if run:
        yield run


def average_gradients(module: nn.Module) -> None:
    """Runs of parameters, one all-reduce each."""
    params = [p for p in module.parameters() if p.requires_grad]
    used = _used_anywhere([p.grad is not None for p in params])
    live = [p for p, flag in zip(params, used, strict=True) if flag]
    with torch.no_grad():
        for run in _blocks(live, 1 << 22):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in run])
            dist.all_reduce(flat)
            for p, mean in zip(run, (flat / dist.get_world_size()).split([p.numel() for p in run]), strict=True):
                p.grad = mean.clone().view_as(p)


class DDP(nn.Module):
    """A generator waits for parameters and launches what is complete."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        params = [p for p in module.parameters() if p.requires_grad]
        if bucket_bytes < 1:
            raise ValueError("bucket_bytes must be positive")
        if not params:
            raise ValueError("no parameter is trained")
        self.module = module
        self._runs = list(_blocks(params[::-1], bucket_bytes))
        self._levels = [True]
        self._start()
        for p in params:
            p.register_post_accumulate_grad_hook(self._arrived)

    def _start(self) -> None:
        self._sent: list[tuple[Tensor, Any]] = []
        self._pump = self._send_all()
        next(self._pump)

    def _send_all(self) -> Iterator[None]:
        come: set[int] = set()
        hurry = False
        for run in self._runs:
            while not hurry and not all(id(p) in come for p in run):
                param = yield
                hurry = param is None
                come.add(id(param))
            with torch.no_grad():
                flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in run])
            self._sent.append((flat, dist.all_reduce(flat, async_op=True)))
        while True:
            yield

    def _arrived(self, param: Tensor) -> None:
        if self._levels[-1]:
            self._pump.send(param)

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    def no_sync(self) -> AbstractContextManager[None]:
        levels = self._levels

        class Quiet(AbstractContextManager):
            def __enter__(self) -> None:
                levels.append(False)

            def __exit__(self, *_: object) -> None:
                levels.pop()

        return Quiet()

    def finish_backward(self) -> None:
        self._pump.send(None)
        params = [p for run in self._runs for p in run]
        used = _used_anywhere([p.grad is not None for p in params])
        live = {id(p) for p, flag in zip(params, used, strict=True) if flag}
        with torch.no_grad():
            for run, (flat, work) in zip(self._runs, self._sent, strict=True):
                work.wait()
                flat.div_(dist.get_world_size())
                for p, part in zip(run, flat.split([p.numel() for p in run]), strict=True):
                    if id(p) in live:
                        p.grad = part.clone().view(p.shape)
        self._start()


_CHUNK = 1 << 17


class _Part:
    """A chunk of a parameter; my share of it is a view that torch's AdamW steps."""

    def __init__(self, window: Tensor) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        self.window = window
        self.share = -(-len(window) // world)
        self.mine = Parameter(window[rank * self.share : (rank + 1) * self.share], True)

    def mean(self, grad: Tensor | None) -> Tensor:
        whole = torch.zeros(self.share * dist.get_world_size(), dtype=self.window.dtype)
        if grad is not None:
            whole[: len(self.window)] = grad
        out = torch.empty(self.share, dtype=self.window.dtype)
        reduce_scatter(out, whole)
        return out[: len(self.mine)].div(dist.get_world_size())

    def gather(self, mine: Tensor, window: Tensor) -> None:
        row = torch.zeros(self.share, dtype=window.dtype)
        row[: len(mine)] = mine
        rows = torch.empty(self.share * dist.get_world_size(), dtype=window.dtype)
        dist.all_gather_into_tensor(rows, row)
        window.copy_(rows[: len(window)])


class ZeroOptimizer:
    """Many small shards in one `torch.optim.AdamW`."""

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
        self._parts: list[list[_Part]] = []
        self._used: set[int] = set()
        self._t: list[int] = []
        self._inner: torch.optim.AdamW | None = None
        for group in _all_checked(params, self._defaults):
            self._add(group)

    def _add(self, group: dict[str, Any]) -> None:
        parts = []
        for param in group["params"]:
            flat = param.detach().view(-1)
            parts.append([_Part(flat[a : a + _CHUNK]) for a in range(0, len(flat), _CHUNK)])
            number = len(self._params)
            self._params.append(param)
            self._t.append(0)
            if self._stage == 2 and param.requires_grad:
                param.register_post_accumulate_grad_hook(lambda _, n=number: self._ready.add(n) or self._run())
        self._parts += parts
        mine = [part.mine for some in parts for part in some]
        options = {name: group[name] for name in _NAMES}
        if self._inner is None:
            self._inner = torch.optim.AdamW([{"params": mine, **options}], foreach=False)
        else:
            self._inner.add_param_group({"params": mine, **options})
        self.param_groups.append(group)
        self._restart()

    def _restart(self) -> None:
        self._ready: set[int] = set()
        self._at = len(self._params)

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._add(_checked(group, self._defaults, self._params))

    @torch.no_grad()
    def _run(self, *, to_the_end: bool = False) -> None:
        while self._at:
            number = self._at - 1
            param = self._params[number]
            if param.requires_grad:
                if not to_the_end and number not in self._ready:
                    break
                self._reduce(number)
            param.grad = None
            self._at = number

    def _reduce(self, number: int) -> None:
        grad = self._params[number].grad
        if grad is not None:
            self._used.add(number)
        chunks = [None] * len(self._parts[number]) if grad is None else grad.reshape(-1).split(_CHUNK)
        for part, chunk in zip(self._parts[number], chunks, strict=False):
            mean = part.mean(chunk)
            part.mine.grad = mean if part.mine.grad is None else part.mine.grad + mean

    def finish_backward(self) -> None:
        if self._stage == 2:
            self._run(to_the_end=True)
            self._restart()

    @torch.no_grad()
    def step(self) -> None:
        for group, inner in zip(self.param_groups, self._inner.param_groups, strict=True):
            inner.update({name: group[name] for name in _NAMES})
        two = self._stage == 2
        flags = [n in self._used if two else p.grad is not None for n, p in enumerate(self._params)]
        flags = [flag and p.requires_grad for flag, p in zip(flags, self._params, strict=True)]
        used = _used_anywhere(flags)
        kept = [part.mine.grad for some in self._parts for part in some]
        for number, flag in enumerate(used):
            if flag and not two:
                grad = self._params[number].grad
                pieces = [None] * len(self._parts[number]) if grad is None else grad.reshape(-1).split(_CHUNK)
                for part, piece in zip(self._parts[number], pieces, strict=False):
                    part.mine.grad = part.mean(piece)
            if not flag:
                for part in self._parts[number]:
                    part.mine.grad = None
            self._t[number] += flag
        self._inner.step()
        for number, flag in enumerate(used):
            for part in self._parts[number] if flag else []:
                part.gather(part.mine.detach(), part.window)
        for part, grad in zip((part for some in self._parts for part in some), kept, strict=True):
            part.mine.grad = grad

    def zero_grad(self) -> None:
        for param in self._params:
            param.grad = None
        self._inner.zero_grad()
        self._used.clear()

    def state_dict(self) -> dict[str, Any]:
        state = {}
        for number, (param, parts) in enumerate(zip(self._params, self._parts, strict=True)):
            if self._t[number]:
                state[number] = {"step": self._t[number]}
                for key in ("exp_avg", "exp_avg_sq"):
                    whole = torch.empty(param.numel(), dtype=param.dtype)
                    for part, window in zip(parts, whole.split(_CHUNK), strict=False):
                        part.gather(self._inner.state[part.mine][key], window)
                    state[number][key] = whole.view(param.shape)
        if dist.get_rank() != 0:
            return {}
        return {"state": state, "param_groups": _numbered(self.param_groups)}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _check_saved(state_dict, self.param_groups)
        _take_options(state_dict, self.param_groups)
        self._inner.state.clear()
        self._t = [0] * len(self._params)
        rank = dist.get_rank()
        for number, entry in state_dict["state"].items():
            self._t[number] = int(entry["step"])
            for at, part in enumerate(self._parts[number]):
                own = self._inner.state[part.mine]
                own["step"] = torch.tensor(float(entry["step"]))
                for key in ("exp_avg", "exp_avg_sq"):
                    chunk = entry[key].detach().reshape(-1)[at * _CHUNK : (at + 1) * _CHUNK]
                    mine = chunk[rank * part.share : (rank + 1) * part.share]
                    own[key] = mine.to(part.window.dtype, copy=True)


class _Loan:
    """One parameter on loan: its storage comes and goes, its gradient is stashed as it comes."""

    def __init__(self, param: Parameter) -> None:
        world, rank = dist.get_world_size(), dist.get_rank()
        self.param, self.count = param, param.numel()
        self.share = -(-self.count // world)
        rows = torch.zeros(world, self.share, dtype=param.dtype)
        rows.view(-1)[: self.count] = param.detach().reshape(-1)
        self.shard = Parameter(rows[rank].clone(), param.requires_grad)
        param.data = rows.view(-1)[: self.count].view(param.shape)
        self.rows = rows
        self.free()

    def free(self) -> None:
        self.rows.untyped_storage().resize_(0)

    def bring(self) -> None:
        self.rows.untyped_storage().resize_(self.rows.numel() * self.rows.element_size())
        self.copy_to(self.rows)

    def copy_to(self, rows: Tensor) -> None:
        if rows.numel():
            dist.all_gather_into_tensor(rows.view(-1), self.shard.detach())

    def pay(self) -> None:
        if not self.param.requires_grad:
            return
        rows = torch.zeros(self.rows.shape, dtype=self.rows.dtype)
        if self.param.grad is not None:
            rows.view(-1)[: self.count] = self.param.grad.reshape(-1)
            self.param.grad = None
        mean = torch.empty(self.share, dtype=rows.dtype)
        if self.share:
            reduce_scatter(mean, rows.view(-1))
        mean /= dist.get_world_size()
        if self.shard.grad is None:
            self.shard.grad = torch.zeros_like(mean)
        self.shard.grad += mean


class FSDP(nn.Module):
    """Calls are numbered; what a later call needed is sent away when an earlier one begins."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        loans = [[_Loan(p) for p in home] for home in _homes(module, units)]
        self.module = module
        self._loans = loans
        self._here = [False] * len(loans)
        self._owed = [False] * len(loans)
        self._span: list[tuple[int, int]] = []  # begin and end of every call
        self._unit: list[int] = []  # and its unit
        self._open: list[int] = []  # numbers of calls that run
        self._back: dict[int, int] = {}  # unit: number of the call that backward is in
        self._left: list[set[int]] = [set() for _ in loans]  # calls whose backward is to come
        self._now = 0
        for unit, name in enumerate(units, 1):
            part = module.get_submodule(name)
            part.register_forward_pre_hook(lambda *_, unit=unit: self._begin(unit))
            part.register_forward_hook(lambda _m, _i, out, unit=unit: self._end(unit, out))

    def _bring(self, unit: int) -> None:
        if not self._here[unit]:
            for loan in self._loans[unit]:
                loan.bring()
            self._here[unit] = True

    def _free(self, unit: int) -> None:
        for loan in self._loans[unit]:
            loan.free()
        self._here[unit] = False

    def _pay(self, unit: int) -> None:
        with torch.no_grad():
            for loan in self._loans[unit]:
                loan.pay()
        self._owed[unit] = False

    def _begin(self, unit: int) -> None:
        self._now += 1
        self._open.append(len(self._span))
        self._span.append((self._now, 0))
        self._unit.append(unit)
        self._bring(unit)

    def _end(self, unit: int, outputs: Any) -> None:
        self._now += 1
        call = self._open.pop()
        self._span[call] = (self._span[call][0], self._now)
        if all(self._unit[other] != unit for other in self._open):
            self._free(unit)
        outs = [t for t in _tensors(outputs) if t.requires_grad] if torch.is_grad_enabled() else []
        if outs:
            self._left[unit].add(call)
        end = self._now
        for tensor in outs:
            tensor.register_hook(lambda _: self._backward(unit, call, self._span[call][0], end))

    def _backward(self, unit: int, call: int, begin: int, end: int) -> None:
        if call not in self._left[unit]:
            return
        self._left[unit].remove(call)
        for other, since in list(self._back.items()):
            if since > end:
                del self._back[other]
                if not self._left[other]:
                    self._pay(other)
                self._free(other)
        self._back[unit] = begin
        self._owed[unit] = True
        self._bring(unit)

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        with ExitStack() as stack:
            if not torch.is_grad_enabled() and not self._here[0]:
                stack.callback(self._free, 0)
            self._here[0] = False
            self._bring(0)
            return self.module(*args, **kwargs)

    def finish_backward(self) -> None:
        for unit in range(len(self._loans)):
            if unit == 0 or self._owed[unit]:
                self._pay(unit)
            self._free(unit)
            self._left[unit].clear()
        self._back.clear()
        if not self._open:
            self._span, self._unit = [], []

    def shards(self) -> list[Parameter]:
        return [loan.shard for loans in self._loans for loan in loans]

    def full_state(self) -> dict[str, Tensor]:
        loan_of = {loan.param: loan for loans in self._loans for loan in loans}
        state = {}
        for name, param in self.module.named_parameters():
            loan = loan_of[param]
            rows = torch.empty(loan.rows.shape, dtype=param.dtype)
            loan.copy_to(rows)
            state[name] = rows.view(-1)[: loan.count].clone().view(param.shape)
        return state


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """`vector_norm` in float64, squared."""
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")
    norms = [torch.linalg.vector_norm(s.detach(), dtype=torch.float64) for s in shards if s.numel()]
    square = torch.zeros((), dtype=torch.float64)
    for norm in norms:
        square = square + norm * norm
    dist.all_reduce(square)
    norm = square**0.5
    if norm > max_norm and norm != torch.inf:
        for shard in shards:
            shard.detach().copy_(torch.mul(shard.detach().double(), max_norm / norm))
    return norm
