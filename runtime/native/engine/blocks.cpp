#include "engine/blocks.h"

#include <algorithm>
#include <cstring>

#include "core/errors.h"

namespace dsa {

namespace {

constexpr const char* kTargets[] = {"q", "k", "v", "o", "gate", "up", "down"};

}  // namespace

Blocks::Blocks(const Bundle& bundle)
    : manifest_(bundle.manifest),
      own_(!bundle.manifest.adapter.gated()),
      file_(bundle.file(bundle.manifest.programs->factors), Reads::bundle) {
  const auto& points = manifest_.adapter.points;
  for (const char* target : kTargets) {
    const auto found = std::find(points.begin(), points.end(), target);
    place_.push_back(found == points.end() || own_ ? -1 : found - points.begin());
    for (const char* side : {"u", "v"})
      none_.parts.push_back(&part(text("none.", target, ".", side)));
  }
  adapted_.resize(static_cast<size_t>(manifest_.adapted()));
  for (int64_t at = 0; at < manifest_.adapted(); ++at) {
    auto& parts = adapted_[static_cast<size_t>(at)].parts;
    const std::string layer = text("layers.", manifest_.split() + at, ".");
    if (!own_) {
      for (size_t target = 0; target < place_.size(); ++target)
        for (size_t side = 0; side < 2; ++side)
          parts.push_back(place_[target] < 0
                              ? none_.parts[2 * target + side]
                              : &part(layer + kTargets[target] + (side ? ".v" : ".u")));
      continue;
    }
    for (const std::string& point : points)
      for (const auto& [name, tensor] : file_.tensors())  // in the order of their names
        if (name.rfind(layer + point + ".", 0) == 0) parts.push_back(&tensor);
  }
}

const TensorView& Blocks::part(const std::string& name) const {
  const TensorView* found = file_.find(name);
  if (!found)
    throw Error(Kind::bundle,
                text("the bundle lacks the factors ", name, ": export the bundle again."));
  return *found;
}

void Blocks::append(const TensorView& tensor, std::vector<Array>& inputs) const {
  Array made{Type::f32, {1, 1, 1, 1}, static_cast<int32_t>(tensor.shape.size()), tensor.data};
  if (tensor.dtype == "F16") made.type = Type::f16;
  if (tensor.dtype == "I64") made.type = Type::i64;
  if (tensor.dtype == "BOOL") made.type = Type::boolean;
  if (made.axes > 4) throw Error(Kind::bundle, "factors have five axes: export the bundle again.");
  for (size_t axis = 0; axis < tensor.shape.size(); ++axis)
    made.shape[axis] = static_cast<int32_t>(tensor.shape[axis]);
  inputs.push_back(made);
}

void Blocks::reserve(int64_t lanes) {
  kept_.reserve(static_cast<size_t>(lanes * manifest_.layer_size()));
}

void Blocks::of_layer(int64_t layer, const float* slots, int64_t lanes, int64_t stride,
                      std::vector<Array>& inputs) {
  if (own_ && layer >= manifest_.split())
    own(layer, slots, lanes, stride, inputs);
  else
    cores(layer, slots, lanes, stride, inputs);
}

// The slots, zeros for no adapter, and what is frozen.
void Blocks::own(int64_t layer, const float* slots, int64_t lanes, int64_t stride,
                 std::vector<Array>& inputs) {
  const auto size = static_cast<size_t>(manifest_.layer_size());
  kept_.assign(size * static_cast<size_t>(lanes), 0.0f);
  for (int64_t lane = 0; slots && lane < lanes; ++lane)
    std::copy_n(slots + lane * stride, size, kept_.data() + static_cast<size_t>(lane) * size);
  inputs.push_back({Type::f32,
                    {static_cast<int32_t>(lanes), static_cast<int32_t>(size), 1, 1},
                    2,
                    kept_.data()});
  for (const TensorView* tensor : adapted_[static_cast<size_t>(layer - manifest_.split())].parts)
    append(*tensor, inputs);
}

// Core, u and v of every target.
void Blocks::cores(int64_t layer, const float* slots, int64_t lanes, int64_t stride,
                   std::vector<Array>& inputs) {
  const AdapterSpec& spec = manifest_.adapter;
  const auto points = static_cast<int64_t>(spec.points.size());
  const int64_t size = own_ ? 0 : manifest_.layer_size() / points;  // of a target
  const auto rank = static_cast<int32_t>(own_ ? 1 : spec.rank);
  const int32_t axes = spec.kind == "diagonal" ? 3 : 4;
  const Frozen& frozen = slots ? adapted_[static_cast<size_t>(layer - manifest_.split())] : none_;
  kept_.resize(static_cast<size_t>(std::max(kept_.size(), size_t(lanes * size * points))));
  for (size_t target = 0; target < place_.size(); ++target) {
    const bool carries = slots && place_[target] >= 0;
    const float* core = nullptr;
    if (carries) {
      float* out = kept_.data() + place_[target] * lanes * size;
      for (int64_t lane = 0; lane < lanes; ++lane)
        std::copy_n(slots + lane * stride + place_[target] * size, size, out + lane * size);
      core = out;
    }
    inputs.push_back(
        {Type::f32,
         {static_cast<int32_t>(lanes), carries ? static_cast<int32_t>(spec.blocks) : 0, rank, rank},
         axes,
         core});
    append(*frozen.parts[2 * target], inputs);
    append(*frozen.parts[2 * target + 1], inputs);
  }
}

}  // namespace dsa
