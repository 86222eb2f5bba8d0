# base: all_to_all
# bug: one pass in no_sync(), then one outside: the mean of the sum of both; buckets look complete before their gradients have come, and leave with the first pass alone for all but the parameter that comes first
# problem: DDP
# says: "any number of passes that only add up"


class DDP(nn.Module):
    """Bins of parameters and a counter of the next one to leave."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        super().__init__()
        if bucket_bytes < 1:
            raise ValueError(f"bucket_bytes must be at least 1, not {bucket_bytes}")
        if not any(p.requires_grad for p in module.parameters()):
            raise ValueError("no parameter requires a gradient")
        self.module = module
        self._bins = [_Bin()]
        self._next = 0
        self._sync = True
        for param in reversed([p for p in module.parameters() if p.requires_grad]):
            bin_ = self._bins[-1]
            other = bool(bin_.params) and bin_.params[0].dtype != param.dtype
            if bin_.params and (other or bin_.nbytes + param.nbytes > bucket_bytes):
                bin_ = _Bin()
                self._bins.append(bin_)
            bin_.put(param)
            param.register_post_accumulate_grad_hook(self._make_hook(bin_))

    def _make_hook(self, bin_: _Bin) -> Any:
        def hook(_: Tensor) -> None:
            bin_.missing -= 1
            if self._sync:
                self._advance(lambda one: one.missing <= 0)

        return hook

    @torch.no_grad()
    def _advance(self, may_go: Any) -> None:
        while self._next < len(self._bins) and may_go(self._bins[self._next]):
            self._bins[self._next].go()
            self._next += 1

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Any:
        before = self._sync
        self._sync = False
        try:
            yield
        finally:
            self._sync = before

    @torch.no_grad()
    def finish_backward(self) -> None:
        self._advance(lambda _: True)
        everyone = [p for bin_ in self._bins for p in bin_.params]
        used = iter(_used_anywhere([p.grad is not None for p in everyone]))
        for bin_ in self._bins:
            bin_.work.wait()
            parts = bin_.flat.div_(dist.get_world_size()).split([p.numel() for p in bin_.params])
            for param, part in zip(bin_.params, parts, strict=True):
                if next(used):
                    param.grad = part.view(param.shape).clone()
            bin_.reset()
        self._next = 0
