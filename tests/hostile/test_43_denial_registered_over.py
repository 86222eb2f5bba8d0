"""Register over the denial: fall through it, replace it, take it back as a library of one's own.

Removing a registration restores the kernel below it; the denial's own is never removed."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL, WAYS

ATTACK = """
import gc
from torch.library import Library, fallthrough_kernel

KEYS = ("CPU", "AutogradCPU", "Autograd", "CompositeExplicitAutograd", "ADInplaceOrView")
KEPT = []

@way
def fall_through(a, b):
    for key in KEYS:
        library = Library("aten", "IMPL")
        KEPT.append(library)
        try:
            library.impl("mm", fallthrough_kernel, key)
        except BaseException:
            continue
    with torch.inference_mode():
        return torch.mm(a, b)

@way
def replace_and_take_back(a, b):
    library = Library("aten", "IMPL")
    library.impl("mm", lambda x, y: None, "CPU", allow_override=True)
    library._destroy()
    return torch.mm(a, b)

@way
def reset_every_library(a, b):
    for library in KEPT:
        library._destroy()
    for kind in ("IMPL", "FRAGMENT"):
        raw = torch._C._dispatch_library(kind, "aten", "", __file__, 0)
        raw.reset()
    return torch.mm(a, b)

@way
def redirect(a, b):
    library = Library("aten", "IMPL")
    KEPT.append(library)
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradCPU)
    library.impl("mm", lambda x, y: torch.ops.aten.mm.default.redispatch(key, x, y), "CPU")
    return torch.mm(a, b)

@way
def fallback_for_the_key(a, b):
    raw = torch._C._dispatch_library("IMPL", "_", "CPU", __file__, 0)
    KEPT.append(raw)
    raw.fallback_fallthrough("CPU")
    return torch.mm(a, b)
"""


def test_no_way_leads_through(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + WAYS + ATTACK)
    assert "THROUGH" not in result.output, result.output
    assert result.output.count("stopped") > ATTACK.count("@way")
    assert result.cause("product") is Cause.FORBIDDEN, result.finding("product")
