#include "engine/log.h"

#include <executorch/runtime/platform/platform.h>

#include <cstring>
#include <mutex>

namespace dsa {

namespace {

std::mutex guard;
char reason[256];  // no allocation: logging may be all that works

void keep(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t,
          const char* message, size_t) {
  if (level != kError && level != kFatal) return;
  const std::lock_guard<std::mutex> lock(guard);
  if (!reason[0]) std::strncpy(reason, message, sizeof reason - 1);
}

}  // namespace

void capture_logs() {
  using executorch::runtime::PalImpl;
  static const bool done = executorch::runtime::register_pal(PalImpl::create(keep, __FILE__));
  (void)done;
}

std::string last_log() {
  const std::lock_guard<std::mutex> lock(guard);
  std::string found(reason);
  reason[0] = '\0';
  return found;
}

}  // namespace dsa
