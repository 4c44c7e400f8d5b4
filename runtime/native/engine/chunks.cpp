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

double bytes(int64_t tokens, int64_t each, int64_t key, int64_t keys) {
  return static_cast<double>(tokens * (each + key * keys)) / kShare;
}

// Without which nothing runs: two rows of a probe, and a short prompt.
double least_model(const Chunks& costs) {
  return std::max(bytes(2, costs.probed, costs.key, kShort),
                  bytes(kShort, costs.prefilled, costs.key, kShort));
}

// Keys and values while a long prompt runs in parts.
double held(const Manifest& manifest, int64_t longest) {
  const Decoder& d = manifest.decoder;
  return static_cast<double>(longest * 4 * d.n_layers * d.n_kv_heads * d.head_dim * kCopies);
}

// The longest prompt with the longest response, whole or in small parts, whichever needs less.
double least_prompt(const Manifest& manifest, const Chunks& costs, const Work& work) {
  const int64_t all = work.longest + work.tail;
  return std::min(bytes(all, costs.prefilled, costs.key, all),
                  bytes(kLeast + work.tail, costs.prefilled, costs.key, all) +
                      held(manifest, work.longest));
}

Error too_little(double memory_mb, double needed, bool is_long, const Work& work) {
  const bool prompt = work.longest >= work.tail;
  const std::string what = prompt ? "prompt" : "response";
  const std::string who =
      is_long ? text("a ", what, " of ", prompt ? work.longest : work.tail, " tokens")
              : "this model";
  return Error(Kind::budget,
               text("memory_mb is ", std::lround(memory_mb), ", but ", who, " needs about ",
                    static_cast<int64_t>(std::ceil(needed)), " MB: raise memory_mb or ",
                    is_long ? "shorten the " + what : "export a smaller model", "."));
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

Chunks Chunks::plan(const Manifest& manifest, double memory_mb, const Work& work,
                    double loaded_mb) {
  Chunks made = with_costs(manifest, work.full_head);
  if (memory_mb <= 0) return made;
  const double needed = resident_mb() + loaded_mb + kReserve, spare = (memory_mb - needed) * kMb;
  const double model = least_model(made), prompt = least_prompt(manifest, made, work);
  if (spare < std::max(model, prompt))
    throw too_little(memory_mb, needed + std::max(model, prompt) / kMb, prompt > model, work);
  share_out(spare, made);
  if (work.longest > made.prefill_tokens(work.longest))
    share_out(spare - held(manifest, work.longest), made);
  return made;
}

double resident_mb() { return status("VmRSS:"); }
void give_back_freed() {
#ifdef __GLIBC__  // keeps it otherwise
  malloc_trim(0);
#endif
}

double peak_mb() { return status("VmHWM:"); }

double room_for_base(const Manifest& manifest, double memory_mb, const Work& work) {
  if (memory_mb <= 0) return 0;
  const Chunks costs = with_costs(manifest, work.full_head);
  const double least = std::max(least_model(costs), least_prompt(manifest, costs, work)) / kMb;
  return std::max(1.0, memory_mb - resident_mb() - kReserve - std::max(kWork, least));
}

}  // namespace dsa
