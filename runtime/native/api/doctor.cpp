#include "api/doctor.h"

#include <thread>

#include "api/user.h"
#include "core/device.h"
#include "core/errors.h"
#include "core/json.h"
#include "dsa/runner.h"

namespace dsa {

const char* best_isa();  // kernels/native/core/gated_lowrank.h

const char* kernels() { return best_isa(); }

namespace {

Json known(const std::optional<double>& number) { return number ? Json(*number) : Json(); }

// A bundle's problems, each a sentence; none where it runs here.
Json problems(const std::string& path) {
  Json found = Json::array();
  try {
    User user(path, {});
    const Golden& golden = user.bundle().manifest.golden;
    if (user.tokenizer().encode_prompt(golden.prompt) != golden.prompt_ids)
      found.push_back("the tokenizer cuts the golden prompt in another way than at the export: "
                      "report the base's name.");
  } catch (const Error& error) {
    found.push_back(error.what());
  }
  return found;
}

}  // namespace

std::string doctor(const std::string& bundle) {
  const DeviceState state = Device().read();
  Json made{{"version", dsa_version()},
            {"abi", DSA_ABI_VERSION},
            {"kernels", kernels()},
            {"xnnpack", has_xnnpack()},
            {"missing_operators", missing_operators({"dsa::attend.out", "dsa::gated_lowrank.out",
                                                     "dsa::lane_linear.out", "aten::view_copy.out"})},
            {"threads", start_threads(0)},
            {"cores", std::thread::hardware_concurrency()},
            {"resident_mb", resident_mb()},
            {"charging", state.charging ? Json(*state.charging) : Json()},
            {"battery", known(state.battery)},
            {"celsius", known(state.celsius)}};
  if (!bundle.empty()) made["problems"] = problems(bundle);
  return written(made);
}

}  // namespace dsa
