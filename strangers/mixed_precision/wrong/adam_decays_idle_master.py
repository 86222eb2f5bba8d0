# base: plain_loops
# bug: a bfloat16 parameter without a gradient in some steps, then with one: right: its master did not move meanwhile; wrong: the master was decayed, while the parameter showed nothing
# problem: MasterAdamW
# says: "A parameter without a gradient is left alone in every respect, decay and t included."


class MasterAdamW:
    def __init__(
        self,
        params: Iterable[Parameter],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        params = list(params)
        beta1, beta2 = betas
        if not lr >= 0 or not eps >= 0 or not weight_decay >= 0:
            raise ValueError("lr, eps and weight_decay must be at least 0")
        if not 0 <= beta1 < 1 or not 0 <= beta2 < 1:
            raise ValueError("betas must be in [0, 1)")
        if not params:
            raise ValueError("no parameter")
        for p in params:
            if p.dtype not in (torch.float32, *HALF):
                raise ValueError(f"dtype {p.dtype}")
        self.params = params
        self._lr, self._beta1, self._beta2 = lr, beta1, beta2
        self._eps, self._weight_decay = eps, weight_decay
        self._own = _unique(params)
        self._t, self._w, self._m, self._v = [], [], [], []
        for p in self._own:
            self._t.append(0)
            self._w.append(None if p.dtype == torch.float32 else p.detach().to(torch.float32))
            self._m.append(torch.zeros(p.shape, dtype=torch.float32, device=p.device))
            self._v.append(torch.zeros(p.shape, dtype=torch.float32, device=p.device))

    def _master(self, i: int) -> Tensor:
        return self._own[i].detach() if self._w[i] is None else self._w[i]

    @torch.no_grad()
    def step(self) -> None:
        for i, p in enumerate(self._own):
            w = self._master(i)
            if p.grad is not None or self._w[i] is not None:
                w.mul_(1 - self._lr * self._weight_decay)
            if p.grad is None:
                continue
            self._t[i] += 1
            t, m, v = self._t[i], self._m[i], self._v[i]
            g = p.grad.to(torch.float32)
            m.mul_(self._beta1).add_(g, alpha=1 - self._beta1)
            v.mul_(self._beta2).add_(g * g, alpha=1 - self._beta2)
            denominator = (v / (1 - self._beta2**t)).sqrt_().add_(self._eps)
            w.sub_((m / (1 - self._beta1**t)).div_(denominator), alpha=self._lr)
            if self._w[i] is not None:
                p.copy_(w)

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        state = {"steps": [], "master": [], "m": [], "v": []}
        for i in range(len(self._own)):
            state["steps"].append(self._t[i])
            state["master"].append(self._master(i).clone())
            state["m"].append(self._m[i].clone())
            state["v"].append(self._v[i].clone())
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if set(state) != {"steps", "master", "m", "v"}:
            raise ValueError("keys")
        for entries in state.values():
            if len(entries) != len(self._own):
                raise ValueError("number of entries")
        for n in state["steps"]:
            if not _is_count(n):
                raise ValueError("steps")
        for key in ("master", "m", "v"):
            for x, p in zip(state[key], self._own):
                if not isinstance(x, torch.Tensor) or x.dtype != torch.float32 or x.shape != p.shape:
                    raise ValueError(key)
        for i, p in enumerate(self._own):
            self._t[i] = state["steps"][i]
            self._master(i).copy_(state["master"][i])
            self._m[i].copy_(state["m"][i])
            self._v[i].copy_(state["v"][i])
            if self._w[i] is not None:
                p.copy_(self._w[i])
