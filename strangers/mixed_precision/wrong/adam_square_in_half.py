# base: chunked
# bug: float16 parameter with gradient 1e-4: right: v grows by 0.001 * 1e-8; wrong: the square is taken in float16 and is 0, v stays 0 and the step is divided by eps
# problem: MasterAdamW
# says: "Step t of a parameter with gradient g, all in float32, w being its master weight::"


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
        given = list(params)
        for number in (lr, eps, weight_decay):
            if math.isnan(number) or number < 0:
                raise ValueError(f"{number} is out of range")
        for beta in betas:
            if math.isnan(beta) or beta < 0 or beta >= 1:
                raise ValueError(f"beta {beta}")
        if not given:
            raise ValueError("no parameters")
        for p in given:
            if p.dtype != torch.float32 and p.dtype not in HALF_DTYPES:
                raise ValueError(f"{p.dtype}")
        self.params = given
        self._lr, (self._b1, self._b2), self._eps, self._wd = lr, betas, eps, weight_decay
        self._own = list({id(p): p for p in given}.values())
        # one flat buffer for all moments and masters: parameter i is at _starts[i] (masters of
        # float32 parameters take no room)
        self._starts, self._w_starts, at, w_at = [], [], 0, 0
        for p in self._own:
            self._starts.append(at)
            self._w_starts.append(w_at)
            at += p.numel()
            w_at += p.numel() if p.dtype in HALF_DTYPES else 0
        device = given[0].device
        self._m = torch.zeros(at, dtype=torch.float32, device=device)
        self._v = torch.zeros(at, dtype=torch.float32, device=device)
        self._w = torch.zeros(w_at, dtype=torch.float32, device=device)
        self._t = [0] * len(self._own)
        for i, p in enumerate(self._own):
            if p.dtype in HALF_DTYPES:
                self._slice(self._w, i).view(p.shape).copy_(p.detach())

    def _slice(self, buffer: Tensor, i: int) -> Tensor:
        start = (self._w_starts if buffer is self._w else self._starts)[i]
        return buffer[start : start + self._own[i].numel()]

    def _flat_master(self, i: int) -> Tensor:
        """The master, flat; a copy where a float32 parameter is not contiguous."""
        p = self._own[i]
        return self._slice(self._w, i) if p.dtype in HALF_DTYPES else p.detach().reshape(-1)

    @torch.no_grad()
    def step(self) -> None:
        for i, p in enumerate(self._own):
            if p.grad is None:
                continue
            self._t[i] += 1
            c1, c2 = 1 - self._b1 ** self._t[i], 1 - self._b2 ** self._t[i]
            w_flat, g_flat = self._flat_master(i), p.grad.reshape(-1)
            m_flat, v_flat = self._slice(self._m, i), self._slice(self._v, i)
            for tile in _tiles(p.numel()):
                w, m, v, g = w_flat[tile], m_flat[tile], v_flat[tile], g_flat[tile]
                w *= 1 - self._lr * self._wd
                m *= self._b1
                m += (1 - self._b1) * g.float()
                v *= self._b2
                v += (1 - self._b2) * g.pow(2).float()
                w -= self._lr * (m / c1) / (torch.sqrt(v / c2) + self._eps)
            p.copy_(w_flat.view(p.shape))

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        state = {"steps": list(self._t), "master": [], "m": [], "v": []}
        for i, p in enumerate(self._own):
            state["master"].append(self._flat_master(i).clone().view(p.shape))
            state["m"].append(self._slice(self._m, i).clone().view(p.shape))
            state["v"].append(self._slice(self._v, i).clone().view(p.shape))
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if set(state) != {"steps", "master", "m", "v"}:
            raise ValueError("keys")
        for key in state:
            if len(state[key]) != len(self._own):
                raise ValueError(f"entries of {key}")
            for p, x in zip(self._own, state[key]):
                if key == "steps":
                    fine = type(x) is int and x >= 0
                else:
                    fine = isinstance(x, Tensor) and x.dtype == torch.float32 and x.shape == p.shape
                if not fine:
                    raise ValueError(f"an entry of {key}")
        self._t = list(state["steps"])
        for i, p in enumerate(self._own):
            self._slice(self._m, i).view(p.shape).copy_(state["m"][i])
            self._slice(self._v, i).view(p.shape).copy_(state["v"][i])
            if p.dtype in HALF_DTYPES:
                self._slice(self._w, i).view(p.shape).copy_(state["master"][i])
            p.copy_(state["master"][i])
