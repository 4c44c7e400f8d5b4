#include "cli/request.h"

#include <cmath>
#include <cstdlib>

#include "core/json.h"

namespace dsa_cli {

namespace {

using dsa::Json;

// --settings and the settings that have options of their own, as one JSON object; "" for none.
std::string settings_of(const Options& options) {
  const std::string given = options.get("settings", "{}");
  Json all = Json::parse(given, nullptr, false);
  if (!all.is_object()) return given;  // the library says what is wrong
  for (const char* name : {"epsilon", "keep", "rate"})
    if (options.has(name)) all[name] = options.number(name, 0);
  for (const char* name : {"batch", "queries"})
    if (options.has(name)) all[name] = options.whole(name, 0);
  for (const char* name : {"estimator", "gate", "optimizer"})
    if (options.has(name)) all[name] = options.get(name);
  if (options.has("subspace")) all["along"] = options.whole("subspace", 0);
  return all.empty() ? "" : dsa::written(all);
}

// A number that is all of a text; NaN for what is none.
double number_of(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return text.empty() || *end ? std::nan("") : value;
}

}  // namespace

Request::Request(const Options& options) : settings_(settings_of(options)) {
  budget(options), conditions(options);
  if (options.has("privacy")) guarantee(options);
  told.hyperparameters = settings_.empty() ? nullptr : settings_.c_str();
  told.seed = static_cast<uint64_t>(options.whole("seed", 0));
  told.remember = options.has("remember");
  told.replay = static_cast<int32_t>(options.whole("replay", 0));
}

void Request::budget(const Options& options) {
  told.seconds = options.number("seconds", 0), told.steps = options.whole("steps", 0);
  told.memory_mb = options.number("memory-mb", 0), told.disk_mb = options.number("disk-mb", 0);
}

// --charging, --battery and the rest, or all of them in --when as Python has it.
void Request::conditions(const Options& options) {
  told.charging = options.has("charging"), told.battery = options.number("battery", 0);
  told.celsius = options.number("celsius", 0), told.idle = options.number("idle", 0);
  for (const std::string& part : options.list("when")) {
    const size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    const double value = equals == std::string::npos ? NAN : number_of(part.substr(equals + 1));
    double* const bound = name == "battery"   ? &told.battery
                          : name == "celsius" ? &told.celsius
                          : name == "idle"    ? &told.idle
                                              : nullptr;
    if (part == "charging")
      told.charging = 1;
    else if (bound && std::isfinite(value))
      *bound = value;
    else
      throw WrongUse("--when has \"" + part +
                     "\", expected charging, battery=50, celsius=45 or idle=0.3: correct it.");
  }
}

// --privacy E[,D]; --batch is then how many examples a step has.
void Request::guarantee(const Options& options) {
  const std::vector<std::string> parts = options.list("privacy");
  double numbers[2] = {0, 0};  // of which the library takes zeros for the usual
  bool right = parts.size() <= 2;
  for (size_t at = 0; right && at < parts.size(); ++at) {
    numbers[at] = number_of(parts[at]);
    right = std::isfinite(numbers[at]) && numbers[at] != 0;
  }
  if (!right)
    throw WrongUse("--privacy is \"" + options.get("privacy") +
                   "\", expected numbers more than 0 as 8 or 8,1e-5: correct it.");
  privacy_.epsilon = numbers[0], privacy_.delta = numbers[1];
  privacy_.batch = options.whole("batch", 0);
  told.privacy = &privacy_;
}

}  // namespace dsa_cli
