"""Inputs that several cases share: matrices in awkward strides, heads of attention.

Takes: a case's `Draw`. Gives: tensors. Does not cover: expected values (see `oracle`).
"""

import torch

from grader.author import Draw, Value

Tensor = torch.Tensor
HALF, SINGLE, BRAIN = torch.float16, torch.float32, torch.bfloat16
DTYPES = (SINGLE, HALF, BRAIN)


def transposed(draw: Draw, rows: int, columns: int, dtype: torch.dtype = SINGLE) -> Tensor:
    """Return a normal matrix whose rows are its dense dimension."""
    return draw.normal_tensor(columns, rows, dtype=dtype).T


def sliced(
    draw: Draw, rows: int, columns: int, dtype: torch.dtype = SINGLE, *, mean: float = 0.0
) -> Tensor:
    """Return a normal matrix that is every other row and column of a larger one, behind its edge.

    The gaps between its entries reach the sandbox as NaN.
    """
    return (draw.normal_tensor(2 * rows + 1, 2 * columns + 3, dtype=dtype) + mean)[1::2, 3::2]


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


MATRIX_LAYOUTS = ("contiguous", "transposed", "sliced", "one row expanded")
VECTOR_LAYOUTS = ("contiguous", "every third", "one number expanded")
HEADS_LAYOUTS = ("contiguous", "columns before tokens", "every other column")


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return a matrix with the same entries in another layout; if expanded, its first row alone."""
    match layout:
        case "transposed":
            return x.T.contiguous().T
        case "sliced":
            room = torch.zeros(2 * x.shape[0] + 1, 2 * x.shape[1] + 3, dtype=x.dtype)
            room[1::2, 3::2] = x
            return room[1::2, 3::2]
        case "one row expanded":
            return x[:1].expand(x.shape)
    return x


def vector_laid_out(x: Tensor, layout: str) -> Tensor:
    """Return a vector with the same entries in another layout; if expanded, its first alone."""
    match layout:
        case "every third":
            return x.repeat_interleave(3)[::3]
        case "one number expanded":
            return x[:1].expand(x.shape)
    return x


def heads_laid_out(x: Tensor, layout: str) -> Tensor:
    """Return [B, H, T, D] with the same entries in another layout."""
    match layout:
        case "columns before tokens":
            return x.mT.contiguous().mT
        case "every other column":
            return x.repeat_interleave(2, dim=-1)[..., ::2]
    return x


def first_part(got: Value) -> Value:
    """Return the first entry of a reply that is a tuple; another reply as it is, to be refused."""
    return got[0] if isinstance(got, tuple | list) and got else got
