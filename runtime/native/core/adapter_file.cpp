#include "core/adapter_file.h"

#include <cmath>

#include "core/canonical.h"
#include "core/errors.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "core/sha256.h"

namespace dsa {

namespace {

constexpr char kFormat[] = "dsa-edge adapter 1", kDirections[] = "dsa-edge directions 1";
constexpr char kWhole[] = "a base that is not pruned";
constexpr int64_t kMostMore = 1 << 20;  // bytes of a file beyond its numbers

using Said = std::map<std::string, std::string>;

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw Error(Kind::adapter, text(path, " ", why));
}

std::string said(const Said& metadata, const char* name, const char* otherwise) {
  const auto found = metadata.find(name);
  return found == metadata.end() ? otherwise : found->second;
}

// Over the numbers and all that is said of them.
std::string checksum(Said metadata, const std::vector<std::pair<const void*, size_t>>& content) {
  metadata.erase("checksum");
  const std::string told = canonical(metadata);
  Sha256 hash;
  hash.add(told.data(), told.size());
  for (const auto& [data, bytes] : content) hash.add(data, bytes);
  return hash.hex();
}

void check_sum(const std::string& path, const Safetensors& file) {
  std::vector<std::pair<const void*, size_t>> content;
  for (const char* name : {"adapter", "coordinates", "gate"})
    if (const TensorView* found = file.find(name)) content.emplace_back(found->data, found->bytes);
  const auto told = file.metadata().find("checksum");  // files from before there was one have none
  if (told != file.metadata().end() && told->second != checksum(file.metadata(), content))
    refuse(path, "was damaged after it was saved: save the adapter again.");
}

void check_bundle(const std::string& path, const Said& metadata, const Manifest& manifest) {
  const std::string bundle = said(metadata, "bundle", "");
  if (bundle == manifest.identity) return;
  const std::string theirs = said(metadata, "base", kWhole);
  const std::string ours = manifest.pruned.empty() ? kWhole : manifest.pruned;
  const std::string next = ": open the bundle that it belongs to, or train again on this one.";
  if (theirs != ours)
    refuse(path, text("was trained on ", theirs, ", this bundle has ", ours, next));
  refuse(path, text("was trained on bundle ", bundle.substr(0, 12), "…, this one is ",
                    manifest.identity.substr(0, 12), "…", next));
}

std::vector<float> numbers(const std::string& path, const TensorView& tensor, int64_t expected) {
  const bool fits = tensor.dtype == "F32" && tensor.shape.size() == 1 &&
                    (expected < 0 || tensor.size() == expected);
  std::vector<float> made;
  if (fits) made.assign(tensor.floats(), tensor.floats() + tensor.size());
  bool finite = fits;
  for (const float number : made) finite = finite && std::isfinite(number);
  if (finite) return made;
  refuse(path, text("does not hold ", expected < 0 ? "" : text(expected, " "),
                    "finite float32 numbers: the file is damaged; save the adapter again."));
}

learn::Labels labels(const std::string& path, const std::string& told) {
  learn::Labels made;
  try {
    const Json of = object_of(told);
    for (const auto& [choice, bias] : of.items()) {
      made.emplace_back(choice, bias.get<double>());
      if (!std::isfinite(made.back().second)) throw Broken("they are not all finite");
    }
  } catch (const std::exception& error) {
    refuse(path, text("has unreadable label biases (", error.what(), "): save the adapter again."));
  }
  return made;
}

learn::Gate gate(const std::string& path, const TensorView& table, const std::string& served,
                 const Manifest& manifest) {
  learn::Gate made;
  made.blocks = static_cast<size_t>(manifest.adapter.blocks);
  made.width = static_cast<size_t>(manifest.decoder.width);
  const std::vector<int64_t> shape = {manifest.adapter.blocks, manifest.decoder.width + 1};
  if (manifest.adapter.blocks < 2 || table.dtype != "F32" || table.shape != shape)
    refuse(path, "has another gate than this bundle wants: use an adapter that was trained on it.");
  made.table.assign(table.floats(), table.floats() + table.size());
  for (const float number : made.table)
    if (!std::isfinite(number)) refuse(path, "has an unreadable gate: save the adapter again.");
  try {
    const Json counts = Json::parse(served);
    made.served = counts.get<std::vector<int64_t>>();
  } catch (const Json::exception&) {
    refuse(path, "has an unreadable gate: save the adapter again.");
  }
  if (!made.served.empty() && made.served.size() != made.blocks)
    refuse(path, "has an unreadable gate: save the adapter again.");
  return made;
}

Safetensors opened(const std::string& path, int64_t numbers) {
  if (!is_file(path))
    throw Error(Kind::adapter, text("no adapter file ", path, ": give one that was saved."));
  if (file_size(path) > kMostMore + 4 * numbers)
    refuse(path, text("is too large for an adapter of ", numbers, " numbers: wrong file?"));
  return Safetensors(path, Reads::adapter);
}

float from_half(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const double fraction = half & 1023;
  const double value = exponent == 0 ? std::ldexp(fraction, -24)
                                     : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(half & 0x8000 ? -value : value);
}

}  // namespace

