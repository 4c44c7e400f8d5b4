// Regular expressions over UTF-8, by PCRE2, with Oniguruma's meaning where tokenizers rely on it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace dsa {

class Pattern {
 public:
  // Raises Broken for an expression that cannot be compiled.
  explicit Pattern(const std::string& expression);
  ~Pattern();

  struct Match {
    size_t begin, end;
  };

  // The first match from `from` on in valid UTF-8; false where there is none.
  bool find(std::string_view text, size_t from, Match& match) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dsa
