// `dsa::gated_lowrank` as a custom operator of ONNX Runtime.
#include "op.h"

namespace dsa {
namespace {

constexpr char kName[] = "gated_lowrank";

enum Input : size_t { kX, kBase, kCore, kRouteIndex, kRouteWeight, kU, kV, kActive, kInputs };

// The call that the inputs describe; null status when their shapes belong together.
OrtStatus* describe(const Tensor (&in)[kInputs], GatedLowrank& call) {
  const Tensor &x = in[kX], &base = in[kBase], &core = in[kCore], &v = in[kV];
  if (x.dims != 4 || base.dims != 4 || v.dims != 3 || core.dims < 3 || in[kRouteIndex].dims != 2)
    return wrong(kName, "expected x and base with 4 axes, core, u and v with 3, route_index with 2.");
  call.lanes = x.shape[0], call.batch = x.shape[1], call.length = x.shape[2];
  call.n_in = x.shape[3], call.n_out = base.shape[3];
  call.blocks = core.shape[1], call.factors = v.shape[0], call.rank = v.shape[2];
  call.chosen = in[kRouteIndex].shape[1];
  call.diagonal = core.dims == 3;
  const int64_t L = call.lanes, B = call.batch, T = call.length, N = call.blocks, r = call.rank;
  const int64_t F = call.factors, cores = core.shape[0];
  call.each = cores != L;
  const bool fits = (!call.each || cores == L * B) && base.has({L, B, T, call.n_out}) &&
                    v.has({F, call.n_in, r}) && in[kU].has({F, r, call.n_out}) &&
                    (call.diagonal ? core.has({cores, N, r}) : core.has({cores, N, r, r})) &&
                    in[kRouteIndex].has({B, call.chosen}) &&
                    in[kRouteWeight].has({B, call.chosen}) && in[kActive].has({B, T});
  if (!fits) return wrong(kName, "the inputs' shapes do not belong together: export the bundle anew.");
  call.half = v.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
  if (in[kU].type != v.type || (!call.half && v.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT))
    return wrong(kName, "u and v must both be float16 or both float32: export the bundle anew.");
  const int64_t rows[3] = {B * T, T, 1};
  for (int axis = 0; axis < 3; ++axis) {
    call.x_strides[axis] = rows[axis] * call.n_in;
    call.base_strides[axis] = rows[axis] * call.n_out;
  }
  call.x = x.as<float>();
  call.base = base.as<float>();
  call.core = core.as<float>();
  call.route_index = in[kRouteIndex].as<int64_t>();
  call.route_weight = in[kRouteWeight].as<float>();
  call.u = in[kU].data, call.v = v.data;
  call.active = in[kActive].as<uint8_t>();
  return nullptr;
}

OrtStatus* compute(void*, OrtKernelContext* context) {
  Tensor in[kInputs];
  for (size_t index = 0; index < kInputs; ++index) DSA_TRY(read(context, index, in[index]));
  GatedLowrank call{};
  DSA_TRY(describe(in, call));
  if (const char* reason = check(call)) return wrong(kName, reason);
  DSA_TRY(write(context, 0, {call.lanes, call.batch, call.length, call.n_out}, call.y));
  gated_lowrank(call, pool_of(context));
  return nullptr;
}

constexpr ONNXTensorElementDataType kTypes[kInputs] = {
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,     ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,     ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,     ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL};

}  // namespace

const OrtCustomOp* gated_lowrank_op() {
  static const OrtCustomOp op = [] {
    OrtCustomOp made = plain_op();
    made.GetName = [](const OrtCustomOp*) { return kName; };
    made.GetInputTypeCount = [](const OrtCustomOp*) { return size_t{kInputs}; };
    made.GetInputType = [](const OrtCustomOp*, size_t index) { return kTypes[index]; };
    made.GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
    made.GetOutputType = [](const OrtCustomOp*, size_t) {
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    };
    made.KernelComputeV2 = compute;
    may_take_the_place_of<kBase>(made);
    return made;
  }();
  return &op;
}

}  // namespace dsa
