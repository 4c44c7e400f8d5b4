#include "cli/bench.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/measure.h"
#include "cli/verbs.h"
#include "core/errors.h"

namespace dsa_cli {

namespace {

using dsa::Json;

BenchSettings settings_of(const Options& options) {
  BenchSettings made;
  made.prompt_tokens = options.whole("prompt-tokens", made.prompt_tokens);
  made.new_tokens = options.whole("new-tokens", made.new_tokens);
  made.lanes = options.whole("lanes", made.lanes), made.batch = options.whole("batch", made.batch);
  made.warmup = options.whole("warmup", made.warmup);
  made.repeats = options.whole("repeats", made.repeats);
  made.threads = options.whole("threads", made.threads);
  made.backend = options.get("backend", made.backend);
  return made;
}

double median(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

// For people: medians.
void tell(const Json& made) {
  if (made.contains("peak_mb"))
    return static_cast<void>(std::printf("peak memory  %8.1f MB\n", made["peak_mb"].get<double>()));
  for (const char* kind : {"load", "prompt", "generate", "probe", "switch"}) {
    const double seconds = median(made["seconds"][kind].get<std::vector<double>>());
    std::printf("%-12s %8.2f ms", kind, 1e3 * seconds);
    if (made["tokens"].contains(kind))
      std::printf("  %8.1f tokens/s", made["tokens"][kind].get<double>() / seconds);
    std::printf("\n");
  }
}

}  // namespace

int bench(const Options& options) {
  if (options.plain().size() != 1)
    throw WrongUse("expected one bundle: `dsa_runner bench BUNDLE`.");
  const std::string pass = options.get("pass");
  if (!pass.empty() && pass != "time" && pass != "memory")
    throw WrongUse("--pass is \"" + pass + "\", expected time or memory: correct it.");
  try {
    const Json made = measured(options.plain()[0], pass == "memory", settings_of(options));
    if (options.has("json") || !pass.empty())
      std::printf("%s\n", dsa::written(made).c_str());
    else
      tell(made);
    return 0;
  } catch (const dsa::Error& error) {
    throw Failed(error.what(), error.kind() == dsa::Kind::usage);
  }
}

}  // namespace dsa_cli
