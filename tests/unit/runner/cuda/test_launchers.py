"""The adapter for launchers: what C++ gets for Python's arguments, and what Python gets back."""

import ctypes
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch

from grader.assignment.launcher import read_launcher
from grader.runner.cuda.launchers import MAX_RANK, Launch, TensorForm

INPUTS = [
    "x_MN",
    "bias_N?",
    "pair: (a_M, b_N)",
    "eps: double = 0.5",
    "scale: double?",
    "count: int64 = -100",
    "causal: bool = false",
    "mode: none | gelu",
]
OUTPUTS = ["y_NM: x_MN", "loss: float32"]


class Recorder:
    """Replaces a function of a library: keeps its arguments, and fills the outputs."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.passed: tuple[Any, ...] = ()

    def __call__(self, *passed: Any) -> int:
        self.passed = passed
        return self.status

    def tensor(self, index: int) -> TensorForm:
        """Return the structure behind an argument that was passed by reference."""
        form = self.passed[index]._obj
        assert isinstance(form, TensorForm)
        return form


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def call(recorder: Recorder) -> Callable[..., Any]:
    form = asdict(read_launcher("f", INPUTS, OUTPUTS))
    return Launch(form, recorder)


def tensors() -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    return torch.ones(2, 3, dtype=torch.float16), (torch.ones(2), torch.ones(3))


def test_defaults_are_those_of_the_declaration(
    call: Callable[..., Any], recorder: Recorder
) -> None:
    x, pair = tensors()
    call(x, None, pair)
    _, bias, _, _, eps, scale, count, causal, mode, *_ = recorder.passed
    assert (bias.value, scale.value) == (None, None)
    assert (eps.value, count.value, causal.value, mode.value) == (0.5, -100, False, 0)


def test_keywords_arrive_where_they_belong(call: Callable[..., Any], recorder: Recorder) -> None:
    x, pair = tensors()
    given = {"mode": "gelu", "causal": True, "scale": 2, "count": 7, "eps": 1e-6}
    call(x, pair=pair, bias_N=torch.ones(3), **given)
    _, bias, _, _, eps, scale, count, causal, mode, *_ = recorder.passed
    assert bias._obj.shape[0] == 3
    assert (eps.value, scale._obj.value, count.value, causal.value) == (1e-6, 2.0, 7, True)
    assert mode.value == 1


def test_a_tensor_is_described_by_its_view(call: Callable[..., Any], recorder: Recorder) -> None:
    x, pair = tensors()
    view = torch.arange(12, dtype=torch.float16).view(4, 3).t()[:2]
    call(view, None, pair)
    form = recorder.tensor(0)
    assert (form.data, form.dtype, form.rank) == (view.data_ptr(), 2, 2)
    assert (list(form.shape[:2]), list(form.stride[:2])) == ([2, 4], [1, 3])
    del x


def test_outputs_have_the_sizes_of_the_inputs(call: Callable[..., Any], recorder: Recorder) -> None:
    x, pair = tensors()
    y, loss = call(x, None, pair)
    assert (y.shape, y.dtype, y.is_contiguous()) == ((3, 2), torch.float16, True)
    assert (loss.shape, loss.dtype) == ((), torch.float32)
    assert recorder.tensor(9).data == y.data_ptr()
    assert recorder.tensor(10).data == loss.data_ptr()
    assert isinstance(recorder.passed[11], ctypes.c_void_p)


def test_a_wrong_rank_is_for_the_launcher_to_refuse(
    call: Callable[..., Any], recorder: Recorder
) -> None:
    _, pair = tensors()
    recorder.status = 1
    with pytest.raises(ValueError, match="BAD_INPUT"):
        call(torch.ones(2), None, pair)
    assert recorder.tensor(0).rank == 1
    with pytest.raises(ValueError, match="BAD_INPUT"):
        call(torch.ones(2, 3, dtype=torch.bool), None, pair)
    assert recorder.tensor(0).dtype == 8
    with pytest.raises(ValueError, match="BAD_INPUT"):
        call(torch.ones(2, 3), None, pair, mode="relu")
    assert recorder.passed[8].value == -1


@pytest.mark.parametrize(
    ("status", "error"), [(2, NotImplementedError), (3, RuntimeError), (-7, RuntimeError)]
)
def test_every_other_status_raises(
    call: Callable[..., Any], recorder: Recorder, status: int, error: type[Exception]
) -> None:
    x, pair = tensors()
    recorder.status = status
    with pytest.raises(error):
        call(x, None, pair)


def test_what_cannot_be_passed_is_refused_before_the_call(
    call: Callable[..., Any], recorder: Recorder
) -> None:
    x, pair = tensors()
    for arguments in (
        (x, 3, pair),
        (x, None, pair[:1]),
        (None, None, pair),
        (torch.ones((1,) * (MAX_RANK + 1)), None, pair),
        (x, None, pair, "half"),
    ):
        with pytest.raises(ValueError, match=r"tensor|parts|axes|number"):
            call(*arguments)
    assert recorder.passed == ()
