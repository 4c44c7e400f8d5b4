// Loss and accuracy of what was learned, on examples.
#include <algorithm>

#include "learner.h"

namespace dsa::learn {
namespace {

constexpr size_t kAtATime = 128;  // examples whose prompts are cached at a time

void load(const std::vector<Example>& part, Engine& engine,
          const std::function<bool(size_t)>& on_example) {
  const auto on_prefill = [&](size_t done) { return !on_example || on_example(done); };
  if (engine.load(part, on_prefill) < part.size())
    throw Error(Kind::stopped, "the evaluation was stopped before it had a result.");
}

}  // namespace

Evaluation Learner::evaluate(const std::vector<Example>& examples, Engine& engine, int64_t version,
                             const std::function<bool(size_t)>& on_example) {
  if (examples.empty())
    throw Error(Kind::example, "there are no examples to evaluate on: give at least one.");
  for (const Example& example : examples) example.check();
  const Adapter measured = adapter(version);
  const Floats vector = whole(measured);
  Floats losses(examples.size()), right(examples.size());
  for (size_t first = 0; first < examples.size(); first += kAtATime) {
    const size_t count = std::min(kAtATime, examples.size() - first);
    const auto begin = examples.begin() + static_cast<std::ptrdiff_t>(first);
    const std::vector<Example> part(begin, begin + static_cast<std::ptrdiff_t>(count));
    load(part, engine, on_example);
    engine.route_by(measured.gate ? &*measured.gate : nullptr);
    Objective objective(engine, part, vector.size());
    objective.bias = measured.bias(objective.choices);
    std::vector<uint32_t> all(count);
    for (size_t i = 0; i < count; ++i) all[i] = static_cast<uint32_t>(i);
    objective.losses({all.data(), count}, {vector.data(), 1}, &losses[first], &right[first]);
  }
  return Evaluation::of(losses, right);
}

}  // namespace dsa::learn
