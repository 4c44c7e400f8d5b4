#include "api/conditions.h"

#include <chrono>
#include <cmath>
#include <thread>

#include "core/errors.h"

namespace dsa {

namespace {

constexpr double kCooler = 5, kFuller = 5;  // at the bound itself a run would stop and go
constexpr double kLook = 0.05;              // seconds between two looks at a stop

double clock_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void check(const char* name, double value, double most) {
  if (value >= 0 && value <= most) return;
  throw Error(Kind::usage, text(name, " is ", value, ", expected a number from 0 to ", most, "."));
}

void add(std::string& reasons, const std::string& reason) {
  reasons += (reasons.empty() ? "" : ", ") + reason;
}

}  // namespace

Waiter::Waiter(const Conditions& conditions, const Control& control,
               std::function<void(const std::string&)> on_pause)
    : conditions_(conditions), control_(control), on_pause_(std::move(on_pause)) {
  check("battery", conditions_.battery, 100), check("celsius", conditions_.celsius, 150);
  check("idle", conditions_.idle, 1);
  if (asks_system()) refuse_unknown();
}

bool Waiter::asks_system() const {
  return conditions_.charging || conditions_.battery > 0 || conditions_.celsius > 0 ||
         conditions_.idle > 0;
}

// What a device cannot tell, a run would wait for for good.
void Waiter::refuse_unknown() {
  device_.read();  // what others take shows between two reads
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const DeviceState state = device_.read();
  std::string unknown;
  if (conditions_.charging && !state.charging) add(unknown, "whether it charges");
  if (conditions_.battery > 0 && !state.battery) add(unknown, "the battery");
  if (conditions_.celsius > 0 && !state.celsius) add(unknown, "the temperature");
  if (!unknown.empty())
    throw Error(Kind::usage, text("the conditions can never be met: ", unknown, " is not known on this "
                                  "system. Leave them out, or ask the app by a callback."));
}

std::string Waiter::system_unmet(bool strict) {
  const DeviceState state = device_.read();
  std::string reasons;
  if (conditions_.charging && !state.charging.value_or(false)) add(reasons, "it is not on external power");
  const double least = std::min(100.0, conditions_.battery + (strict ? kFuller : 0));
  if (conditions_.battery > 0 && !(state.battery.value_or(-1) >= least))
    add(reasons, text("battery ", std::lround(state.battery.value_or(0)), " %, expected at least ",
                      std::lround(least), " %"));
  const double most = conditions_.celsius - (strict ? kCooler : 0);
  if (conditions_.celsius > 0 && !(state.celsius.value_or(1e9) <= most))
    add(reasons, text(state.celsius.value_or(0), " °C, expected at most ", most, " °C"));
  if (conditions_.idle > 0 && state.busy && *state.busy > conditions_.idle)
    add(reasons, text("other programs take ", std::lround(100 * *state.busy), " %, expected at most ",
                      std::lround(100 * conditions_.idle), " %"));
  return reasons;
}

std::string Waiter::unmet(bool strict) {
  std::string reasons = asks_system() ? system_unmet(strict) : "";
  const char* told = conditions_.ask ? conditions_.ask(conditions_.context) : nullptr;
  if (told) add(reasons, told);
  return reasons;
}

double Waiter::wait() {
  const double began = clock_now();
  const bool due = checked_ < 0 || began - checked_ >= conditions_.check_seconds;
  std::string reasons = due ? unmet(false) : "";
  if (due) checked_ = began;
  if (reasons.empty()) reasons = control_.paused();
  if (reasons.empty()) return 0;
  on_pause_(reasons);
  double looked = clock_now();
  while (!reasons.empty() && !control_.stopped()) {
    std::this_thread::sleep_for(std::chrono::duration<double>(kLook));
    const std::string paused = control_.paused();
    if (paused.empty() && clock_now() - looked < conditions_.check_seconds && due) continue;
    reasons = paused.empty() ? unmet(true) : paused;
    looked = clock_now();
  }
  on_pause_("");
  checked_ = clock_now();
  return checked_ - began;
}

}  // namespace dsa
