#include "quantile.h"

#include <algorithm>
#include <cmath>

#ifdef __FAST_MATH__
#error "learning is defined to the bit: build it without -ffast-math"
#endif

namespace dsa::learn {
namespace {

// Highest power first, as Horner's rule takes them. |p - 1/2| <= 0.425:
constexpr double kA[] = {
    2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
    4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
    1.3314166789178437745e2, 3.3871328727963666080e0,
};
constexpr double kB[] = {
    5.2264952788528545610e3, 2.8729085735721942674e4,
    3.9307895800092710610e4, 2.1213794301586595867e4,
    5.3941960214247511077e3, 6.8718700749205790830e2,
    4.2313330701600911252e1, 1.0,
};
// Beyond; the third pair of AS 241, for tails below e^-25, is out of reach of 32 bits.
constexpr double kC[] = {
    7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
    1.27045825236245838258e0,  3.64784832476320460504e0,  5.76949722146069140550e0,
    4.63033784615654529590e0,  1.42343711074968357734e0,
};
constexpr double kD[] = {
    1.05075007164441684324e-9, 5.47593808499534494600e-4,
    1.51986665636164571966e-2, 1.48103976427480074590e-1,
    6.89767334985100004550e-1, 1.67638483018380384940e0,
    2.05319162663775882187e0,  1.0,
};
constexpr double kLn2 = 0.6931471805599453;
constexpr double kOdd[] = {
    // of 2 artanh(t) = 2t(1 + t^2/3 + t^4/5 + ...)
    1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
    1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0,
};

template <int kCount>
double polynomial(const double (&coefficients)[kCount], double x) {
  double total = coefficients[0];
  for (int i = 1; i < kCount; ++i) total = total * x + coefficients[i];
  return total;
}

// Natural logarithm for x in (0, 1/2), to 1e-15.
double logarithm(double x) {
  int exponent;
  double mantissa = std::frexp(x, &exponent);
  if (mantissa < 0.7071067811865476) mantissa = 2.0 * mantissa, --exponent;
  const double t = (mantissa - 1.0) / (mantissa + 1.0);
  return exponent * kLn2 + 2.0 * t * polynomial(kOdd, t * t);
}

}  // namespace

double normal_quantile(double p) {
  const double q = p - 0.5;
  if (!(std::fabs(q) > 0.425)) {
    const double square = 0.180625 - q * q;
    return q * (polynomial(kA, square) / polynomial(kB, square));
  }
  const double r = std::sqrt(-logarithm(std::min(p, 1.0 - p))) - 1.6;
  return std::copysign(polynomial(kC, r) / polynomial(kD, r), q);
}

}  // namespace dsa::learn
