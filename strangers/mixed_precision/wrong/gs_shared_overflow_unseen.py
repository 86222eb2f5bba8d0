# base: dataclasses_style
# bug: optimizers a and b share a parameter whose gradient is inf; step(a), step(b): right: both skip; wrong: b takes its step, since it asks only what it divided itself
# problem: GradScaler
# says: "Whether an optimizer overflows is asked of its divided gradients."


class GradScaler:
    def __init__(
        self,
        *,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        ranges = {
            "init_scale": 1 <= init_scale <= 2**24,
            "growth_factor": growth_factor > 1,
            "backoff_factor": 0 < backoff_factor < 1,
            "growth_interval": growth_interval >= 1,
        }
        for name, fine in ranges.items():
            if not fine:
                raise ValueError(f"{name} is out of its range")
        self._scale = float(init_scale)
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._good_rounds = 0
        self._round = Round()

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        factor = torch.tensor(self._scale, dtype=torch.float32, device=loss.device)
        return loss.to(torch.float32) * factor

    def unscale_(self, optimizer: Any) -> None:
        if self._round.turn(optimizer):
            raise RuntimeError("once per round")
        parameters = gradients_to_unscale(optimizer)
        overflow = False
        for p in parameters:
            if id(p) not in self._round.divided:
                divide_(p.grad, self._scale)
                self._round.divided[id(p)] = p
                overflow = overflow or overflows(p.grad)
        self._round.turns.append(Turn(optimizer, overflow, bool(parameters)))

    def step(self, optimizer: Any) -> bool:
        turn = self._round.turn(optimizer)
        if turn is None:
            self.unscale_(optimizer)
            turn = self._round.turns[-1]
        elif turn.stepped:
            raise RuntimeError("one step per round")
        turn.stepped = True
        if turn.overflow:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        turns = self._round.turns
        if not turns:
            raise RuntimeError("no round")
        if any(t.overflow for t in turns):
            self._scale = max(self._scale * self._backoff_factor, 1.0)
            self._good_rounds = 0
        elif any(t.had_gradient for t in turns):
            self._good_rounds += 1
            if self._good_rounds >= self._growth_interval:
                self._good_rounds = 0
                self._scale = min(self._scale * self._growth_factor, float(2**24))
        self._round = Round()

    def state_dict(self) -> dict[str, float | int]:
        return {"scale": self._scale, "good_rounds": self._good_rounds}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        if sorted(state) != ["good_rounds", "scale"]:
            raise ValueError("keys")
        scale, good = state["scale"], state["good_rounds"]
        if not (1 <= scale <= 2**24) or not good >= 0:
            raise ValueError("range")
        self._scale, self._good_rounds, self._round = float(scale), int(good), Round()
