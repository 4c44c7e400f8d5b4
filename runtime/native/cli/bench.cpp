#include "cli/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "api/user.h"
#include "cli/verbs.h"
#include "core/json.h"

namespace dsa_cli {

namespace {

using dsa::Json;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

Json measured(const Options& options) {
  const double began = now();
  dsa::User user(options.plain()[0],
                 {options.get("store"), static_cast<int>(options.whole("threads", 0)),
                  !options.has("skip-hashes"), options.whole("layers-kept", 0), nullptr});
  const double opened = now() - began;
  const auto examples = dsa::read_examples(
      {"", options.need("data"), options.get("template"), options.list("labels")}, user.tokenizer());
  dsa::FitOptions told;
  told.hyper = options.get("settings"), told.memory_mb = options.number("memory-mb", 0);
  const dsa::Trial tried = user.trial(examples, told, std::max<int64_t>(2, options.whole("steps", 10)));
  const std::vector<double> steady(tried.step_seconds.begin() + 1, tried.step_seconds.end());
  const auto batch = static_cast<double>(
      std::min<size_t>(examples.size(), static_cast<size_t>(tried.hyper.batch)));
  return {{"open_seconds", opened},
          {"first_step_seconds", opened + tried.prompt_seconds * batch + tried.step_seconds[0]},
          {"prompt_seconds", tried.prompt_seconds},
          {"step_seconds", median(steady)},
          {"steps", tried.step_seconds.size()},
          {"tokens_a_step", tried.tokens},
          {"threads", user.engine().layers().threads()},
          {"kernels", dsa::kernels()},
          {"resident_mb", dsa::resident_mb()},
          {"peak_mb", dsa::peak_mb()}};
}

}  // namespace

int bench(const Options& options) {
  if (options.plain().size() != 1) throw WrongUse("expected one bundle: `dsa_runner bench BUNDLE`.");
  options.need("data");
  try {
    const Json made = measured(options);
    if (options.has("json"))
      std::printf("%s\n", dsa::written(made).c_str());
    else
      for (const auto& [name, value] : made.items())
        std::printf("%-18s %s\n", name.c_str(), value.dump().c_str());
    return 0;
  } catch (const dsa::Error& error) {
    throw Failed(error.what(), error.kind() == dsa::Kind::usage);
  }
}

}  // namespace dsa_cli
