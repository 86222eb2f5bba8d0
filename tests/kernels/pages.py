"""Paged caches for tests: shuffled pages, and poison in all memory that no kernel may read.

From lengths and sizes it makes caches, a block table and lengths; tests make the queries.
"""

import torch

from tests.kernels.nearness import DEVICE

POISON_PAGE = 10**6


def draw_pages(lengths, *, page_size=16, g=2, d=16, dtype=torch.float32, spare=3):
    """Return caches with NaN in dead slots and pages, a table with wild numbers behind each end."""
    used = [-(-length // page_size) for length in lengths]
    pages = sum(used) + spare
    order = torch.randperm(pages)
    table = torch.full((len(lengths), max(used, default=0) + 2), POISON_PAGE, dtype=torch.int32)
    caches = torch.full((2, pages, page_size, g, d), float("nan"))
    submission = 0
    for b, (length, count) in enumerate(zip(lengths, used, strict=True)):
        mine = order[submission : submission + count]
        submission += count
        table[b, :count] = mine.int()
        t = torch.arange(length)
        caches[:, mine[t // page_size], t % page_size] = torch.randn(2, length, g, d)
    k_cache, v_cache = caches.to(DEVICE, dtype)
    return (k_cache, v_cache), table.to(DEVICE), torch.tensor(lengths, device=DEVICE).int()
