#include "core/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/errors.h"

namespace dsa {

namespace {

// White space as Unicode has it: PCRE2 counts U+180E as well, which no longer is.
constexpr char kSpaces[] =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";

// The expression with \s and \S in those terms; a negated one inside a class is left as it is.
std::string translated(const std::string& expression) {
  std::string out;
  bool in_class = false;
  for (size_t at = 0; at < expression.size(); ++at) {
    const char c = expression[at];
    const char next = at + 1 < expression.size() ? expression[at + 1] : '\0';
    if (c == '\\' && next == 's') {
      out += in_class ? kSpaces : std::string("[") + kSpaces + "]";
      ++at;
    } else if (c == '\\' && next == 'S' && !in_class) {
      out += std::string("[^") + kSpaces + "]";
      ++at;
    } else if (c == '\\' && next) {
      out += {c, next};
      ++at;
    } else {
      in_class = in_class ? c != ']' : c == '[';
      out += c;
    }
  }
  return out;
}

}  // namespace

struct Pattern::State {
  pcre2_code* code = nullptr;
  pcre2_match_data* found = nullptr;
  ~State() {
    pcre2_match_data_free(found);
    pcre2_code_free(code);
  }
};

Pattern::Pattern(const std::string& expression) : state_(std::make_unique<State>()) {
  const std::string told = translated(expression);
  int error = 0;
  PCRE2_SIZE where = 0;
  state_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(told.data()), told.size(),
                               PCRE2_UTF | PCRE2_UCP, &error, &where, nullptr);
  if (!state_->code) throw Broken("its expression for words cannot be used");
  pcre2_jit_compile(state_->code, PCRE2_JIT_COMPLETE);  // without it, it is slower
  state_->found = pcre2_match_data_create_from_pattern(state_->code, nullptr);
  if (!state_->found) throw std::bad_alloc();
}

Pattern::~Pattern() = default;

bool Pattern::find(std::string_view text, size_t from, Match& match) const {
  const int count = pcre2_match(state_->code, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                text.size(), from, PCRE2_NO_UTF_CHECK, state_->found, nullptr);
  if (count == PCRE2_ERROR_NOMATCH) return false;
  if (count < 0) throw Broken("its expression for words takes too long on this text");
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(state_->found);
  match = {ends[0], ends[1]};
  return true;
}

}  // namespace dsa
