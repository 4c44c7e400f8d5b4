// What learning needs of an inference engine; whoever has one implements this.
#pragma once

#include <cstdint>
#include <functional>

#include "example.h"
#include "records.h"

namespace dsa::learn {

struct Some {  // indices of loaded examples
  const uint32_t* at;
  size_t count;
};

struct Lanes {  // (count, n) adapters, one behind the other
  const float* rows;
  size_t count;
};

// Called with how many more prompts are done, and how many seconds those that have begun will take
// to be finished; returns false where there is no time for others.
using OnPrefill = std::function<bool(size_t more, double ahead)>;

// L lanes, B examples. Errors are thrown as Error(engine). A number that cannot be computed is NaN.
class Engine {
 public:
  virtual ~Engine() = default;

  // Takes examples, in this order, in the place of those before, and caches their prompts.
  // on_prefill may refuse others: those that are cached by then, at least one, are learned from.
  // Returns how many those are.
  virtual size_t load(const std::vector<Example>& examples,
                      const OnPrefill& on_prefill) = 0;

  // Lets a gate choose the blocks of every example; null where adapters have one block.
  virtual void route_by(const Gate*) {}

  // Sends examples through blocks (B, k) until `route_by` is called again.
  virtual void route_as(Some, const size_t*) {}

  // What a gate reads of an example's prompt, (width,); null where adapters have one block.
  virtual const float* pooled(uint32_t) const { return nullptr; }
  virtual size_t pooled_width() const { return 0; }

  // losses (L, B): nats a token of a free response, or the cross-entropy over an example's own
  // choices. right (L, B), if asked for: 1 where the right choice wins, NaN without choices.
  virtual void probe(Some batch, Lanes lanes, float* losses, float* right) = 0;

  // scores (L, B, width): log-probabilities, up to a constant, of each example's own choices in its
  // order of them, which are `width` at most; what is behind them is left as it is. Not called
  // where some have none.
  virtual void choose(Some batch, Lanes lanes, size_t width, float* scores) = 0;

  // Response tokens that one lane runs for these examples.
  virtual int64_t tokens(Some batch) const = 0;

  // Whether each of N blocks serves an example, (B, N), or null where there is one block. Valid
  // until the next call.
  virtual const uint8_t* served(Some) { return nullptr; }
};

}  // namespace dsa::learn
