#include "check_rates.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "errors.h"
#include "slopes.h"
#include "sums.h"

namespace dsa::learn {
namespace {

constexpr int kTries = 10;       // radii, each a tenth of the one before or ten times it
constexpr size_t kHalvings = 8;  // rates that are looked at: 1/2, 1/4, ... of the one given
constexpr int kAhead = 4;        // steps in one direction that a rate must survive
constexpr double kWorse = 1.0;   // nats by which the batch may get worse
constexpr double kBlind = 1e-5;  // nats: differences below it are float32's rounding

// Mean losses (L,) in float64 from losses (L, B).
std::vector<double> means(const Floats& losses, size_t batch) {
  std::vector<double> found(losses.size() / batch), scratch(batch);
  for (size_t lane = 0; lane < found.size(); ++lane)
    found[lane] = exact_mean(losses.data() + lane * batch, batch, scratch.data());
  return found;
}

// Losses (L, B) of all lanes of the first step.
Floats lane_losses(Objective& objective, Some batch, Estimator& estimator, const Space& space) {
  Floats rows, losses(estimator.lanes() * batch.count);
  for (size_t lane = 0; lane < estimator.lanes();) {
    const size_t count = std::min(estimator.at_a_time(), estimator.lanes() - lane);
    rows.resize(count * space.size());
    estimator.write_lanes(space.start.data(), 0, lane, count, rows.data());
    objective.losses(batch, {rows.data(), count}, losses.data() + lane * batch.count);
    lane += count;
  }
  return losses;
}

// By what to change the radius, from the mean losses of its lanes; 1 for one that works.
double change(const Estimator& estimator, const std::vector<double>& lanes, double start) {
  const bool finite =
      std::all_of(lanes.begin(), lanes.end(), [](double l) { return std::isfinite(l); });
  if (!finite || mean(lanes.data(), lanes.size()) > start + kWorse) return 0.1;
  std::vector<double> apart(estimator.directions());
  estimator.slopes(lanes.data(), 1, 0.5, apart.data());  // the differences of pairs
  double most = 0;
  for (const double each : apart) most = std::max(most, std::fabs(each));
  return most > kBlind ? 1.0 : 10.0;
}

struct Probed {
  Hyperparameters hyper;
  Floats scalars;
};

// A radius that losses can tell, and the scalars there; nothing where none was found.
std::optional<Probed> probed(Objective& objective, Some batch, const Space& space,
                             Hyperparameters hyper, uint64_t seed, double start) {
  double factor = 1;
  for (int i = 0; i < kTries; ++i) {
    hyper.epsilon *= factor;
    const auto estimator = Estimator::make(hyper, seed, space);
    const Floats losses = lane_losses(objective, batch, *estimator, space);
    factor = change(*estimator, means(losses, batch.count), start);
    if (factor != 1) continue;
    Floats scalars(estimator->width());
    Slopes slopes(*estimator, batch.count, 0);
    slopes.from_losses(losses.data(), batch.count, objective.served(batch), scalars.data());
    return Probed{hyper, scalars};
  }
  return std::nullopt;
}

// The first of the rates, each half the one before, after whose steps the loss is no worse.
double safe_rate(Objective& objective, Some batch, const Space& space, const Probed& at,
                 uint64_t seed, double start) {
  State state(space, at.hyper, seed);
  Floats gradient(space.size()), losses(batch.count);
  if (!state.estimator().direction(at.scalars.data(), 0, gradient.data())) return at.hyper.rate;
  double rate = at.hyper.rate;
  for (size_t i = 1;; ++i, rate /= 2) {  // one by one: the first is nearly always safe
    state.reset();
    for (int step = 0; step < kAhead; ++step)
      state.move(gradient.data(), static_cast<float>(rate), at.scalars.data());
    objective.losses(batch, {state.theta().data(), 1}, losses.data());
    const double ahead = means(losses, batch.count)[0];
    if (i == kHalvings || ahead <= start + kWorse) return rate;
  }
}

}  // namespace

Checked checked(Objective& objective, Some batch, const Space& space, const Hyperparameters& hyper,
                uint64_t seed) {
  Floats losses(batch.count);
  objective.losses(batch, {space.start.data(), 1}, losses.data());
  const double start = mean(losses.data(), losses.size());
  const auto found = probed(objective, batch, space, hyper, seed, start);
  if (!found) return {hyper, {}};
  Checked out{found->hyper, {}};
  if (out.hyper.epsilon != hyper.epsilon)
    out.notes.push_back(text("epsilon ", hyper.epsilon, " moved losses ",
                             out.hyper.epsilon < hyper.epsilon ? "too far" : "not at all", ": ",
                             out.hyper.epsilon, " was used"));
  out.hyper.rate = safe_rate(objective, batch, space, *found, seed, start);
  if (out.hyper.rate != hyper.rate)
    out.notes.push_back(text("the rate ", hyper.rate,
                             " made the loss worse at once: ", out.hyper.rate, " was used"));
  return out;
}

}  // namespace dsa::learn
