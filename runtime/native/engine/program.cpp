#include "engine/program.h"

#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/extension/flat_tensor/flat_tensor_data_map.h>
#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#include <cstdlib>
#include <map>

#include "core/errors.h"
#include "engine/log.h"

namespace dsa {

namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::FlatTensorDataMap;
using executorch::extension::MallocMemoryAllocator;
using executorch::extension::MmapDataLoader;
namespace et = executorch::runtime;

constexpr size_t kMostInputs = 64;

[[noreturn]] void refuse(const std::string& what, et::Error error) {
  const std::string why = last_log();
  throw Error(Kind::engine, text("ExecuTorch cannot load ", what, " (",
                                 why.empty() ? text("error ", static_cast<int>(error)) : why,
                                 "): export the bundle again."));
}

// `UseMlockIgnoreErrors` would pin what memory may not hold.
MmapDataLoader mapped(const std::string& path) {
  auto made = MmapDataLoader::from(path.c_str(), MmapDataLoader::MlockConfig::NoMlock);
  if (!made.ok()) refuse(path, made.error());
  return std::move(made.get());
}

ScalarType scalar(Type type) {
  const ScalarType types[] = {ScalarType::Float, ScalarType::Half, ScalarType::Long,
                              ScalarType::Bool};
  return types[static_cast<size_t>(type)];
}

// Memory for activations, of the largest size that any program has asked for.
class Arena {
 public:
  uint8_t* of(size_t index, size_t bytes) {
    if (index >= blocks_.size()) blocks_.resize(index + 1);
    Block& block = blocks_[index];
    if (block.bytes < bytes) {
      block.kept.emplace_back(
          static_cast<uint8_t*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
      if (!block.kept.back()) throw std::bad_alloc();
      block.bytes = bytes;
    }
    return block.kept.back().get();
  }

 private:
  struct Free {
    void operator()(uint8_t* block) const { std::free(block); }
  };
  struct Block {
    size_t bytes = 0;
    std::vector<std::unique_ptr<uint8_t, Free>> kept;  // older ones serve programs loaded before
  };
  std::vector<Block> blocks_;
};

struct File {
  explicit File(const std::string& path) : loader(mapped(path)) {}
  MmapDataLoader loader;
};

struct Structure : File {
  explicit Structure(const std::string& path) : File(path), program(read(path)) {}
  et::Program program;

 private:
  et::Program read(const std::string& path) {
    auto made = et::Program::load(&loader, et::Program::Verification::InternalConsistency);
    if (!made.ok()) refuse(path, made.error());
    return std::move(made.get());
  }
};

struct Weights : File {
  explicit Weights(const std::string& path) : File(path), map(read(path)) {}
  FlatTensorDataMap map;

 private:
  FlatTensorDataMap read(const std::string& path) {
    auto made = FlatTensorDataMap::load(&loader);
    if (!made.ok()) refuse(path, made.error());
    return std::move(made.get());
  }
};

}  // namespace

struct Program::State {
  State(Structure& structure, const std::string& data, Arena& arena)
      : weights(data),
        spans(planned(structure, arena)),
        activations({spans.data(), spans.size()}),
        memory(&own, &activations, &scratch),
        method(read(structure, data)) {}

  Weights weights;
  std::vector<et::Span<uint8_t>> spans;
  et::HierarchicalAllocator activations;
  MallocMemoryAllocator own, scratch;
  et::MemoryManager memory;
  et::Method method;

 private:
  static std::vector<et::Span<uint8_t>> planned(Structure& structure, Arena& arena) {
    std::vector<et::Span<uint8_t>> made;
    const auto meta = structure.program.method_meta("forward");
    if (!meta.ok()) refuse("a program without a method `forward`", meta.error());
    for (size_t at = 0; at < meta->num_memory_planned_buffers(); ++at) {
      const auto size = static_cast<size_t>(meta->memory_planned_buffer_size(at).get());
      made.emplace_back(arena.of(at, size), size);
    }
    return made;
  }
  et::Method read(Structure& structure, const std::string& data) {
    auto made = structure.program.load_method("forward", &memory, nullptr, &weights.map);
    if (!made.ok()) refuse(data, made.error());
    return std::move(made.get());
  }
};

Program::Program(std::unique_ptr<State> state) : state_(std::move(state)) {}
Program::Program(Program&&) noexcept = default;
Program::~Program() = default;

namespace {

et::Error set(et::Method& method, const Array& array, size_t index) {
  static const uint64_t nothing = 0;  // an empty tensor must lie somewhere as well
  auto shape = array.shape;
  uint8_t order[4] = {0, 1, 2, 3};
  int32_t strides[4] = {1, 1, 1, 1};
  for (int axis = array.axes - 2; axis >= 0; --axis)
    strides[axis] = strides[axis + 1] * std::max(1, shape[static_cast<size_t>(axis) + 1]);
  void* data = const_cast<void*>(array.data ? array.data : &nothing);
  TensorImpl made(scalar(array.type), array.axes, shape.data(), data, order, strides);
  return method.set_input(et::EValue(Tensor(&made)), index);
}

}  // namespace

void Program::run(const Array* inputs, size_t count, const char* what, int64_t number) {
  et::Error error = et::Error::Ok;
  if (count != state_->method.inputs_size()) error = et::Error::InvalidArgument;
  for (size_t at = 0; at < count && error == et::Error::Ok; ++at)
    error = set(state_->method, inputs[at], at);
  if (error == et::Error::Ok) error = state_->method.execute();
  if (error == et::Error::Ok) return;
  const std::string why = last_log();
  throw Error(Kind::engine,
              text("ExecuTorch failed in ", what, number < 0 ? "" : text(number), " on ",
                   count ? inputs[0].shape[0] : 0, " rows (",
                   why.empty() ? text("error ", static_cast<int>(error)) : why,
                   "): pass fewer or shorter examples at a time, or lower memory_mb."));
}

Output Program::output(size_t index) const {
  const Tensor tensor = state_->method.get_output(index).toTensor();
  return {tensor.const_data_ptr<float>(), static_cast<int64_t>(tensor.numel())};
}

struct Loader::Shared {
  std::map<std::string, std::unique_ptr<Structure>> structures;
  Arena arenas[2];
};

Loader::Loader() : shared_(std::make_unique<Shared>()) {
  capture_logs();
  et::runtime_init();
  keep_no_weights_by_name();
}

Loader::~Loader() = default;

std::unique_ptr<Program> Loader::load(const std::string& program, const std::string& data,
                                      int turn) {
  auto& structure = shared_->structures[program];
  if (!structure) structure = std::make_unique<Structure>(program);
  auto state = std::make_unique<Program::State>(*structure, data, shared_->arenas[turn]);
  return std::unique_ptr<Program>(new Program(std::move(state)));
}

}  // namespace dsa
