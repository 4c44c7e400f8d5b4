// `dsa::add_offsets` as a custom operator of ONNX Runtime.
#include "../core/add_offsets.h"

#include "op.h"

namespace dsa {
namespace {

constexpr char kName[] = "add_offsets";

enum Input : size_t { kX, kY, kOffsets, kInputs };

// Rows of a tensor, all axes but the last as one.
int64_t rows_of(const Tensor& tensor) {
  int64_t count = 1;
  for (size_t axis = 0; axis + 1 < tensor.dims; ++axis) count *= tensor.shape[axis];
  return count;
}

OrtStatus* compute(void*, OrtKernelContext* context) {
  Tensor in[kInputs];
  for (size_t index = 0; index < kInputs; ++index) DSA_TRY(read(context, index, in[index]));
  const Tensor &x = in[kX], &y = in[kY], &offsets = in[kOffsets];
  const int64_t groups = offsets.shape[0], n_out = offsets.shape[1], rows = rows_of(y);
  const bool fits = offsets.dims == 2 && x.dims && y.dims && rows_of(x) == rows &&
                    x.shape[x.dims - 1] == groups * kGroup && y.shape[y.dims - 1] == n_out;
  if (!fits) return wrong(kName, "the inputs' shapes do not belong together: export the bundle anew.");
  AddOffsets call{rows, groups, n_out, x.as<float>(), y.as<float>(), offsets.as<uint16_t>(), nullptr};
  if (const char* reason = check(call)) return wrong(kName, reason);
  DSA_TRY(write(context, 0, y.shape, y.dims, call.y));
  add_offsets(call, pool_of(context));
  return nullptr;
}

}  // namespace

const OrtCustomOp* add_offsets_op() {
  static const OrtCustomOp op = [] {
    OrtCustomOp made = plain_op();
    made.GetName = [](const OrtCustomOp*) { return kName; };
    made.GetInputTypeCount = [](const OrtCustomOp*) { return size_t{kInputs}; };
    made.GetInputType = [](const OrtCustomOp*, size_t index) {
      return index == kOffsets ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                               : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    };
    made.GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
    made.GetOutputType = [](const OrtCustomOp*, size_t) {
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    };
    made.KernelComputeV2 = compute;
    may_take_the_place_of<kY>(made);
    return made;
  }();
  return &op;
}

}  // namespace dsa
