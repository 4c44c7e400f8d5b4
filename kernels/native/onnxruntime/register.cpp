// Our custom operators of ONNX Runtime. A session that loads this library runs a kernel where the
// graph calls the function of its name; one that does not runs the function's body.
#include "op.h"

namespace dsa {

const OrtApi* api = nullptr;

OrtStatus* wrong(const char* op, const std::string& what) {
  return api->CreateStatus(ORT_INVALID_ARGUMENT, ("dsa::" + std::string(op) + ": " + what).c_str());
}

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
  if (tensor.dims > kMaxDims)
    return api->CreateStatus(ORT_INVALID_ARGUMENT,
                             "dsa: an input has more than 5 axes: export the bundle anew.");
  // The C API has no const accessor of a tensor's data.
  return api->GetTensorMutableData(const_cast<OrtValue*>(value), const_cast<void**>(&tensor.data));
}

namespace {

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

}  // namespace

Pool pool_of(OrtKernelContext* context) { return {run_parallel, context}; }

OrtCustomOp plain_op() {
  OrtCustomOp op{};
  op.version = ORT_API_VERSION;
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
  op.GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetOutputCharacteristic = op.GetInputCharacteristic;
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
  op.GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
  op.GetVariadicInputHomogeneity = op.GetVariadicInputMinArity;
  op.GetVariadicOutputMinArity = op.GetVariadicInputMinArity;
  op.GetVariadicOutputHomogeneity = op.GetVariadicInputMinArity;
  op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
  op.GetEndVersion = [](const OrtCustomOp*) { return INT32_MAX; };
  // An op without state: but ONNX Runtime takes a null kernel for a failure.
  op.CreateKernelV2 = [](const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*,
                         void** kernel) -> OrtStatus* {
    static char none;
    *kernel = &none;
    return nullptr;
  };
  op.KernelDestroy = [](void*) {};
  return op;
}

}  // namespace dsa

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(
    OrtSessionOptions* options, const OrtApiBase* base) {
  using dsa::api;
  api = base->GetApi(ORT_API_VERSION);
  if (!api) return base->GetApi(1)->CreateStatus(ORT_FAIL, "needs ONNX Runtime 1.21 or newer");
  // One for all sessions, which refer to it as long as the process lives.
  static OrtCustomOpDomain* domain = nullptr;
  static OrtStatus* const failed = [] {
    OrtStatus* status = api->CreateCustomOpDomain("dsa", &domain);
    for (const OrtCustomOp* op : {dsa::add_offsets_op(), dsa::attend_cache_op(), dsa::gated_lowrank_op()})
      if (!status) status = api->CustomOpDomain_Add(domain, op);
    return status;
  }();
  return failed ? api->CreateStatus(ORT_FAIL, "dsa: its domain could not be made")
                : api->AddCustomOpDomain(options, domain);
}

extern "C" __attribute__((visibility("default"))) int64_t dsa_abi() { return dsa::kAbi; }
