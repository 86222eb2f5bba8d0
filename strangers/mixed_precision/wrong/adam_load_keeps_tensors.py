# base: dataclasses_style
# bug: load_state_dict(state), then a step: right: the tensors of `state` stay as they were; wrong: m and v of the state are the optimizer's own and move with it
# problem: MasterAdamW
# says: "what you return or store shares no memory with them"


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
        self._hyper = Hyper(lr, tuple(betas), eps, weight_decay)
        self.params = list(params)
        if len(self.params) == 0:
            raise ValueError("no parameter")
        if any(p.dtype not in (torch.float32, torch.bfloat16, torch.float16) for p in self.params):
            raise ValueError("dtype")
        by_id = {id(p): p for p in self.params}
        self._slots = [Slot(p) for p in by_id.values()]

    def step(self) -> None:
        with torch.no_grad():
            for slot in self._slots:
                slot.advance(self._hyper)

    def zero_grad(self) -> None:
        for slot in self._slots:
            slot.parameter.grad = None

    def state_dict(self) -> dict[str, list[Any]]:
        return {
            "steps": [s.t for s in self._slots],
            "master": [s.w.clone() for s in self._slots],
            "m": [s.m.clone() for s in self._slots],
            "v": [s.v.clone() for s in self._slots],
        }

    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        if sorted(state) != ["m", "master", "steps", "v"]:
            raise ValueError("keys")
        if {len(x) for x in state.values()} != {len(self._slots)}:
            raise ValueError("lengths")
        rows = list(zip(self._slots, state["steps"], state["master"], state["m"], state["v"]))
        for slot, t, *tensors in rows:
            if not isinstance(t, int) or isinstance(t, bool) or t < 0:
                raise ValueError("steps")
            for x in tensors:
                if not isinstance(x, Tensor):
                    raise ValueError("no tensor")
                if x.dtype != torch.float32 or x.shape != slot.parameter.shape:
                    raise ValueError("dtype or shape")
        with torch.no_grad():
            for slot, t, w, m, v in rows:
                slot.t = t
                slot.w.copy_(w)
                slot.m, slot.v = m.detach(), v.detach()
                slot.publish()
