"""`FSDP` gives autograd names of parameters to keep instead of tensors, and brings them when asked.

`ZeroOptimizer` steps slices of parameters, each a parameter of a torch AdamW; all-to-all reduces.
`DDP` keeps one flat buffer per dtype, of which buckets are slices.
"""

from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.graph import saved_tensors_hooks


def broadcast_module(module):
    seen = set()
    for tensor in list(module.parameters()) + list(module.buffers()):
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        packed = tensor.detach().reshape(-1).contiguous()
        dist.broadcast(packed, 0)
        with torch.no_grad():
            tensor[...] = packed.reshape(tensor.shape)


class _Flat:
    """All trained parameters of one dtype in a row, from the last to the first."""

    def __init__(self, params):
        self.params, self.places, start = params, {}, 0
        for param in params:
            self.places[param] = slice(start, start + param.numel())
            start += param.numel()
        self.numbers = torch.zeros(start, dtype=params[0].dtype)

    def put(self, param):
        part = self.numbers[self.places[param]]
        if param.grad is None:
            part.zero_()
        else:
            part.copy_(param.grad.reshape(-1))


def _flats(module):
    by_dtype = {}
    for param in reversed([p for p in module.parameters() if p.requires_grad]):
        by_dtype.setdefault(param.dtype, []).append(param)
    return [_Flat(params) for params in by_dtype.values()]


def _give(flats):
    """Divide, ask who used what, and write gradients back."""
    params = [param for flat in flats for param in flat.params]
    used = torch.tensor([param.grad is not None for param in params]).to(torch.uint8)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    flags = iter(used.tolist())
    for flat in flats:
        flat.numbers /= dist.get_world_size()
        for param in flat.params:
            if next(flags):
                mean = flat.numbers[flat.places[param]].view(param.shape)
                if param.grad is None:
                    param.grad = mean.clone()
                else:
                    param.grad.copy_(mean)


def average_gradients(module):
    flats = _flats(module)
    for flat in flats:
        for param in flat.params:
            flat.put(param)
        dist.all_reduce(flat.numbers)
    _give(flats)


class DDP(nn.Module):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__()
        if bucket_bytes < 1:
            raise ValueError("bucket_bytes below 1")
        self.module = module
        self._flats = _flats(module)
        if not self._flats:
            raise ValueError("no parameter is trained")
        self._runs = []  # (flat, its parameters), in the order of launching
        for flat in self._flats:
            size = None
            for param in flat.params:
                if size is None or size + param.nbytes > bucket_bytes:
                    self._runs.append((flat, []))
                    size = 0
                self._runs[-1][1].append(param)
                size += param.nbytes
        self._arrived, self._works, self._on = set(), [], True
        for flat in self._flats:
            for param in flat.params:
                param.register_post_accumulate_grad_hook(self._arrive)

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self):
        was, self._on = self._on, False
        try:
            yield
        finally:
            self._on = was

    def _arrive(self, param):
        if self._on:
            self._arrived.add(param)
            self._advance(all_of_them=False)

    def _advance(self, *, all_of_them):
        for flat, params in self._runs[len(self._works) :]:
            if not all_of_them and not self._arrived.issuperset(params):
                return
            for param in params:
                flat.put(param)
            first, last = flat.places[params[0]], flat.places[params[-1]]
            part = flat.numbers[first.start : last.stop]
            self._works.append(dist.all_reduce(part, async_op=True))

    def finish_backward(self):
        self._advance(all_of_them=True)
        for work in self._works:
            work.wait()
        self._works, self._arrived = [], set()
        _give(self._flats)


def _summed_part(whole, world):
    """Return the sum over ranks of this rank's part of `whole`."""
    received = torch.empty_like(whole)
    dist.all_to_all_single(received, whole)
    return received.view(world, -1).sum(dim=0)


