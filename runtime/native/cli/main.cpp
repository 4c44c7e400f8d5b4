// dsa_runner: the runtime as a command line, over the C interface.
#include <malloc.h>

#include <csignal>
#include <cstdio>
#include <exception>

#include "cli/verbs.h"

namespace {

void stop(int) { dsa_cli::stop_running(); }

// Larger pieces, such as packed weights, go back to the system when they are freed. glibc would
// raise this bound to 32 MB as it sees them, and keep them in a heap with holes.
void give_back_large() {
#ifdef M_MMAP_THRESHOLD
  mallopt(M_MMAP_THRESHOLD, 512 << 10);
#endif
}

}  // namespace

int main(int count, char** words) {
  give_back_large();
  std::signal(SIGINT, stop);
  std::signal(SIGTERM, stop);
  try {
    return dsa_cli::run({words + 1, words + count});
  } catch (const dsa_cli::WrongUse& error) {
    std::fprintf(stderr, "dsa_runner: %s\n", error.what());
    return 2;
  } catch (const dsa_cli::Failed& error) {
    std::fprintf(stderr, "dsa_runner: %s\n", error.what());
    return error.usage ? 2 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dsa_runner: an unexpected failure (%s)\n", error.what());
    return 1;
  }
}
