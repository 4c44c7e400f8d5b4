// The verbs of dsa_runner. Each prints for people, or with --json one JSON object.
#pragma once

#include <string>
#include <vector>

#include "cli/options.h"

namespace dsa_cli {

// What a call of the library refused; usage: the caller's mistake, exit code 2.
class Failed : public std::runtime_error {
 public:
  Failed(const std::string& what, bool usage) : std::runtime_error(what), usage(usage) {}
  const bool usage;
};

// Runs one command; returns its exit code.
int run(const std::vector<std::string>& words);

// Ends what runs: a fit after its step, and with a verdict.
void stop_running();

}  // namespace dsa_cli
