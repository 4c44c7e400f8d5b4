// What a fit takes of the disk (runtime/_plan.py).
#include <cmath>

#include "api/user.h"
#include "core/errors.h"

namespace dsa {

namespace {

constexpr int64_t kPage = 1024, kLocal = 231;   // bytes of a page, and of a row that stay in it
constexpr int64_t kFrame = 1050, kFull = 1000;  // of a page in the write-ahead log; pages of it
constexpr int64_t kTouched = 12;  // pages that the journal of a step may change, its own aside
constexpr int64_t kSealed = 128;  // bytes of an example's row besides its record, at most
constexpr int64_t kDigits = 26;   // of a gate's number as JSON has it, with what is between two

// Bytes that a fit adds to a store at most, its write-ahead log among them, whatever the data.
// numbers: of the adapter; width: scalars of a step; content: bytes of records besides.
int64_t store_growth(int64_t steps, int64_t numbers, int64_t width, int64_t examples,
                     int64_t content) {
  const int64_t row = 4 * (width + 1) + 64;
  const int64_t beyond = (std::max<int64_t>(0, row - kLocal) + kPage - 5) / (kPage - 4);
  const int64_t rows = steps * (3 * std::min(row, kLocal) + kPage * beyond);
  const int64_t kept = 4 * numbers + rows + 8 * examples + 3 * content;
  const int64_t log = kFrame * std::min(kFull, 2 * kTouched + steps * (kTouched + beyond));
  return static_cast<int64_t>(2.1 * static_cast<double>(kept)) + log + 8 * kPage;
}

}  // namespace

int64_t User::growth(const std::vector<Example>& examples, const FitOptions& options) {
  if (store_.folder().empty()) return 0;
  const Manifest& manifest = bundle_.manifest;
  const bool choices = learn::all_choose(examples);
  const learn::Hyperparameters hyper = learner_.settled(options.wish, choices);
  const int64_t blocks = manifest.adapter.blocks;
  const int64_t gate = blocks > 1 ? blocks * (manifest.decoder.width + 1) : 0;
  int64_t content = kDigits * gate;
  if (hyper.learns_gate()) content += learner_.direction_bytes(manifest.decoder.width);
  if (options.wish.remember)
    for (const Example& one : examples)
      content += static_cast<int64_t>(learn::record_of_example(0, one.content()).size()) + kSealed;
  return store_growth(learner_.usual_steps(options.wish, choices), manifest.adapter_size() + gate,
                      learner_.width(hyper), static_cast<int64_t>(examples.size()), content);
}

DiskUse User::disk_use(const std::vector<Example>& examples, const FitOptions& options) {
  const std::vector<Encoded> encoded = encoder_.encode_all(examples);
  const int64_t cache = Scorer::cache_bytes(bundle_.manifest, encoded);
  const Chunks chunks = engine_.layers().bound(options.memory_mb, Scorer::work_of(encoded));
  return {cache, cache > chunks.cache ? cache : 0, growth(examples, options)};
}

void User::check_disk(const DiskUse& use, const FitOptions& options) const {
  if (options.disk_mb <= 0) return;
  const double store = static_cast<double>(use.growth) / kMb;
  if (store > options.disk_mb)
    throw Error(Kind::budget,
                text("disk_mb is ", options.disk_mb, ", but a fit of so many steps adds up to ",
                     store, " MB to the store: raise it, or run fewer steps."));
  if (static_cast<double>(use.spilled) / kMb + store > options.disk_mb)
    throw Error(Kind::budget,
                text("the prompt cache needs ", std::lround(static_cast<double>(use.cache) / kMb),
                     " MB and disk_mb leaves ", options.disk_mb - store,
                     ": raise it, or give fewer examples."));
}

}  // namespace dsa
