#include "report.h"

#include <cmath>

#include "json.h"
#include "sums.h"

namespace dsa::learn {
namespace {

template <class T>
Json optional(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json json_of(const Evaluation& of) {
  return {{"examples", of.examples}, {"loss", of.loss}, {"accuracy", optional(of.accuracy)}};
}

Json json_of(const Progress& of) {
  return {{"step", of.step},
          {"loss", of.loss},
          {"seconds", of.seconds},
          {"tokens", of.tokens},
          {"held_out_loss", optional(of.held_out_loss)},
          {"held_out_accuracy", optional(of.held_out_accuracy)}};
}

}  // namespace

Evaluation Evaluation::of(const Floats& losses, const Floats& right) {
  std::vector<double> all(losses.begin(), losses.end());
  return {losses.size(), mean(all.data(), all.size()), accuracy_of(right)};
}

std::optional<double> Evaluation::accuracy_of(const Floats& right) {
  float won = 0, known = 0;
  for (const float each : right)
    if (!std::isnan(each)) won += each, ++known;
  return known > 0 ? std::optional<double>(won / known) : std::nullopt;
}

std::string Evaluation::json() const { return written(json_of(*this)); }

std::string Report::json() const {
  Json told = {{"verdict", verdict},
               {"version", version},
               {"steps", steps},
               {"resumed", resumed},
               {"examples", examples},
               {"held_out", held_out},
               {"before", json_of(before)},
               {"calibrated", calibrated ? json_of(*calibrated) : Json(nullptr)},
               {"after", json_of(after)},
               {"fit_seconds", fit_seconds},
               {"prefill_seconds", prefill_seconds},
               {"step_seconds", step_seconds},
               {"tokens", tokens},
               {"adapter_bytes", adapter_bytes},
               {"adapter_size", adapter_size},
               {"seed", seed},
               {"hyperparameters", object_of(hyper.json())},
               {"notes", notes},
               {"routes", routes},
               {"served_examples", served_examples},
               {"evenness", optional(evenness)},
               {"privacy", privacy ? object_of(privacy->json()) : Json(nullptr)},
               {"curve", Json::array()}};
  for (const Progress& step : curve) told["curve"].push_back(json_of(step));
  return written(told);
}

}  // namespace dsa::learn
