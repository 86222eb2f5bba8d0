"""Find a kernel that the denial forgot: every key of the dispatcher, modes, threads, layouts."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL, WAYS

ATTACK = """
import os, threading
from torch import _C

mm = torch.ops.aten.mm.default

def find(functions, a):
    # each in a fork: a kernel for another key may end the process
    for function in functions:
        pid = os.fork()
        if pid == 0:
            try:
                got = function()
                os._exit(0 if type(got) is torch.Tensor and got.device == a.device else 1)
            except BaseException:
                os._exit(1)
        if os.waitpid(pid, 0)[1] == 0:
            return function()
    raise RuntimeError("none of them")

@way
def redispatch_to_every_key(a, b):
    sets = [_C.DispatchKeySet(key) for key in _C.DispatchKey.__members__.values()]
    return find([lambda keys=keys: mm.redispatch(keys, a, b) for keys in sets], a)

@way
def every_kernel(a, b):
    here = _C.DispatchKeySet(_C.DispatchKey.CPU)
    return find(
        [lambda key=key: torch.library.get_kernel("aten::mm", key).call_boxed(here, a, b)
         for key in _C.DispatchKey.__members__],
        a,
    )

@way
def below_the_keys(a, b):
    with _C._ExcludeDispatchKeyGuard(_C._dispatch_keyset_full()):
        return torch.mm(a, b)

@way
def below_autograd(a, b):
    with torch.inference_mode(), _C._AutoDispatchBelowAutograd():
        return torch.mm(a, b)

@way
def boxed(a, b):
    return _C._dispatch_call_boxed(_C._dispatch_find_schema_or_throw("aten::mm", ""), a, b)

@way
def thread(a, b):
    found = []
    runner = threading.Thread(target=lambda: found.append(torch.mm(a, b)))
    runner.start()
    runner.join()
    return found[0]

@way
def other_layouts(a, b):
    return torch.mm(a.to_mkldnn(), b.to_mkldnn()).to_dense()

@way
def subclass(a, b):
    class Mine(torch.Tensor):
        pass
    return (a.as_subclass(Mine) @ b.as_subclass(Mine)).as_subclass(torch.Tensor)

@way
def mode(a, b):
    from torch.utils._python_dispatch import TorchDispatchMode
    class Mine(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))
    with Mine():
        return torch.mm(a, b)

@way
def autocast(a, b):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return torch.mm(a, b).float()

@way
def references(a, b):
    import torch._refs, torch._decomp
    for operator, function in torch._decomp.decomposition_table.items():
        if str(operator) == "aten.mm.default":
            return function(a, b)
    return torch._refs.sum(torch._refs.mul(a[:, :, None], b[None]), dim=1)
"""


def test_no_way_leads_through(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + WAYS + ATTACK)
    assert "THROUGH" not in result.output, result.output
    assert result.output.count("stopped") > ATTACK.count("@way")
    assert result.cause("product") is Cause.FORBIDDEN, result.finding("product")
