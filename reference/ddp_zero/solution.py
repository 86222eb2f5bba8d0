"""Data parallelism and ZeRO on `torch.distributed`: five problems, one rank's side of each."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

Tensor = torch.Tensor
Parameter = nn.Parameter

BLOCK_BYTES = 4 << 20
"""How many bytes of parameters `ZeroOptimizer` reduces or gathers at once."""


def reduce_scatter(shard_S: Tensor, whole_NS: Tensor) -> None:
    """Write the sum over all ranks of this rank's part of `whole_NS` into `shard_S`.

    Given. gloo's own `reduce_scatter` is an all-reduce inside and moves twice as much; this one
    sends each part to its owner: (N - 1) * S numbers leave each rank.

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


# --- broadcast_module ---


def broadcast_module(module: nn.Module) -> None:
    """Overwrite parameters and buffers with rank 0's; each tensor crosses the network once."""
    for tensor in (*module.parameters(), *module.buffers()):  # both name a shared tensor once
        sent = tensor.detach().contiguous()
        dist.broadcast(sent, src=0)
        tensor.detach().copy_(sent)


# --- DDP ---


def _used_somewhere(params: Sequence[Parameter]) -> list[bool]:
    """Return, for each parameter, whether any rank has a gradient; a byte each over the network."""
    flags = torch.tensor([param.grad is not None for param in params], dtype=torch.uint8)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in flags.tolist()]


def _cut(params: Iterable[Parameter], limit_bytes: int) -> list[list[Parameter]]:
    """Cut parameters into runs of one dtype of at most `limit_bytes`, or of one parameter."""
    runs: list[list[Parameter]] = []
    open_runs: dict[torch.dtype, list[Parameter]] = {}
    for param in params:
        run = open_runs.setdefault(param.dtype, [])
        if run and sum(p.nbytes for p in run) + param.nbytes > limit_bytes:
            runs.append(open_runs.pop(param.dtype))
            run = open_runs.setdefault(param.dtype, [])
        run.append(param)
    return [*runs, *open_runs.values()]


class _Bucket:
    """Gradients of some parameters of one dtype, side by side, on their way to the mean."""

    def __init__(self, params: list[Parameter]) -> None:
        self.params = params
        self._flat = torch.zeros(sum(p.numel() for p in params), dtype=params[0].dtype)
        parts = self._flat.split([p.numel() for p in params])
        self._views = {p: part.view(p.shape) for p, part in zip(params, parts, strict=True)}
        self._taken: set[Parameter] = set()
        self._work: Any = None

    @property
    def complete(self) -> bool:
        return len(self._taken) == len(self.params)

    def take(self, param: Parameter) -> None:
        if param.grad is None:
            self._views[param].zero_()
        else:
            self._views[param].copy_(param.grad)
        self._taken.add(param)

    def launch(self) -> None:
        for param in self.params:
            if param not in self._taken:
                self.take(param)
        self._work = dist.all_reduce(self._flat, async_op=True)

    def wait(self) -> None:
        self._work.wait()
        self._taken.clear()

    def give_back(self, param: Parameter) -> None:
        """Make the parameter's gradient the mean; divided on the way, so as to touch it once."""
        if param.grad is None:
            param.grad = torch.empty_like(param)
        torch.div(self._views[param], dist.get_world_size(), out=param.grad)


def average_gradients(module: nn.Module) -> None:
    """Replace gradients by their mean over all ranks, after the backward pass, flat by dtype."""
    params = [param for param in module.parameters() if param.requires_grad]
    buckets = [_Bucket(run) for run in _cut(params, limit_bytes=1 << 62)]
    used = dict(zip(params, _used_somewhere(params), strict=True))
    for bucket in buckets:
        bucket.launch()
        bucket.wait()
        for param in bucket.params:
            if used[param]:
                bucket.give_back(param)


