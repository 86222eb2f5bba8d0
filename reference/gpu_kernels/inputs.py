"""Inputs that several cases share: matrices in awkward strides, heads of attention.

Takes: a case's `Draw`. Gives: tensors. Does not cover: expected values (see `oracle`).
"""

import torch

from grader.author import Draw

Tensor = torch.Tensor
HALF, SINGLE = torch.float16, torch.float32


def transposed(draw: Draw, rows: int, columns: int, dtype: torch.dtype = SINGLE) -> Tensor:
    """Return a normal matrix whose rows are its dense dimension."""
    return draw.normal_tensor(columns, rows, dtype=dtype).T


def sliced(draw: Draw, rows: int, columns: int, dtype: torch.dtype = SINGLE) -> Tensor:
    """Return a normal matrix that is every other row and column of a larger one, behind its edge.

    The gaps between its entries reach the sandbox as NaN.
    """
    return draw.normal_tensor(2 * rows + 1, 2 * columns + 3, dtype=dtype)[1::2, 3::2]


def expanded(draw: Draw, rows: int, columns: int, dtype: torch.dtype = SINGLE) -> Tensor:
    """Return one normal row, seen `rows` times with a stride of 0."""
    return draw.normal_tensor(1, columns, dtype=dtype).expand(rows, columns)


def vector(draw: Draw, size: int, dtype: torch.dtype = SINGLE) -> Tensor:
    """Return every third entry of a longer vector, between 0.5 and 1.5."""
    return draw.uniform_tensor(3 * size, dtype=dtype, low=0.5, high=1.5)[::3]


def heads(draw: Draw, *shape: int, dtype: torch.dtype = SINGLE) -> Tensor:
    """Return normal [B, H, T, D] as a projection leaves it: heads after tokens in memory."""
    rows, count, length, width = shape
    return draw.normal_tensor(rows, length, count, width, dtype=dtype).transpose(1, 2)


def long_matrix(draw: Draw, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """Return a large matrix made of one random block, shifted along: drawing all costs time."""
    block = draw.normal_tensor(4099)
    repeats = rows * columns // block.numel() + 1
    return block.to(dtype).repeat(repeats)[: rows * columns].reshape(rows, columns)


def long_heads(draw: Draw, *shape: int, dtype: torch.dtype) -> Tensor:
    """Return large contiguous [B, H, T, D], made as `long_matrix`."""
    rows, count, length, width = shape
    return long_matrix(draw, rows * count * length, width, dtype).reshape(shape)
