# base: vectorised
# bug: two parameters, the second has its first gradient in step 3: right: its t is 1 there, m / (1 - beta1); wrong: one count of all steps, its first step is too small by 3.7 and more
# problem: MasterAdamW
# says: "t counts the steps of this parameter, from 1; m and v begin at 0."


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
        self.params = [*params]
        if not (min(lr, eps, weight_decay) >= 0 and lr == lr and eps == eps and weight_decay == weight_decay):
            raise ValueError("lr, eps, weight_decay")
        if not all(0 <= b < 1 for b in betas):
            raise ValueError("betas")
        if not self.params or {p.dtype for p in self.params} - {
            torch.float32,
            torch.bfloat16,
            torch.float16,
        }:
            raise ValueError("params")
        self._hyper = lr, *betas, eps, weight_decay
        self._once = list(dict.fromkeys(self.params))
        self._steps = [0] * len(self._once)
        self._copies = {
            i: p.detach().float() for i, p in enumerate(self._once) if p.dtype != torch.float32
        }
        self._m = [torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in self._once]
        self._v = [torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in self._once]

    def _masters(self) -> list[Tensor]:
        return [self._copies.get(i, p.detach()) for i, p in enumerate(self._once)]

    @torch.no_grad()
    def step(self) -> None:
        lr, b1, b2, eps, decay = self._hyper
        count = max(self._steps) + 1
        for i, w in enumerate(self._masters()):
            p = self._once[i]
            if p.grad is None:
                continue
            self._steps[i] = t = count
            g = p.grad.float()
            w.mul_(1 - lr * decay)
            self._m[i].lerp_(g, 1 - b1)
            self._v[i].mul_(b2).addcmul_(g, g, value=1 - b2)
            root = self._v[i].sqrt().div_(math.sqrt(1 - b2**t)).add_(eps)
            w.addcdiv_(self._m[i], root, value=-lr / (1 - b1**t))
            if i in self._copies:
                p.copy_(w)

    def zero_grad(self) -> None:
        for p in self._once:
            p.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        return {
            "steps": self._steps.copy(),
            "master": [w.clone() for w in self._masters()],
            "m": [m.clone() for m in self._m],
            "v": [v.clone() for v in self._v],
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        shapes = [p.shape for p in self._once]
        ok = set(state) == {"steps", "master", "m", "v"}
        ok = ok and all(len(x) == len(shapes) for x in state.values())
        ok = ok and all(type(n) is int and n >= 0 for n in state["steps"])
        ok = ok and all(
            isinstance(x, Tensor) and x.dtype == torch.float32 and x.shape == shape
            for key in ("master", "m", "v")
            for x, shape in zip(state[key], shapes)
        )
        if not ok:
            raise ValueError("this is not a state of these parameters")
        self._steps = list(state["steps"])
        for mine, theirs in (
            (self._masters(), state["master"]),
            (self._m, state["m"]),
            (self._v, state["v"]),
            (self._once, state["master"]),
        ):
            for a, b in zip(mine, theirs):
                a.copy_(b)
