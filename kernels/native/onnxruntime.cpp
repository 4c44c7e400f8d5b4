// `dsa::gated_lowrank` as a custom operator of ONNX Runtime. A session that loads this library runs
// the kernel where the graph calls the function of that name; one that does not runs its body.
#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/gated_lowrank.h"
#include "third_party/onnxruntime_c_api.h"

namespace {

enum Input : size_t { kX, kBase, kCore, kRouteIndex, kRouteWeight, kU, kV, kActive, kInputs };

const OrtApi* api = nullptr;

OrtStatus* wrong(const std::string& what) {
  return api->CreateStatus(ORT_INVALID_ARGUMENT, ("dsa::gated_lowrank: " + what).c_str());
}

constexpr size_t kMaxDims = 4;

struct Tensor {
  const void* data = nullptr;
  int64_t shape[kMaxDims] = {0, 0, 0, 0};
  size_t dims = 0;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
};

#define DSA_TRY(call) \
  if (OrtStatus* status = (call)) return status

OrtStatus* read(const OrtKernelContext* context, size_t index, Tensor& tensor) {
  const OrtValue* value = nullptr;
  DSA_TRY(api->KernelContext_GetInput(context, index, &value));
  OrtTensorTypeAndShapeInfo* info = nullptr;
  DSA_TRY(api->GetTensorTypeAndShape(value, &info));
  OrtStatus* status = api->GetTensorElementType(info, &tensor.type);
  if (!status) status = api->GetDimensionsCount(info, &tensor.dims);
  if (!status && tensor.dims <= kMaxDims)
    status = api->GetDimensions(info, tensor.shape, tensor.dims);
  api->ReleaseTensorTypeAndShapeInfo(info);
  if (status) return status;
  if (tensor.dims > kMaxDims) return wrong("an input has more than 4 axes: export the bundle anew.");
  // The C API has no const accessor of a tensor's data.
  return api->GetTensorMutableData(const_cast<OrtValue*>(value), const_cast<void**>(&tensor.data));
}

bool has(const Tensor& tensor, std::initializer_list<int64_t> shape) {
  return tensor.dims == shape.size() &&
         std::equal(shape.begin(), shape.end(), tensor.shape);
}

// The call that the inputs describe; null status when their shapes belong together.
OrtStatus* describe(const Tensor (&in)[kInputs], dsa::GatedLowrank& call) {
  const Tensor &x = in[kX], &base = in[kBase], &core = in[kCore], &v = in[kV];
  if (x.dims != 4 || base.dims != 4 || v.dims != 3 || core.dims < 3 || in[kRouteIndex].dims != 2)
    return wrong("expected x and base with 4 axes, core, u and v with 3, route_index with 2.");
  call.lanes = x.shape[0], call.batch = x.shape[1], call.length = x.shape[2];
  call.n_in = x.shape[3], call.n_out = base.shape[3];
  call.blocks = core.shape[1], call.factors = v.shape[0], call.rank = v.shape[2];
  call.chosen = in[kRouteIndex].shape[1];
  call.diagonal = core.dims == 3;
  const int64_t L = call.lanes, B = call.batch, T = call.length, N = call.blocks, r = call.rank;
  const int64_t F = call.factors, cores = core.shape[0];
  call.each = cores != L;
  const bool fits = (!call.each || cores == L * B) && has(base, {L, B, T, call.n_out}) &&
                    has(v, {F, call.n_in, r}) && has(in[kU], {F, r, call.n_out}) &&
                    (call.diagonal ? has(core, {cores, N, r}) : has(core, {cores, N, r, r})) &&
                    has(in[kRouteIndex], {B, call.chosen}) &&
                    has(in[kRouteWeight], {B, call.chosen}) && has(in[kActive], {B, T});
  if (!fits) return wrong("the inputs' shapes do not belong together: export the bundle anew.");
  call.half = v.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
  if (in[kU].type != v.type || (!call.half && v.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT))
    return wrong("u and v must both be float16 or both float32: export the bundle anew.");
  const int64_t rows[3] = {B * T, T, 1};
  for (int axis = 0; axis < 3; ++axis) {
    call.x_strides[axis] = rows[axis] * call.n_in;
    call.base_strides[axis] = rows[axis] * call.n_out;
  }
  call.x = static_cast<const float*>(x.data);
  call.base = static_cast<const float*>(base.data);
  call.core = static_cast<const float*>(core.data);
  call.route_index = static_cast<const int64_t*>(in[kRouteIndex].data);
  call.route_weight = static_cast<const float*>(in[kRouteWeight].data);
  call.u = in[kU].data, call.v = v.data;
  call.active = static_cast<const uint8_t*>(in[kActive].data);
  return nullptr;
}

// The engine's own threads run the units.
struct Work {
  void (*unit)(void*, int64_t);
  void* task;
};

void run_parallel(void* context, int64_t units, void (*unit)(void*, int64_t), void* task) {
  Work work{unit, task};
  const auto each = [](void* given, size_t index) {
    const Work& all = *static_cast<const Work*>(given);
    all.unit(all.task, static_cast<int64_t>(index));
  };
  OrtStatus* status = api->KernelContext_ParallelFor(
      static_cast<const OrtKernelContext*>(context), each, static_cast<size_t>(units), 0, &work);
  if (!status) return;
  api->ReleaseStatus(status);  // no pool: nothing has run
  for (int64_t index = 0; index < units; ++index) unit(task, index);
}

OrtStatus* compute(void*, OrtKernelContext* context) {
  Tensor in[kInputs];
  for (size_t index = 0; index < kInputs; ++index) DSA_TRY(read(context, index, in[index]));
  dsa::GatedLowrank call{};
  DSA_TRY(describe(in, call));
  if (const char* reason = dsa::check(call)) return wrong(reason);
  OrtValue* out = nullptr;
  DSA_TRY(api->KernelContext_GetOutput(context, 0, in[kBase].shape, 4, &out));
  void* data = nullptr;
  DSA_TRY(api->GetTensorMutableData(out, &data));
  call.y = static_cast<float*>(data);
  dsa::gated_lowrank(call, {run_parallel, context});
  return nullptr;
}

constexpr ONNXTensorElementDataType kTypes[kInputs] = {
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,     ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,     ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,     ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL};

OrtCustomOp make_op() {
  OrtCustomOp op{};
  op.version = ORT_API_VERSION;
  op.GetName = [](const OrtCustomOp*) { return "gated_lowrank"; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
  op.GetInputTypeCount = [](const OrtCustomOp*) { return size_t{kInputs}; };
  op.GetInputType = [](const OrtCustomOp*, size_t index) { return kTypes[index]; };
  op.GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{1}; };
  op.GetOutputType = [](const OrtCustomOp*, size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; };
  op.GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetOutputCharacteristic = op.GetInputCharacteristic;
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
  op.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
  op.GetVariadicInputHomogeneity = op.GetVariadicInputMinArity;
  op.GetVariadicOutputMinArity = op.GetVariadicInputMinArity;
  op.GetVariadicOutputHomogeneity = op.GetVariadicInputMinArity;
  op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op.GetEndVersion = [](const OrtCustomOp*) { return INT32_MAX; };
  // The op has no state, but ONNX Runtime takes a null kernel for a failure.
  op.CreateKernelV2 = [](const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*,
                         void** kernel) -> OrtStatus* {
    static char none;
    *kernel = &none;
    return nullptr;
  };
  op.KernelDestroy = [](void*) {};
  op.KernelComputeV2 = compute;
  // y may take base's place: every row is read before it is written.
  op.GetMayInplace = [](int** inputs, int** outputs) -> size_t {
    *inputs = new int[1]{kBase};
    *outputs = new int[1]{0};
    return 1;
  };
  op.ReleaseMayInplace = [](int* inputs, int* outputs) {
    delete[] inputs;
    delete[] outputs;
  };
  return op;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(
    OrtSessionOptions* options, const OrtApiBase* base) {
  api = base->GetApi(ORT_API_VERSION);
  if (!api) return base->GetApi(1)->CreateStatus(ORT_FAIL, "needs ONNX Runtime 1.21 or newer");
  static const OrtCustomOp op = make_op();
  // One for all sessions, which refer to it as long as the process lives.
  static OrtCustomOpDomain* domain = nullptr;
  static OrtStatus* const failed = [] {
    OrtStatus* status = api->CreateCustomOpDomain("dsa", &domain);
    return status ? status : api->CustomOpDomain_Add(domain, &op);
  }();
  return failed ? wrong("its domain could not be made") : api->AddCustomOpDomain(options, domain);
}

extern "C" __attribute__((visibility("default"))) int64_t dsa_abi() { return dsa::kAbi; }
