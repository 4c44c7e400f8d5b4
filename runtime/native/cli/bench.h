// `dsa_runner bench`: what a step takes on this machine.
#pragma once

#include "cli/options.h"

namespace dsa_cli {

int bench(const Options& options);

}  // namespace dsa_cli
