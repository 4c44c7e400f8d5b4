// Examples -> token ids: the cached prompt, the rows on which the adapter acts, and the targets.
#pragma once

#include "core/tokenizer.h"
#include "learn/example.h"

namespace dsa {

using learn::Example;

// One prompt and one continuation. prompt (P,): before the invocation, free of any adapter.
// tail (R,): the invocation, then the response without its last token. targets (R,): what each tail
// row should predict; weights (R,): 1 where it counts.
struct Item {
  Ids prompt, tail, targets;
  std::vector<float> weights;
};

// items: one for each choice, or a single one. answer: index of the right choice. tokens: the
// choices' tokens where each is a single, distinct one; items[0] then serves all.
struct Encoded {
  std::vector<Item> items;
  size_t answer = 0;
  Ids tokens;
  std::vector<std::string> choices;
};

class Encoder {
 public:
  Encoder(const Tokenizer& tokenizer, const Manifest& manifest)
      : tokenizer_(tokenizer), invocation_(static_cast<size_t>(manifest.adapter.invocation)),
        limit_(static_cast<size_t>(manifest.decoder.max_positions)) {}

  // Raises Error(example) when it is longer than the base's context.
  Encoded encode(const Example& example) const;

  // Of many; errors name the example's number, from 1.
  std::vector<Encoded> encode_all(const std::vector<Example>& examples) const;

  // A prompt's cached part and its invocation.
  std::pair<Ids, Ids> split_prompt(const std::string& text) const;

 private:
  Ids prompt(const std::string& text) const;
  Ids response(const std::string& text, bool ends) const;
  Item item(const Ids& prompt, const Ids& response) const;

  const Tokenizer& tokenizer_;
  const size_t invocation_, limit_;
};

}  // namespace dsa
