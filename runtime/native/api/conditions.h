// When a device may learn: on a charger, not hot, not busy, and when the app lets it.
//
// What the system does not tell counts as not met, so a device that hides its battery is not
// drained. runtime/_conditions.py has the same rules.
#pragma once

#include <functional>
#include <string>

#include "api/user.h"
#include "core/device.h"

namespace dsa {

// 0 asks for nothing. battery: percent at least. celsius: hottest zone at most. idle: share of all
// cores that other programs may use. ask: an app's own condition; null where it is met.
struct Conditions {
  bool charging;
  double battery, celsius, idle, check_seconds;
  const char* (*ask)(void* context);
  void* context;
};

class Waiter {
 public:
  // on_pause: with the reasons when a pause begins, and with "" when it ends.
  // Raises Error(usage) for what no device can meet, or this one cannot tell.
  Waiter(const Conditions& conditions, const Control& control,
         std::function<void(const std::string&)> on_pause);

  // Returns when the fit may go on, or is stopped; the seconds that this took.
  double wait();

 private:
  std::string unmet(bool strict);  // why not, "" where it may; strict: with a margin
  std::string system_unmet(bool strict);
  bool asks_system() const;
  void refuse_unknown();

  const Conditions conditions_;
  const Control& control_;
  const std::function<void(const std::string&)> on_pause_;
  Device device_;
  double checked_ = -1;
};

}  // namespace dsa
