// The op with a C interface: what Python's ctypes, the tests and the benchmark call.
#include <thread>
#include <vector>

#include "attend.h"
#include "gated_lowrank.h"
#include "lane_linear.h"

#define DSA_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// Threads of their own for callers without an engine: each takes every n-th unit.
void run_threads(void* engine, int64_t units, void (*unit)(void*, int64_t), void* task) {
  const int64_t count = *static_cast<const int64_t*>(engine);
  std::vector<std::thread> threads;
  const auto work = [&](int64_t first) {
    for (int64_t i = first; i < units; i += count) unit(task, i);
  };
  for (int64_t first = 1; first < count && first < units; ++first)
    threads.emplace_back(work, first);
  work(0);
  for (std::thread& thread : threads) thread.join();
}

template <class Call>
const char* run(const Call& call, bool (*op)(const Call&, dsa::Pool, dsa::Isa), int isa,
                int64_t threads) {
  if (const char* wrong = dsa::check(call)) return wrong;
  const dsa::Pool pool = threads > 1 ? dsa::Pool{run_threads, &threads} : dsa::Pool{};
  return op(call, pool, static_cast<dsa::Isa>(isa))
             ? nullptr
             : "this machine lacks the instruction set: use the best one instead.";
}

}  // namespace

// Each op: null after success, otherwise what is wrong. isa: a value of dsa::Isa.
DSA_EXPORT const char* dsa_gated_lowrank(const dsa::GatedLowrank* call, int isa, int64_t threads) {
  return run(*call, dsa::gated_lowrank, isa, threads);
}

DSA_EXPORT const char* dsa_attend(const dsa::Attend* call, int isa, int64_t threads) {
  return run(*call, dsa::attend, isa, threads);
}

DSA_EXPORT const char* dsa_lane_linear(const dsa::LaneLinear* call, int isa, int64_t threads) {
  return run(*call, dsa::lane_linear, isa, threads);
}

DSA_EXPORT const char* dsa_best_isa() { return dsa::best_isa(); }

DSA_EXPORT int64_t dsa_abi() { return dsa::kAbi; }
