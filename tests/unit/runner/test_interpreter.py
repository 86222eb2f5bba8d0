"""Triton's interpreter runs what honest kernels are made of, with the values of a device.

The corpus holds what Triton compiles; `compile` says so. It runs in a process of its own, because
Triton decides when it is imported whether it interprets.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from grader.runner.interpreter import version_of
from grader.runner.libdevice import compute
from tests.unit.runner.corpus.expected import CORPUS

ROOT = Path(__file__).resolve().parents[3]


def play(how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.unit.runner.corpus.play", how],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_corpus_is_interpreted_with_right_values():
    assert play("interpret") == []
    assert sum(map(len, CORPUS.values())) >= 50


@pytest.mark.slow
def test_the_corpus_compiles():
    assert play("compile") == []


def test_the_changes_are_for_the_version_that_is_installed():
    """A newer Triton must be looked at before it grades: it may have mended or moved these."""
    import triton

    from grader.runner.interpreter import CHANGED

    assert version_of(triton) == CHANGED


@pytest.mark.parametrize(
    ("symbol", "given", "want"),
    [
        ("__nv_tanhf", [[0.5]], 0.46211716),
        ("__nv_fast_logf", [[2.0]], 0.6931472),
        ("__nv_erfinv", [[0.5]], 0.4769362762),
        ("__nv_normcdfinvf", [[0.975]], 1.959964),
        ("__nv_tgammaf", [[5.0]], 24.0),
        ("__nv_float2int_ru", [[1.25]], 2.0),
        ("__nv_double2float_rn", [[1.25]], 1.25),
        ("__nv_fadd_rn", [[1.0], [2.0]], 3.0),
        ("__nv_frcp_rn", [[4.0]], 0.25),
        ("__nv_fmaf_rn", [[2.0], [3.0], [4.0]], 10.0),
        ("__nv_isnand", [[float("nan")]], 1.0),
        ("__nv_roundf", [[-2.5]], -3.0),
        ("__nv_saturatef", [[-2.5]], 0.0),
    ],
)
def test_functions_of_libdevice_have_the_values_of_its_guide(symbol, given, want):
    got = compute(symbol, *(np.array(one, dtype=np.float64) for one in given))
    torch.testing.assert_close(torch.tensor(got).double(), torch.tensor([want]).double())


@pytest.mark.parametrize("symbol", ["__nv_j0f", "__nv_fadd_ru", "__nv_dsqrt_rz"])
def test_a_function_that_is_not_covered_says_so(symbol):
    with pytest.raises(NotImplementedError, match="the interpreter has no"):
        compute(symbol, np.ones(1, dtype=np.float32))