class DDP(nn.Module):
    """A module whose gradients become the mean over all ranks while backward still runs."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        params = [param for param in module.parameters() if param.requires_grad]
        if bucket_bytes < 1:
            raise ValueError(f"bucket_bytes: expected at least 1, found {bucket_bytes}")
        if not params:
            raise ValueError("module: expected a parameter that requires a gradient, found none")
        self.module = module
        self._params = params
        # Backward reaches the last layers first, so the last parameters fill the first bucket.
        self._buckets = [_Bucket(run) for run in _cut(reversed(params), bucket_bytes)]
        self._bucket_of = {p: bucket for bucket in self._buckets for p in bucket.params}
        self._launched = 0
        self._syncs = True
        for param in params:
            param.register_post_accumulate_grad_hook(self._on_gradient)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        before, self._syncs = self._syncs, False
        try:
            yield
        finally:
            self._syncs = before

    def finish_backward(self) -> None:
        self._launch(len(self._buckets))
        used = dict(zip(self._params, _used_somewhere(self._params), strict=True))
        for bucket in self._buckets:
            bucket.wait()
            for param in bucket.params:
                if used[param]:
                    bucket.give_back(param)
        self._launched = 0

    def _on_gradient(self, param: Parameter) -> None:
        if not self._syncs:
            return
        self._bucket_of[param].take(param)
        ready = self._launched
        while ready < len(self._buckets) and self._buckets[ready].complete:
            ready += 1
        self._launch(ready)

    def _launch(self, stop: int) -> None:
        """Launch buckets up to `stop`, in one order on all ranks: so collectives match."""
        for bucket in self._buckets[self._launched : stop]:
            bucket.launch()
        self._launched = max(self._launched, stop)


# --- ZeroOptimizer ---


class _Block:
    """Parameters of one group and dtype side by side, one shard of S numbers per rank.

    The last shards may be empty in part or whole: the block is padded to N * S numbers.
    """

    def __init__(self, params: list[Parameter], group: dict[str, Any]) -> None:
        self.params, self.group = params, group
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._numel = sum(param.numel() for param in params)
        self.size = -(-self._numel // self._world)
        dtype = params[0].dtype
        self.moments = [torch.zeros(self.size, dtype=dtype) for _ in range(2)]
        self.gradient: Tensor | None = None
        self.ready: set[Parameter] = set()

    def pieces(self) -> Iterator[tuple[Parameter, slice, slice]]:
        """Yield what of which parameter lies where in this rank's shard."""
        low, high, start = self._rank * self.size, (self._rank + 1) * self.size, 0
        for param in self.params:
            first, last = max(start, low), min(start + param.numel(), high)
            if first < last:
                yield param, slice(first - start, last - start), slice(first - low, last - low)
            start += param.numel()

    def reduce(self) -> Tensor:
        """Return this rank's shard of the mean gradient; missing ones count as zeros."""
        whole = torch.zeros(self._world * self.size, dtype=self.params[0].dtype)
        parts = whole[: self._numel].split([param.numel() for param in self.params])
        for param, part in zip(self.params, parts, strict=True):
            if param.grad is not None:
                part.view(param.shape).copy_(param.grad)
        shard = torch.empty(self.size, dtype=whole.dtype)
        reduce_scatter(shard, whole)
        return shard.div_(self._world)

    def update(self, gradient: Tensor, steps: dict[Parameter, int]) -> None:
        """Step with AdamW what this rank holds of the parameters in `steps`."""
        for param, place, in_shard in self.pieces():
            if param in steps:
                moments = (self.moments[0][in_shard], self.moments[1][in_shard])
                weight = param.data.view(-1)[place]
                _adamw(weight, gradient[in_shard], moments, steps[param], self.group)

    def gather(self, shard: Tensor) -> list[Tensor]:
        """Return every parameter's part of what all ranks' shards hold together, flat."""
        whole = torch.empty(self._world * self.size, dtype=shard.dtype)
        dist.all_gather(list(whole.split(self.size)), shard)
        return list(whole[: self._numel].split([param.numel() for param in self.params]))

    def gather_parameters(self) -> None:
        """Send this rank's part of the parameters to all ranks, and take theirs."""
        shard = torch.zeros(self.size, dtype=self.params[0].dtype)
        for param, place, in_shard in self.pieces():
            shard[in_shard] = param.data.view(-1)[place]
        for param, part in zip(self.params, self.gather(shard), strict=True):
            param.data.view(-1).copy_(part)


