// What the custom operators of ONNX Runtime share: reading tensors, its threads, the table of an op.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "../core/gated_lowrank.h"
#include "../third_party/onnxruntime_c_api.h"

namespace dsa {

extern const OrtApi* api;  // of the engine that loaded this library

#define DSA_TRY(call) \
  if (OrtStatus* status = (call)) return status

// An error of an op, in words that end with what to do.
OrtStatus* wrong(const char* op, const std::string& what);

constexpr size_t kMaxDims = 5;

struct Tensor {
  const void* data = nullptr;
  int64_t shape[kMaxDims] = {};
  size_t dims = 0;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;

  bool has(std::initializer_list<int64_t> wanted) const {
    return dims == wanted.size() && std::equal(wanted.begin(), wanted.end(), shape);
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

OrtStatus* read(const OrtKernelContext* context, size_t index, Tensor& tensor);

// Memory of an output for a call.
template <class T>
OrtStatus* write(OrtKernelContext* context, size_t index, const int64_t* shape, size_t dims,
                 T*& data) {
  OrtValue* out = nullptr;
  DSA_TRY(api->KernelContext_GetOutput(context, index, shape, dims, &out));
  void* given = nullptr;
  DSA_TRY(api->GetTensorMutableData(out, &given));
  data = static_cast<T*>(given);
  return nullptr;
}

template <class T>
OrtStatus* write(OrtKernelContext* context, size_t index, std::initializer_list<int64_t> shape,
                 T*& data) {
  return write(context, index, shape.begin(), shape.size(), data);
}

// The engine's own threads, for one call.
Pool pool_of(OrtKernelContext* context);

// The table of an op whose tensors are all required and on the CPU; names and types are the op's.
OrtCustomOp plain_op();

// The first output may lie where this input does: every row is read before it is written.
template <int kInput>
void may_take_the_place_of(OrtCustomOp& op) {
  op.GetMayInplace = [](int** inputs, int** outputs) -> size_t {
    *inputs = new int[1]{kInput};
    *outputs = new int[1]{0};
    return 1;
  };
  op.ReleaseMayInplace = [](int* inputs, int* outputs) {
    delete[] inputs;
    delete[] outputs;
  };
}

const OrtCustomOp* add_offsets_op();
const OrtCustomOp* gated_lowrank_op();
const OrtCustomOp* attend_cache_op();

}  // namespace dsa
