"""Hunt for what could undo the denial: its handles, its module, frames, finalizers.

No object of the process refers to a handle any more."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL, WAYS

ATTACK = """
import gc, sys, warnings, weakref

warnings.simplefilter("ignore")

@way
def handles_among_all_objects(a, b):
    own = torch._C._dispatch_library("IMPL", "aten", "", __file__, 0)
    kind = type(own)
    for found in gc.get_objects():
        held = vars(found).values() if hasattr(found, "__dict__") else ()
        for one in (found, *gc.get_referents(found), *held):
            if type(one) is kind and one is not own:
                one.reset()
    return a @ b

@way
def frames(a, b):
    frame = sys._getframe()
    own = torch._C._dispatch_library("IMPL", "aten", "", __file__, 0)
    while frame is not None:
        for local in list(frame.f_locals.values()):
            denials = getattr(local, "_denials", local)
            for handle in getattr(denials, "_handles", ()):
                handle.reset()
            if hasattr(denials, "install"):
                denials.install(("aten::mm",))
                denials.install(())
        frame = frame.f_back
    return a @ b

@way
def the_modules_of_the_worker(a, b):
    for name, module in list(sys.modules.items()):
        for value in list(vars(module).values()):
            if type(value).__name__ == "Denials":
                value.install(())
    (denial,) = [m for name, m in sys.modules.items() if name.endswith("runner.denial")]
    fresh = denial.Denials()
    fresh.install(())
    fresh.install(("aten::mm",))
    fresh.install(())
    denial._Refusal.__call__ = lambda self, *rest, **more: None
    return a @ b

@way
def finalizers(a, b):
    for found in gc.get_objects():
        if type(found) is weakref.finalize:
            found()
    gc.collect()
    return a @ b
"""


def test_no_way_leads_through(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + WAYS + ATTACK)
    assert "THROUGH" not in result.output, result.output
    assert result.output.count("stopped") > ATTACK.count("@way")
    assert result.cause("product") is Cause.FORBIDDEN, result.finding("product")
