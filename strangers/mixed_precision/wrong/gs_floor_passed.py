# base: functional
# bug: scale 1.5 and backoff 0.5 (init_scale 3, two overflows): right: 1; wrong: 0.75, the floor is asked before the product
# problem: GradScaler
# says: "once, and not below 1"


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not all(
            (
                1 <= init_scale <= 2**24,
                growth_factor > 1,
                0 < backoff_factor < 1,
                growth_interval >= 1,
            )
        ):
            raise ValueError("out of range")

        def bad(scale, good):
            return (scale * backoff_factor if scale > 1 else scale), 0

        def fine(scale, good):
            if good + 1 >= growth_interval:
                return min(2.0**24, scale * growth_factor), 0
            return scale, good + 1

        self._transitions = {"bad": bad, "good": fine, "neither": lambda s, g: (s, g)}
        self._now = float(init_scale), 0
        self._forget()

    def _forget(self) -> None:
        self._parts: list[tuple[Any, str]] = []
        self._done: list[Any] = []
        self._divided: set[Parameter] = set()

    def get_scale(self) -> float:
        return self._now[0]

    def scale(self, loss: Tensor) -> Tensor:
        return loss.type(torch.float32).mul(self._now[0])

    def _part(self, optimizer: Any) -> list[str]:
        return [kind for o, kind in self._parts if o is optimizer]

    def unscale_(self, optimizer: Any) -> None:
        if self._part(optimizer):
            raise RuntimeError("already unscaled or stepped")
        pairs = _checked(optimizer)
        for p, g in pairs:
            if p not in self._divided:
                _unscale(g, self._now[0])
        self._divided.update(p for p, _ in pairs)
        kind = "neither" if not pairs else "bad" if any(_over(g) for _, g in pairs) else "good"
        self._parts.append((optimizer, kind))

    def step(self, optimizer: Any) -> bool:
        if any(o is optimizer for o in self._done):
            raise RuntimeError("already stepped")
        if not self._part(optimizer):
            self.unscale_(optimizer)
        self._done.append(optimizer)
        go = self._part(optimizer) != ["bad"]
        if go:
            optimizer.step()
        return go

    def update(self) -> None:
        if not self._parts:
            raise RuntimeError("nothing to update from")
        kinds = {kind for _, kind in self._parts}
        kind = next(k for k in ("bad", "good", "neither") if k in kinds)
        self._now = self._transitions[kind](*self._now)
        self._forget()

    def state_dict(self) -> dict[str, float | int]:
        return dict(zip(("scale", "good_rounds"), self._now))

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) ^ {"scale", "good_rounds"}:
            raise ValueError("keys")
        if not (1 <= state["scale"] <= 2**24 and 0 <= state["good_rounds"]):
            raise ValueError("numbers")
        self._now = float(state["scale"]), int(state["good_rounds"])
        self._forget()
