// The inverse of the normal distribution function, the same to the bit on every machine.
#pragma once

namespace dsa::learn {

// Where a standard normal number is below with probability p, for 2^-33 <= p <= 1 - 2^-33.
// Wichura's algorithm AS 241 (Applied Statistics 37, 1988), PPND16, as runtime/_quantile.py has it:
// additions, products and quotients one at a time, and no mathematical library's logarithm.
double normal_quantile(double p);

}  // namespace dsa::learn
