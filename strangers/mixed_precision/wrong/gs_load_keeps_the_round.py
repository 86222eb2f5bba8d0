# base: preallocated
# bug: unscale_(optimizer), then load_state_dict: right: the round is forgotten, unscale_ may be called and divides, update() alone raises; wrong: RuntimeError at unscale_
# problem: GradScaler
# says: "a round that has begun is forgotten."


class GradScaler:
    __slots__ = ("_scale", "_up", "_down", "_interval", "_good", "_entries", "_divided")

    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not (init_scale >= 1 and init_scale <= 16777216):
            raise ValueError("init_scale")
        if not growth_factor > 1 or not growth_interval >= 1:
            raise ValueError("growth")
        if not (backoff_factor > 0 and backoff_factor < 1):
            raise ValueError("backoff_factor")
        self._scale, self._good = float(init_scale), 0
        self._up, self._down, self._interval = growth_factor, backoff_factor, growth_interval
        self._entries, self._divided = {}, {}

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        if loss.dtype != torch.float32:
            loss = loss.to(torch.float32)
        return loss * self._scale

    def unscale_(self, optimizer: Any) -> None:
        if id(optimizer) in self._entries:
            raise RuntimeError("twice in a round")
        gradients = _gradients(optimizer)
        fresh = {
            id(p): p
            for p in optimizer.params
            if p.grad is not None and id(p) not in self._divided
        }
        _divide_in_place([p.grad for p in fresh.values()], self._scale)
        self._divided |= fresh
        overflow = _count_overflows(gradients) > 0
        self._entries[id(optimizer)] = {"o": optimizer, "bad": overflow, "any": bool(gradients), "stepped": False}

    def step(self, optimizer: Any) -> bool:
        entry = self._entries.get(id(optimizer))
        if entry and entry["stepped"]:
            raise RuntimeError("stepped twice in a round")
        if not entry:
            self.unscale_(optimizer)
            entry = self._entries[id(optimizer)]
        entry["stepped"] = True
        if entry["bad"]:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        if len(self._entries) == 0:
            raise RuntimeError("nothing happened in this round")
        entries = self._entries.values()
        if sum(e["bad"] for e in entries):
            self._scale *= self._down
            if self._scale < 1:
                self._scale = 1.0
            self._good = 0
        elif sum(e["any"] for e in entries):
            self._good += 1
            if self._good >= self._interval:
                self._scale *= self._up
                if self._scale > 16777216:
                    self._scale = 16777216.0
                self._good = 0
        self._entries, self._divided = {}, {}

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) != set(self.state_dict()):
            raise ValueError("keys")
        scale, good = state["scale"], state["good_rounds"]
        if not (scale >= 1 and scale <= 16777216) or not good >= 0:
            raise ValueError("values")
        self._scale, self._good = float(scale), int(good)
