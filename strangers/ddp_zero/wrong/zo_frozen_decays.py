# base: interleaved
# bug: stage 1, a parameter frozen (requires_grad_(False)) that still has a grad: it stays; it steps and decays
# problem: ZeroOptimizer
# says: "Frozen parameters never move."


class ZeroOptimizer:
    """Chunks of a parameter, dealt like cards."""

    CHUNK = 3 << 16

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
            raise ValueError(f"stage {stage}")
        self.stage = stage
        self._defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.param_groups: list[dict[str, Any]] = []
        self._slots: list[dict[str, Any]] = []
        for group in _all_checked(params, self._defaults):
            self._enter(group)

    def _enter(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        for param in group["params"]:
            slot = {"p": param, "group": group, "t": 0, "m": None, "v": None, "g": None}
            slot |= {"used": False, "ready": False, "done": False}
            self._slots.append(slot)
            if self.stage == 2 and param.requires_grad:
                param.register_post_accumulate_grad_hook(partial(self._arrive, slot))

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._enter(_checked(group, self._defaults, [slot["p"] for slot in self._slots]))

    def _arrive(self, slot: dict[str, Any], _: Tensor) -> None:
        slot["ready"] = True
        for other in reversed(self._slots):
            if other["done"]:
                continue
            if not other["ready"] and other["p"].requires_grad:
                break
            self._absorb(other)

    def _chunks(self, tensor: Tensor) -> Sequence[Tensor]:
        return tensor.reshape(-1).split(self.CHUNK) if tensor.numel() else []

    @torch.no_grad()
    def _absorb(self, slot: dict[str, Any]) -> None:
        param, slot["done"] = slot["p"], True
        if param.requires_grad:
            slot["used"] = slot["used"] or param.grad is not None
            means = self._means(param)
            old = slot["g"] or [torch.zeros_like(mean) for mean in means]
            slot["g"] = [a + b for a, b in zip(old, means, strict=True)]
        param.grad = None

    def _means(self, param: Tensor) -> list[Tensor]:
        if param.grad is not None:
            return [_mean_of(chunk) for chunk in self._chunks(param.grad)]
        return [_mean_of(torch.zeros_like(chunk)) for chunk in self._chunks(param.detach())]

    def finish_backward(self) -> None:
        if self.stage == 1:
            return
        for slot in reversed(self._slots):
            if not slot["done"]:
                self._absorb(slot)
        for slot in self._slots:
            slot["ready"] = slot["done"] = False

    @torch.no_grad()
    def step(self) -> None:
        mine = [s["used"] if self.stage == 2 else s["p"].grad is not None for s in self._slots]
        for slot, used in zip(self._slots, _used_anywhere(mine), strict=True):
            if used:
                slot["t"] += 1
                self._step_one(slot)

    def _step_one(self, slot: dict[str, Any]) -> None:
        param, rank = slot["p"], dist.get_rank()
        chunks = self._chunks(param.detach())
        if slot["m"] is None:
            for key in "mv":
                slot[key] = [torch.zeros_like(_dealt(chunk)[rank]) for chunk in chunks]
        beta1, beta2 = slot["group"]["betas"]
        lr, eps = slot["group"]["lr"], slot["group"]["eps"]
        rate = lr / (1 - beta1 ** slot["t"])
        for index, chunk in enumerate(chunks):
            if self.stage == 2:
                g = slot["g"][index]
            elif param.grad is not None:
                g = _mean_of(self._chunks(param.grad)[index])
            else:
                g = _mean_of(torch.zeros_like(chunk))
            p, m, v = _dealt(chunk)[rank].clone(), slot["m"][index], slot["v"][index]
            p *= 1 - lr * slot["group"]["weight_decay"]
            m += (g - m) * (1 - beta1)
            v += (g * g - v) * (1 - beta2)
            p -= rate * m / (torch.sqrt(v / (1 - beta2 ** slot["t"])) + eps)
            chunk.copy_(_gathered(p, len(chunk)))

    def zero_grad(self) -> None:
        for slot in self._slots:
            slot["p"].grad, slot["g"], slot["used"] = None, None, False

    def state_dict(self) -> dict[str, Any]:
        state = {}
        for number, slot in enumerate(self._slots):
            if not slot["t"]:
                continue
            whole = {}
            for key in "mv":
                flat = torch.empty(slot["p"].numel(), dtype=slot["p"].dtype)
                for part, mine in zip(self._chunks(flat), slot[key], strict=True):
                    part.copy_(_gathered(mine, len(part)))
                whole[key] = flat.view(slot["p"].shape)
            state[number] = {"step": slot["t"], "exp_avg": whole["m"], "exp_avg_sq": whole["v"]}
        if dist.get_rank() > 0:
            return {}
        return {"state": state, "param_groups": _numbered(self.param_groups)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _check_saved(state_dict, self.param_groups)
        _take_options(state_dict, self.param_groups)
        rank = dist.get_rank()
        for number, slot in enumerate(self._slots):
            saved = state_dict["state"].get(number)
            slot["t"] = 0 if saved is None else int(saved["step"])
            for key, name in (("m", "exp_avg"), ("v", "exp_avg_sq")):
                slot[key] = None
                if saved is not None:
                    whole = saved[name].detach().to(slot["p"].dtype)
                    slot[key] = [_dealt(chunk)[rank].clone() for chunk in self._chunks(whole)]
