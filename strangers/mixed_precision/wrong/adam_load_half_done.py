# base: generators
# bug: load_state_dict whose last tensor has a wrong dtype: right: ValueError and nothing has moved; wrong: ValueError, but the parameters before it are loaded already
# problem: MasterAdamW
# says: "and a call that raises leaves everything as it was."


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
        self.params = [p for p in params]
        for wrong, why in (
            (not lr >= 0, "lr"),
            (not all(0 <= b < 1 for b in betas), "betas"),
            (not eps >= 0, "eps"),
            (not weight_decay >= 0, "weight_decay"),
            (not self.params, "no parameter"),
            (any(p.dtype != torch.float32 and not _is_half(p.dtype) for p in self.params), "dtype"),
        ):
            if wrong:
                raise ValueError(why)
        self._lr, self._betas, self._eps, self._decay = lr, betas, eps, weight_decay
        self._order = list(_once(self.params))
        self._t = {p: 0 for p in self._order}
        self._low_masters = {p: p.detach().float() for p in self._order if _is_half(p.dtype)}
        self._m = {p: torch.zeros_like(p.detach(), dtype=torch.float32) for p in self._order}
        self._v = {p: torch.zeros_like(p.detach(), dtype=torch.float32) for p in self._order}

    def _master(self, p: Parameter) -> Tensor:
        return self._low_masters[p] if p in self._low_masters else p.detach()

    def _moments(self) -> Iterator[tuple[Parameter, Tensor]]:
        """Move the moments of each parameter with a gradient; give it and its direction."""
        beta1, beta2 = self._betas
        for p in self._order:
            if p.grad is None:
                continue
            g = p.grad.to(torch.float32)
            m, v = self._m[p], self._v[p]
            m += (g - m) * (1 - beta1)
            v *= beta2
            v += (1 - beta2) * g * g
            self._t[p] += 1
            first = m / (1 - beta1 ** self._t[p])
            second = v / (1 - beta2 ** self._t[p])
            yield p, first / (second.sqrt() + self._eps)

    @torch.no_grad()
    def step(self) -> None:
        for p, direction in self._moments():
            w = self._master(p)
            w *= 1 - self._lr * self._decay
            w -= self._lr * direction
            if p in self._low_masters:
                p.copy_(w)

    def zero_grad(self) -> None:
        for p in _once(self.params):
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        return {
            "steps": list(self._t.values()),
            "master": [self._master(p).clone() for p in self._order],
            "m": [x.clone() for x in self._m.values()],
            "v": [x.clone() for x in self._v.values()],
        }

    def _complaints(self, state) -> Iterator[str]:
        if set(state) != {"steps", "master", "m", "v"}:
            yield "keys"
            return
        for key, entries in state.items():
            if len(entries) != len(self._order):
                yield f"{key}: {len(entries)} entries"
                return
        for t in state["steps"]:
            if not isinstance(t, int) or isinstance(t, bool) or t < 0:
                yield f"steps: {t}"

    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        for complaint in self._complaints(state):
            raise ValueError(complaint)
        with torch.no_grad():
            for i, p in enumerate(self._order):
                for key in ("master", "m", "v"):
                    x = state[key][i]
                    if not isinstance(x, Tensor) or x.dtype != torch.float32 or x.shape != p.shape:
                        raise ValueError(key)
                self._t[p] = state["steps"][i]
                self._m[p].copy_(state["m"][i])
                self._v[p].copy_(state["v"][i])
                self._master(p).copy_(state["master"][i])
                p.copy_(self._master(p))
