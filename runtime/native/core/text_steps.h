// The steps before and behind the vocabulary: normalizing, cutting into words, and joining tokens.
//
// Each reads its part of tokenizer.json and raises Broken for what it does not know.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace dsa {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string apply(std::string text) const = 0;
  static std::unique_ptr<Normalizer> read(const Json& of);  // null for none
};

// Cuts words, or makes others of them.
class Cutter {
 public:
  virtual ~Cutter() = default;
  // starts: whether the word is what the whole text begins with.
  virtual void cut(const std::string& word, bool starts, std::vector<std::string>& out) const = 0;
  static std::unique_ptr<Cutter> read(const Json& of);  // null for none
};

class Joiner {
 public:
  virtual ~Joiner() = default;
  virtual void join(std::vector<std::string>& tokens) const = 0;  // the text is all of them
  static std::unique_ptr<Joiner> read(const Json& of);            // null for none
};

// Every `from` as `to`.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

// {"String": "…"} of a pattern; raises Broken for an expression.
std::string plain_pattern(const Json& of);

}  // namespace dsa
