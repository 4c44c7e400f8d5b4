// Hyperparameters as a journal has them.
#include <cmath>

#include "hyper.h"
#include "json.h"

namespace dsa::learn {
namespace {

// Calls visit(name, field) for each field, in the order in which Python writes them.
template <class H, class Visit>
void each_field(H& hyper, Visit visit) {
  visit("queries", hyper.queries), visit("batch", hyper.batch), visit("epsilon", hyper.epsilon);
  visit("rate", hyper.rate), visit("smoothing", hyper.smoothing), visit("beta1", hyper.beta1);
  visit("beta2", hyper.beta2), visit("cooldown", hyper.cooldown);
  visit("estimator", hyper.estimator), visit("optimizer", hyper.optimizer);
  visit("share", hyper.share), visit("mask", hyper.mask), visit("rank", hyper.rank);
  visit("refresh", hyper.refresh), visit("grid", hyper.grid), visit("keep", hyper.keep);
  visit("keep_from", hyper.keep_from), visit("keep_until", hyper.keep_until);
  visit("keep_every", hyper.keep_every), visit("slopes", hyper.slopes);
  visit("along", hyper.along), visit("gate", hyper.gate), visit("draws", hyper.draws);
  visit("gate_rate", hyper.gate_rate);
}

void read_value(const Json& value, double& field) {
  if (!value.is_number()) throw Broken("a hyper-parameter is no number");
  field = value.get<double>();
}

// Whole numbers may have been written as 8.0, and others as 1.
void read_value(const Json& value, int64_t& field) {
  double number;
  read_value(value, number);
  if (!(std::fabs(number) < 1e15)) throw Broken("a hyper-parameter is too large");
  field = static_cast<int64_t>(number);
}

void read_value(const Json& value, std::string& field) {
  if (!value.is_string()) throw Broken("a hyper-parameter is no text");
  field = value.get<std::string>();
}

// Sets the fields that an object has. Raises Broken for others.
void set(Hyperparameters& hyper, Json told) {
  each_field(hyper, [&](const char* name, auto& value) {
    if (!told.contains(name)) return;
    read_value(told[name], value);
    told.erase(name);
  });
  if (!told.empty()) throw Broken("an unknown hyper-parameter " + told.begin().key());
}

}  // namespace

std::string Hyperparameters::json() const {
  Json told = Json::object();
  each_field(*this, [&](const char* name, const auto& value) { told[name] = value; });
  return written(told);
}

Hyperparameters Hyperparameters::read(const std::string& json) {
  Hyperparameters hyper;
  hyper.slopes = "batch";  // what runs did before a journal said so
  set(hyper, object_of(json));
  try {
    hyper.check();
  } catch (const Error& error) {
    throw Broken(error.what());
  }
  return hyper;
}

Hyperparameters Hyperparameters::changed(const std::string& json, bool choices, int64_t steps) const
    try {
  const Json given = object_of(json);
  Hyperparameters hyper = *this;
  const int64_t wanted = given.value("along", int64_t{0});
  if (given.contains("estimator") || given.contains("optimizer") || wanted)
    hyper = suited(choices, given.value("estimator", wanted ? "axes" : "antithetic"),
                   given.value("optimizer", "adam"), wanted);
  hyper.queries = given.value("queries", hyper.queries);
  hyper.within(steps ? steps : hyper.usual_steps());
  set(hyper, given);
  hyper.check();
  return hyper;
} catch (const Json::exception&) {
  throw Error(Kind::usage, "a hyper-parameter is of another type: correct it.");
} catch (const Broken& broken) {
  throw Error(Kind::usage, text("the hyper-parameters are wrong (", broken.what(),
                                "): give a JSON object of those that are to differ."));
}

}  // namespace dsa::learn
