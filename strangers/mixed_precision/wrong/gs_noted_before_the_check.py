# base: recursive_enum
# bug: unscale_ of an optimizer with a float16 gradient: right: ValueError, and after the gradient is replaced unscale_ works, update() alone raises RuntimeError; wrong: the refused call counts as unscaled
# problem: GradScaler
# says: "and a call that raises leaves everything as it was."


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        self._scale, self._good_rounds = float(init_scale), 0
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._reset()
        if not (1 <= self._scale <= 2**24):
            raise ValueError("init_scale")
        if not growth_factor > 1:
            raise ValueError("growth_factor")
        if not 0 < backoff_factor < 1:
            raise ValueError("backoff_factor")
        if not growth_interval >= 1:
            raise ValueError("growth_interval")

    def _reset(self) -> None:
        self._status: dict[int, S] = {}
        self._alive: list[Any] = []  # so that no id is given to another
        self._clean: dict[int, bool] = {}
        self._divided: dict[int, Parameter] = {}

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        return loss.float().multiply(self._scale)

    def unscale_(self, optimizer: Any) -> None:
        key = id(optimizer)
        if key in self._status:
            raise RuntimeError(f"{self._status[key].name} already")
        self._alive.append(optimizer)
        self._status[key] = S.unscaled
        owners = _owners(optimizer)
        _refuse_half(owners)
        for p in owners:
            if id(p) not in self._divided:
                self._divided[id(p)] = p
                _divide(p, self._scale)
        self._clean[key] = _finite([p.grad for p in owners])

    def step(self, optimizer: Any) -> bool:
        key = id(optimizer)
        match self._status.get(key):
            case S.stepped:
                raise RuntimeError("stepped already")
            case None:
                self.unscale_(optimizer)
        self._status[key] = S.stepped
        if self._clean[key]:
            optimizer.step()
        return self._clean[key]

    def update(self) -> None:
        if not self._status:
            raise RuntimeError("update comes after unscale_ or step")
        if not all(self._clean.values()):
            self._scale = max(1.0, self._scale * self._backoff_factor)
            self._good_rounds = 0
        elif self._divided:
            self._good_rounds += 1
            if self._good_rounds >= self._growth_interval:
                self._scale = min(float(2**24), self._scale * self._growth_factor)
                self._good_rounds = 0
        self._reset()

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good_rounds}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if set(state) != {"scale", "good_rounds"}:
            raise ValueError("keys")
        scale, good = state["scale"], state["good_rounds"]
        if not (1 <= scale <= 2**24 and good >= 0):
            raise ValueError("out of range")
        self._scale, self._good_rounds = float(scale), int(good)
        self._reset()
