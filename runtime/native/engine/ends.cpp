#include "engine/ends.h"

#include <algorithm>
#include <cmath>

#include "core/errors.h"

namespace dsa {

namespace {

const Programs& programs(const Bundle& bundle) { return *bundle.manifest.programs; }

}  // namespace

Ends::Ends(const Bundle& bundle)
    : bundle_(bundle),
      small_(bundle.file(programs(bundle).ends), Reads::bundle),
      embedding_(bundle.file(programs(bundle).embedding.file), Reads::bundle),
      head_(table(programs(bundle).head_table)) {
  const Decoder& decoder = bundle.manifest.decoder;
  const std::vector<int64_t> rows = {decoder.vocab_size}, width = {decoder.width};
  embedding_scales_ = small_.get("embedding_scales", "F32", rows).floats();
  head_scales_ = small_.get("head_scales", "F32", rows).floats();
  final_norm_ = small_.get("final_norm", "F32", width).floats();
  normal_.resize(static_cast<size_t>(decoder.width)), row_.resize(normal_.size());
  table(programs(bundle).embedding);  // checks where it lies
}

Ends::Table Ends::table(const TableEntry& entry) const {
  Table made{Mapped(bundle_.file(entry.file), Reads::bundle), nullptr};
  const Decoder& decoder = bundle_.manifest.decoder;
  const bool fits =
      entry.rows == decoder.vocab_size && entry.width == decoder.width &&
      entry.rows <= (int64_t{1} << 60) / entry.width &&
      entry.offset + entry.rows * entry.width <= static_cast<int64_t>(made.file.size());
  if (!fits)
    throw Error(Kind::bundle, text("a table of ", bundle_.path, " does not lie in ", entry.file,
                                   ": copy or export the bundle again."));
  made.rows = reinterpret_cast<const int8_t*>(made.file.data()) + entry.offset;
  return made;
}

void Ends::embed(const int64_t* ids, size_t count, float* out) {
  const auto width = static_cast<size_t>(bundle_.manifest.decoder.width);
  const auto scale = static_cast<float>(bundle_.manifest.decoder.embedding_scale);
  const int64_t place = programs(bundle_).embedding.offset;
  for (size_t at = 0; at < count; ++at) {
    embedding_.read(place + ids[at] * static_cast<int64_t>(width), row_.data(), width);
    const float own = embedding_scales_[ids[at]];
    for (size_t i = 0; i < width; ++i)
      out[at * width + i] = (static_cast<float>(row_[i]) * own) * scale;
  }
}

const TensorView& Ends::frequencies(int64_t frame) const {
  const std::string name = text("frequencies_", frame);
  const TensorView* found = small_.find(name);
  if (!found || found->dtype != "F32" || found->shape.size() != 1)
    throw Error(Kind::bundle, text(bundle_.path, " lacks ", name, ": export the bundle again."));
  return *found;
}

int64_t Ends::rotated(int64_t frame) const { return 2 * frequencies(frame).size(); }

void Ends::angles(int64_t frame, int64_t position, float* cosine, float* sine) const {
  const TensorView& table = frequencies(frame);
  const TensorView* factor = small_.find(text("factor_", frame));
  if (!factor || factor->dtype != "F32" || factor->size() != 1)
    throw Error(Kind::bundle, text(bundle_.path, " lacks factor_", frame, ": export it again."));
  const auto half = static_cast<size_t>(table.size());
  const double scale = factor->floats()[0];
  const auto at = static_cast<float>(position);
  for (size_t i = 0; i < half; ++i) {
    // In float64, as Python does: one bit of a float turns rounded activations of the whole model.
    const double angle = at * table.floats()[i];
    cosine[i] = cosine[i + half] = static_cast<float>(std::cos(angle) * scale);
    sine[i] = sine[i + half] = static_cast<float>(std::sin(angle) * scale);
  }
}

double Ends::logit(const double* normal, int64_t id) const {
  const size_t width = normal_.size();
  const int8_t* row = head_.rows + static_cast<size_t>(id) * width;
  double sums[8] = {};
  for (size_t i = 0; i < width; ++i) sums[i % 8] += normal[i] * static_cast<double>(row[i]);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total * static_cast<double>(head_scales_[id]);
}

void Ends::log_probs(const float* x, const Ints& candidates, float* out) {
  const Decoder& decoder = bundle_.manifest.decoder;
  const size_t width = normal_.size();
  double squares = 0;
  for (size_t i = 0; i < width; ++i)
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double root = std::sqrt(squares / static_cast<double>(width) + decoder.norm_eps);
  for (size_t i = 0; i < width; ++i)
    normal_[i] = static_cast<double>(x[i]) / root * static_cast<double>(final_norm_[i]);
  for (size_t at = 0; at < candidates.size(); ++at) {
    double made = logit(normal_.data(), candidates[at]) * decoder.logit_scale;
    if (decoder.logit_softcap)
      made = std::tanh(made / *decoder.logit_softcap) * *decoder.logit_softcap;
    out[at] = static_cast<float>(made);
  }
  const float all = log_sum_exp(out, candidates.size());
  for (size_t at = 0; at < candidates.size(); ++at) out[at] -= all;
}

float log_sum_exp(const float* numbers, size_t count) {
  double highest = numbers[0];
  for (size_t at = 1; at < count; ++at)
    if (!(numbers[at] <= highest)) highest = numbers[at];  // keeps what is not a number
  double sums[8] = {};
  for (size_t at = 0; at < count; ++at)
    sums[at % 8] += std::exp(static_cast<double>(numbers[at]) - highest);
  double total = 0;
  for (const double sum : sums) total += sum;
  return static_cast<float>(std::log(total) + highest);
}

}  // namespace dsa
