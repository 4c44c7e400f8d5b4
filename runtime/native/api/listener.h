// Tells an app how a long call goes on, and asks whether it may.
#pragma once

#include <limits>
#include <string>

#include "api/user.h"
#include "dsa/runner.h"

namespace dsa {

inline dsa_progress nothing(dsa_phase phase) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  return {sizeof(dsa_progress), phase, 0, 0, none, none, none, 0, 0, ""};
}

class Listener {
 public:
  Listener(User& user, dsa_progress_callback tell, void* context, int64_t steps)
      : user_(user), tell_(tell), context_(context), steps_(steps) {}

  void send(const dsa_progress& progress) {
    if (tell_ && tell_(context_, &progress)) user_.control.stop();
  }
  void prompts(size_t more, int64_t total) {
    if (!more) return;
    dsa_progress progress = nothing(DSA_PROMPTS);
    prompts_ += static_cast<int64_t>(more);
    progress.done = prompts_, progress.total = total;
    send(progress);
  }
  bool step(const learn::Progress& of) {
    dsa_progress progress = nothing(DSA_STEPS);
    progress.done = of.step, progress.total = steps_, progress.loss = of.loss;
    progress.seconds = of.seconds, progress.tokens = of.tokens;
    if (of.held_out_loss) progress.held_out_loss = *of.held_out_loss;
    if (of.held_out_accuracy) progress.held_out_accuracy = *of.held_out_accuracy;
    send(progress);
    return !user_.control.stopped();
  }
  void paused(const std::string& reason) {
    dsa_progress progress = nothing(reason.empty() ? DSA_RESUMED : DSA_PAUSED);
    progress.reason = reason.c_str();
    send(progress);
  }

 private:
  User& user_;
  const dsa_progress_callback tell_;
  void* const context_;
  const int64_t steps_;
  int64_t prompts_ = 0;
};

}  // namespace dsa
