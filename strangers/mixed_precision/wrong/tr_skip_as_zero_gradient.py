# base: generators
# bug: float16 with a scale that overflows in the first steps: right: skipped steps leave no moment and no count; wrong: gradients are set to 0 and AdamW takes its step (decay, count, moments)
# problem: train
# says: "A step whose gradients overflow is skipped, and the scale is halved, not below 1; it does not grow."


def _training(model, parameters, batches, low, lr, weight_decay, max_norm, scale) -> Iterator[float]:
    wanting = [p for p in parameters if p.requires_grad]
    masters = {p: Parameter(p.detach().float()) for p in wanting}
    optimizer = MasterAdamW(masters.values(), lr=lr, weight_decay=weight_decay) if masters else None
    with _policy(model, low) as under:
        for pieces in batches:
            loss, gradients = accumulate(under, pieces, scale=scale)
            yield float(loss)
            if optimizer is None:
                continue
            for p, g in zip(parameters, gradients):
                if p in masters:
                    masters[p].grad = g
            if not clip_and_step(optimizer, 1.0, max_norm)[1]:
                scale = max(scale / 2, 1.0)
                for master in masters.values():
                    if master.grad is not None:
                        master.grad.zero_()
                optimizer.step()
            with torch.no_grad():
                for p, master in masters.items():
                    p.copy_(master)
