# base: owners
# bug: constructor lr 0.01, first group lr 0.1 (or set later by a schedule): a late group without lr has 0.01; it gets 0.1
# problem: ZeroOptimizer
# says: "Add a group, between steps; options it does not name are those of the constructor."


class ZeroOptimizer:
    """Pieces of at most 256 Ki numbers, each owned by the rank that has least so far."""

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
            raise ValueError("stage is 1 or 2")
        self._stage = stage
        self._defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups: list[dict[str, Any]] = []
        self._params: list[Parameter] = []
        self._steps: list[int] = []
        self._pieces: list[list[tuple[int, int, int]]] = []  # begin, end, owner
        self._load = [0] * dist.get_world_size()
        self._moments: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._sums: dict[tuple[int, int], Tensor] = {}
        self._used: set[int] = set()
        for group in _all_checked(params, self._defaults):
            self._adopt(group)

    def _adopt(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        for param in group["params"]:
            number, pieces = len(self._params), []
            for begin in range(0, param.numel(), 1 << 18):
                end = min(begin + (1 << 18), param.numel())
                owner = self._load.index(min(self._load))
                self._load[owner] += (end - begin) * param.element_size()
                pieces.append((begin, end, owner))
            self._params.append(param)
            self._steps.append(0)
            self._pieces.append(pieces)
            if self._stage == 2 and param.requires_grad:
                param.register_post_accumulate_grad_hook(lambda _, n=number: self._hook(n))
        self._restart()

    def _restart(self) -> None:
        self._waiting = list(range(len(self._params)))
        self._here: set[int] = set()

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._adopt(_checked(group, {**self._defaults, "lr": self.param_groups[0]["lr"]}, self._params))

    def _hook(self, number: int) -> None:
        self._here.add(number)
        while self._waiting:
            last = self._waiting[-1]
            if self._params[last].requires_grad and last not in self._here:
                return
            self._shift(self._waiting.pop())

    @torch.no_grad()
    def _shift(self, number: int) -> None:
        param = self._params[number]
        if param.requires_grad:
            if param.grad is not None:
                self._used.add(number)
            for begin, end, owner in self._pieces[number]:
                total = self._mean(number, begin, end, owner)
                if total is not None:
                    key = (number, begin)
                    self._sums[key] = self._sums[key] + total if key in self._sums else total
        param.grad = None

    def _mean(self, number: int, begin: int, end: int, owner: int) -> Tensor | None:
        grad = self._params[number].grad
        if grad is None:
            part = torch.zeros(end - begin, dtype=self._params[number].dtype)
        else:
            part = grad.reshape(-1)[begin:end].contiguous()
        total = _sum_at(part, owner)
        return None if total is None else total / dist.get_world_size()

    def finish_backward(self) -> None:
        if self._stage == 2:
            while self._waiting:
                self._shift(self._waiting.pop())
            self._restart()

    @torch.no_grad()
    def step(self) -> None:
        flags = [
            param.requires_grad
            and (number in self._used if self._stage == 2 else param.grad is not None)
            for number, param in enumerate(self._params)
        ]
        used = _used_anywhere(flags)
        options = [group for group in self.param_groups for _ in group["params"]]
        for number, param in enumerate(self._params):
            if not used[number]:
                continue
            self._steps[number] += 1
            for begin, end, owner in self._pieces[number]:
                part = param.detach().view(-1)[begin:end]
                if self._stage == 2:
                    grad = self._sums.get((number, begin))
                else:
                    grad = self._mean(number, begin, end, owner)
                if grad is not None:
                    self._adamw(number, begin, part, grad, options[number])
                _to_all(part, owner)

    def _adamw(self, number: int, begin: int, p: Tensor, g: Tensor, o: dict[str, Any]) -> None:
        key = (number, begin)
        if key not in self._moments:
            self._moments[key] = (torch.zeros_like(p), torch.zeros_like(p))
        m, v = self._moments[key]
        (beta1, beta2), t = o["betas"], self._steps[number]
        p.sub_(p, alpha=o["lr"] * o["weight_decay"])
        m.copy_(beta1 * m + (1 - beta1) * g)
        v.copy_(beta2 * v + (1 - beta2) * g * g)
        p.sub_(m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + o["eps"]), alpha=o["lr"])

    def zero_grad(self) -> None:
        for param in self._params:
            param.grad = None
        self._sums.clear()
        self._used.clear()

    def state_dict(self) -> dict[str, Any]:
        rank, state = dist.get_rank(), {}
        for number, param in enumerate(self._params):
            if self._steps[number] == 0:
                continue
            both = [torch.zeros(param.numel(), dtype=param.dtype) for _ in range(2)]
            for begin, end, owner in self._pieces[number]:
                for which, flat in enumerate(both):
                    if rank == owner:
                        moment = self._moments[number, begin][which]
                        flat[begin:end] = moment
                        if owner:
                            dist.send(moment, 0)
                    elif rank == 0:
                        dist.recv(flat[begin:end], owner)
            m, v = (flat.view(param.shape) for flat in both)
            state[number] = {"step": self._steps[number], "exp_avg": m, "exp_avg_sq": v}
        if rank:
            return {}
        return {"state": state, "param_groups": _numbered(self.param_groups)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _check_saved(state_dict, self.param_groups)
        _take_options(state_dict, self.param_groups)
        self._steps = [0] * len(self._params)
        self._moments.clear()
        for number, entry in state_dict["state"].items():
            self._steps[number] = int(entry["step"])
            for begin, end, owner in self._pieces[number]:
                if owner == dist.get_rank():
                    self._moments[number, begin] = tuple(
                        entry[key].detach().reshape(-1)[begin:end].to(self._params[number].dtype, copy=True)
                        for key in ("exp_avg", "exp_avg_sq")
                    )
