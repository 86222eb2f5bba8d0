"""Call a denied operation by another name: alias, method, operator, dispatcher, transformation.

All names end in the dispatcher's table; without the denial each of these is right, so each is
`forbidden`."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL

NAMES = {
    "operator": "a @ b",
    "function": "torch.mm(a, b)",
    "getattr": "getattr(torch, 'mat' + 'mul')(a, b)",
    "method": "a.mm(b)",
    "base method": "torch._C.TensorBase.matmul(a, b)",
    "linear layer": "torch.nn.functional.linear(a, b.t())",
    "einsum": "torch.einsum('mk,kn->mn', a, b)",
    "linalg": "torch.linalg.multi_dot([a, b])",
    "twin": "torch.bmm(a[None], b[None])[0]",
    "convolution": "torch.conv1d(a[:, :, None], b.t()[:, :, None])[:, :, 0]",
    "pieces": "(a[:, :, None] * b[None]).sum(dim=1)",
    "operator of the dispatcher": "torch.ops.aten.mm(a, b)",
    "overload": "torch.ops.aten.mm.default(a, b)",
    "into": "torch.mm(a, b, out=torch.empty(a.shape[0], b.shape[1]))",
    "in place": "torch.zeros(a.shape[0], b.shape[1]).addmm_(a, b)",
    "variable functions": "torch._C._VariableFunctions.mm(a, b)",
    "schema": "torch._C._jit_get_operation('aten::mm')[0](a, b)",
    "vmap": "torch.func.vmap(torch.mv, (None, 1), 1)(a, b)",
    "gradient": "torch.mm(a.requires_grad_(), b).detach()",
    "double": "(a.double() @ b.double()).float()",
    "sparse": "torch.sparse.mm(a.to_sparse(), b)",
    "script": "torch.jit.CompilationUnit('def f(a, b):\\n  return a @ b\\n').f(a, b)",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_denied_operation_is_forbidden_by_any_name(attack_denial: Attack, name: str) -> None:
    result = attack_denial(f"{KERNEL}\ndef product(a, b):\n    return {NAMES[name]}\n")
    assert result.cause("product") is Cause.FORBIDDEN, result.finding("product")
    assert "is denied in the problem product" in result.finding("product")
