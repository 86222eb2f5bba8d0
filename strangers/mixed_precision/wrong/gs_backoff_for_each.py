# base: plain_loops
# bug: two optimizers overflow in a round, scale 65536: right: 32768; wrong: 16384, one backoff for each of them
# problem: GradScaler
# says: "scale × `backoff_factor`, once, and not below 1"


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not 1 <= init_scale <= 2**24:
            raise ValueError("init_scale")
        if not growth_factor > 1:
            raise ValueError("growth_factor")
        if not 0 < backoff_factor < 1:
            raise ValueError("backoff_factor")
        if not growth_interval >= 1:
            raise ValueError("growth_interval")
        self._scale = float(init_scale)
        self._growth, self._backoff, self._interval = growth_factor, backoff_factor, growth_interval
        self._good = 0
        self._begin()

    def _begin(self) -> None:
        self._divided = []  # parameters
        self._unscaled = []  # (optimizer, overflows, has gradients)
        self._stepped = []

    def _record(self, optimizer):
        for entry in self._unscaled:
            if entry[0] is optimizer:
                return entry
        return None

    def _was_stepped(self, optimizer) -> bool:
        for o in self._stepped:
            if o is optimizer:
                return True
        return False

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        return loss.to(torch.float32) * self._scale

    def unscale_(self, optimizer: Any) -> None:
        if self._record(optimizer) is not None:
            raise RuntimeError("unscaled or stepped already")
        with_gradient = []
        for p in _unique(optimizer.params):
            if p.grad is not None:
                if p.grad.dtype not in (torch.float32, torch.bfloat16):
                    raise ValueError(f"gradient in {p.grad.dtype}")
                with_gradient.append(p)
        overflow = False
        done = set(id(p) for p in self._divided)
        for p in with_gradient:
            if id(p) not in done:
                _divide_(p.grad, self._scale)
                self._divided.append(p)
            if _overflows(p.grad):
                overflow = True
        self._unscaled.append((optimizer, overflow, len(with_gradient) > 0))

    def step(self, optimizer: Any) -> bool:
        if self._was_stepped(optimizer):
            raise RuntimeError("stepped already")
        if self._record(optimizer) is None:
            self.unscale_(optimizer)
        self._stepped.append(optimizer)
        if self._record(optimizer)[1]:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        if not self._unscaled:
            raise RuntimeError("nothing was unscaled or stepped")
        any_overflow = any_gradient = False
        for _, overflow, has in self._unscaled:
            any_overflow = any_overflow or overflow
            any_gradient = any_gradient or has
        if any_overflow:
            for _, overflow, _ in self._unscaled:
                if overflow:
                    self._scale = max(1.0, self._scale * self._backoff)
            self._good = 0
        elif any_gradient:
            self._good += 1
            if self._good >= self._interval:
                self._scale = min(2.0**24, self._scale * self._growth)
                self._good = 0
        self._begin()

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) != {"scale", "good_rounds"}:
            raise ValueError("keys")
        if not 1 <= state["scale"] <= 2**24:
            raise ValueError("scale")
        if not state["good_rounds"] >= 0:
            raise ValueError("good_rounds")
        self._scale, self._good = float(state["scale"]), int(state["good_rounds"])
        self._begin()
