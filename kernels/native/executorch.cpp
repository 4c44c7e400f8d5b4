// The ops as out variants for ExecuTorch. Loading this library registers them; a program that needs
// one and runs without it stops at load with "Missing operator".
//
// Programs flatten leading axes into one, rows (L · B · T), because ExecuTorch plans memory by the
// product of the bounds of all axes. Lanes, examples and tokens come from the other arguments.
#include <executorch/runtime/core/evalue.h>
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>
#include <executorch/runtime/kernel/kernel_runtime_context.h>
#include <executorch/runtime/kernel/operator_registry.h>
#include <executorch/runtime/kernel/thread_parallel_interface.h>

#include <string_view>

#include "core/attend.h"
#include "core/gated_lowrank.h"
#include "core/lane_linear.h"

namespace {

using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::Kernel;
using executorch::runtime::KernelRuntimeContext;
using executorch::runtime::Span;

// The engine's own threads run the units.
void run_parallel(void*, int64_t units, void (*unit)(void*, int64_t), void* task) {
  executorch::extension::parallel_for(0, units, 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) unit(task, index);
  });
}

// Logs the reason: ExecuTorch's callers see only an error number.
void refuse(KernelRuntimeContext& context, const char* op, const char* reason) {
  ET_LOG(Error, "dsa::%s: %s", op, reason);
  context.fail(Error::InvalidArgument);
}

bool same_shape(KernelRuntimeContext& context, Tensor out, const Tensor& like) {
  if (executorch::runtime::resize_tensor(out, like.sizes()) == Error::Ok) return true;
  context.fail(Error::InvalidArgument);
  return false;
}

int64_t last(const Tensor& tensor) { return tensor.size(tensor.dim() - 1); }

// All axes but the last `axes`, as one.
int64_t rows(const Tensor& tensor, int axes) {
  int64_t count = 1;
  for (int axis = 0; axis < tensor.dim() - axes; ++axis) count *= tensor.size(axis);
  return count;
}

// stack: x base core route_index route_weight u v active out, returned out.
void gated_lowrank(KernelRuntimeContext& context, Span<EValue*> stack) {
  const Tensor x = stack[0]->toTensor(), base = stack[1]->toTensor(), core = stack[2]->toTensor();
  const Tensor index = stack[3]->toTensor(), weight = stack[4]->toTensor();
  const Tensor u = stack[5]->toTensor(), v = stack[6]->toTensor(), active = stack[7]->toTensor();
  Tensor out = stack[8]->toTensor();
  if (!same_shape(context, out, base)) return;
  dsa::GatedLowrank call{};
  call.batch = active.size(0), call.length = active.size(1);
  call.n_in = last(x), call.n_out = last(base);
  call.blocks = core.size(1), call.factors = v.size(0), call.rank = v.size(2);
  call.chosen = index.size(1);
  call.diagonal = core.dim() == 3;
  call.half = v.scalar_type() == ScalarType::Half;
  const int64_t cores = core.size(0), per_lane = call.batch * call.length, total = rows(x, 1);
  call.lanes = per_lane ? total / per_lane : cores;
  call.each = cores != call.lanes;
  const int64_t core_size = cores * call.blocks * call.rank * (call.diagonal ? 1 : call.rank);
  if (total != call.lanes * per_lane || rows(base, 1) != total || core.numel() != core_size ||
      (call.each && cores != call.lanes * call.batch) ||
      index.size(0) != call.batch || weight.numel() != index.numel() ||
      u.numel() != call.factors * call.rank * call.n_out || v.size(1) != call.n_in)
    return refuse(context, "gated_lowrank", "the inputs' shapes do not belong together");
  const int64_t steps[3] = {call.batch * call.length, call.length, 1};
  for (int axis = 0; axis < 3; ++axis) {
    call.x_strides[axis] = steps[axis] * call.n_in;
    call.base_strides[axis] = steps[axis] * call.n_out;
  }
  call.x = x.const_data_ptr<float>(), call.base = base.const_data_ptr<float>();
  call.core = core.const_data_ptr<float>();
  call.route_index = index.const_data_ptr<int64_t>();
  call.route_weight = weight.const_data_ptr<float>();
  call.u = u.const_data_ptr(), call.v = v.const_data_ptr();
  call.active = static_cast<const uint8_t*>(active.const_data_ptr());
  call.y = out.mutable_data_ptr<float>();
  if (const char* wrong = dsa::check(call)) return refuse(context, "gated_lowrank", wrong);
  dsa::gated_lowrank(call, {run_parallel, nullptr});
  *stack[9] = *stack[8];
}

