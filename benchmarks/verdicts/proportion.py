"""What a count says of the probability behind it.

Takes: how often of how many. Gives: bounds. Does not cover: counts that depend on each other.
"""


def clopper_pearson(count: int, of: int, *, error_rate: float = 0.05) -> tuple[float, float]:
    """Return bounds that hold the probability at the stated confidence or better.

    Source: Clopper and Pearson, Biometrika 26 (1934), by quantiles of the beta distribution.
    """
    from scipy import stats  # here, because a student's machine does without it

    half = error_rate / 2
    low = float(stats.beta.ppf(half, count, of - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(1 - half, count + 1, of - count)) if count < of else 1.0
    return low, high
