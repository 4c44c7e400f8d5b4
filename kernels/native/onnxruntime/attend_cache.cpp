// `dsa::attend_cache` as a custom operator of ONNX Runtime.
#include "../core/attend_cache.h"

#include <vector>

#include "op.h"

namespace dsa {
namespace {

constexpr char kName[] = "attend_cache";

enum Input : size_t {
  kQ, kK, kV, kCos, kSin, kPrefixKeys, kPrefixValues, kKeys, kValues, kLengths, kLayer, kInputs
};

// The node's attributes.
struct Settings {
  float scale = 0, softcap = 0;
  int64_t window = 0;
};

// The call that the inputs describe; null status when their shapes belong together.
OrtStatus* describe(const Tensor (&in)[kInputs], const Settings& settings, AttendCache& call) {
  const Tensor &q = in[kQ], &cos = in[kCos], &prefix = in[kPrefixKeys], &keys = in[kKeys];
  if (q.dims != 4 || cos.dims != 3 || prefix.dims != 5 || keys.dims != 5)
    return wrong(kName, "expected q with 4 axes, cos with 3, caches with 5: export the bundle anew.");
  Attend& sizes = call.attend;
  sizes.lanes = q.shape[0], sizes.batch = q.shape[1], sizes.length = q.shape[2];
  sizes.kv_heads = keys.shape[2], sizes.dim = keys.shape[4], sizes.rotated = cos.shape[2];
  sizes.heads = sizes.dim ? q.shape[3] / sizes.dim : 0;
  sizes.prefix = prefix.shape[3], sizes.past = keys.shape[3];
  sizes.scale = settings.scale, sizes.softcap = settings.softcap, sizes.window = settings.window;
  call.layers = keys.shape[0];
  const int64_t B = sizes.batch, T = sizes.length, G = sizes.kv_heads, d = sizes.dim;
  const bool fits = q.shape[3] == sizes.heads * d && in[kK].has({1, B, T, G * d}) &&
                    in[kV].has({1, B, T, G * d}) && cos.has({B, T, sizes.rotated}) &&
                    in[kSin].has({B, T, sizes.rotated}) && keys.shape[1] == B &&
                    in[kValues].has({call.layers, B, G, sizes.past, d}) &&
                    prefix.has({call.layers, 1, G, sizes.prefix, d}) &&
                    in[kPrefixValues].has({call.layers, 1, G, sizes.prefix, d}) &&
                    in[kLengths].has({B}) && in[kLayer].dims == 0;
  if (!fits) return wrong(kName, "the inputs' shapes do not belong together: export the bundle anew.");
  sizes.q = q.as<float>(), sizes.k = in[kK].as<float>(), sizes.v = in[kV].as<float>();
  sizes.cos = cos.as<float>(), sizes.sin = in[kSin].as<float>();
  sizes.prefix_keys = prefix.as<uint16_t>();
  sizes.prefix_values = in[kPrefixValues].as<uint16_t>();
  sizes.keys = keys.as<uint16_t>(), sizes.values = in[kValues].as<uint16_t>();
  sizes.lengths = in[kLengths].as<int64_t>(), call.layer = *in[kLayer].as<int64_t>();
  return nullptr;
}

OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  Tensor in[kInputs];
  for (size_t index = 0; index < kInputs; ++index) DSA_TRY(read(context, index, in[index]));
  AttendCache call{};
  DSA_TRY(describe(in, *static_cast<const Settings*>(kernel), call));
  if (const char* reason = check(call)) return wrong(kName, reason);
  Attend& sizes = call.attend;
  const int64_t B = sizes.batch, T = sizes.length, G = sizes.kv_heads, d = sizes.dim;
  DSA_TRY(write(context, 0, {1, B, T, sizes.heads * d}, sizes.y));
  DSA_TRY(write(context, 1, {1, B, G, T, d}, call.new_keys));
  DSA_TRY(write(context, 2, {1, B, G, T, d}, call.new_values));
  std::vector<float> rotated(static_cast<size_t>(B * T * G * d));
  sizes.new_keys = rotated.data();
  attend_cache(call, pool_of(context));
  return nullptr;
}

OrtStatus* create(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo* info, void** kernel) {
  Settings settings;
  DSA_TRY(api->KernelInfoGetAttribute_float(info, "scale", &settings.scale));
  DSA_TRY(api->KernelInfoGetAttribute_float(info, "softcap", &settings.softcap));
  DSA_TRY(api->KernelInfoGetAttribute_int64(info, "window", &settings.window));
  *kernel = new Settings(settings);
  return nullptr;
}

ONNXTensorElementDataType input_type(size_t index) {
  if (index >= kLengths) return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  return index >= kPrefixKeys ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                              : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

}  // namespace

const OrtCustomOp* attend_cache_op() {
  static const OrtCustomOp op = [] {
    OrtCustomOp made = plain_op();
    made.GetName = [](const OrtCustomOp*) { return kName; };
    made.GetInputTypeCount = [](const OrtCustomOp*) { return size_t{kInputs}; };
    made.GetInputType = [](const OrtCustomOp*, size_t index) { return input_type(index); };
    made.GetOutputTypeCount = [](const OrtCustomOp*) { return size_t{3}; };
    made.GetOutputType = [](const OrtCustomOp*, size_t index) {
      return index ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    };
    made.CreateKernelV2 = create;
    made.KernelDestroy = [](void* kernel) { delete static_cast<Settings*>(kernel); };
    made.KernelComputeV2 = compute;
    return made;
  }();
  return &op;
}

}  // namespace dsa
