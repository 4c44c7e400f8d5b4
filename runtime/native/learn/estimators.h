// The estimators, one class each; runtime/estimators/ has the mathematics of each.
#pragma once

#include "estimator.h"
#include "random.h"

namespace dsa::learn {

// Pairs of lanes around theta along a direction of its own.
class Pairs : public Estimator {
 public:
  void write_lanes(const float* theta, uint64_t step, size_t first, size_t count,
                   float* out) override;

 protected:
  Pairs(const Hyperparameters& hyper, uint64_t seed, const Space& space, bool by_block = true)
      : Estimator(hyper, seed, space, by_block), z_(space.size()) {}

  virtual void probed(uint64_t step, size_t query, float* z) = 0;  // z (n,)
  virtual void returned(uint64_t step, size_t query, float* z) { probed(step, query, z); }
  virtual const float* centre(const float* theta) { return theta; }  // what lanes surround
  void add(const float* scalars, uint64_t step, size_t query, float* sum) override;

 private:
  Floats z_;
};

// `antithetic`: random signs.
class Antithetic : public Pairs {
 public:
  Antithetic(const Hyperparameters& hyper, uint64_t seed, const Space& space, bool by_block = true)
      : Pairs(hyper, seed, space, by_block) {}

 protected:
  void probed(uint64_t step, size_t query, float* z) override;
  void add(const float* scalars, uint64_t step, size_t query, float* sum) override;
};

// `one-sided`: the centre, and lanes on one side of it.
class OneSided : public Antithetic {
 public:
  OneSided(const Hyperparameters& hyper, uint64_t seed, const Space& space)
      : Antithetic(hyper, seed, space, false), known_(directions_) {}

  size_t lanes() const override { return directions_ + 1; }
  void write_lanes(const float* theta, uint64_t step, size_t first, size_t count,
                   float* out) override;
  void slopes(const double* values, size_t each, double epsilon, double* out) const override;
  void scalars(const double* slopes, float* out) override;

 private:
  std::vector<double> known_;
};

// `mezo`: Gaussian directions, two lanes at a time.
class Mezo : public Pairs {
 public:
  Mezo(const Hyperparameters& hyper, uint64_t seed, const Space& space)
      : Pairs(hyper, seed, space) {}
  size_t at_a_time() const override { return 2; }

 protected:
  void probed(uint64_t step, size_t query, float* z) override;
};

// `sparse`: Gaussian directions that are zero but for a fixed part.
class Sparse : public Pairs {
 public:
  Sparse(const Hyperparameters& hyper, uint64_t seed, const Space& space);

 protected:
  void probed(uint64_t step, size_t query, float* z) override;

 private:
  void choose_given();
  void choose_smallest();
  void choose_in_slot(size_t first, size_t size, const std::vector<uint64_t>& chance);

  std::vector<size_t> chosen_;  // lowest first
};

// `lowrank`: products of two thin Gaussian matrices.
class LowRank : public Pairs {
 public:
  LowRank(const Hyperparameters& hyper, uint64_t seed, const Space& space);

 protected:
  void probed(uint64_t step, size_t query, float* z) override;
  void returned(uint64_t step, size_t query, float* z) override;

 private:
  struct Slot {
    size_t rows, cols;  // no columns for a vector
  };
  void products(uint64_t step, size_t query, float divisor, float* z);

  std::vector<Slot> slots_;
  Floats u_, v_;
  uint64_t period_ = ~uint64_t{0};  // that v_ belongs to
};

// `quzo`: everything on grids.
class Quzo : public Pairs {
 public:
  Quzo(const Hyperparameters& hyper, uint64_t seed, const Space& space);
  void move(float* theta, const float* by, uint64_t step) override;

 protected:
  void probed(uint64_t step, size_t query, float* z) override;
  void returned(uint64_t step, size_t query, float* z) override;
  const float* centre(const float* theta) override;

 private:
  void rounded_normal(uint64_t step, size_t query, Purpose purpose, float* z);
  float nearest(float number) const;

  double grid_;
  Floats centre_;
};

// `axes`: coordinate axes, some a step.
class Axes : public Estimator {
 public:
  Axes(const Hyperparameters& hyper, uint64_t seed, const Space& space);
  void write_lanes(const float* theta, uint64_t step, size_t first, size_t count,
                   float* out) override;
  bool direction(const float* scalars, uint64_t step, float* gradient) override;

 protected:
  void add(const float* scalars, uint64_t step, size_t query, float* sum) override;

 private:
  size_t axis(uint64_t step, size_t query) const;

  std::vector<uint32_t> order_;
};

}  // namespace dsa::learn
