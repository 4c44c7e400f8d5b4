// Runs ExecuTorch programs for a host of another processor: the engine stays there, and what
// ExecuTorch would run, this does. `far_engine.py` is the other end.
//
// in:   requests on stdin: text program, text data, count, tensors
// out:  replies on stdout: error (0 is none), count, tensors; what libraries say goes to stderr
// use:  program_server libops.so   (for each library: its kernels are registered, or exit 1)
//
// A text is its length and its bytes; a tensor its type, its number of axes, those, and its bytes.
// All numbers are int64, little-endian. One source for Linux and for Android's library.
#include <executorch/extension/module/module.h>
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/kernel/operator_registry.h>

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

using executorch::aten::DimOrderType;
using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::StridesType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::Module;
using executorch::runtime::EValue;

namespace {

// At once: with Android's library under glibc, static destructors crash.
[[noreturn]] void finish(int code) {
  std::fflush(nullptr);
  _exit(code);
}

void read(void* to, size_t bytes) {
  if (bytes && std::fread(to, 1, bytes, stdin) != bytes) finish(0);  // the host is done
}

int64_t read_number() {
  int64_t number = 0;
  read(&number, sizeof number);
  return number;
}

std::string read_text() {
  std::string text(static_cast<size_t>(read_number()), '\0');
  read(text.data(), text.size());
  return text;
}

void write_number(int64_t number) { std::fwrite(&number, sizeof number, 1, stdout); }

// A tensor's own memory; the program keeps pointers into it while it runs.
struct Input {
  std::vector<SizesType> sizes;
  std::vector<DimOrderType> order;
  std::vector<StridesType> strides;
  std::vector<char> bytes;
  std::unique_ptr<TensorImpl> tensor;
};

void read_tensor(Input& input) {
  const auto type = static_cast<ScalarType>(read_number());
  const size_t axes = static_cast<size_t>(read_number());
  input.sizes.resize(axes), input.order.resize(axes), input.strides.resize(axes);
  for (auto& size : input.sizes) size = static_cast<SizesType>(read_number());
  int64_t numel = 1;
  for (size_t axis = axes; axis-- > 0;) {
    input.order[axis] = static_cast<DimOrderType>(axis);
    input.strides[axis] = static_cast<StridesType>(numel);
    numel *= input.sizes[axis];
  }
  input.bytes.resize(static_cast<size_t>(numel) * executorch::runtime::elementSize(type));
  read(input.bytes.data(), input.bytes.size());
  input.tensor = std::make_unique<TensorImpl>(
      type, static_cast<ssize_t>(axes), input.sizes.data(), input.bytes.data(), input.order.data(),
      input.strides.data());
}

void write_tensor(const Tensor& tensor) {
  write_number(static_cast<int64_t>(tensor.scalar_type()));
  write_number(tensor.dim());
  for (ssize_t axis = 0; axis < tensor.dim(); ++axis) write_number(tensor.size(axis));
  std::fwrite(tensor.const_data_ptr(), 1, tensor.nbytes(), stdout);
}

Module& loaded(const std::string& program, const std::string& data) {
  static std::map<std::string, std::unique_ptr<Module>> modules;
  auto& module = modules[program + '\n' + data];
  if (!module) module = std::make_unique<Module>(program, data);
  return *module;
}

// XNNPACK can keep packed weights by their names, for all programs of a process. Our layers are one
// program with other weights under the same names, so a second layer would compute with the first
// one's. It is on in some builds, Android's published one among them, and off in the Linux wheels.
void keep_no_weights_by_name() {
  executorch::runtime::BackendOptions<1> options;
  if (options.set_option("weight_cache_enabled", false) != executorch::runtime::Error::Ok ||
      executorch::runtime::set_option("XnnpackBackend", options.view()) !=
          executorch::runtime::Error::Ok)
    finish(1);
}

void serve() {
  const std::string program = read_text(), data = read_text();
  std::deque<Input> inputs(static_cast<size_t>(read_number()));
  std::vector<EValue> given;
  for (Input& input : inputs) {
    read_tensor(input);
    given.emplace_back(Tensor(input.tensor.get()));
  }
  const auto outputs = loaded(program, data).forward(given);
  write_number(static_cast<int64_t>(outputs.error()));
  write_number(outputs.ok() ? static_cast<int64_t>(outputs->size()) : 0);
  if (outputs.ok())
    for (const EValue& output : *outputs) write_tensor(output.toTensor());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  for (int index = 1; index < argc; ++index) {
    const size_t before = executorch::runtime::get_registered_kernels().size();
    const void* library = dlopen(argv[index], RTLD_NOW | RTLD_GLOBAL);
    if (!library) std::fprintf(stderr, "%s\n", dlerror());
    if (executorch::runtime::get_registered_kernels().size() == before) finish(1);
  }
  keep_no_weights_by_name();
  for (;;) serve();
}
