#include <algorithm>
#include <utility>

#include "core/byte_level.h"
#include "core/pattern.h"
#include "core/text_steps.h"
#include "core/utf8.h"

namespace dsa {

namespace {

constexpr char kWords[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Calls `take` with each match and each part between two, in order.
template <class Take>
void each_part(const Pattern& pattern, std::string_view word, Take&& take) {
  size_t done = 0;
  Pattern::Match match{};
  for (size_t from = 0; from <= word.size() && pattern.find(word, from, match);) {
    if (match.begin == match.end) {  // nothing matched: look behind the next character
      from = match.end + std::max<size_t>(1, character(word.substr(match.end)));
      continue;
    }
    if (done < match.begin) take(word.substr(done, match.begin - done), false);
    take(word.substr(match.begin, match.end - match.begin), true);
    done = from = match.end;
  }
  if (done < word.size()) take(word.substr(done), false);
}

class ByteLevel : public Cutter {
 public:
  explicit ByteLevel(const Json& of) : space_(of.at("add_prefix_space").get<bool>()) {
    if (of.value("use_regex", true)) words_ = std::make_unique<Pattern>(kWords);
  }
  void cut(const std::string& word, bool, std::vector<std::string>& out) const override {
    const std::string whole = space_ && word[0] != ' ' ? " " + word : word;
    if (!words_) return out.push_back(shown_bytes(whole));
    each_part(*words_, whole,
              [&](std::string_view part, bool) { out.push_back(shown_bytes(part)); });
  }

 private:
  const bool space_;
  std::unique_ptr<Pattern> words_;
};

class Digits : public Cutter {
 public:
  explicit Digits(const Json& of)
      : numbers_(of.value("individual_digits", false) ? "\\p{N}" : "\\p{N}+") {}
  void cut(const std::string& word, bool, std::vector<std::string>& out) const override {
    each_part(numbers_, word, [&](std::string_view part, bool) { out.emplace_back(part); });
  }

 private:
  const Pattern numbers_;
};

std::string escaped(const std::string& plain) {
  std::string out;
  for (const char c : plain) {
    if (std::string_view("\\^$.[]|()?*+{}-#").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string expression_of(const Json& of) {
  const auto found = of.find("Regex");
  return found == of.end() ? escaped(plain_pattern(of)) : found->get<std::string>();
}

class Split : public Cutter {
 public:
  explicit Split(const Json& of)
      : pattern_(expression_of(of.at("pattern"))),
        behaviour_(of.at("behavior").get<std::string>()) {
    const bool known = behaviour_ == "Isolated" || behaviour_ == "Removed" ||
                       behaviour_ == "MergedWithPrevious" || behaviour_ == "MergedWithNext";
    if (!known || of.value("invert", false))
      throw Broken("it splits by " + behaviour_ + ", known are Isolated, Removed and Merged…");
  }
  void cut(const std::string& word, bool, std::vector<std::string>& out) const override {
    const size_t first = out.size();
    bool joins = false;  // whether the next part belongs to the last one
    each_part(pattern_, word, [&](std::string_view part, bool matched) {
      if (matched && behaviour_ == "Removed") return;
      const bool before = matched ? behaviour_ == "MergedWithPrevious" && !after_match_ : joins;
      if (before && out.size() > first)
        out.back() += part;
      else
        out.emplace_back(part);
      joins = matched && behaviour_ == "MergedWithNext";
      after_match_ = matched;
    });
    after_match_ = false;
  }

 private:
  const Pattern pattern_;
  const std::string behaviour_;
  mutable bool after_match_ = false;
};

// Spaces as another character, words from one to the next.
class Metaspace : public Cutter {
 public:
  explicit Metaspace(const Json& of)
      : space_(of.at("replacement").get<std::string>()),
        scheme_(scheme_of(of)),
        splits_(of.value("split", true)) {
    if (space_.empty()) throw Broken("its spaces are replaced by nothing");
  }
  void cut(const std::string& word, bool starts, std::vector<std::string>& out) const override {
    std::string whole = replaced(word, " ", space_);
    const bool begun = whole.compare(0, space_.size(), space_) == 0;
    if (!begun && (scheme_ == "always" || (scheme_ == "first" && starts))) whole.insert(0, space_);
    if (!splits_) return out.push_back(std::move(whole));
    for (size_t at = 0; at < whole.size();) {
      const size_t next = std::min(whole.find(space_, at + 1), whole.size());
      out.push_back(whole.substr(at, next - at));
      at = next;
    }
  }

 private:
  static std::string scheme_of(const Json& of) {
    const char* older = of.value("add_prefix_space", true) ? "always" : "never";
    const auto told = of.value("prepend_scheme", std::string(older));
    if (told != "always" && told != "first" && told != "never")
      throw Broken("it puts spaces before words by " + told);
    return told;
  }
  const std::string space_, scheme_;
  const bool splits_;
};

class Chain : public Cutter {
 public:
  explicit Chain(const Json& of) {
    for (const Json& each : of.at("pretokenizers"))
      if (auto made = Cutter::read(each)) parts_.push_back(std::move(made));
  }
  void cut(const std::string& word, bool starts, std::vector<std::string>& out) const override {
    std::vector<std::string> words = {word}, next;
    for (const auto& part : parts_) {
      next.clear();
      for (const std::string& each : words) part->cut(each, starts && &each == words.data(), next);
      std::swap(words, next);
    }
    for (std::string& each : words) out.push_back(std::move(each));
  }

 private:
  std::vector<std::unique_ptr<Cutter>> parts_;
};

}  // namespace

std::unique_ptr<Cutter> Cutter::read(const Json& of) {
  if (of.is_null()) return nullptr;
  const auto type = of.at("type").get<std::string>();
  if (type == "Sequence") return std::make_unique<Chain>(of);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(of);
  if (type == "Digits") return std::make_unique<Digits>(of);
  if (type == "Split") return std::make_unique<Split>(of);
  if (type == "Metaspace") return std::make_unique<Metaspace>(of);
  throw Broken("it cuts words by " + type +
               ", known are ByteLevel, Digits, Metaspace, Split and Sequence");
}

}  // namespace dsa
