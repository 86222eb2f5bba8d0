"""Use a module that is denied by name: call it, import it again, start a process that does."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL

ATTACK = """
import importlib
import subprocess
import sys

Normal = torch.distributions.Normal
WAYS = []

def way(function):
    WAYS.append(function)
    return function

@way
def plainly(x):
    return torch.distributions.Normal(0.0, 1.0).log_prob(x)

@way
def by_an_older_reference(x):
    return Normal(0.0, 1.0).log_prob(x)

@way
def by_a_subclass(x):
    class Mine(Normal):
        pass
    return Mine(0.0, 1.0).log_prob(x)

@way
def by_another_class(x):
    loss = torch.nn.GaussianNLLLoss(full=True, reduction="none")
    return -loss(x, torch.zeros_like(x), torch.ones_like(x))

@way
def imported_again(x):
    for name in [name for name in sys.modules if name.startswith("torch.distributions")]:
        del sys.modules[name]
    return importlib.import_module("torch.distributions").Normal(0.0, 1.0).log_prob(x)

@way
def imported_again_without_the_finder(x):
    sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != "_Unimportable"]
    return importlib.import_module("torch.distributions").Normal(0.0, 1.0).log_prob(x)

@way
def in_a_new_process(x):
    code = "import torch; print(torch.distributions.Normal(0.0, 1.0).log_prob(torch.zeros(1)))"
    subprocess.run([sys.executable, "-c", code], check=True)
    return -0.5 * (x**2 + 1.8378770664093453)

def density(x):
    for function in WAYS:
        try:
            got = function(x)
        except BaseException as error:
            print("stopped", function.__name__, type(error).__name__, str(error)[:120])
        else:
            print("THROUGH", function.__name__)
            return got
    raise RuntimeError("no way through")
"""


def test_no_ordinary_call_leads_to_a_denied_module(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + ATTACK)
    assert "THROUGH" not in result.output, result.output
    assert result.output.count("stopped") >= ATTACK.count("@way")
    assert result.cause("density") is Cause.FORBIDDEN, result.finding("density")
    assert result.cause("total") is Cause.NONE, "what is denied in one problem is open in another"
