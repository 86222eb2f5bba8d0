"""For each function of the corpus: its arguments, and what torch says that it returns."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

Value = Any  # tensors, or tuples of them
Case = tuple[tuple[torch.Tensor, ...], Callable[..., Value]]

_GENERATOR = torch.Generator().manual_seed(18)


def _normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=_GENERATOR).to(dtype)


def _whole(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(high, shape, generator=_GENERATOR, dtype=torch.int32)


def _rounded_to_tf32(x: torch.Tensor) -> torch.Tensor:
    bits = x.view(torch.int32)
    return ((bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF).view(torch.float32)


def _twice(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return 2 * (a.double() @ b.double()).float()


def _decayed(x: torch.Tensor) -> torch.Tensor:
    rows = [x[:, 0]]
    for column in x[:, 1:].unbind(1):
        rows.append(rows[-1] * 0.5 + column)
    return torch.stack(rows, 1)


def _of_bfloat16(x: torch.Tensor, y: torch.Tensor) -> Value:
    first = x + y * x - torch.where(x > y, x, -y)
    third = torch.maximum(x, y) * torch.tensor(0.1, dtype=torch.bfloat16)
    sums = torch.stack([x.float().sum(), x.max().float() - y.min().float(), torch.tensor(32.0)])
    return torch.stack([first, (x.float().exp() / 3).bfloat16(), third]), sums


def _of_math(v: torch.Tensor) -> torch.Tensor:
    a = v.abs()
    y = v.exp2() + v.exp() + (a + 1).log2() + (a + 1).log()
    y += v.sin() + v.cos() + v.erf() + a.sqrt() + v.sigmoid()
    y += (a + 1).rsqrt() + v.floor() + v.ceil() + v * v + v
    return y + v / 3 + v / 7 + a.sqrt() + v.clamp(-0.5, 0.5)


def _of_integers(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    quotient = torch.div(a, b, rounding_mode="trunc")
    up = torch.div(a.abs() + b.abs() - 1, b.abs(), rounding_mode="trunc")
    return torch.stack([quotient, a - quotient * b, (a << 2) ^ (b >> 1) | ~a & b, up + a])


def _of_branches(x: torch.Tensor) -> torch.Tensor:
    out = []
    for at, v in enumerate(x.tolist()):
        y = v * 2 if v > 0 and at else -v if v < -1 else v
        out.append(0.0 if at == len(x) - 1 else y * 2 + (1 if at % 2 == 0 else -1))
    return torch.tensor(out)


def _of_shapes(x: torch.Tensor) -> torch.Tensor:
    swapped = x.view(-1, 2).flip(1).flatten()
    odd = x[1::2] * 8
    pairs = x.view(-1, 4).t().flatten().view(-1, 2).sum(1)
    return torch.stack([x.view(-1, 4).t().flatten(), swapped, x, torch.cat([odd, pairs])])


def _of_bits(x: torch.Tensor) -> torch.Tensor:
    numbers = [n & 0xFFFFFFFF for n in x.tolist()]
    return torch.tensor(
        [
            [n.bit_count() for n in numbers],
            [32 - n.bit_length() for n in numbers],
            [(n & -n).bit_length() for n in numbers],
            [(n * n) >> 32 for n in x.tolist()],
        ],
        dtype=torch.int32,
    )


_HALF_UP = torch.tensor([-2.5, -1.5, -0.75, 0.0, 0.5, 1.5, 2.25, 1e6])

ADDRESSES: Mapping[str, Case] = {
    "mask_of_vector_and_scalar": ((_normal(3, 13),), lambda x: x * 2),
    "mask_of_a_scalar_alone": (
        (_normal(3, 8),),
        lambda x: torch.cat([x, torch.full((1, 8), -1.0)]),
    ),
    "mask_that_broadcasts": ((_normal(3, 7),), lambda x: x),
    "mask_narrower_than_its_block": ((_normal(3, 8),), lambda x: x.sum(0)),
    "other_that_is_a_block": (
        (_normal(5), _normal(8)),
        lambda x, fill: torch.cat([x, fill[5:]]),
    ),
    "offsets_of_64_bits": ((_normal(3, 16)[:, :7],), lambda x: x.contiguous()),
    "scalars_loaded_from_pointers": (
        (torch.tensor([0, 3, 3, 10], dtype=torch.int32), _normal(10)),
        lambda table, x: torch.stack([x[:3].sum(), x[3:3].sum(), x[3:].sum()]),
    ),
    "descriptors_made_in_the_kernel": ((_normal(6, 20),), lambda x: x * 3),
    "descriptors_made_by_the_host": ((_normal(6, 20),), lambda x: x + 1),
    "hints_to_the_compiler": ((_normal(40)[::2],), lambda x: x.contiguous()),
    "names_by_their_module": ((_normal(8),), lambda x: x + 1),
    "masks_loaded_from_memory": (
        (_normal(8), torch.arange(8) % 3 == 0),
        lambda x, flags: torch.where(flags, x, 0),
    ),
    "grid_of_three_dimensions": (
        (torch.empty(2, 3, 4),),
        lambda x: torch.arange(24, dtype=torch.int32).view(x.shape),
    ),
}

ARITHMETIC: Mapping[str, Case] = {
    "functions_of_libdevice": (
        (_normal(16),),
        lambda x: torch.stack(
            [x.tanh(), x.abs().log1p(), x.abs() ** 3, x.expm1(), x.erf(), x.tanh(), x.exp()]
        ),
    ),
    "libdevice_that_rounds": (
        (_HALF_UP,),
        lambda x: torch.stack(
            [
                torch.copysign((x.abs() + 0.5).floor(), x),
                x.round(),
                x.trunc(),
                x.fmod(1.5),
                -x.abs(),
                (x == 0).float(),
                x.round(),
            ]
        ),
    ),
    "libdevice_of_a_scalar": (
        (torch.tensor([4.0]),),
        lambda x: torch.tensor([0.5 + torch.atan2(x, torch.tensor(2.0)).item(), 45.0]),
    ),
    "libdevice_of_bits": (
        (torch.tensor([0, 1, -1, 12, 1 << 30, -(1 << 31), 255, 77], dtype=torch.int32),),
        _of_bits,
    ),
    "functions_of_math": ((_normal(32),), _of_math),
    "builtins_of_python": (
        (_normal(16),),
        lambda x: x.clamp(min=0.25) + x.clamp(max=0) + x.abs(),
    ),
    "integers": (
        (_whole(100, 16) - 50, torch.where(torch.arange(16) % 2 == 0, -7, 5).int()),
        _of_integers,
    ),
    "conditions_of_blocks": (
        (_normal(16),),
        lambda x: torch.where(x.abs() < 0.5, 1, 6).int(),
    ),
    "casts": (
        (_normal(32) * 3,),
        lambda x: (x.half(), x.bfloat16(), (x * 10).int(), x.view(torch.int32)),
    ),
    "arithmetic_in_bfloat16": (
        (_normal(32, dtype=torch.bfloat16), _normal(32, dtype=torch.bfloat16)),
        _of_bfloat16,
    ),
    "arguments_that_are_numbers": (
        (_normal(8),),
        lambda x: x * (0.1 * 1.4426950408889634 + 2.5),
    ),
    "branches_by_dtype": (
        (_normal(8, dtype=torch.float16), _normal(8, dtype=torch.bfloat16)),
        lambda x, y: (x + 1, (y.float() + 2).bfloat16()),
    ),
    "random_numbers": ((torch.empty(32),), torch.ones_like),
}

BLOCKS: Mapping[str, Case] = {
    "reductions": (
        (_normal(4, 8),),
        lambda x: (
            torch.stack([x.amax(1) - x.amin(1) + x.sum(1), x.sum(1) + x.max()]),
            (x.argmax(1) + x.argmin(1)).int(),
        ),
    ),
    "reductions_of_ones_own": (
        (_normal(4, 16),),
        lambda x: torch.stack([x.mean(1), x.var(1, correction=0), x.prod(1)]),
    ),
    "scans": (
        (_normal(4, 8),),
        lambda x: torch.stack(
            [x.cumsum(1), x.flip(1).cumsum(1).flip(1), _decayed(x), x.cumprod(0)]
        ),
    ),
    "long_reductions_of_ones_own": (
        (_normal(2048),),
        lambda x: torch.cat([x.max()[None], x.cummax(0).values]),
    ),
    "reductions_of_nothing_but_nan": (
        (torch.full((8,), torch.nan),),
        lambda x: torch.tensor([torch.nan, 0.0, 1.0]),
    ),
    "products": ((_normal(16, 32), _normal(32, 16)), _twice),
    "products_in_bfloat16": (
        (_normal(16, 32, dtype=torch.bfloat16), _normal(32, 16, dtype=torch.bfloat16)),
        _twice,
    ),
    "products_in_half": (
        (_normal(16, 32, dtype=torch.float16), _normal(32, 16, dtype=torch.float16)),
        _twice,
    ),
    "products_in_tf32": (
        (_normal(16, 32), _normal(32, 16)),
        lambda a, b: _twice(_rounded_to_tf32(a), _rounded_to_tf32(b)),
    ),
    "products_of_three_dimensions": (
        (_normal(2, 16, 16), _normal(2, 16, 16)),
        lambda a, b: a @ b.transpose(1, 2),
    ),
    "products_without_dot": ((_normal(8, 8), _normal(8, 8)), lambda a, b: a @ b),
    "sorting": (
        (_normal(2, 16),),
        lambda x: torch.stack(
            [x.sort(descending=True).values, x.flip(1), x.sort(descending=True).values]
        ),
    ),
    "top_k": ((_normal(16),), lambda x: x.topk(4).values),
    "shapes_of_blocks": ((_normal(16),), _of_shapes),
    "gather_and_histogram": (
        (_normal(16), _whole(16, 16)),
        lambda x, index: (x[index.long()], torch.bincount(index, minlength=16).int()),
    ),
    "reductions_of_bits": (
        (_whole(1000, 16),),
        lambda x: torch.tensor(
            [
                torch.stack([(x >> b & 1).sum() % 2 << b for b in range(10)]).sum(),
                torch.stack([(x >> b & 1).max() << b for b in range(10)]).sum(),
            ],
            dtype=torch.int32,
        ),
    ),
}

PROGRAMS: Mapping[str, Case] = {
    "loops": ((_normal(20),), lambda x: x.sum()[None] + 8 * (6 + 3 - 4)),
    "while_loops": (
        (torch.arange(0, 50, 3, dtype=torch.float32), torch.tensor([-1.0, 3, 4, 99])),
        lambda table, wanted: torch.searchsorted(table, wanted).int(),
    ),
    "branches": ((_normal(9) * 2,), _of_branches),
    "functions_that_call_functions": (
        (_normal(8),),
        lambda x: (x + 1) * (x - 1) + x**3 + x + 3,
    ),
    "functions_as_constants": (
        (_normal(8),),
        lambda x: (torch.nn.functional.gelu(x), x * x),
    ),
    "constants": ((_normal(30),), lambda x: x.exp() * 8),
    "tuning": ((_normal(40),), lambda x: x.sum()[None]),
    "atomics": (
        (_normal(8).abs() + 1, _whole(4, 8)),
        lambda x, index: (
            torch.zeros(4).index_add(0, index, x),
            torch.stack([x.max(), torch.tensor(0.0), torch.tensor(5.0), torch.tensor(0.0)]),
        ),
    ),
    "locks": ((_normal(3, 8),), lambda x: x.sum(0)),
    "atomics_in_half": (
        (torch.arange(8, dtype=torch.float32),),
        lambda x: torch.tensor([12.0, 16.0], dtype=torch.float16),
    ),
    "prints_and_assertions": ((_normal(4),), lambda x: x),
    "tuples_and_named_tuples": (
        (_normal(8),),
        lambda x: tuple(torch.nn.functional.pad(x[1:-1] * n, (1, 1)) for n in (2, 3)),
    ),
    "pointers_that_are_none": ((_normal(8),), lambda x: (x, x + x)),
    "persistent_programs": ((_normal(30),), lambda x: x * 2),
    "early_returns": ((_normal(5),), lambda x: x + 1),
    "swizzled_tiles": ((torch.empty(5, 3),), lambda x: torch.ones(5, 3, dtype=torch.int32)),
    "kernels_made_by_functions": ((_normal(8),), lambda x: x * 3),
    "softmax_online": ((_normal(3, 21),), lambda x: x.softmax(1)),
}

CORPUS: Mapping[str, Mapping[str, Case]] = {
    "addresses": ADDRESSES,
    "arithmetic": ARITHMETIC,
    "blocks": BLOCKS,
    "programs": PROGRAMS,
}
