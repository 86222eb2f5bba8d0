# base: flat_blocks
# bug: p is first used in step 3: its t is 1 there; it gets t = 3 (bias correction and saved step are wrong)
# problem: ZeroOptimizer
# says: "with t the number of the parameter's own steps, this one included"


class ZeroOptimizer:
    """Windows over all parameters of a group, each cut into N shares."""

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
        items = list(params)
        if not items:
            raise ValueError("no parameters")
        if stage != 1 and stage != 2:
            raise ValueError("no such stage")
        self._two = stage == 2
        self._default = dict(zip(_NAMES, (lr, betas, eps, weight_decay), strict=True))
        self.param_groups: list[dict[str, Any]] = []
        self._all: list[Parameter] = []
        self._t: list[int] = []
        self._seen: list[bool] = []
        self._blocks: list[_Block] = []
        self._blocks_of: list[list[int]] = []
        dicts = items if isinstance(items[0], dict) else [{"params": items}]
        ready: list[dict[str, Any]] = []
        for item in dicts:
            ready.append(self._verify(item, [p for g in ready for p in g["params"]]))
        for item in ready:
            self._take(item)

    def _verify(self, group: dict[str, Any], before: list[Parameter]) -> dict[str, Any]:
        got = group["params"]
        got = [got] if isinstance(got, Tensor) else list(got)
        out = {"params": got} | {k: group[k] if k in group else self._default[k] for k in _NAMES}
        if len(got) == 0:
            raise ValueError("empty group")
        if len({id(p) for p in before + got}) < len(before) + len(got):
            raise ValueError("parameter twice")
        for k in ("lr", "eps", "weight_decay"):
            if not out[k] >= 0:
                raise ValueError(f"{k} is {out[k]}")
        b1, b2 = out["betas"]
        if not (0 <= b1 < 1 and 0 <= b2 < 1):
            raise ValueError(f"betas are {out['betas']}")
        return out

    def _take(self, group: dict[str, Any]) -> None:
        self.param_groups.append(group)
        block = None
        for p in group["params"]:
            number = len(self._all)
            self._all.append(p)
            self._t.append(0)
            self._seen.append(False)
            self._blocks_of.append([])
            at = 0
            while at < p.numel():
                if block is None or block.size == _BLOCK or block.dtype != p.dtype:
                    if block is not None:
                        block.close()
                    block = _Block(p.dtype)
                    self._blocks.append(block)
                count = min(p.numel() - at, _BLOCK - block.size)
                block.spans.append((number, at, count, block.size))
                self._blocks_of[number].append(len(self._blocks) - 1)
                block.size += count
                at += count
            if self._two and p.requires_grad:
                p.register_post_accumulate_grad_hook(lambda _, n=number: self._come(n))
        if block is not None:
            block.close()
        self._rewind()

    def _rewind(self) -> None:
        self._todo = len(self._blocks)  # blocks below this one are not reduced yet
        self._came = [False] * len(self._all)

    def add_param_group(self, group: dict[str, Any]) -> None:
        self._take(self._verify(group, self._all))

    def _come(self, number: int) -> None:
        self._came[number] = True
        while self._todo and all(
            self._came[n] or not self._all[n].requires_grad
            for n, *_ in self._blocks[self._todo - 1].spans
        ):
            self._reduce_last()

    @torch.no_grad()
    def _reduce_last(self) -> None:
        self._todo -= 1
        block = self._blocks[self._todo]
        numbers = [n for n, *_ in block.spans]
        if any(self._all[n].requires_grad for n in numbers):
            for n in numbers:
                self._seen[n] |= self._all[n].grad is not None and self._all[n].requires_grad
            mean = block.mean(lambda n: self._all[n].grad if self._all[n].requires_grad else None)
            block.grad = mean if block.grad is None else block.grad + mean
        for n in numbers:
            if self._blocks_of[n][0] == self._todo:  # the rest of it was reduced before
                self._all[n].grad = None

    def finish_backward(self) -> None:
        if not self._two:
            return
        while self._todo:
            self._reduce_last()
        for number, p in enumerate(self._all):
            if p.grad is not None:  # it has no numbers
                self._seen[number] = True
                p.grad = None
        self._rewind()

    @torch.no_grad()
    def step(self) -> None:
        here = [
            p.requires_grad and (seen if self._two else p.grad is not None)
            for p, seen in zip(self._all, self._seen, strict=True)
        ]
        used = torch.tensor(here).to(torch.uint8)
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        on = used.bool().tolist()
        self._t = [
            max(self._t) + 1 if flag else t for t, flag in zip(list(self._t), on, strict=True)
        ]
        options = [group for group in self.param_groups for _ in group["params"]]
        for block in self._blocks:
            if not any(on[n] for n, *_ in block.spans):
                continue
            grad = block.grad
            if not self._two:
                grad = block.mean(lambda n: self._all[n].grad if on[n] else None)
            if block.m is None:
                block.m = torch.zeros(block.share, dtype=block.dtype)
                block.v = torch.zeros(block.share, dtype=block.dtype)
            shard = block.part(block.fill(lambda n: self._all[n].detach()))
            for n, where in block.mine:
                if on[n]:
                    o, t = options[n], self._t[n]
                    self._adamw(shard[where], grad[where], block.m[where], block.v[where], o, t)
            flat = block.gather(shard)
            for n, begin, count, place in block.spans:
                if on[n]:
                    target = self._all[n].detach().view(-1)[begin : begin + count]
                    target.copy_(flat[place : place + count])

    @staticmethod
    def _adamw(p: Tensor, g: Tensor, m: Tensor, v: Tensor, o: dict[str, Any], t: int) -> None:
        b1, b2 = o["betas"]
        p.mul_(1 - o["lr"] * o["weight_decay"])
        m.lerp_(g, 1 - b1)
        v.mul_(b2).addcmul_(g, g, value=1 - b2)
        p.addcdiv_(m, (v / (1 - b2**t)).sqrt_().add_(o["eps"]), value=-o["lr"] / (1 - b1**t))

    def zero_grad(self) -> None:
        for p in self._all:
            p.grad = None
        for block in self._blocks:
            block.grad = None
        self._seen = [False] * len(self._all)

    def state_dict(self) -> dict[str, Any]:
        state: dict[int, dict[str, Any]] = {
            n: {
                "step": t,
                "exp_avg": torch.zeros(self._all[n].shape, dtype=self._all[n].dtype),
                "exp_avg_sq": torch.zeros(self._all[n].shape, dtype=self._all[n].dtype),
            }
            for n, t in enumerate(self._t)
            if t > 0
        }
        for block in self._blocks:
            if block.m is None:
                continue
            for key, shard in (("exp_avg", block.m), ("exp_avg_sq", block.v)):
                flat = block.gather(shard)
                for n, begin, count, place in block.spans:
                    if n in state:
                        target = state[n][key].view(-1)[begin : begin + count]
                        target.copy_(flat[place : place + count])
        groups, first = [], 0
        for group in self.param_groups:
            last = first + len(group["params"])
            groups.append({"params": list(range(first, last))} | {k: group[k] for k in _NAMES})
            first = last
        return {"state": state, "param_groups": groups} if dist.get_rank() == 0 else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        theirs, state = state_dict["param_groups"], state_dict["state"]
        if [len(g["params"]) for g in theirs] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("groups do not fit")
        if [n for g in theirs for n in g["params"]] != list(range(len(self._all))):
            raise ValueError("numbers do not fit")
        for n, entry in state.items():
            if n not in range(len(self._all)):
                raise ValueError(f"number {n} does not fit")
            shapes = {tuple(entry["exp_avg"].shape), tuple(entry["exp_avg_sq"].shape)}
            if shapes != {tuple(self._all[n].shape)}:
                raise ValueError(f"shapes of {n} do not fit")
        for own, their in zip(self.param_groups, theirs, strict=True):
            for k in _NAMES:
                own[k] = tuple(their[k]) if k == "betas" else their[k]
        self._t = [int(state[n]["step"]) if n in state else 0 for n in range(len(self._all))]
        for block in self._blocks:
            m = block.fill(lambda n: state[n]["exp_avg"] if n in state else None)
            v = block.fill(lambda n: state[n]["exp_avg_sq"] if n in state else None)
            block.m, block.v = block.part(m), block.part(v)