class _Slices:
    """A run of parameters of one group; this rank steps the slices that its shard covers."""

    def __init__(self, params, group):
        self.params, self.group, self.world = params, group, dist.get_world_size()
        self.total = sum(p.numel() for p in params)
        self.part = max(1, (self.total + self.world - 1) // self.world)
        low, start = dist.get_rank() * self.part, 0
        self.slices = []  # (parameter, place in it, place in the shard, slice as a parameter)
        for param in params:
            a, b = max(start, low), min(start + param.numel(), low + self.part)
            if a < b:
                flat = param.detach().view(-1)[a - start : b - start]
                in_param, in_part = slice(a - start, b - start), slice(a - low, b - low)
                self.slices.append((param, in_param, in_part, nn.Parameter(flat)))
            start += param.numel()
        mine = [leaf for *_, leaf in self.slices]
        self.optimizer = torch.optim.AdamW(mine, foreach=False) if mine else None
        self.summed, self.came = None, set()

    def reduce(self):
        whole = torch.zeros(self.part * self.world, dtype=self.params[0].dtype)
        start = 0
        for param in self.params:
            if param.grad is not None:
                whole[start : start + param.numel()] = param.grad.reshape(-1)
            start += param.numel()
        return _summed_part(whole, self.world) / self.world

    def step(self, mean, moved):
        if self.optimizer is not None:
            options = ("lr", "betas", "eps", "weight_decay")
            self.optimizer.param_groups[0].update({n: self.group[n] for n in options})
            for param, _, in_part, leaf in self.slices:
                leaf.grad = mean[in_part] if param in moved else None
            self.optimizer.step()
            for *_, leaf in self.slices:
                leaf.grad = None
        mine = torch.zeros(self.part, dtype=self.params[0].dtype)
        for _, _, in_part, leaf in self.slices:
            mine[in_part] = leaf.detach()
        start = 0
        whole = self.whole(mine)
        for param in self.params:
            param.data.copy_(whole[start : start + param.numel()].view(param.shape))
            start += param.numel()

    def whole(self, mine):
        parts = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(parts, mine)
        return torch.cat(parts)

    def moment(self, name):
        mine = torch.zeros(self.part, dtype=self.params[0].dtype)
        for _, _, in_part, leaf in self.slices:
            if leaf in self.optimizer.state:
                mine[in_part] = self.optimizer.state[leaf][name]
        whole = self.whole(mine)[: self.total]
        return dict(zip(self.params, whole.split([p.numel() for p in self.params]), strict=True))


def _runs_of(params, group):
    """Cut parameters into runs of one dtype of about 4 MiB."""
    runs, run, size = [], [], 0
    for param in params:
        if run and (size + param.nbytes > 4 << 20 or param.dtype != run[0].dtype):
            runs.append(_Slices(run, group))
            run, size = [], 0
        run.append(param)
        size += param.nbytes
    return [*runs, _Slices(run, group)] if run else runs


class ZeroOptimizer:
    def __init__(
        self, params, *, stage=1, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
    ):
        if stage not in (1, 2):
            raise ValueError("stage is 1 or 2")
        self._stage, self._runs, self._turns = stage, [], 0
        self._options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self._steps, self._seen = {}, set()
        self.param_groups = []
        params = list(params)
        if params and not isinstance(params[0], dict):
            params = [{"params": params}]
        if not params:
            raise ValueError("no groups")
        for group in params:
            self.add_param_group(group)

    def _every(self):
        return [param for group in self.param_groups for param in group["params"]]

    def add_param_group(self, group):
        params = group["params"]
        params = [params] if isinstance(params, torch.Tensor) else list(params)
        options = {**self._options, **{k: v for k, v in group.items() if k != "params"}}
        if min(options["lr"], options["eps"], options["weight_decay"]) < 0:
            raise ValueError("a negative option")
        if min(options["betas"]) < 0 or max(options["betas"]) >= 1:
            raise ValueError("betas")
        together = [*self._every(), *params]
        if not params or len({id(p) for p in together}) < len(together):
            raise ValueError("a parameter must be in one group, once")
        new = {**options, "params": params}
        self.param_groups.append(new)
        added = _runs_of([p for p in reversed(params) if p.requires_grad], new)
        self._runs += added
        for run in added if self._stage == 2 else []:
            for param in run.params:
                param.register_post_accumulate_grad_hook(lambda p, run=run: self._came(p, run))

    def _came(self, param, run):
        run.came.add(param)
        while self._turns < len(self._runs):
            if not self._runs[self._turns].came.issuperset(self._runs[self._turns].params):
                break
            self._take()

    def _take(self):
        run = self._runs[self._turns]
        self._turns += 1
        mean = run.reduce()
        run.summed = mean if run.summed is None else run.summed + mean
        for param in run.params:
            if param.grad is not None:
                self._seen.add(param)
            param.grad = None
        run.came = set()

    def finish_backward(self):
        if self._stage == 2:
            for _ in range(len(self._runs) - self._turns):
                self._take()
            self._turns = 0

    @torch.no_grad()
    def step(self):
        params = [param for run in self._runs for param in run.params]
        used = [float(param.grad is not None or param in self._seen) for param in params]
        everywhere = torch.tensor(used)
        dist.all_reduce(everywhere)
        moved = {p for p, count in zip(params, everywhere.tolist(), strict=True) if count}
        for param in moved:
            self._steps[param] = self._steps.get(param, 0) + 1
        for run in self._runs:
            if moved.isdisjoint(run.params):
                continue
            mean = run.reduce() if self._stage == 1 else run.summed
            run.step(mean, moved)

    def zero_grad(self):
        self._seen = set()
        for run in self._runs:
            run.summed = None
        for param in self._every():
            param.grad = None

    def state_dict(self):
        found = {}
        for run in self._runs:
            first, second = run.moment("exp_avg"), run.moment("exp_avg_sq")
            for param in run.params:
                if param in self._steps:
                    found[param] = {
                        "step": self._steps[param],
                        "exp_avg": first[param].reshape(param.shape).clone(),
                        "exp_avg_sq": second[param].reshape(param.shape).clone(),
                    }
        if dist.get_rank():
            return {}
        index = {param: i for i, param in enumerate(self._every())}
        groups = []
        for group in self.param_groups:
            groups.append({**group, "params": [index[param] for param in group["params"]]})
        return {"state": {index[p]: entry for p, entry in found.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict):
        every, groups = self._every(), state_dict["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("other groups")
        for i, entry in state_dict["state"].items():
            shapes = {entry["exp_avg"].shape, entry["exp_avg_sq"].shape}
            if i not in range(len(every)) or shapes != {every[i].shape}:
                raise ValueError("moments of another parameter")
        for mine, saved in zip(self.param_groups, groups, strict=True):
            for name in self._options:
                mine[name] = saved[name]
        entries = {every[i]: entry for i, entry in state_dict["state"].items()}
        self._steps = {param: entry["step"] for param, entry in entries.items()}
        for run in self._runs:
            if run.optimizer is not None:
                run.optimizer.state.clear()
            for param, in_param, _, leaf in run.slices:
                if param in entries:
                    entry = entries[param]
                    run.optimizer.state[leaf] = {
                        "step": torch.tensor(float(entry["step"])),
                        "exp_avg": entry["exp_avg"].reshape(-1)[in_param].clone(),
                        "exp_avg_sq": entry["exp_avg_sq"].reshape(-1)[in_param].clone(),
                    }


class _Unit:
    """Parameters of one unit by kind; outside of use they have no numbers at all."""

    def __init__(self, params):
        self.kinds, self.whole, self.left = [], False, 0
        by_kind = {}
        for param in params:
            by_kind.setdefault((param.dtype, param.requires_grad), []).append(param)
        world, rank = dist.get_world_size(), dist.get_rank()
        for (dtype, trained), members in by_kind.items():
            total = sum(p.numel() for p in members)
            part = (total + world - 1) // world
            row = torch.zeros(part * world, dtype=dtype)
            row[:total] = torch.cat([p.detach().reshape(-1) for p in members])
            shard = nn.Parameter(row[rank * part :][:part].clone(), requires_grad=trained)
            shapes = [p.shape for p in members]
            self.kinds.append((members, shapes, shard))
        self.release()

    @property
    def trained(self):
        return [p for members, _, shard in self.kinds if shard.requires_grad for p in members]

    def gather(self):
        if self.whole:
            return
        for members, shapes, shard in self.kinds:
            row = torch.empty(len(shard) * dist.get_world_size(), dtype=shard.dtype)
            dist.all_gather(list(row.split(len(shard))), shard.detach())
            start = 0
            for param, shape in zip(members, shapes, strict=True):
                param.data = row[start : start + shape.numel()].view(shape)
                start += shape.numel()
        self.whole = True

    def release(self):
        for members, shapes, shard in self.kinds:
            nothing = torch.empty((), dtype=shard.dtype)
            for param, shape in zip(members, shapes, strict=True):
                param.data = nothing.expand(shape)  # the shape without the numbers
        self.whole = False

    def reduce(self):
        world = dist.get_world_size()
        for members, shapes, shard in self.kinds:
            if shard.requires_grad and any(p.grad is not None for p in members):
                parts = [
                    torch.zeros(shape.numel(), dtype=shard.dtype)
                    if param.grad is None
                    else param.grad.reshape(-1)
                    for param, shape in zip(members, shapes, strict=True)
                ]
                missing = len(shard) * world - sum(len(x) for x in parts)
                whole = torch.cat([*parts, torch.zeros(missing, dtype=shard.dtype)])
                for param in members:
                    param.grad = None
                del parts
                mean = _summed_part(whole, world) / world
                shard.grad = mean if shard.grad is None else shard.grad + mean
        self.left = 0
        self.release()


class FSDP(nn.Module):
    def __init__(self, module, units):
        super().__init__()
        known = {name: part for name, part in module.named_modules() if name}
        if set(units) - set(known) or len(set(units)) != len(list(units)):
            raise ValueError("units are names of submodules, each once")
        self.module = module
        owners = {}
        for name, param in module.named_parameters(remove_duplicate=False):
            outer = [u for u in units if name.startswith(f"{u}.")]
            owners.setdefault(param, set()).add(max(outer, key=len) if outer else None)
        self._params = dict(module.named_parameters())
        home = {p: next(iter(who)) if len(who) == 1 else None for p, who in owners.items()}
        self._root = _Unit([p for p in self._params.values() if home[p] is None])
        self._units = {u: _Unit([p for p in self._params.values() if home[p] == u]) for u in units}
        self._of = {}
        for name, unit in self._units.items():
            known[name].register_forward_pre_hook(lambda *_, unit=unit: unit.gather())
            known[name].register_forward_hook(lambda *_, unit=unit: unit.release())
            for param in unit.trained:
                self._of[param] = unit
                param.register_post_accumulate_grad_hook(self._came)

    def _pack(self, tensor):
        """Return the name of what is a parameter or a view of one, else the tensor itself."""
        pointer = tensor.untyped_storage().data_ptr()
        for unit in self._units.values():
            if unit.whole:
                for param in unit.trained:
                    if param.untyped_storage().data_ptr() == pointer and tensor.numel():
                        offset = tensor.storage_offset() - param.storage_offset()
                        return unit, param, tensor.size(), tensor.stride(), offset
        return tensor

    def _unpack(self, packed):
        if isinstance(packed, torch.Tensor):
            return packed
        unit, param, size, stride, offset = packed
        if not unit.whole:
            unit.gather()
            unit.left = len(unit.trained)
        return param.detach().as_strided(size, stride, param.storage_offset() + offset)

    def _came(self, param):
        unit = self._of[param]
        if unit.left == 0:  # nothing of it was saved: it is gathered by nobody
            unit.left = len(unit.trained)
        unit.left -= 1
        if unit.left == 0:
            unit.reduce()

    def forward(self, *args, **kwargs):
        self._root.release()
        self._root.gather()
        with saved_tensors_hooks(self._pack, self._unpack):
            out = self.module(*args, **kwargs)
        if not torch.is_grad_enabled():
            self._root.release()
        return out

    def finish_backward(self):
        for unit in (*self._units.values(), self._root):
            unit.reduce()

    def shards(self):
        units = (self._root, *self._units.values())
        return [shard for unit in units for _, _, shard in unit.kinds]

    def full_state(self):
        state = {}
        for unit in (self._root, *self._units.values()):
            unit.release()
            unit.gather()
            inside = {p for members, _, _ in unit.kinds for p in members}
            state.update({n: p.detach().clone() for n, p in self._params.items() if p in inside})
            unit.release()
        return {name: state[name] for name in self._params}


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")
    own = torch.tensor([float((s.double() ** 2).sum()) for s in shards], dtype=torch.float64).sum()
    every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(every, own)
    norm = torch.stack(every).sum().sqrt()
    factor = max_norm / norm
    if factor < 1 and torch.isfinite(norm):
        for shard in shards:
            shard.copy_(shard.double() * factor)
    return norm
