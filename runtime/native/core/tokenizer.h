// Text <-> token ids with the bundle's own tokenizer.json, as Hugging Face's `tokenizers` has it.
//
// Byte pair encoding with the parts that models of our families use; any other part is refused when
// the file is read, so that no text is ever cut in another way than it was in training.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/manifest.h"

namespace dsa {

using Ids = std::vector<int64_t>;

class Tokenizer {
 public:
  // content: of tokenizer.json. Raises Error(bundle) for what it does not know.
  Tokenizer(const std::string& content, const TokenizerInfo& info);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  // Ids of a prompt, in which special tokens are what they are, with the start token where the base
  // wants one. Raises Error(example) for text that is not UTF-8.
  Ids encode_prompt(const std::string& text) const;

  // Ids of a text alone, in which special tokens are text like any other.
  Ids encode(const std::string& text) const;

  // A user's text as it may stand in a prompt: each special token in it is split by a zero-width
  // space. Raises Error(example) where that does not help.
  std::string plain(const std::string& text) const;

  // Text of token ids, special tokens left out.
  std::string decode(const Ids& ids) const;

  const TokenizerInfo& info() const { return info_; }

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
  TokenizerInfo info_;
};

// Text of tokens as they come, each piece as soon as it is certain.
class TextStream {
 public:
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string add(int64_t id);  // the next piece, which may be empty
  std::string end();            // what is left
  const std::string& text() const { return sent_; }

 private:
  std::string take(std::string whole);

  const Tokenizer& tokenizer_;
  Ids ids_;
  size_t certain_ = 0;  // characters of the text so far
  std::string sent_;
};

}  // namespace dsa
