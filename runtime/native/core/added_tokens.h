// Tokens that are found in a text before anything else cuts it.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json.h"

namespace dsa {

struct AddedToken {
  int64_t id;
  std::string content;
  bool special, normalized, single_word, left, right;  // left, right: white space belongs to it
};

// A part of a text: a token, or what lies between tokens (id -1).
struct Piece {
  int64_t id;
  size_t begin, end;
};

class AddedTokens {
 public:
  explicit AddedTokens(const Json& list);  // raises Broken

  const AddedToken* find(int64_t id) const;

  // Cuts a text at those tokens that are looked for before, or after, a text is normalized.
  // parse: look for special ones.
  void split(std::string_view text, bool normalized, bool parse, std::vector<Piece>& out) const;

 private:
  const AddedToken* longest(std::string_view rest, bool normalized) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int64_t, size_t> by_id_;
  std::array<std::vector<size_t>, 256> by_first_;  // indices, the longest first
};

}  // namespace dsa
