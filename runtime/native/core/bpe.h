// Byte pair encoding: a word's characters, joined pair by pair in the order of the merges.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json.h"

namespace dsa {

class Bpe {
 public:
  explicit Bpe(const Json& model);  // raises Broken for what it does not know

  // Appends the ids of a word.
  void encode(std::string_view word, std::vector<int64_t>& out) const;

  // A token's own text; empty for an unknown id.
  std::string_view token(int64_t id) const;

 private:
  struct Symbol {
    int64_t id;
    int previous, next;  // -1 at an end; id -1 where it was joined to the one before
  };
  struct Join {
    uint32_t rank;
    int64_t id;
  };
  void read_vocabulary(const Json& model);
  void read_merges(const Json& model);
  void spell(std::string_view word, std::vector<Symbol>& out) const;
  bool spell_bytes(std::string_view character, std::vector<Symbol>& out) const;
  void merge(std::vector<Symbol>& symbols) const;
  const Join* join(const Symbol& left, const Symbol& right) const;
  int64_t id_of(std::string_view text) const;

  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int64_t> ids_;
  std::unordered_map<uint64_t, Join> joins_;
  bool whole_words_ = false, bytes_ = false, fuse_ = false;
  int64_t unknown_ = -1;
};

}  // namespace dsa
