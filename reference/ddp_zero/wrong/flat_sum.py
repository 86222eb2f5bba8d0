# base = "solution"
# caught_by = "DDP.flat"
# cause = "wrong_value"
# also_fails = []

"""`average_gradients` forgets to divide by the number of ranks."""

# ruff: noqa: F821 - appended to solution.py


def average_gradients(module):
    params = [param for param in module.parameters() if param.requires_grad]
    used = dict(zip(params, _used_somewhere(params), strict=True))
    for bucket in [_Bucket(run) for run in _cut(params, limit_bytes=1 << 62)]:
        bucket.launch()
        bucket.wait()
        for param in bucket.params:
            bucket._views[param].mul_(dist.get_world_size())
            if used[param]:
                bucket.give_back(param)
