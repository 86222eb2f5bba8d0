# base: flat_blocks
# bug: p is used in a pass in no_sync() but not in the last pass: the mean of what has added up is due; it becomes zeros on all ranks
# problem: DDP
# says: "The mean is that of `average_gradients`, of all that `grad` has added up since the caller cleared it, from passes in `no_sync()` too."


class DDP(nn.Module):
    """Preallocated flat buckets with views; gradients are copied in when they arrive."""

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        if bucket_bytes < 1:
            raise ValueError(f"bucket_bytes is {bucket_bytes}")
        super().__init__()
        self.module = module
        self._params = [p for p in module.parameters() if p.requires_grad][::-1]
        if not self._params:
            raise ValueError("nothing to train")
        self._quiet = 0
        open_: dict[torch.dtype, list[int]] = {}  # one open bucket per dtype
        closed: list[list[int]] = []
        filled: dict[torch.dtype, int] = {}
        for i, p in enumerate(self._params):
            size = p.numel() * p.element_size()
            if p.dtype in open_ and filled[p.dtype] + size > bucket_bytes:
                closed.append(open_.pop(p.dtype))
            if p.dtype not in open_:
                open_[p.dtype], filled[p.dtype] = [], 0
            open_[p.dtype].append(i)
            filled[p.dtype] += size
        closed += open_.values()
        closed.sort(key=lambda members: members[-1])
        self._members = closed
        self._flat = []
        self._view: dict[int, Tensor] = {}
        self._home = [0] * len(self._params)
        for b, members in enumerate(closed):
            sizes = [self._params[i].numel() for i in members]
            flat = torch.zeros(sum(sizes), dtype=self._params[members[0]].dtype)
            self._flat.append(flat)
            for i, view in zip(members, flat.split(sizes), strict=True):
                self._view[i] = view.view(self._params[i].shape)
                self._home[i] = b
        self._begin()
        for i, p in enumerate(self._params):
            p.register_post_accumulate_grad_hook(lambda p, i=i: self._arrive(i, p))

    def _begin(self) -> None:
        self._here = torch.zeros(len(self._params), dtype=torch.bool)
        self._sent: list[Any] = []

    def _arrive(self, i: int, param: Tensor) -> None:
        if self._quiet:
            return
        self._view[i].copy_(param.grad)
        self._here[i] = True
        self._send(force=False)

    def _send(self, *, force: bool) -> None:
        for b in range(len(self._sent), len(self._flat)):
            if not force and not bool(self._here[self._members[b]].all()):
                return
            self._sent.append(dist.all_reduce(self._flat[b], async_op=True))

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Any:
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    @torch.no_grad()
    def finish_backward(self) -> None:
        for i, p in enumerate(self._params):
            if not self._here[i]:
                self._view[i].zero_()
        self._send(force=True)
        used = torch.tensor([p.grad is not None for p in self._params]).to(torch.uint8)
        work = dist.all_reduce(used, op=dist.ReduceOp.MAX, async_op=True)
        for flat, sent in zip(self._flat, self._sent, strict=True):
            sent.wait()
            flat.div_(dist.get_world_size())
        work.wait()
        for i, p in enumerate(self._params):
            if used[i]:
                if p.grad is None:
                    p.grad = torch.empty_like(p)
                p.grad.copy_(self._view[i])
        self._begin()