// stack: q k v cos sin prefix_keys prefix_values keys values lengths scale softcap window y
// new_keys, returned pair.
void attend(KernelRuntimeContext& context, Span<EValue*> stack) {
  const Tensor q = stack[0]->toTensor(), k = stack[1]->toTensor(), v = stack[2]->toTensor();
  const Tensor cos = stack[3]->toTensor(), sin = stack[4]->toTensor();
  const Tensor prefix_keys = stack[5]->toTensor(), prefix_values = stack[6]->toTensor();
  const Tensor keys = stack[7]->toTensor(), values = stack[8]->toTensor();
  const Tensor lengths = stack[9]->toTensor();
  Tensor y = stack[13]->toTensor(), new_keys = stack[14]->toTensor();
  dsa::Attend call{};
  call.heads = q.size(q.dim() - 2), call.kv_heads = k.size(k.dim() - 2), call.dim = last(q);
  call.batch = cos.size(0), call.length = cos.size(1), call.rotated = cos.size(2);
  const int64_t each = call.batch * call.length;
  call.lanes = each ? rows(q, 2) / each : 0;
  call.prefix = prefix_keys.size(2), call.past = keys.size(2);
  if (rows(q, 2) != call.lanes * each || rows(k, 2) != rows(q, 2) || v.numel() != k.numel() ||
      last(k) != call.dim || keys.size(0) != call.batch || keys.size(1) != call.kv_heads ||
      prefix_keys.size(1) != call.kv_heads || lengths.numel() != call.batch)
    return refuse(context, "attend", "the inputs' shapes do not belong together");
  SizesType shape[8];
  for (int axis = 0; axis < q.dim() - 1; ++axis) shape[axis] = q.size(axis);
  shape[q.dim() - 2] = call.heads * call.dim;
  const executorch::runtime::ArrayRef<SizesType> wanted(shape, q.dim() - 1);
  if (executorch::runtime::resize_tensor(y, wanted) != Error::Ok)
    return context.fail(Error::InvalidArgument);
  if (!same_shape(context, new_keys, k)) return;
  call.scale = stack[10]->toDouble(), call.softcap = stack[11]->toDouble();
  call.window = stack[12]->toInt();
  call.q = q.const_data_ptr<float>(), call.k = k.const_data_ptr<float>();
  call.v = v.const_data_ptr<float>();
  call.cos = cos.const_data_ptr<float>(), call.sin = sin.const_data_ptr<float>();
  call.prefix_keys = static_cast<const uint16_t*>(prefix_keys.const_data_ptr());
  call.prefix_values = static_cast<const uint16_t*>(prefix_values.const_data_ptr());
  call.keys = static_cast<const uint16_t*>(keys.const_data_ptr());
  call.values = static_cast<const uint16_t*>(values.const_data_ptr());
  call.lengths = lengths.const_data_ptr<int64_t>();
  call.y = y.mutable_data_ptr<float>(), call.new_keys = new_keys.mutable_data_ptr<float>();
  if (const char* wrong = dsa::check(call)) return refuse(context, "attend", wrong);
  dsa::attend(call, {run_parallel, nullptr});
}

// stack: x weight out, returned out.
void lane_linear(KernelRuntimeContext& context, Span<EValue*> stack) {
  const Tensor x = stack[0]->toTensor(), weight = stack[1]->toTensor();
  Tensor out = stack[2]->toTensor();
  dsa::LaneLinear call{};
  call.lanes = weight.size(0), call.n_out = weight.size(1), call.n_in = weight.size(2);
  call.rows = call.lanes ? x.size(0) / call.lanes : 0;
  if (last(x) != call.n_in || x.size(0) != call.lanes * call.rows)
    return refuse(context, "lane_linear", "the inputs' shapes do not belong together");
  const SizesType shape[2] = {static_cast<SizesType>(x.size(0)),
                              static_cast<SizesType>(call.n_out)};
  if (executorch::runtime::resize_tensor(out, {shape, 2}) != Error::Ok)
    return context.fail(Error::InvalidArgument);
  call.x = x.const_data_ptr<float>(), call.weight = weight.const_data_ptr<float>();
  call.y = out.mutable_data_ptr<float>();
  if (const char* wrong = dsa::check(call)) return refuse(context, "lane_linear", wrong);
  dsa::lane_linear(call, {run_parallel, nullptr});
  *stack[3] = *stack[2];
}

const Kernel kernels[] = {
    Kernel("dsa::gated_lowrank.out", gated_lowrank),
    Kernel("dsa::attend.out", attend),
    Kernel("dsa::lane_linear.out", lane_linear),
};

// A process may load this code twice, in the Python package's library and in the native runner's:
// whoever comes first serves both, for ExecuTorch ends the process at a name that it knows.
Error register_ours() {
  const std::string_view first = kernels[0].name_;
  for (const Kernel& known : executorch::runtime::get_registered_kernels())
    if (first == known.name_) return Error::Ok;
  return executorch::runtime::register_kernels({kernels, kernels + 3});
}

[[maybe_unused]] const Error registered = register_ours();

}  // namespace

extern "C" __attribute__((visibility("default"))) int64_t dsa_abi() { return dsa::kAbi; }
