# base: interleaved
# bug: a parameter of two units is listed under its first name only by named_parameters(): it should belong to the root; it belongs to the first unit and is freed when the second runs
# problem: FSDP
# says: "and those that modules of different units share"


class FSDP(nn.Module):
    """Every parameter dealt by itself; torch's backward pre-hooks of modules."""

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        super().__init__()
        _homes(module, units)  # refuses what is no unit
        self._homes = [[] for _ in range(len(units) + 1)]
        for name, p in module.named_parameters():
            inside = [i for i, unit in enumerate(units, 1) if name.startswith(unit + ".")]
            self._homes[max(inside, key=lambda i: len(units[i - 1]), default=0)].append(p)
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
