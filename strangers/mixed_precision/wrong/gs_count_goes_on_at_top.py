# base: vectorised
# bug: scale 2**24, growth_interval 3, three good rounds: right: good_rounds is 0 again; wrong: 3, counted on where the scale cannot grow
# problem: GradScaler
# says: "starts again at 0, also where the scale cannot grow."


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not (
            1 <= init_scale <= 2**24
            and growth_factor > 1
            and 0 < backoff_factor < 1
            and growth_interval >= 1
        ):
            raise ValueError("a number is out of its range")
        self._state = {"scale": float(init_scale), "good_rounds": 0}
        self._factors = growth_factor, backoff_factor, growth_interval
        self._reset()

    def _reset(self) -> None:
        self._divided: set[Parameter] = set()
        self._round: dict[int, dict] = {}

    def get_scale(self) -> float:
        return self._state["scale"]

    def scale(self, loss: Tensor) -> Tensor:
        return torch.mul(loss.float(), self._state["scale"])

    def unscale_(self, optimizer: Any) -> None:
        if id(optimizer) in self._round:
            raise RuntimeError("this optimizer was unscaled or stepped in this round")
        gradients = _gradients(optimizer)
        _divide_all([g for p, g in gradients.items() if p not in self._divided], self.get_scale())
        self._divided |= set(gradients)
        self._round[id(optimizer)] = {
            "optimizer": optimizer,  # kept alive, so that its id is its own
            "overflow": _any_overflow(gradients.values()),
            "any": bool(gradients),
            "stepped": False,
        }

    def step(self, optimizer: Any) -> bool:
        if self._round.get(id(optimizer), {"stepped": False})["stepped"]:
            raise RuntimeError("this optimizer was stepped in this round")
        if id(optimizer) not in self._round:
            self.unscale_(optimizer)
        mine = self._round[id(optimizer)]
        mine["stepped"] = True
        if not mine["overflow"]:
            optimizer.step()
        return not mine["overflow"]

    def update(self) -> None:
        if not self._round:
            raise RuntimeError("no optimizer in this round")
        growth, backoff, interval = self._factors
        scale, good = self._state["scale"], self._state["good_rounds"]
        if any(r["overflow"] for r in self._round.values()):
            scale, good = max(scale * backoff, 1.0), 0
        elif any(r["any"] for r in self._round.values()):
            good += 1
            if good >= interval and scale < 2.0**24:
                scale, good = min(scale * growth, 2.0**24), 0
        self._state = {"scale": scale, "good_rounds": good}
        self._reset()

    def state_dict(self) -> dict[str, float | int]:
        return dict(self._state)

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if state.keys() != self._state.keys():
            raise ValueError("keys")
        if not (1 <= state["scale"] <= 2**24 and state["good_rounds"] >= 0):
            raise ValueError("numbers")
        self._state = {"scale": float(state["scale"]), "good_rounds": int(state["good_rounds"])}
        self._reset()
