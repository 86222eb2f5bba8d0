# base: plain_loops
# bug: matmul(float64, float32) or linear(float64 x, float32 w): right: nothing is cast, run gets float64 and float32; wrong: both become low, since only all-float64 counts
# problem: autocast_forward
# says: "If one of them is float64, nothing is cast."


def _target(op: str, dtypes: set, low: torch.dtype):
    """The dtype that half tensors (and for "low" all) become; None: nothing is cast."""
    if not dtypes or dtypes == {torch.float64}:
        return None
    policy = cast_policy(op)
    if policy == "low":
        return low
    if policy == "float32":
        return torch.float32
    if len(dtypes) == 1:
        return None
    return torch.float32
