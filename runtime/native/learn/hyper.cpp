#include "hyper.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "errors.h"
#include "rounding.h"

namespace dsa::learn {
namespace {

constexpr double kUsualLanes = 3200;  // of a fit that is told no number of steps
constexpr int64_t kUsualGradients = 100;

using Names = std::initializer_list<const char*>;
constexpr Names kEstimators = {"antithetic", "axes",      "exact", "lowrank",
                               "mezo",       "one-sided", "quzo",  "sparse"};
constexpr Names kOptimizers = {"adam", "momentum", "normalized", "sgd"};
constexpr Names kGates = {"clusters", "learned", "scratch"};
constexpr Names kSlopes = {"batch", "blocks"};

[[noreturn]] void refuse(const std::string& what) { throw Error(Kind::usage, what); }

bool among(const std::string& name, Names known) {
  return std::find(known.begin(), known.end(), name) != known.end();
}

void check_name(const char* what, const std::string& name, Names known) {
  if (among(name, known)) return;
  std::string all;
  for (const char* each : known) all += (all.empty() ? "" : ", ") + std::string(each);
  refuse(text(what, " is '", name, "', expected one of ", all, ": correct it."));
}

void at_least_one(const char* name, int64_t value) {
  if (value < 1) refuse(text(name, " is ", value, ", expected at least 1."));
}

void below_one(const char* name, double value) {
  if (!(value >= 0 && value < 1))
    refuse(text(name, " is ", value, ", expected 0 ≤ ", name, " < 1."));
}

void check_numbers(const Hyperparameters& hyper) {
  at_least_one("queries", hyper.queries), at_least_one("batch", hyper.batch);
  at_least_one("rank", hyper.rank), at_least_one("refresh", hyper.refresh);
  at_least_one("keep_every", hyper.keep_every);
  const bool finite = std::isfinite(hyper.epsilon) && std::isfinite(hyper.rate);
  if (!(hyper.epsilon > 0 && hyper.rate > 0 && finite))
    refuse(text("epsilon is ", hyper.epsilon, " and rate is ", hyper.rate,
                ", expected positive numbers."));
  below_one("beta1", hyper.beta1), below_one("beta2", hyper.beta2);
  below_one("smoothing", hyper.smoothing);
  if (!(hyper.cooldown >= 0 && hyper.cooldown <= 1))
    refuse(text("cooldown is ", hyper.cooldown, ", expected 0 ≤ cooldown ≤ 1."));
}

void check_budget(const Hyperparameters& hyper) {
  if (!(hyper.share > 0 && hyper.share <= 1))
    refuse(text("share is ", hyper.share, ", expected 0 < share ≤ 1."));
  const bool ordered = 0 <= hyper.keep_from && hyper.keep_from < hyper.keep_until;
  if (!(hyper.keep > 0 && hyper.keep <= 1 && ordered))
    refuse(text("keep is ", hyper.keep, " from step ", hyper.keep_from, " to ", hyper.keep_until,
                ", expected 0 < keep ≤ 1, and steps one after the other."));
  if (hyper.along < 0 || (hyper.along && hyper.keep < 1))
    refuse(text("along is ", hyper.along, " with keep ", hyper.keep,
                ", expected 0 or more, and with directions to learn along keep 1: leave one of "
                "them out."));
}

void check_method(const Hyperparameters& hyper) {
  check_name("estimator", hyper.estimator, kEstimators);
  check_name("optimizer", hyper.optimizer, kOptimizers);
  check_name("slopes", hyper.slopes, kSlopes);
  if (!hyper.mask.empty() && hyper.estimator != "sparse")
    refuse(text("a mask belongs to estimator sparse, got ", hyper.estimator,
                ": leave out one of them."));
  int exponent;
  if (!(hyper.grid > 0 && hyper.grid < 1e30 && std::frexp(hyper.grid, &exponent) == 0.5))
    refuse(text("grid is ", hyper.grid, ", expected a power of two, as 0.0078125 is."));
  if (hyper.estimator != "one-sided") return;
  if (hyper.queries < 2)
    refuse(
        "one-sided divides by the spread of its losses, expected at least 2 queries, got 1: "
        "raise --queries.");
  if (hyper.optimizer == "normalized")
    refuse(
        "one-sided divides by the spread of the losses already, expected an optimizer that does "
        "not, got normalized: use sgd, momentum or adam.");
}

void check_gate(const Hyperparameters& hyper) {
  check_name("gate", hyper.gate, kGates);
  if (!(hyper.gate_rate > 0 && std::isfinite(hyper.gate_rate)))
    refuse(text("gate_rate is ", hyper.gate_rate, ", expected a number more than 0."));
  if (!hyper.learns_gate()) return;
  const bool paired = among(hyper.estimator, {"antithetic", "lowrank", "mezo", "quzo", "sparse"});
  if (!paired || hyper.slopes != "blocks" || hyper.along)
    refuse(text("gate ", hyper.gate,
                " learns from pairs of lanes and slopes of blocks, got "
                "estimator ",
                hyper.estimator, ", slopes of ", hyper.slopes, " and along ", hyper.along,
                ": leave one of them out, or use gate clusters."));
  if (hyper.draws < 2 || hyper.queries % hyper.draws)
    refuse(text("draws is ", hyper.draws, " for ", hyper.queries,
                " queries, expected at least 2 that divide them: routes are compared with each "
                "other; correct one of the two."));
}

struct Pair {
  double epsilon, rate;
};

// Radius and rate under adam for free responses, before the factors (docs/results/methods.md).
Pair free_pair(const std::string& estimator, bool adam) {
  Pair found{9e-3, 3e-3};
  if (estimator == "antithetic") found = {0.03, 9e-3};
  if (estimator == "axes" || estimator == "sparse") found = {0.03, 3e-3};
  if (estimator == "exact") found = {0.03, 0.02};
  if (estimator == "mezo") found = {9e-3, 9e-3};
  return {found.epsilon, adam ? found.rate : 3e-3};
}

double rate_factor(const std::string& estimator, const std::string& optimizer) {
  struct Factor {
    const char *estimator, *optimizer;
    double factor;
  };
  constexpr Factor kFactors[] = {
      {"axes", "momentum", 100}, {"axes", "sgd", 100},         {"exact", "adam", 0.3},
      {"lowrank", "adam", 2},    {"one-sided", "momentum", 4}, {"one-sided", "sgd", 4},
      {"sparse", "adam", 3},     {"sparse", "momentum", 30},   {"sparse", "normalized", 12},
      {"sparse", "sgd", 30},
  };
  for (const Factor& each : kFactors)
    if (estimator == each.estimator && optimizer == each.optimizer) return each.factor;
  return optimizer == "adam" ? 1 : optimizer == "normalized" ? 4 : 10;
}

}  // namespace

void Hyperparameters::check() const {
  check_numbers(*this);
  check_budget(*this);
  check_method(*this);
  check_gate(*this);
}

Hyperparameters Hyperparameters::suited(bool choices, const std::string& estimator,
                                        const std::string& optimizer, int64_t along) {
  check_name("estimator", estimator, kEstimators);
  check_name("optimizer", optimizer, kOptimizers);
  Pair pair = choices ? Pair{0.1, 0.01} : free_pair(estimator, optimizer == "adam");
  pair.epsilon *= estimator == "axes" ? 5.0 : 1.0;
  pair.rate *= rate_factor(estimator, optimizer);
  if (along) pair = {0.3, 0.1};  // in the standard deviations of users
  Hyperparameters made;
  made.queries = estimator == "antithetic" ? 8 : estimator == "axes" ? 64 : 16;
  made.epsilon = pair.epsilon, made.rate = pair.rate;
  made.smoothing = choices ? 0.2 : 0.0;
  made.estimator = estimator, made.optimizer = optimizer, made.along = along;
  made.within(made.usual_steps());
  made.check();
  return made;
}

void Hyperparameters::within(int64_t steps) {
  keep_from = rounded(0.2 * static_cast<double>(steps));
  keep_until = std::max(rounded(0.7 * static_cast<double>(steps)), keep_from + 1);
}

int64_t Hyperparameters::lanes() const {
  if (estimator == "exact") return 4;
  return estimator == "one-sided" ? queries + 1 : 2 * queries;
}

int64_t Hyperparameters::usual_steps() const {
  if (estimator == "exact") return kUsualGradients;
  return std::max<int64_t>(1, rounded(kUsualLanes / static_cast<double>(lanes())));
}

double Hyperparameters::rate_at(double progress) const {
  const double left = 1.0 - progress;
  return cooldown != 0 ? rate * std::min(1.0, left / cooldown) : rate;
}

bool operator==(const Hyperparameters& a, const Hyperparameters& b) { return a.json() == b.json(); }

}  // namespace dsa::learn
