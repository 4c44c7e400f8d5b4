#include "core/safetensors.h"

#include <cstring>

#include "core/errors.h"
#include "core/json.h"

namespace dsa {

namespace {

constexpr uint64_t kMostHeader = 100'000'000;  // as the library has it
const std::map<std::string, size_t> kBytes = {{"F64", 8}, {"I64", 8}, {"F32", 4}, {"I32", 4},
                                              {"F16", 2}, {"BF16", 2}, {"I16", 2}, {"I8", 1},
                                              {"U8", 1},  {"BOOL", 1}};

uint64_t whole(const Json& value) {
  if (!value.is_number_unsigned()) throw Broken("a size is no whole number");
  return value.get<uint64_t>();
}

TensorView view(const Json& of, const uint8_t* data, uint64_t there) {
  if (!of.is_object()) throw Broken("a tensor is no object");
  TensorView made{of.at("dtype").get<std::string>(), {}, nullptr, 0};
  const auto width = kBytes.find(made.dtype);
  uint64_t bytes = width == kBytes.end() ? 0 : width->second;
  for (const Json& side : of.at("shape")) {
    const uint64_t length = whole(side);
    if (length >> 40 || (length && bytes > (uint64_t{1} << 60) / length))
      throw Broken("a shape is too large");
    bytes *= length;
    made.shape.push_back(static_cast<int64_t>(length));
  }
  const Json& offsets = of.at("data_offsets");
  const uint64_t begin = whole(offsets.at(0)), end = whole(offsets.at(1));
  if (begin > end || end > there) throw Broken("a tensor lies outside the file");
  // Types that we do not know have a width all the same, and nobody asks for them.
  if (width != kBytes.end() && end - begin != bytes) throw Broken("a tensor has another size");
  made.data = data + begin, made.bytes = end - begin;
  return made;
}

}  // namespace

int64_t TensorView::size() const {
  int64_t count = 1;
  for (const int64_t side : shape) count *= side;
  return count;
}

Safetensors::Safetensors(const std::string& path, Reads what)
    : path_(path), what_(what), file_(path, what) {
  try {
    parse();
  } catch (const Broken& error) {
    refuse(error.what());
  } catch (const nlohmann::json::exception& error) {
    refuse(error.what());
  }
}

void Safetensors::parse() {
  uint64_t size = 0;
  if (file_.size() < sizeof size) throw Broken("it is shorter than its header");
  std::memcpy(&size, file_.data(), sizeof size);
  if (size > kMostHeader || size > file_.size() - sizeof size) throw Broken("its header is too long");
  const std::string header(reinterpret_cast<const char*>(file_.data()) + sizeof size, size);
  const Json told = object_of(header);
  const uint64_t there = file_.size() - sizeof size - size;
  for (const auto& [name, entry] : told.items()) {
    if (name != "__metadata__") {
      tensors_[name] = view(entry, file_.data() + sizeof size + size, there);
      continue;
    }
    for (const auto& [key, value] : entry.items()) metadata_[key] = value.get<std::string>();
  }
}

void Safetensors::refuse(const std::string& why) const {
  if (what_ == Reads::bundle)
    throw Error(Kind::bundle, text(path_, " cannot be read as safetensors (", why,
                                   "): copy or export the bundle again."));
  throw Error(Kind::adapter,
              text(path_, " cannot be read as safetensors (", why, "): save the adapter again."));
}

const TensorView* Safetensors::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const TensorView& Safetensors::get(const std::string& name, const char* dtype,
                                   const std::vector<int64_t>& shape) const {
  const TensorView* found = find(name);
  if (!found) refuse(text("it has no ", name));
  if (found->dtype != dtype || found->shape != shape) refuse(text(name, " has another shape"));
  return *found;
}

std::string safetensors_of(const std::vector<Floats32>& tensors,
                           const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  header["__metadata__"] = metadata;
  std::string content;
  for (const Floats32& tensor : tensors) {
    const size_t begin = content.size();
    int64_t count = 1;
    for (const int64_t side : tensor.shape) count *= side;
    content.append(reinterpret_cast<const char*>(tensor.data), 4 * static_cast<size_t>(count));
    header[tensor.name] = {{"dtype", "F32"},
                           {"shape", tensor.shape},
                           {"data_offsets", {begin, content.size()}}};
  }
  std::string told = written(header);
  told.resize((told.size() + 7) / 8 * 8, ' ');
  const uint64_t size = told.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + told + content;
}

}  // namespace dsa
