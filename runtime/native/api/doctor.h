// What this build and this machine can run.
#pragma once

#include <string>

namespace dsa {

// JSON; bundle: or empty. What is wrong with a bundle is told in it, one sentence a problem.
std::string doctor(const std::string& bundle);

}  // namespace dsa
