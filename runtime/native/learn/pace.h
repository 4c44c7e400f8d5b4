// How far a run is, by steps or by time; pauses do not count.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

namespace dsa::learn {

class Pace {
 public:
  // steps: at most. seconds: of work, if they are bounded. wait: called before each step, returns
  // the seconds that it paused for.
  Pace(int64_t steps, std::optional<double> seconds, std::function<double()> wait)
      : steps(steps), seconds_(seconds), wait_(std::move(wait)), started_(clock()) {}

  void pause() {
    if (wait_) started_ += wait_();
  }

  // The first step comes next: it and those after it share the time that is left.
  void begin() { first_ = elapsed(); }

  // Share of the run that is over before a step: 1 when it may not begin.
  double progress(int64_t index) const {
    const double done = static_cast<double>(index) / static_cast<double>(steps);
    if (!seconds_) return done;
    const double left = *seconds_ - first_;
    return std::max(done, left > 0 ? (elapsed() - first_) / left : 1.0);
  }

  double elapsed() const { return clock() - started_; }  // seconds of work

  // Whether a share of the time is over, or will be in so many seconds.
  bool late(double share, double ahead) const {
    return seconds_ && elapsed() + ahead > share * *seconds_;
  }

  const int64_t steps;

 private:
  static double clock() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(since).count();
  }

  const std::optional<double> seconds_;
  const std::function<double()> wait_;
  double started_, first_ = 0;
};

}  // namespace dsa::learn
