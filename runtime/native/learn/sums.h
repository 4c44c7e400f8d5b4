// Sums in numpy's order, so that a fit here makes the scalars that a fit in Python makes.
#pragma once

#include <cstddef>
#include <vector>

namespace dsa::learn {

// Of neighbours in memory, as numpy adds them: eight sums side by side, halves beyond 128 numbers.
double sum(const double* numbers, size_t count);
float sum(const float* numbers, size_t count);

double mean(const double* numbers, size_t count);
float mean(const float* numbers, size_t count);

// Mean in float64 of float32 numbers. scratch: room for `count` doubles.
double exact_mean(const float* numbers, size_t count, double* scratch);

// Standard deviation of `count` numbers with so many degrees of freedom less; they are overwritten.
double deviation(double* numbers, size_t count, size_t less);

double median(std::vector<double> of);  // 0 of none

}  // namespace dsa::learn
