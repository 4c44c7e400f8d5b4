"""The inverse of the normal distribution function, the same to the bit on every machine.

Wichura's algorithm AS 241 (Applied Statistics 37, 1988), PPND16: rational functions, relative error
below 1e-15. It needs a logarithm, and mathematical libraries round theirs differently; the one here
is made of additions, products and quotients, which IEEE 754 defines to the bit, one operation at a
time and never fused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["normal_quantile"]

Doubles = NDArray[np.float64]

# Highest power first, as Horner's rule takes them. |p − ½| ≤ 0.425:
A = (
    2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
    4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
    1.3314166789178437745e2, 3.3871328727963666080e0,
)  # fmt: skip
B = (
    5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
    2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
    4.2313330701600911252e1, 1.0,
)  # fmt: skip
# Beyond; the third pair of AS 241, for tails below e⁻²⁵, is out of reach of 32 bits.
C = (
    7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
    1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
    4.63033784615654529590e0, 1.42343711074968357734e0,
)  # fmt: skip
D = (
    1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
    1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
    2.05319162663775882187e0, 1.0,
)  # fmt: skip
LN2 = 0.6931471805599453
ODD = tuple(1.0 / k for k in range(23, 0, -2))  # of 2·artanh(t) = 2t(1 + t²/3 + t⁴/5 + …)


def normal_quantile(p: Doubles) -> Doubles:
    """Where a standard normal number is below with probability p, for 2⁻³³ ≤ p ≤ 1 − 2⁻³³."""
    q = p - 0.5
    square = 0.180625 - q * q
    out = q * (_polynomial(A, square) / _polynomial(B, square))
    tails = np.flatnonzero(np.abs(q) > 0.425)
    r = np.sqrt(-_log(np.minimum(p[tails], 1.0 - p[tails]))) - 1.6
    out[tails] = np.copysign(_polynomial(C, r) / _polynomial(D, r), q[tails])
    return np.asarray(out)


def _log(x: Doubles) -> Doubles:
    """Natural logarithm for x in (0, ½), to 1e-15."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < 0.7071067811865476
    m, e = np.where(small, 2.0 * mantissa, mantissa), exponent - small
    t = (m - 1.0) / (m + 1.0)
    return np.asarray(e * LN2 + 2.0 * t * _polynomial(ODD, t * t))


def _polynomial(coefficients: Sequence[float], x: Doubles) -> Doubles:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += coefficient
    return total
