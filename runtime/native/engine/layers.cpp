#include "engine/layers.h"

#include <algorithm>

#include "core/errors.h"

namespace dsa {

namespace {

const Programs& programs_of(const Bundle& bundle) {
  if (bundle.manifest.programs) return *bundle.manifest.programs;
  throw Error(Kind::bundle, text(bundle.path,
                                 " has no ExecuTorch programs: export it with `--backend "
                                 "onnx,executorch`, or use the Python runtime with ONNX Runtime."));
}

void check_operators(const Programs& info) {
  const auto missing = missing_operators(info.operators);
  if (missing.empty() && has_xnnpack()) return;
  std::string names = has_xnnpack() ? "" : "XnnpackBackend";
  for (const std::string& name : missing) names += (names.empty() ? "" : ", ") + name;
  throw Error(Kind::engine, text("this ExecuTorch lacks ", names,
                                 ", which the bundle needs: link dsa_runner with the library that "
                                 "has it, or export the bundle for this one."));
}

int32_t i32(int64_t number) { return static_cast<int32_t>(number); }

}  // namespace

Layers::Layers(const Bundle& bundle, int threads, int64_t kept)
    : bundle_(bundle),
      manifest_(bundle.manifest),
      info_(programs_of(bundle)),
      ends_(bundle),
      blocks_(bundle),
      most_(kept > 0 ? std::min(kept, manifest_.decoder.n_layers) : manifest_.decoder.n_layers),
      kept_(most_),
      held_(most_) {
  check_operators(info_);
  threads_ = start_threads(threads);
  inputs_.reserve(64);
  blocks_.reserve(rows());
  const auto most = static_cast<size_t>(rows());
  wanted_.reserve(most), active_.assign(most, 1);
  for (const auto& layer : info_.layers) {
    Angles& known = angles_[layer.frame];
    const size_t rotated = static_cast<size_t>(ends_.rotated(layer.frame));
    known.positions.reserve(most), known.cosine.reserve(most * rotated);
    known.sine.reserve(most * rotated);
  }
}

Program& Layers::program(int64_t layer) {
  auto& found = programs_[layer];
  if (found) return *found;
  // Layers run in turn: giving up the longest unused one would give up each before it is needed.
  shrink(held_ - 1);
  const ProgramEntry& entry = info_.layers[static_cast<size_t>(layer)];
  auto& place = programs_[layer];
  place = loader_.load(bundle_.file(entry.program), bundle_.file(entry.data), layer % 2);
  loaded_.push_back(layer);
  return *place;
}

void Layers::shrink(int64_t count) {
  while (static_cast<int64_t>(loaded_.size()) > count) {
    programs_.erase(loaded_.back());
    loaded_.pop_back();
  }
}

void Layers::positions(const LayerCall& call) {
  wanted_.clear();
  for (int64_t example = 0; example < call.batch; ++example)
    for (int64_t token = 0; token < call.tokens; ++token)
      wanted_.push_back(call.prefix + call.lengths[example] + token);
}

void Layers::angles(int64_t frame, const LayerCall& call) {
  Angles& known = angles_[frame];
  positions(call);
  if (known.positions == wanted_) return;
  known.positions = wanted_;
  const auto rotated = static_cast<size_t>(ends_.rotated(frame));
  known.cosine.resize(wanted_.size() * rotated), known.sine.resize(known.cosine.size());
  for (size_t at = 0; at < wanted_.size(); ++at)
    ends_.angles(frame, wanted_[at], known.cosine.data() + at * rotated,
                 known.sine.data() + at * rotated);
}

LayerOutput Layers::run(int64_t layer, const LayerCall& call) {
  const Decoder& decoder = manifest_.decoder;
  const int64_t frame = info_.layers[static_cast<size_t>(layer)].frame;
  const int32_t batch = i32(call.batch), tokens = i32(call.tokens);
  const int32_t kv = i32(decoder.n_kv_heads), dim = i32(decoder.head_dim);
  const int64_t active = manifest_.adapter.active;
  angles(frame, call);
  if (active_.size() < static_cast<size_t>(call.batch * call.tokens))
    active_.assign(static_cast<size_t>(call.batch * call.tokens), 1);
  if (!call.route.index && first_index_.size() < static_cast<size_t>(call.batch * active)) {
    first_index_.clear();
    for (int64_t at = 0; at < call.batch * active; ++at) first_index_.push_back(at % active);
    first_weight_.assign(first_index_.size(),
                         static_cast<float>(1.0 / static_cast<double>(active)));
  }
  const Angles& table = angles_[frame];
  const int32_t rotated = i32(ends_.rotated(frame)), prefix = i32(call.prefix),
                past = i32(call.past);
  inputs_.clear();
  inputs_.push_back(
      {Type::f32, {i32(call.lanes) * batch * tokens, i32(decoder.width), 1, 1}, 2, call.x});
  inputs_.push_back({Type::f32, {batch, tokens, rotated, 1}, 3, table.cosine.data()});
  inputs_.push_back({Type::f32, {batch, tokens, rotated, 1}, 3, table.sine.data()});
  inputs_.push_back({Type::f16, {1, kv, prefix, dim}, 4, prefix ? call.prefix_keys : nullptr});
  inputs_.push_back({Type::f16, {1, kv, prefix, dim}, 4, prefix ? call.prefix_values : nullptr});
  inputs_.push_back({Type::f16, {batch, kv, past, dim}, 4, past ? call.keys : nullptr});
  inputs_.push_back({Type::f16, {batch, kv, past, dim}, 4, past ? call.values : nullptr});
  inputs_.push_back({Type::i64, {batch, 1, 1, 1}, 1, call.lengths});
  const bool routed = call.route.index;
  inputs_.push_back(
      {Type::i64, {batch, i32(active), 1, 1}, 2, routed ? call.route.index : first_index_.data()});
  inputs_.push_back({Type::f32,
                     {batch, i32(active), 1, 1},
                     2,
                     routed ? call.route.weight : first_weight_.data()});
  inputs_.push_back({Type::boolean, {batch, tokens, 1, 1}, 2, active_.data()});
  blocks_.of_layer(layer, call.slots, call.lanes, manifest_.adapter_size(), inputs_);
  Program& own = program(layer);
  own.run(inputs_.data(), inputs_.size(), "layer ", layer);
  return {own.output(0).data, own.output(1).data, own.output(2).data};
}

void Layers::load_head() {
  if (!head_)
    head_ = loader_.load(bundle_.file(info_.head.program), bundle_.file(info_.head.data),
                         i32(manifest_.decoder.n_layers % 2));
}

const float* Layers::logits(const float* x, int64_t rows) {
  load_head();
  const Array input{Type::f32, {i32(rows), i32(manifest_.decoder.width), 1, 1}, 2, x};
  head_->run(&input, 1, "the head", -1);
  return head_->output(0).data;
}

void Layers::release(int64_t from, int64_t to) {
  const auto inside = [=](int64_t layer) { return from <= layer && layer < to; };
  for (int64_t layer = from; layer < to; ++layer) programs_.erase(layer);
  loaded_.erase(std::remove_if(loaded_.begin(), loaded_.end(), inside), loaded_.end());
  give_back_freed();
}

void Layers::release_lower() { release(0, manifest_.split()); }

void Layers::hold_lower() {
  release(manifest_.split(), manifest_.decoder.n_layers);
  held_ = std::max<int64_t>(1, std::min(kept_, manifest_.split()));
  shrink(held_);
}

void Layers::release_all() {
  programs_.clear(), loaded_.clear();
  head_.reset();
  give_back_freed();
}

// A layer as packed (1.27 of its file on SmolLM2: what is mapped is freed behind it), with a
// reserve; the head with both arenas, which all layers share.
std::pair<double, double> Layers::held_mb() const {
  const Decoder& wide = manifest_.decoder;
  const auto bytes = [this](const ProgramEntry& entry) {
    const auto found = manifest_.files.find(entry.data);
    return found == manifest_.files.end() ? 0.0 : static_cast<double>(found->second.bytes);
  };
  double layer = 0;
  for (const ProgramEntry& entry : info_.layers) layer = std::max(layer, bytes(entry));
  const double planned =
      4.0 * static_cast<double>(info_.rows * (4 * wide.ffn_width + 2 * wide.width));
  return {1.4e-6 * layer, 1e-6 * (1.4 * bytes(info_.head) + 2 * planned)};
}

double Layers::loaded_mb() const {
  const auto [layer, head] = held_mb();
  return static_cast<double>(kept_) * layer + head;
}

int64_t Layers::from_storage() const { return manifest_.decoder.n_layers - kept_; }

Chunks Layers::bound(double memory_mb, const Work& work) {
  if (memory_mb > 0) release_all();
  keep_within(room_for_base(manifest_, memory_mb, work));
  return Chunks::plan(manifest_, memory_mb, work, loaded_mb());
}

void Layers::keep_within(double mb) {
  const auto [layer, head] = held_mb();
  const int64_t fits =
      mb > 0 && layer > 0 ? static_cast<int64_t>(std::max(0.0, mb - head) / layer) : most_;
  kept_ = std::max<int64_t>(1, std::min(most_, fits));
  held_ = kept_;
  shrink(kept_);
}

}  // namespace dsa
