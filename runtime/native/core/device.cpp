#include "core/device.h"

#include <sys/times.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <vector>

namespace dsa {

namespace {

using std::filesystem::path;

std::vector<path> entries(const path& folder) {
  std::vector<path> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

// By the C library: a file stream of C++ needs a type that each C library names otherwise.
std::string line_of(const path& file) {
  std::FILE* stream = std::fopen(file.c_str(), "r");
  if (!stream) return {};
  char line[4096] = "";  // a page: what the system tells of a value is no longer
  if (!std::fgets(line, sizeof line, stream)) line[0] = '\0';
  std::fclose(stream);
  return {line, std::strcspn(line, "\n")};
}

std::optional<double> number(const path& file, double low, double high) {
  std::istringstream line(line_of(file));
  double value;
  if (!(line >> value) || value < low || value > high) return std::nullopt;
  return value;
}

// Whether a charger says that it is on, or, where none says anything, a battery.
std::optional<bool> charging(const std::vector<path>& supplies,
                             const std::vector<path>& batteries) {
  std::optional<bool> found;
  for (const path& supply : supplies)
    if (const auto online = number(supply / "online", 0, 9))
      found = found.value_or(false) || *online > 0;
  if (found) return found;
  bool any = false;
  for (const path& battery : batteries) {
    const std::string status = line_of(battery / "status");
    const bool on = status == "Charging" || status == "Full" || status == "Not charging";
    if (!on && status != "Discharging") return std::nullopt;
    any = any || on;
  }
  return any;
}

}  // namespace

void Device::power(DeviceState& state) const {
  std::error_code error;
  if (!std::filesystem::is_directory(path(sys_) / "class", error)) return;
  std::vector<path> batteries, others;
  for (const path& supply : entries(path(sys_) / "class" / "power_supply")) {
    if (line_of(supply / "scope") == "Device") continue;  // a mouse's or a headset's
    const std::string type = line_of(supply / "type");
    (type == "Battery" || type == "UPS" ? batteries : others).push_back(supply);
  }
  if (batteries.empty()) {
    state.charging = true;
    return;
  }
  state.charging = charging(others, batteries);
  double total = 0;
  for (const path& battery : batteries) {
    const auto level = number(battery / "capacity", 0, 100);
    if (!level) return;
    total += *level;
  }
  state.battery = total / static_cast<double>(batteries.size());
}

std::optional<double> Device::celsius() const {
  std::optional<double> hottest;
  for (const path& zone : entries(path(sys_) / "class" / "thermal")) {
    // A Jetson's PMIC-Die says 100 °C whatever it is.
    if (zone.filename().string().rfind("thermal_zone", 0) != 0) continue;
    if (line_of(zone / "type").rfind("PMIC", 0) == 0) continue;
    if (const auto milli = number(zone / "temp", -40e3, 150e3))
      hottest = std::max(hottest.value_or(-1e3), *milli / 1e3);
  }
  return hottest;
}

std::optional<double> Device::busy() {
  std::istringstream line(line_of(path(proc_) / "stat"));
  std::string name;
  line >> name;
  double all = 0, idle = 0, ticks;
  for (int at = 0; at < 8 && line >> ticks; ++at) {
    all += ticks;
    if (at == 3 || at == 4) idle += ticks;
  }
  if (name != "cpu" || all <= 0) return std::nullopt;
  struct tms own{};
  times(&own);
  const std::pair<double, double> now{
      all, all - idle - static_cast<double>(own.tms_utime + own.tms_stime)};
  const auto before = std::exchange(before_, now);
  if (!before || now.first <= before->first) return std::nullopt;
  const double share = (now.second - before->second) / (now.first - before->first);
  return std::min(1.0, std::max(0.0, share));
}

DeviceState Device::read() {
  DeviceState state;
  power(state);
  state.celsius = celsius(), state.busy = busy();
  return state;
}

}  // namespace dsa
