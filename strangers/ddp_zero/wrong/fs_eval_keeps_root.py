# base: plain_loops
# bug: backward, finish, evaluation, optimizer.step(), forward: the new weights; the root's are those of the evaluation, before the step
# problem: FSDP
# says: "Forward without gradients (evaluation) leaves nothing gathered."


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
        self._root.gather()
        outputs = self.module(*args, **kwargs)
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
