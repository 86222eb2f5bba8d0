# %% [markdown]
# # Data parallelism and ZeRO
#
# Five problems, graded one by one; a problem you leave alone costs only its own points. Read
# `README.md` first: it has the theory, the arithmetic and how each problem is graded.
#
# Work in the cells tagged `export`: they are what is graded. Everything a check relies on is fixed
# in the docstrings. Your code runs on every rank of a group of 1 to 4 processes, the group is
# joined already (`torch.distributed`, gloo): call `dist.get_rank()` and `dist.get_world_size()`,
# never `init_process_group`.
#
# Letters: **N** ranks, **P** bytes of parameters, **G** bytes of gradients, **S** numbers of a
# shard.
#
# Rules that hold everywhere: all ranks build the same modules with parameters in the same order and
# call your functions in the same order; parameters of `ZeroOptimizer` and `FSDP` are contiguous and
# equal on all ranks when they get them (the caller has called `broadcast_module`), those of
# `broadcast_module`, `average_gradients` and `DDP` may have any strides, but no two numbers of a
# tensor share memory. A rank that
# waits for a collective that another never calls waits for ever: decide from what all ranks know.
# What torch has ready made (`torch.nn.parallel` and `fsdp`, `optim`, `utils` and `Reducer` of
# `torch.distributed`) raises when this is graded.

# %% tags=["export"]
"""Data parallelism and ZeRO on `torch.distributed`: five problems, one rank's side of each."""

# One file by design: it is what you hand in.

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

Tensor = torch.Tensor
Parameter = nn.Parameter

# %% [markdown]
# ## Given: `reduce_scatter`
# gloo's own `dist.reduce_scatter_tensor` is an all-reduce inside: it moves twice the bytes that
# are needed. Use this one. It is point to point, and it blocks: all ranks must call it at the same
# place.


