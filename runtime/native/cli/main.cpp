// dsa_runner: the runtime as a command line, over the C interface.
#include <csignal>
#include <cstdio>
#include <exception>

#include "cli/verbs.h"

namespace {

void stop(int) { dsa_cli::stop_running(); }

}  // namespace

int main(int count, char** words) {
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
