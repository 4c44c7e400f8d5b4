// How a Linux device is: power, heat, and how busy others keep it, as /sys and /proc tell.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace dsa {

// What cannot be known is none.
struct DeviceState {
  std::optional<bool> charging;
  std::optional<double> battery, celsius, busy;
};

// A board without a battery is on external power. Of several batteries the mean counts.
class Device {
 public:
  explicit Device(std::string sys = "/sys", std::string proc = "/proc")
      : sys_(std::move(sys)), proc_(std::move(proc)) {}
  DeviceState read();  // `busy` is of the time since the last call, none at the first

 private:
  void power(DeviceState& state) const;
  std::optional<double> celsius() const;
  std::optional<double> busy();

  const std::string sys_, proc_;
  std::optional<std::pair<double, double>> before_;  // ticks: all, and those of others
};

}  // namespace dsa
