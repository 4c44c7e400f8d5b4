// What this build and this machine have: operators, delegates, threads.
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/kernel/operator_registry.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <set>

#include "engine/program.h"

// The headers of ExecuTorch's pool are not installed; libraries without a pool lack the symbols.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  __attribute__((weak)) bool _unsafe_reset_threadpool(uint32_t count);
  __attribute__((weak)) size_t get_thread_count() const;
};
__attribute__((weak)) ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace dsa {

namespace {

namespace pool = executorch::extension::threadpool;

// The pool looks for files of other systems when it starts, and prints that to stderr.
class Quiet {
 public:
  Quiet() : kept_(dup(2)) {
    std::fflush(stderr);
    const int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nothing >= 0) dup2(nothing, 2), close(nothing);
  }
  ~Quiet() {
    std::fflush(stderr);
    if (kept_ >= 0) dup2(kept_, 2), close(kept_);
  }

 private:
  const int kept_;
};

}  // namespace

std::vector<std::string> missing_operators(const std::vector<std::string>& wanted) {
  std::set<std::string> there;
  for (const auto& kernel : executorch::runtime::get_registered_kernels())
    there.insert(kernel.name_);
  std::vector<std::string> missing;
  for (const std::string& name : wanted)
    if (!there.count(name)) missing.push_back(name);
  return missing;
}

bool has_xnnpack() { return executorch::runtime::get_backend_class("XnnpackBackend") != nullptr; }

void keep_no_weights_by_name() {
  executorch::runtime::BackendOptions<1> options;
  if (options.set_option("weight_cache_enabled", false) == executorch::runtime::Error::Ok)
    (void)executorch::runtime::set_option("XnnpackBackend", options.view());  // missing: told later
}

int start_threads(int count) {
  if (!pool::get_threadpool) return 1;
  const Quiet quiet;
  pool::ThreadPool* found = pool::get_threadpool();
  const auto now = static_cast<int>(found->get_thread_count());
  if (count > 0 && count != now) found->_unsafe_reset_threadpool(static_cast<uint32_t>(count));
  return static_cast<int>(found->get_thread_count());
}

}  // namespace dsa
