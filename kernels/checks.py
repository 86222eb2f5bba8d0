"""What every wrapper asks of its tensors before it launches anything.

Takes: tensors and what they should be. Gives: silence, or a ValueError that names the argument,
what was expected and what came. Does not cover: values that lie on the device (a target, a slot, a
page number): to read them would stop the launch queue, so each kernel with such an argument says
what it does with a bad one, and offers a check to whoever made the values on the host.
"""

import torch

FLOATS = (torch.float16, torch.bfloat16, torch.float32)
INTEGERS = (torch.int32, torch.int64)


def require(condition: bool, message: str) -> None:
    """Raise ValueError with a message unless a condition holds.

    Raises:
        ValueError: it does not; the caller's fault.
    """
    if not condition:
        raise ValueError(message)


def check_tensor(
    name: str, tensor: torch.Tensor, *, rank: int, dtypes: tuple[torch.dtype, ...]
) -> None:
    """Check that an argument is a tensor of a rank and of one of some dtypes.

    Raises:
        ValueError: it is not; the caller's fault.
    """
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    require(tensor.dim() == rank, f"{name}: expected rank {rank}, got {tensor.dim()}")
    words = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    require(tensor.dtype in dtypes, f"{name}: expected {words}, got {tensor.dtype}")


def check_like(name: str, tensor: torch.Tensor, model: torch.Tensor) -> None:
    """Check that an argument has the shape, dtype and device of another.

    Raises:
        ValueError: it has not; the caller's fault.
    """
    check_tensor(name, tensor, rank=model.dim(), dtypes=(model.dtype,))
    check_shape(name, tensor, tuple(model.shape))
    check_device(name, tensor, model)


def check_shape(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Check that an argument has a shape.

    Raises:
        ValueError: it has not; the caller's fault.
    """
    require(
        tuple(tensor.shape) == shape, f"{name}: expected shape {shape}, got {tuple(tensor.shape)}"
    )


def check_device(name: str, tensor: torch.Tensor, model: torch.Tensor) -> None:
    """Check that an argument lies on the device of another.

    Raises:
        ValueError: it does not; the caller's fault.
    """
    require(
        tensor.device == model.device,
        f"{name}: expected device {model.device}, got {tensor.device}",
    )
