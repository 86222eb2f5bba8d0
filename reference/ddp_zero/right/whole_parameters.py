"""Every parameter has one owner: reduced to it, stepped by torch's AdamW there, sent from there.

`FSDP` divides each parameter by itself and gathers the pieces of a unit one by one.
"""

import contextlib
import math

import torch
import torch.distributed as dist
from torch import nn


def broadcast_module(module):
    works, copies = [], []
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            flat = tensor.detach().clone(memory_format=torch.contiguous_format).view(-1)
            works.append(dist.broadcast(flat.view(torch.uint8), src=0, async_op=True))
            copies.append((tensor, flat))
        for work, (tensor, flat) in zip(works, copies, strict=True):
            work.wait()
            tensor.copy_(flat.view(tensor.shape))


def _flags(params):
    flags = torch.tensor([int(p.grad is not None) for p in params], dtype=torch.int32)
    dist.all_reduce(flags)
    return (flags > 0).tolist()


def average_gradients(module):
    params = [p for p in module.parameters() if p.requires_grad]
    for param, used in zip(params, _flags(params), strict=True):
        if used:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
            dist.all_reduce(param.grad)
            param.grad.div_(dist.get_world_size())


class DDP(nn.Module):
    def __init__(self, module, *, bucket_bytes=1 << 20):
        super().__init__()
        self.module = module
        self._all = [p for p in module.parameters() if p.requires_grad]
        if bucket_bytes <= 0 or not self._all:
            raise ValueError("nothing to put into buckets")
        self._groups = []  # lists of parameters
        for param in self._all[::-1]:
            last = self._groups[-1] if self._groups else []
            fits = sum(p.nbytes for p in last) + param.nbytes <= bucket_bytes
            if last and last[0].dtype == param.dtype and fits:
                last.append(param)
            else:
                self._groups.append([param])
        self._pending = {}
        self._sent = []  # (flat, work) by number of the group
        self._quiet = 0
        for number, group in enumerate(self._groups):
            for param in group:
                param.register_post_accumulate_grad_hook(
                    lambda p, number=number: self._came(number)
                )

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self):
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def _came(self, number):
        if self._quiet:
            return
        self._pending[number] = self._pending.get(number, 0) + 1
        while len(self._sent) < len(self._groups) and self._pending.get(len(self._sent), 0) == len(
            self._groups[len(self._sent)]
        ):
            self._send()

    def _send(self):
        group = self._groups[len(self._sent)]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
        flat = torch.cat([part.reshape(-1) for part in parts])
        self._sent.append((flat, dist.all_reduce(flat, async_op=True)))

    def finish_backward(self):
        while len(self._sent) < len(self._groups):
            self._send()
        used = dict(zip(self._all, _flags(self._all), strict=True))
        for group, (flat, work) in zip(self._groups, self._sent, strict=True):
            work.wait()
            flat.div_(dist.get_world_size())
            for param, part in zip(group, flat.split([p.numel() for p in group]), strict=True):
                if used[param]:
                    if param.grad is None:
                        param.grad = torch.empty_like(param)
                    param.grad.copy_(part.view(param.shape))
        self._sent, self._pending = [], {}


_NAMES = ("lr", "betas", "eps", "weight_decay")


