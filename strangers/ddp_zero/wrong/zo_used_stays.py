# base: all_to_all
# bug: stage 2: p is used in step 1 and by no rank in step 2: it is left alone; it decays and its momentum moves it (stage 1 is right)
# problem: ZeroOptimizer
# says: "A parameter that no rank has a gradient of is left alone, without decay, and its t does not move."


class ZeroOptimizer:
    """A list of entries, one per parameter."""

    def __init__(
        self,
        params: Iterable[Any],
        *,
        stage: int = 1,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if stage not in {1, 2}:
            raise ValueError("stage must be 1 or 2")
        self._defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self._sharded = stage == 2
        self._entries: list[_Entry] = []
        self.param_groups: list[dict[str, Any]] = []
        for group in _all_checked(params, self._defaults):
            self._append(group)

    def _append(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        for param in group["params"]:
            cuts = [*range(0, param.numel(), 200_000), param.numel()]
            pieces = [_Piece(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if b > a]
            entry = _Entry(param, group, pieces)
            self._entries.append(entry)
            if self._sharded and param.requires_grad:
                param.register_post_accumulate_grad_hook(self._hook(entry))

    def _hook(self, entry: _Entry) -> Any:
        @torch.no_grad()
        def hook(_: Tensor) -> None:
            entry.arrived = True
            for other in reversed(self._entries):
                if other.param.requires_grad and not other.arrived:
                    break
                if not other.reduced:
                    other.reduce()

        return hook

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._append(_checked(group, self._defaults, [entry.param for entry in self._entries]))

    @torch.no_grad()
    def finish_backward(self) -> None:
        if self._sharded:
            for entry in reversed(self._entries):
                if not entry.reduced:
                    entry.reduce()
            for entry in self._entries:
                entry.arrived = entry.reduced = False

    @torch.no_grad()
    def step(self) -> None:
        here = [
            e.param.requires_grad and (e.used if self._sharded else e.param.grad is not None)
            for e in self._entries
        ]
        for entry, used in zip(self._entries, _used_anywhere(here), strict=True):
            if used:
                entry.step(sharded=self._sharded)

    def zero_grad(self) -> None:
        for entry in self._entries:
            entry.param.grad = None
            for piece in entry.pieces:
                piece.g = None

    def state_dict(self) -> dict[str, Any]:
        state = {
            i: {"step": e.t, "exp_avg": e.whole("m"), "exp_avg_sq": e.whole("v")}
            for i, e in enumerate(self._entries)
            if e.t
        }
        if dist.get_rank():
            return {}
        return {"state": state, "param_groups": _numbered(self.param_groups)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        _check_saved(state_dict, self.param_groups)
        _take_options(state_dict, self.param_groups)
        for i, entry in enumerate(self._entries):
            saved = state_dict["state"].get(i)
            entry.t = int(saved["step"]) if saved else 0
            for piece in entry.pieces:
                piece.m = piece.v = None
                if saved:
                    piece.m, piece.v = (
                        _padded(
                            saved[key].detach().reshape(-1)[piece.begin : piece.end].to(entry.param.dtype)
                        )[dist.get_rank()].clone()
                        for key in ("exp_avg", "exp_avg_sq")
                    )
