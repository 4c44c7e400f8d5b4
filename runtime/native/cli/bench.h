// `dsa_runner bench`: how fast a bundle runs on this machine, and what memory it takes.
#pragma once

#include "cli/options.h"

namespace dsa_cli {

int bench(const Options& options);

}  // namespace dsa_cli
