# base: owners
# bug: two passes before a step: shard.grad is the sum of both means; it is the second
# problem: FSDP
# says: "`grad` holds this rank's part of the mean over ranks, added to what was there"


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
        self.shard.grad = mean


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