# %% tags=["export"]
def reduce_scatter(shard_S: Tensor, whole_NS: Tensor) -> None:
    """Write the sum over all ranks of this rank's part of `whole_NS` into `shard_S`.

    Each part goes to its owner alone: (N - 1) * S numbers leave each rank.

    Args:
        shard_S: where the sum goes, contiguous.
        whole_NS: N parts of S numbers side by side, contiguous; part r belongs to rank r.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    parts = whole_NS.view(world, -1)
    shard_S.copy_(parts[rank])
    incoming = torch.empty_like(shard_S)
    for distance in range(1, world):
        to, source = (rank + distance) % world, (rank - distance) % world
        both = [
            dist.P2POp(dist.isend, parts[to], to),
            dist.P2POp(dist.irecv, incoming, source),
        ]
        for work in dist.batch_isend_irecv(both):  # together: NCCL would wait for one, for good
            work.wait()
        shard_S += incoming


# %% [markdown]
# ## 1 · `broadcast_module`


# %% tags=["export"]
def broadcast_module(module: nn.Module) -> None:
    """Overwrite every parameter and buffer of `module` with rank 0's, bit for bit.

    Those of its submodules too, at any depth.

    In place: the tensors stay the same objects in the same memory, so that ties between names and
    the references that an optimizer holds stay good; `requires_grad` stays as it is. Each tensor
    crosses the network once per receiving rank, one that has several names too. Tensors may be
    frozen, of any strides, of no dimensions, and of dtypes float32, float64, float16, bfloat16,
    int64 or bool; buffers that are not saved (`persistent=False`) count as well.

    Args:
        module: the same structure on every rank, with numbers of its own.
    """
    raise NotImplementedError


# %% [markdown]
# ## 2 · `DDP`
# First flat, after the backward pass; then in buckets, while it runs.


# %% tags=["export"]
def average_gradients(module: nn.Module) -> None:
    """Replace the gradients of `module` by their mean over all ranks, after the backward pass.

    Of a parameter that requires a gradient, a rank whose `grad` is None counts as zeros: the mean
    is the sum divided by N, and every rank gets it, also those that had None. If all ranks have
    None, it stays None. Frozen parameters take no part. A gradient keeps its parameter's dtype.

    Args:
        module: the same on every rank, after `backward` on a batch of the rank's own.
    """
    raise NotImplementedError


class DDP(nn.Module):
    """A module whose gradients become the mean over all ranks while backward still runs.

    A training step is::

        with ddp.no_sync():
            ddp(x0).mean().backward()   # any number of passes that only add up
        ddp(x1).mean().backward()       # hooks launch all-reduces of buckets
        ddp.finish_backward()           # wait; every rank has the mean of what had added up

    Gradients fill buckets in the reverse order of `module.parameters()`, which is about the order
    in which backward reaches them. A bucket holds gradients of one dtype and at most `bucket_bytes`
    of them, or a single parameter that is larger. It is launched as soon as it is complete, with
    `async_op=True`, but buckets are launched in the same order on all ranks, whatever each rank
    used: collectives are matched by their order.

    The mean is that of `average_gradients`, of all that `grad` has added up since the caller
    cleared it, from passes in `no_sync()` too. What was cleared leaves nothing behind: a parameter
    that only passes before it used has None again, or zeros if the caller has set them. What was
    not used on this rank may have been used on another; a small message (a byte per parameter)
    tells.

    Args:
        module: the module, equal on all ranks.
        bucket_bytes: largest size of a bucket, at least 1.

    Raises:
        ValueError: if `bucket_bytes` is below 1, or no parameter requires a gradient.
    """

    def __init__(self, module: nn.Module, *, bucket_bytes: int = 1 << 20) -> None:
        raise NotImplementedError

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        """Return what the module returns."""
        raise NotImplementedError

    def no_sync(self) -> AbstractContextManager[None]:
        """Return a context in which backward passes communicate nothing.

        `finish_backward` is not called for a pass in it. It ends, with or without an exception, as
        it began: contexts may be nested.
        """
        raise NotImplementedError

    def finish_backward(self) -> None:
        """Launch what is left, wait for all, and leave the mean in `grad` of every parameter.

        The caller calls it on every rank, once, after each backward pass outside of `no_sync()`.
        """
        raise NotImplementedError


# %% [markdown]
# ## 3 · `ZeroOptimizer`
# AdamW whose state is divided among the ranks (stage 1), and its gradients too (stage 2).


# %% tags=["export"]
class ZeroOptimizer:
    """AdamW whose state (stage 1) and gradients (stage 2) are divided among the ranks.

    A training step is::

        model(x).mean().backward()
        optimizer.finish_backward()     # after each of several passes, if there are several
        optimizer.step()                # every rank has the same new parameters
        optimizer.zero_grad()

    It steps by the mean over ranks of the gradients that have added up since `zero_grad`, and ends
    with the parameters that `torch.optim.AdamW` would have on one process: with t the number of the
    parameter's own steps, this one included, and g the mean gradient,

        p = p - lr * weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)

    A parameter that no rank has a gradient of is left alone, without decay, and its t does not
    move. A rank that has none counts as zeros. A parameter that requires no gradient when the
    optimizer gets it is frozen: it never moves, not even if its `grad` is set. Parameters are of
    float32 or float64, also of both in one group.

    Each rank holds about 1/N of m and v. With stage 2, gradients are reduced to shards while
    backward runs: a gradient is freed (`grad` is None again) as soon as the block of parameters
    that it belongs to is complete, and all are after `finish_backward`. What is gathered or reduced
    at once should be a few MiB: a copy of everything is memory too. How parameters are divided is
    yours to choose; a rank's share may be uneven, and empty.

    Args:
        params: parameters, or groups: dicts with `params` and options that differ from the others'.
            All of these may be iterators, which can be read once: `module.parameters()`.
        stage: 1 or 2.
        lr: learning rate, at least 0.
        betas: decay of m and v, each in [0, 1).
        eps: at least 0.
        weight_decay: at least 0.

    Attributes:
        param_groups: a dict per group with `params` (a list), `lr`, `betas`, `eps` and
            `weight_decay`; a caller may change options between steps.

    Raises:
        ValueError: if the stage or an option of a group is out of range, a parameter is given
            twice, or a group has none.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        stage: int = 1,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        raise NotImplementedError

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group, between steps; options it does not name are those of the constructor.

        Raises:
            ValueError: as the constructor; nothing has changed then.
        """
        raise NotImplementedError

    def finish_backward(self) -> None:
        """Finish what backward has begun.

        The caller calls it on every rank after each backward pass. With stage 1 there is nothing to
        do: gradients add up in `grad` until the step. With stage 2 every `grad` is None afterwards,
        and the mean has been added to the shards.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Step all parameters; the same on every rank afterwards, bit for bit."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget all gradients, those in shards too: every `grad` is None."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state on rank 0 and an empty dict on the others; all ranks call it.

        It says nothing of ranks and stages: `{"state": {i: {"step": t, "exp_avg": m, "exp_avg_sq":
        v}}, "param_groups": [...]}`, with i the number of a parameter, counted through all groups
        in order, t an int, m and v tensors of the parameter's shape and dtype. A parameter that
        has never been stepped is missing from `state`. Groups are those of `param_groups` with
        numbers for `params`, and have no keys but `params`, `lr`, `betas`, `eps`, `weight_decay`.
        """
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned on rank 0, of any number of ranks and any stage.

        All ranks get the whole. What the optimizer had before is forgotten: a parameter that is
        missing from `state` begins anew. Options of the groups are taken over too. Tensors are
        copied.

        Raises:
            ValueError: if the number or sizes of groups, a number of a parameter or a shape of m or
                v do not fit; nothing has changed then.
        """
        raise NotImplementedError


