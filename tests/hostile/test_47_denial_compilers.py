"""Let a compiler of torch's own compute: torch.compile, tensor expressions, graphs of torch.jit."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL, WAYS

ATTACK = (
    """
import sys
from torch import _C

GRAPH = """
    + "'''"
    + """
graph(%a : Float(5, 7, strides=[7, 1], requires_grad=0, device=cpu),
      %b : Float(7, 3, strides=[3, 1], requires_grad=0, device=cpu)):
  %out : Float(5, 3, strides=[3, 1], requires_grad=0, device=cpu) = aten::mm(%a, %b)
  return (%out)
"""
    + "'''"
    + """

@way
def compiled(a, b):
    return torch.compile(torch.mm)(a, b)

@way
def compiled_without_the_finder(a, b):
    sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != "_Unimportable"]
    return torch.compile(torch.mm)(a, b)

@way
def inductor(a, b):
    import torch._inductor
    return torch._inductor.compile(torch.fx.symbolic_trace(torch.mm), [a, b])(a, b)

@way
def expressions(a, b):
    _C._jit_override_can_fuse_on_cpu(True)
    _C._jit_set_te_must_use_llvm_cpu(False)
    return _C._te.TensorExprKernel(_C.parse_ir(GRAPH)).run((a, b))

@way
def expressions_by_their_class(a, b):
    kinds, stack = set(), [object]
    while stack:
        for kind in type.__subclasses__(stack.pop()):
            if kind not in kinds:
                kinds.add(kind)
                stack.append(kind)
    (kernel,) = [kind for kind in kinds if kind.__name__ == "TensorExprKernel"]
    return kernel(_C.parse_ir(GRAPH)).run((a, b))

@way
def graph(a, b):
    return _C._create_function_from_graph("f", _C.parse_ir(GRAPH))(a, b)

@way
def traced(a, b):
    return torch.jit.trace(lambda x, y: x @ y, (a, b))(a, b)

@way
def symbolic(a, b):
    class Layer(torch.nn.Module):
        def forward(self, x, y):
            return x @ y
    return torch.fx.symbolic_trace(Layer())(a, b)

"""
)


def test_no_way_leads_through(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + WAYS + ATTACK)
    assert "THROUGH" not in result.output, result.output
    assert result.output.count("stopped") > ATTACK.count("@way")
    assert result.cause("product") is Cause.FORBIDDEN, result.finding("product")