class ZeroOptimizer:
    def __init__(
        self, params, *, stage=1, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
    ):
        if stage != 1 and stage != 2:
            raise ValueError("stage")
        self._stage = stage
        self._base = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self._test(self._base)
        self.param_groups = []
        self._load = [0] * dist.get_world_size()  # numbers that each rank owns
        self._owner, self._own, self._count = {}, {}, {}
        self._order, self._next, self._fired, self._touched, self._mean = [], 0, set(), set(), {}
        params = list(params)
        if not params:
            raise ValueError("no parameters")
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)

    @staticmethod
    def _test(options):
        bad = options["lr"] < 0 or options["eps"] < 0 or options["weight_decay"] < 0
        if bad or any(not 0 <= beta < 1 for beta in options["betas"]):
            raise ValueError("an option of AdamW is out of range")

    def add_param_group(self, group):
        given = group["params"]
        given = [given] if isinstance(given, torch.Tensor) else list(given)
        new = {**self._base, **group, "params": given}
        self._test(new)
        ids = [id(p) for p in given] + [id(p) for g in self.param_groups for p in g["params"]]
        if not given or len(ids) != len(set(ids)):
            raise ValueError("a parameter twice, or none")
        self.param_groups.append(new)
        for param in sorted((p for p in given if p.requires_grad), key=lambda p: -p.numel()):
            owner = self._load.index(min(self._load))
            self._load[owner] += param.numel()
            self._owner[param] = owner
            if owner == dist.get_rank():
                self._own[param] = torch.optim.AdamW([param], foreach=False)
        trained = [p for p in given if p.requires_grad]
        self._order += trained[::-1]
        if self._stage == 2:
            for param in trained:
                param.register_post_accumulate_grad_hook(self._came)

    def _came(self, param):
        self._fired.add(param)
        while self._next < len(self._order) and self._order[self._next] in self._fired:
            self._reduce()

    def _to_owner(self, param):
        own = torch.zeros_like(param) if param.grad is None else param.grad
        if param not in self._own:
            dist.send(own.detach(), dst=self._owner[param])
            return None
        whole, other = own.detach().clone(), torch.empty_like(param.data)
        for rank in range(dist.get_world_size()):
            if rank != dist.get_rank():
                dist.recv(other, src=rank)
                whole += other
        return whole.div_(dist.get_world_size())

    def _reduce(self):
        param = self._order[self._next]
        self._next += 1
        whole = self._to_owner(param)
        if param.grad is not None:
            self._touched.add(param)
        param.grad = None
        if param in self._own:
            self._mean[param] = self._mean[param] + whole if param in self._mean else whole

    def finish_backward(self):
        if self._stage == 2:
            while self._next < len(self._order):
                self._reduce()
            self._next, self._fired = 0, set()

    @torch.no_grad()
    def step(self):
        used = [int(p.grad is not None or p in self._touched) for p in self._order]
        flags = torch.tensor(used, dtype=torch.int32)
        dist.all_reduce(flags)
        options = {p: group for group in self.param_groups for p in group["params"]}
        for param, flag in zip(self._order, flags.tolist(), strict=True):
            if not flag:
                continue
            self._count[param] = self._count.get(param, 0) + 1
            mean = self._to_owner(param) if self._stage == 1 else self._mean.get(param)
            if param in self._own:
                optimizer, before = self._own[param], param.grad
                optimizer.param_groups[0].update({n: options[param][n] for n in _NAMES})
                param.grad = mean
                optimizer.step()
                param.grad = before
            del mean
            dist.broadcast(param.data, src=self._owner[param])

    def zero_grad(self):
        self._touched, self._mean = set(), {}
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = None

    def state_dict(self):
        params = [p for group in self.param_groups for p in group["params"]]
        state = {}
        for number, param in enumerate(params):
            if param not in self._count:
                continue
            entry = {"step": self._count[param]}
            for name in ("exp_avg", "exp_avg_sq"):
                if param in self._own:
                    entry[name] = self._own[param].state[param][name].clone()
                else:
                    entry[name] = torch.empty_like(param.data)
                dist.broadcast(entry[name], src=self._owner[param])
            state[number] = entry
        if dist.get_rank() != 0:
            return {}
        place = {p: number for number, p in enumerate(params)}
        groups = [{**g, "params": [place[p] for p in g["params"]]} for g in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        params = [p for group in self.param_groups for p in group["params"]]
        saved = state_dict["param_groups"]
        if [len(g["params"]) for g in saved] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("other groups")
        for number, entry in state_dict["state"].items():
            fits = 0 <= number < len(params)
            if not fits or any(
                entry[name].shape != params[number].shape for name in ("exp_avg", "exp_avg_sq")
            ):
                raise ValueError("other parameters")
        for group, other in zip(self.param_groups, saved, strict=True):
            group.update({name: other[name] for name in _NAMES})
        self._count = {params[n]: entry["step"] for n, entry in state_dict["state"].items()}
        for own in self._own.values():
            own.state.clear()
        for number, entry in state_dict["state"].items():
            if params[number] in self._own:
                self._own[params[number]].state[params[number]] = {
                    "step": torch.tensor(float(entry["step"])),
                    "exp_avg": entry["exp_avg"].clone(),
                    "exp_avg_sq": entry["exp_avg_sq"].clone(),
                }


class _Piece:
    """One parameter: its shard, and the whole while somebody uses it."""

    def __init__(self, param):
        self.param, self.numel, self.shape = param, param.numel(), param.shape
        rank, world = dist.get_rank(), dist.get_world_size()
        size = (self.numel + world - 1) // world
        self.room = torch.zeros(world * size, dtype=param.dtype)
        self.room[: self.numel] = param.detach().reshape(-1)
        mine = self.room[rank * size : (rank + 1) * size].clone()
        self.shard = nn.Parameter(mine, requires_grad=param.requires_grad)
        param.data = self.room[: self.numel].view(self.shape)
        self.nbytes = self.room.untyped_storage().nbytes()
        self.drop()

    def fetch(self):
        if not self.whole:
            self.room.untyped_storage().resize_(self.nbytes)
            dist.all_gather(list(self.room.split(len(self.shard))), self.shard.detach())
            self.whole = True

    def drop(self):
        self.room.untyped_storage().resize_(0)
        self.whole = False

    def reduce(self):
        gradient, self.param.grad = self.param.grad, None
        if gradient is None:
            return
        world, size = dist.get_world_size(), len(self.shard)
        padded = torch.zeros(world * size, dtype=gradient.dtype)
        padded[: self.numel] = gradient.reshape(-1)
        arrived = torch.empty_like(padded)
        dist.all_to_all_single(arrived, padded)
        mean = arrived.view(world, size).sum(dim=0).div_(world)
        self.shard.grad = mean if self.shard.grad is None else self.shard.grad + mean


class FSDP(nn.Module):
    def __init__(self, module, units):
        super().__init__()
        parts = dict(module.named_modules())
        if len(units) != len(set(units)) or any(u == "" or u not in parts for u in units):
            raise ValueError(f"units {units}")
        self.module = module
        holders = {}
        for name, _ in module.named_parameters(remove_duplicate=False):
            inside = [u for u in units if name.startswith(u + ".")]
            holders.setdefault(module.get_parameter(name), set()).add(
                max(inside, key=len, default="")
            )
        self._pieces = {name: _Piece(param) for name, param in module.named_parameters()}
        of_unit = {unit: [] for unit in ("", *units)}
        for piece in self._pieces.values():
            unit = holders[piece.param]
            of_unit[unit.pop() if len(unit) == 1 else ""].append(piece)
        self._root = of_unit.pop("")
        self._units = of_unit
        for unit, pieces in of_unit.items():
            self._watch(parts[unit], pieces)

    def _watch(self, part, pieces):
        def fetch(*_):
            for piece in pieces:
                piece.fetch()

        def drop(*_):
            for piece in pieces:
                piece.drop()

        def came(piece):
            piece.reduce()
            piece.drop()

        part.register_forward_pre_hook(fetch)
        part.register_forward_hook(drop)
        part.register_full_backward_pre_hook(fetch)
        for piece in pieces:
            if piece.param.requires_grad:
                piece.param.register_post_accumulate_grad_hook(lambda _, piece=piece: came(piece))

    def forward(self, *args, **kwargs):
        for piece in self._root:
            piece.drop()
            piece.fetch()
        out = self.module(*args, **kwargs)
        if not torch.is_grad_enabled():
            for piece in self._root:
                piece.drop()
        return out

    def finish_backward(self):
        for piece in self._pieces.values():
            piece.reduce()
            piece.drop()

    def shards(self):
        return [piece.shard for piece in self._pieces.values()]

    def full_state(self):
        state = {}
        for name, piece in self._pieces.items():
            piece.drop()
            piece.fetch()
            state[name] = piece.param.detach().clone()
            piece.drop()
        return state


def clip_grad_norm(shards, max_norm):
    if math.isnan(max_norm) or max_norm <= 0:
        raise ValueError("max_norm")
    norms = [torch.linalg.vector_norm(shard, dtype=torch.float64) for shard in shards]
    total = torch.stack([*norms, torch.zeros((), dtype=torch.float64)]).square().sum()
    dist.all_reduce(total)
    total = total.sqrt()
    if torch.isfinite(total) and total > max_norm:
        for shard in shards:
            shard *= max_norm / total.item()
    return total