# %% [markdown]
# ## 4 · `FSDP`
# ZeRO-3: parameters are whole only while they are used.


# %% tags=["export"]
class FSDP(nn.Module):
    """A module of whose parameters each rank holds a shard; the whole comes and goes (ZeRO-3).

    A training step is::

        optimizer = torch.optim.AdamW(fsdp.shards(), lr=0.01)
        fsdp(x).mean().backward()
        fsdp.finish_backward()          # after each of several passes, if there are several
        optimizer.step()
        optimizer.zero_grad()

    Units are what is gathered and freed together. A parameter belongs to the innermost unit among
    the modules that hold it. The root unit has those that are in no unit, and those that modules of
    different units share. A unit is gathered before its module runs forward and freed after it,
    gathered again before its backward pass, and reduced and freed once its gradients are complete.
    The root may stay gathered from the beginning of forward until `finish_backward`. At most two
    units beyond the one that runs, and those around it, are whole at any time. What a module keeps
    for its backward pass must find its parameters there again: `untyped_storage().resize_()` frees
    and brings back the bytes under a tensor that autograd has saved.

    Ranks run the same modules in the same order; a module may be called twice in a pass, or not at
    all. It has no buffers. Forward without gradients (evaluation) leaves nothing gathered: it
    may come between backward and the step, and what runs then has the weights after the step.
    Parameters are of float32 or float64, also of both in one unit.

    Args:
        module: the module, with equal parameters on all ranks. Afterwards it holds shards alone.
        units: names of submodules, as in `module.named_modules()`, in any order.

    Raises:
        ValueError: if a unit is no submodule, the module itself, or named twice.
    """

    def __init__(self, module: nn.Module, units: Sequence[str]) -> None:
        raise NotImplementedError

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        """Return what the module returns."""
        raise NotImplementedError

    def finish_backward(self) -> None:
        """Reduce and free what is left after a backward pass; the caller calls it on every rank."""
        raise NotImplementedError

    def shards(self) -> list[Parameter]:
        """Return this rank's shards, leaf tensors for any optimizer that works number by number.

        The list has the same tensors in every call. How parameters are divided is yours to choose;
        shards of frozen parameters require no gradient. After `finish_backward`, `grad` holds this
        rank's part of the mean over ranks, added to what was there. A parameter without a gradient
        counts as zeros, or its shard's `grad` stays None.
        """
        raise NotImplementedError

    def full_state(self) -> dict[str, Tensor]:
        """Return copies of all whole parameters by name, as in `module.named_parameters()`.

        On every rank, in that order; all ranks call it, and not between forward and backward. The
        copies stay as they are when the shards are stepped.
        """
        raise NotImplementedError


# %% [markdown]
# ## 5 · `clip_grad_norm`


# %% tags=["export"]
def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale all ranks' shards in place so that their norm together is at most `max_norm`.

    The norm is the square root of the sum of the squares of all numbers of all shards on all ranks,
    with squares and sums in float64. If it is finite and above `max_norm`, every shard is
    multiplied by `max_norm / norm`; else none changes, in no bit. The factor may be smaller than
    any number of the shard's dtype: 40,000 times 2e-8 is 8e-4 in float16, not 0. A norm of zero,
    infinity or NaN is returned as it is.

    Args:
        shards: this rank's gradients, of any floating-point dtypes and sizes, 0 included; a rank
            may have none.
        max_norm: above 0; infinity only measures.

    Returns:
        the norm before clipping, float64, without dimensions, the same on every rank.

    Raises:
        ValueError: if `max_norm` is not above 0 (or NaN), before anything is sent.
    """
    raise NotImplementedError


# %% [markdown]
# ## Public cases
# Passing them does not mean that the hidden ones pass: those have other worlds, shapes and values.

# %% tags=["scratch", "active-ipynb"]
# from grader.student import check
#
# check("broadcast_module", broadcast_module)
# check("DDP", average_gradients=average_gradients, DDP=DDP)
# check("ZeroOptimizer", ZeroOptimizer)
# check("FSDP", FSDP)
# check("clip_grad_norm", clip_grad_norm)
