#include "engine/chunks.h"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "core/errors.h"

namespace dsa {

namespace {

// As runtime/_plan.py has them, so that prompts are cut alike.
constexpr int64_t kActivations = 48 << 20, kCache = 48 << 20, kContext = 24 << 20;
constexpr double kShare = 0.4, kWork = 80, kReserve = 12;
constexpr int64_t kShort = 64, kCopies = 2, kLeast = 16;

double status(const char* key) {
  std::FILE* file = std::fopen("/proc/self/status", "r");
  if (!file) return 0;
  char line[128];
  double mb = 0;
  while (std::fgets(line, sizeof line, file))
    if (std::strncmp(line, key, std::strlen(key)) == 0) {
      long kb = 0;
      if (std::sscanf(line + std::strlen(key), "%ld", &kb) == 1)
        mb = static_cast<double>(kb) / 1024;
    }
  std::fclose(file);
  return mb;
}

// From the widest point of a layer, in float32.
Chunks with_costs(const Manifest& manifest, bool full_head) {
  const Decoder& d = manifest.decoder;
  const int64_t heads = (d.n_heads + 2 * d.n_kv_heads) * d.head_dim;
  const int64_t row = 4 * (4 * d.ffn_width + 4 * d.width + 2 * heads);
  const int64_t caches = 6 * 2 * d.n_layers * d.n_kv_heads * d.head_dim;
  const int64_t logits = full_head ? 3 * 4 * d.vocab_size : 0;
  return {kActivations, kContext, kCache, row + logits, row + caches, 2 * 4 * d.n_heads};
}

void share_out(double spare, Chunks& chunks) {
  chunks.activations = static_cast<int64_t>(spare * kShare);
  chunks.context = static_cast<int64_t>(spare * 0.1),
  chunks.cache = static_cast<int64_t>(spare * 0.15);
  chunks.strict = true;
}

}  // namespace

int64_t Chunks::probe_rows(int64_t keys) const {
  return std::max<int64_t>(0, activations) / (probed + key * keys);
}

int64_t Chunks::prefill_tokens(int64_t keys) const {
  return std::max<int64_t>(0, activations) / (prefilled + key * keys);
}

Chunks Chunks::plan(const Manifest& manifest, double memory_mb, bool full_head, double loaded_mb,
                    int64_t longest) {
  Chunks made = with_costs(manifest, full_head);
  if (memory_mb <= 0) return made;
  const double needed = resident_mb() + loaded_mb + kReserve, spare = (memory_mb - needed) * kMb;
  share_out(spare, made);
  if (made.probe_rows(kShort) < 2 || made.prefill_tokens(kShort) < kShort) {
    const double least =
        static_cast<double>(kShort * (made.prefilled + kShort * made.key)) / kShare / kMb;
    throw Error(Kind::budget,
                text("memory_mb is ", std::lround(memory_mb), ", but this model needs about ",
                     std::lround(needed + least),
                     " MB before it can learn: raise memory_mb or export a smaller model."));
  }
  if (longest <= made.prefill_tokens(longest)) return made;
  const Decoder& d = manifest.decoder;
  const int64_t token = 4 * d.n_layers * d.n_kv_heads * d.head_dim;
  const auto held = static_cast<double>(longest * token * kCopies);
  share_out(spare - held, made);
  if (made.prefill_tokens(longest) >= kLeast) return made;
  const double least = static_cast<double>(kLeast * (made.prefilled + longest * made.key)) / kShare;
  throw Error(Kind::budget,
              text("memory_mb is ", std::lround(memory_mb), ", but a prompt of ", longest,
                   " tokens needs about ", std::lround(needed + (held + least) / kMb),
                   " MB: raise memory_mb or shorten the prompt."));
}

double resident_mb() { return status("VmRSS:"); }
void give_back_freed() {
#ifdef __GLIBC__  // keeps it otherwise
  malloc_trim(0);
#endif
}

double peak_mb() { return status("VmHWM:"); }

double room_for_base(double memory_mb) {
  return memory_mb > 0 ? std::max(1.0, memory_mb - resident_mb() - kReserve - kWork) : 0;
}

}  // namespace dsa
