// What ExecuTorch logs, kept for error messages in the place of stderr.
#pragma once

#include <string>

namespace dsa {

void capture_logs();

// The first reason that was logged since the last call, "" for none.
std::string last_log();

}  // namespace dsa
