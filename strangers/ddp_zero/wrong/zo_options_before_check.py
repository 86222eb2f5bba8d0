# base: plain_loops
# bug: a state with lr 0.5 and a wrong shape of exp_avg is refused: lr stays; it is 0.5 afterwards
# problem: ZeroOptimizer
# says: "v do not fit; nothing has changed then."


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
        for own, saved in zip(self.param_groups, groups, strict=True):
            own.update({name: saved[name] for name in _OPTIONS})
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