learn::Adapter load_adapter(const std::string& path, const Manifest& manifest) {
  const int64_t size = manifest.adapter_size(), blocks = manifest.adapter.blocks;
  const int64_t gates = blocks > 1 ? blocks * (manifest.decoder.width + 1) : 0;
  const Safetensors file = opened(path, size + gates);
  const TensorView* whole = file.find("adapter");
  const bool small = !whole && file.metadata().count("start");
  const TensorView* found = small ? file.find("coordinates") : whole;
  if (said(file.metadata(), "format", "") != kFormat || !found)
    refuse(path, "is not an adapter of dsa-edge: give one that was saved.");
  check_sum(path, file);
  check_bundle(path, file.metadata(), manifest);
  learn::Adapter made;
  made.numbers = numbers(path, *found, small ? -1 : size);
  made.labels = labels(path, said(file.metadata(), "labels", "{}"));
  if (small) made.along = file.metadata().at("start");
  if (const TensorView* table = file.find("gate"))
    made.gate = gate(path, *table, said(file.metadata(), "served", "[]"), manifest);
  bool trained = false;
  for (const float number : made.numbers) trained = trained || number != 0;
  if (blocks > 1 && trained && !made.gate)
    refuse(path, "has no gate, and this bundle wants one: use an adapter that was trained on it.");
  return made;
}

void save_adapter(const std::string& path, const learn::Adapter& adapter,
                  const Manifest& manifest) {
  Json biases = Json::object();
  for (const auto& [choice, bias] : adapter.labels) biases[choice] = bias;
  Said metadata = {{"format", kFormat}, {"bundle", manifest.identity},
                   {"spec", manifest.adapter.json}, {"labels", written(biases)}};
  if (!manifest.pruned.empty()) metadata["base"] = manifest.pruned;
  const auto size = static_cast<int64_t>(adapter.numbers.size());
  std::vector<Floats32> tensors = {{"adapter", {size}, adapter.numbers.data()}};
  std::vector<std::pair<const void*, size_t>> content = {
      {adapter.numbers.data(), 4 * adapter.numbers.size()}};
  if (adapter.gate) {
    const learn::Gate& own = *adapter.gate;
    tensors.push_back({"gate", {int64_t(own.blocks), int64_t(own.width + 1)}, own.table.data()});
    content.emplace_back(own.table.data(), 4 * own.table.size());
    metadata["served"] = written(Json(own.served));
  }
  metadata["checksum"] = checksum(metadata, content);
  write_file(path, safetensors_of(tensors, metadata));
}

std::vector<float> load_directions(const std::string& path, const Manifest& manifest) {
  const int64_t count = manifest.start ? manifest.start->directions : 0;
  if (count == 0) return {};
  const Safetensors file(path, Reads::bundle);
  const TensorView& found = file.get("directions", "F16", {count, manifest.adapter_size()});
  if (said(file.metadata(), "format", "") != kDirections)
    throw Error(Kind::bundle, text(path, " holds no directions: copy or export the bundle again."));
  const auto* halves = reinterpret_cast<const uint16_t*>(found.data);
  std::vector<float> made(static_cast<size_t>(found.size()));
  for (size_t at = 0; at < made.size(); ++at) made[at] = from_half(halves[at]);
  return made;
}

}  // namespace dsa