def _adamw(
    weight: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    step: int,
    group: dict[str, Any],
) -> None:
    """Step one piece in place. Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2."""
    beta1, beta2 = group["betas"]
    first, second = moments
    weight.mul_(1 - group["lr"] * group["weight_decay"])
    first.lerp_(gradient, 1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    denominator = (second / (1 - beta2**step)).sqrt_().add_(group["eps"])
    weight.addcdiv_(first, denominator, value=-group["lr"] / (1 - beta1**step))


def _require_options(options: dict[str, Any]) -> None:
    """Raise ValueError for options that AdamW cannot have."""
    for name in ("lr", "eps", "weight_decay"):
        if not options[name] >= 0:
            raise ValueError(f"{name}: expected at least 0, found {options[name]}")
    if not all(0 <= beta < 1 for beta in options["betas"]):
        raise ValueError(f"betas: expected numbers in [0, 1), found {options['betas']}")


class ZeroOptimizer:
    """AdamW whose state (stage 1) and gradients (stage 2) are divided among the ranks."""

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
            raise ValueError(f"stage: expected 1 or 2, found {stage}")
        self._defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        _require_options(self._defaults)
        groups = list(params)
        if not groups:
            raise ValueError("params: expected at least one parameter, found none")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self._stage = stage
        self.param_groups: list[dict[str, Any]] = []
        self._blocks: list[_Block] = []
        self._steps: dict[Parameter, int] = {}
        self._used: set[Parameter] = set()
        self._reduced = 0
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        params = list(group["params"])
        new = {**self._defaults, **group, "params": params}
        _require_options(new)
        known = set(self._params())
        if not params or len(set(params)) < len(params) or known & set(params):
            raise ValueError("params: expected parameters of no other group, each once")
        self.param_groups.append(new)
        trained = [param for param in params if param.requires_grad]
        blocks = [_Block(run, new) for run in _cut(reversed(trained), BLOCK_BYTES)]
        self._blocks += blocks
        if self._stage == 2:
            for block in blocks:
                for param in block.params:
                    param.register_post_accumulate_grad_hook(self._hook(block))

    def _params(self) -> list[Parameter]:
        return [param for group in self.param_groups for param in group["params"]]

    def _hook(self, block: _Block) -> Any:
        def on_gradient(param: Parameter) -> None:
            block.ready.add(param)
            while self._reduced < len(self._blocks):
                following = self._blocks[self._reduced]
                if len(following.ready) < len(following.params):
                    break
                self._reduce_next()

        return on_gradient

    def _reduce_next(self) -> None:
        """Add the next block's mean gradient to its shard and free the whole ones."""
        block = self._blocks[self._reduced]
        self._reduced += 1
        shard = block.reduce()
        block.gradient = shard if block.gradient is None else block.gradient.add_(shard)
        self._used.update(param for param in block.params if param.grad is not None)
        for param in block.params:
            param.grad = None
        block.ready.clear()

    def finish_backward(self) -> None:
        if self._stage == 2:
            while self._reduced < len(self._blocks):
                self._reduce_next()
            self._reduced = 0

    @torch.no_grad()
    def step(self) -> None:
        steps = self._count_steps()
        for block in self._blocks:
            if not any(param in steps for param in block.params):
                continue
            # In stage 2 it is there: every pass reduces every block.
            gradient = block.reduce() if self._stage == 1 else block.gradient
            block.update(gradient, steps)
            block.gather_parameters()

    def _count_steps(self) -> dict[Parameter, int]:
        """Return the number of this step for each parameter that some rank has a gradient of."""
        params = [param for block in self._blocks for param in block.params]
        used = [param.grad is not None or param in self._used for param in params]
        flags = torch.tensor(used, dtype=torch.uint8)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        moved = [param for param, flag in zip(params, flags, strict=True) if flag]
        for param in moved:
            self._steps[param] = self._steps.get(param, 0) + 1
        return {param: self._steps[param] for param in moved}

    def zero_grad(self) -> None:
        self._used.clear()
        for block in self._blocks:
            block.gradient = None
        for param in self._params():
            param.grad = None

    def state_dict(self) -> dict[str, Any]:
        numbers = {param: number for number, param in enumerate(self._params())}
        state: dict[int, dict[str, Any]] = {}
        for block in self._blocks:
            first, second = (block.gather(moment) for moment in block.moments)
            for param, m, v in zip(block.params, first, second, strict=True):
                if param in self._steps:
                    state[numbers[param]] = {
                        "step": self._steps[param],
                        "exp_avg": m.view(param.shape).clone(),
                        "exp_avg_sq": v.view(param.shape).clone(),
                    }
        groups = [
            {**group, "params": [numbers[param] for param in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups} if dist.get_rank() == 0 else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        params, state = self._params(), state_dict["state"]
        self._require_fit(state_dict)
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})
        self._steps = {params[number]: entry["step"] for number, entry in state.items()}
        saved_of = {params[number]: entry for number, entry in state.items()}
        for block in self._blocks:
            for moment, name in zip(block.moments, ("exp_avg", "exp_avg_sq"), strict=True):
                moment.zero_()
                for param, place, in_shard in block.pieces():
                    if param in saved_of:
                        moment[in_shard] = saved_of[param][name].reshape(-1)[place]

    def _require_fit(self, state_dict: dict[str, Any]) -> None:
        """Raise ValueError for a state of other parameters."""
        params = self._params()
        sizes = [len(group["params"]) for group in state_dict["param_groups"]]
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ValueError(f"param_groups: expected groups of {own} parameters, found {sizes}")
        for number, entry in state_dict["state"].items():
            if not 0 <= number < len(params):
                raise ValueError(f"state: expected numbers below {len(params)}, found {number}")
            for name in ("exp_avg", "exp_avg_sq"):
                if entry[name].shape != params[number].shape:
                    raise ValueError(f"state[{number}][{name!r}]: {tuple(entry[name].shape)}")


# --- FSDP ---


class _Flat:
    """Parameters of one unit and dtype: a shard that stays, and the whole that comes and goes.

    The parameters are views of `_whole` for good. Freeing means to take away its storage's bytes:
    what autograd has saved of them sees the bytes again once they have been gathered anew.
    """

    def __init__(self, params: list[Parameter]) -> None:
        self.params = params
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._numel = sum(param.numel() for param in params)
        size = -(-self._numel // self._world)
        self._whole = torch.zeros(self._world * size, dtype=params[0].dtype)
        self._nbytes = self._whole.untyped_storage().nbytes()
        for param, part in zip(params, self._split(self._whole), strict=True):
            part.view(param.shape).copy_(param.data)
            param.data = part.view(param.shape)
        own = self._whole[self._rank * size : (self._rank + 1) * size].clone()
        self.shard = Parameter(own, requires_grad=params[0].requires_grad)
        self._work: Any = None
        self._here = True
        self.free()

    def _split(self, whole: Tensor) -> tuple[Tensor, ...]:
        return whole[: self._numel].split([param.numel() for param in self.params])

    def begin(self) -> None:
        """Begin to gather the whole, unless it is here or on its way."""
        if not self._here:
            self._whole.untyped_storage().resize_(self._nbytes)
            parts = list(self._whole.split(len(self.shard)))
            self._work = dist.all_gather(parts, self.shard.data, async_op=True)
            self._here = True

    def wait(self) -> None:
        if self._work is not None:
            self._work.wait()
            self._work = None

    def free(self) -> None:
        self.wait()
        self._whole.untyped_storage().resize_(0)
        self._here = False

    def reduce(self) -> None:
        """Add the mean gradient to the shard's and free the whole ones."""
        if all(param.grad is None for param in self.params):
            return
        whole = torch.zeros(self._whole.numel(), dtype=self.shard.dtype)
        for param, part in zip(self.params, self._split(whole), strict=True):
            if param.grad is not None:
                part.view(param.shape).copy_(param.grad)
                param.grad = None
        mean = torch.empty_like(self.shard.data)
        reduce_scatter(mean, whole)
        mean /= self._world
        self.shard.grad = mean if self.shard.grad is None else self.shard.grad + mean


class _Unit:
    """What is gathered and freed together."""

    def __init__(self, params: Sequence[Parameter]) -> None:
        kinds: dict[Any, list[Parameter]] = {}
        for param in params:
            kinds.setdefault((param.dtype, param.requires_grad), []).append(param)
        self.flats = [_Flat(group) for group in kinds.values()]
        self.trained = [param for param in params if param.requires_grad]
        self.has_frozen = len(self.trained) < len(params)
        self.waiting = 0  # for gradients of so many parameters
        self.inputs = 0  # and of so many inputs

    def begin(self) -> None:
        for flat in self.flats:
            flat.begin()

    def gather(self) -> None:
        self.begin()
        for flat in self.flats:
            flat.wait()

    def free(self) -> None:
        for flat in self.flats:
            flat.free()

    def reduce(self) -> None:
        self.waiting = self.inputs = 0
        for flat in self.flats:
            flat.reduce()
        self.free()


class FSDP(nn.Module):
    """A module whose parameters are whole only while they are used (ZeRO-3)."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        modules = dict(module.named_modules())
        unknown = [name for name in units if not name or name not in modules]
        if unknown or len(set(units)) < len(units):
            raise ValueError(f"units: expected names of submodules, each once, found {list(units)}")
        self.module = module
        owner = _owners(module, [modules[name] for name in units])
        named = dict(module.named_parameters())
        self._names = {param: name for name, param in named.items()}
        self._root = _Unit([p for p in named.values() if owner[p] is None])
        self._units = []
        for name in units:
            unit = _Unit([p for p in named.values() if owner[p] is modules[name]])
            self._units.append(unit)
            self._attach(modules[name], unit)
        self._order: list[_Unit] = []  # of the units in this forward pass
        self._last: list[_Unit] = []  # and in the one before

    def _attach(self, module: nn.Module, unit: _Unit) -> None:
        module.register_forward_pre_hook(lambda _, args: self._before_forward(unit, args))
        module.register_forward_hook(lambda *_: unit.free())
        module.register_full_backward_pre_hook(lambda *_: self._before_backward(unit))
        for param in unit.trained:
            param.register_post_accumulate_grad_hook(lambda _: self._on_gradient(unit))

    def _before_forward(self, unit: _Unit, inputs: tuple[Any, ...]) -> None:
        unit.gather()
        for x in inputs if unit.has_frozen else ():
            if isinstance(x, Tensor) and x.requires_grad:
                unit.inputs += 1
                x.register_hook(lambda _: self._on_input_gradient(unit))
        self._order.append(unit)
        number = len(self._order)
        if self._last[:number] == self._order and number < len(self._last):
            self._last[number].begin()

    def _before_backward(self, unit: _Unit) -> None:
        unit.gather()
        unit.waiting = unit.waiting or len(unit.trained)
        before = self._order.index(unit) - 1
        if before >= 0:
            self._order[before].begin()

    def _on_gradient(self, unit: _Unit) -> None:
        unit.waiting -= 1
        self._end(unit)

    def _on_input_gradient(self, unit: _Unit) -> None:
        unit.inputs -= 1
        self._end(unit)

    def _end(self, unit: _Unit) -> None:
        """Free a unit that backward needs no more; a frozen weight serves its input's gradient."""
        if unit.waiting == unit.inputs == 0:
            unit.reduce()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._last, self._order = self._order, []
        self._root.free()  # a forward pass without a backward pass may have left an old one
        self._root.gather()
        result = self.module(*args, **kwargs)
        for unit in self._units:  # one that was begun and then not run
            unit.free()
        if not torch.is_grad_enabled():
            self._root.free()
        return result

    def finish_backward(self) -> None:
        for unit in (*self._units, self._root):
            unit.reduce()

    def shards(self) -> list[Parameter]:
        return [flat.shard for unit in (self._root, *self._units) for flat in unit.flats]

    def full_state(self) -> dict[str, Tensor]:
        found = {}
        for unit in (self._root, *self._units):
            unit.free()
            unit.gather()
            for flat in unit.flats:
                found.update({self._names[p]: p.detach().clone() for p in flat.params})
            unit.free()
        return {name: found[name] for name in self._names.values()}


def _owners(module: nn.Module, units: list[nn.Module]) -> dict[Parameter, nn.Module | None]:
    """Return the innermost unit of each parameter; None, the root, for one that has several."""
    owners: dict[Parameter, set[nn.Module | None]] = {}

    def walk(part: nn.Module, unit: nn.Module | None) -> None:
        unit = part if part in units else unit
        for param in part.parameters(recurse=False):
            owners.setdefault(param, set()).add(unit)
        for child in part.children():
            walk(child, unit)

    walk(module, None)
    return {param: found.pop() if len(found) == 1 else None for param, found in owners.items()}


# --- clip_grad_norm ---


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale all ranks' shards in place so that their norm together is at most `max_norm`."""
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, found {max_norm}")
    squares = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        squares += shard.double().square().sum()
    dist.all_reduce(squares)
    norm = squares.sqrt()
    if max_norm < norm < math.inf:
        for shard in shards:
            shard.mul_(max_norm / float(norm))
    return norm
