"""A submission that tries operators of torch which move, read or place numbers."""

import copy

import torch

MOVES = {
    "arange": lambda x, at: torch.arange(1, 7, 2),
    "as_strided": lambda x, at: x.as_strided((2, 2), (1, 1)),
    "atleast_2d": lambda x, at: torch.atleast_2d(x[0]),
    "block_diag": lambda x, at: torch.block_diag(x, x),
    "broadcast_tensors": lambda x, at: torch.broadcast_tensors(x, x[0]),
    "broadcast_to": lambda x, at: torch.broadcast_to(x, (4, 2, 3)),
    "cast": lambda x, at: x.half().to(torch.float64).bfloat16(),
    "cat": lambda x, at: torch.cat([x, x], 1),
    "chunk": lambda x, at: x.chunk(2),
    "clone": lambda x, at: x.clone(),
    "column_stack": lambda x, at: torch.column_stack([x, x]),
    "concatenate": lambda x, at: torch.concatenate([x, x]),
    "contiguous": lambda x, at: x.t().contiguous(),
    "copy of another dtype": lambda x, at: torch.empty(2, 3, dtype=torch.float16).copy_(x),
    "deepcopy": lambda x, at: copy.deepcopy(x),
    "diag_embed": lambda x, at: torch.diag_embed(x),
    "diagonal": lambda x, at: x.diagonal(),
    "dstack": lambda x, at: torch.dstack([x, x]),
    "eye": lambda x, at: torch.eye(3),
    "expand": lambda x, at: x[:, None].expand(2, 4, 3),
    "flatten": lambda x, at: x.flatten(),
    "flip": lambda x, at: x.flip(0),
    "fliplr": lambda x, at: torch.fliplr(x),
    "full": lambda x, at: torch.full((2,), float("-inf")),
    "hstack": lambda x, at: torch.hstack([x, x]),
    "meshgrid": lambda x, at: torch.meshgrid(x[0], x[1], indexing="ij"),
    "movedim": lambda x, at: x.movedim(0, 1),
    "narrow": lambda x, at: x.narrow(1, 0, 2),
    "pad": lambda x, at: torch.nn.functional.pad(x, (1, 2), value=-1.0),
    "permute": lambda x, at: x.permute(1, 0),
    "ravel": lambda x, at: x.t().ravel(),
    "repeat_interleave": lambda x, at: x.repeat_interleave(2, dim=0),
    "reshape": lambda x, at: x.t().reshape(-1),
    "roll": lambda x, at: x.roll(1, 0),
    "rot90": lambda x, at: torch.rot90(x),
    "set a slice": lambda x, at: x[:, 1].copy_(x[:, 0].clone()),
    "set a slice to a number": lambda x, at: x.clone().__setitem__((0, 1), 2.0),
    "slice": lambda x, at: x[1:, ::2],
    "slice_scatter": lambda x, at: x.slice_scatter(x[:1], 0, 1, 2),
    "split": lambda x, at: x.split(1),
    "stack": lambda x, at: torch.stack([x, x]),
    "tensor of numbers": lambda x, at: torch.tensor([0, 1, 2]),
    "unbind": lambda x, at: x.unbind(),
    "unfold": lambda x, at: x.unfold(1, 2, 1),
    "unsqueeze": lambda x, at: x[None, :, None],
    "view as another dtype": lambda x, at: x.view(torch.int32),
    "vstack": lambda x, at: torch.vstack([x, x]),
    "zeros": lambda x, at: torch.zeros_like(x),
}
OTHERS = {
    "a condition": lambda x, at: 1 if x[0, 0] else 0,
    "add": lambda x, at: x + 1,
    "compare": lambda x, at: x > 0,
    "compile": lambda x, at: torch.compile(torch.exp)(x),
    "conjugate": lambda x, at: x.adjoint(),
    "equal": lambda x, at: torch.equal(x, x),
    "float": lambda x, at: float(x[0, 0]),
    "gather": lambda x, at: x.gather(0, at),
    "index": lambda x, at: x[at[0]],
    "index_copy": lambda x, at: x.index_copy(0, at[0, :2], x),
    "index_select": lambda x, at: x.index_select(0, at[0]),
    "item": lambda x, at: x[0, 0].item(),
    "linspace": lambda x, at: torch.linspace(0, 1, 3),
    "masked_fill": lambda x, at: x.masked_fill(torch.empty(2, 3, dtype=torch.bool), 0.0),
    "numpy": lambda x, at: x.numpy(),
    "one_hot": lambda x, at: torch.nn.functional.one_hot(at),
    "pad by reflection": lambda x, at: torch.nn.functional.pad(x, (1, 1), mode="reflect"),
    "print": lambda x, at: str(x),
    "product": lambda x, at: x @ x.t(),
    "rand": lambda x, at: torch.rand(3),
    "repeat": lambda x, at: x.repeat(2, 1),
    "repeat by a tensor": lambda x, at: x.repeat_interleave(at[0, :2], dim=0),
    "scatter": lambda x, at: x.scatter(0, at, x),
    "sort": lambda x, at: x.sort(),
    "sum": lambda x, at: x.sum(),
    "take": lambda x, at: x.take(at),
    "tile": lambda x, at: x.tile(2),
    "tolist": lambda x, at: x.tolist(),
    "tril": lambda x, at: x.tril(),
    "where": lambda x, at: torch.where(at.to(torch.bool), x, x),
}


def refused(x, at):
    names = []
    for name, call in {**MOVES, **OTHERS}.items():
        try:
            call(x, at)
        except Exception as error:  # noqa: BLE001 - the test looks at its name
            if type(error).__name__ != "OperationDenied":
                names.append(f"{type(error).__name__} of {name}")
            else:
                names.append(name)
    return names
