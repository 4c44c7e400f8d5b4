#include <cstdlib>
#include <utility>

#ifdef DSA_NFC
#include <utf8proc.h>
#endif

#include "core/text_steps.h"

namespace dsa {

namespace {

class Replace : public Normalizer {
 public:
  explicit Replace(const Json& of)
      : from_(plain_pattern(of.at("pattern"))), to_(of.at("content").get<std::string>()) {}
  std::string apply(std::string text) const override { return replaced(text, from_, to_); }

 private:
  const std::string from_, to_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(const Json& of) : what_(of.at("prepend").get<std::string>()) {}
  std::string apply(std::string text) const override { return text.empty() ? text : what_ + text; }

 private:
  const std::string what_;
};

// Unicode's composed form; ASCII is in it already.
class Nfc : public Normalizer {
 public:
  std::string apply(std::string text) const override {
    bool ascii = true;
    for (const char byte : text) ascii = ascii && static_cast<signed char>(byte) >= 0;
    return ascii ? text : composed(text);
  }

 private:
#ifdef DSA_NFC
  static std::string composed(const std::string& text) {
    utf8proc_uint8_t* made = nullptr;
    const auto size = static_cast<utf8proc_ssize_t>(text.size());
    const utf8proc_ssize_t length =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), size, &made,
                     static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (length < 0) throw Broken("a text has no composed form");
    std::string out(reinterpret_cast<const char*>(made), static_cast<size_t>(length));
    std::free(made);
    return out;
  }
#else
  static std::string composed(const std::string&) {
    throw Error(Kind::engine, "this base reads text in Unicode's composed form, and this build has "
                              "no utf8proc: build it with that library, or use ASCII.");
  }
#endif
};

class Chain : public Normalizer {
 public:
  explicit Chain(const Json& of) {
    for (const Json& each : of.at("normalizers"))
      if (auto made = Normalizer::read(each)) parts_.push_back(std::move(made));
  }
  std::string apply(std::string text) const override {
    for (const auto& part : parts_) text = part->apply(std::move(text));
    return text;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

}  // namespace

std::unique_ptr<Normalizer> Normalizer::read(const Json& of) {
  if (of.is_null()) return nullptr;
  const auto type = of.at("type").get<std::string>();
  if (type == "Sequence") return std::make_unique<Chain>(of);
  if (type == "Replace") return std::make_unique<Replace>(of);
  if (type == "Prepend") return std::make_unique<Prepend>(of);
  if (type == "NFC") return std::make_unique<Nfc>();
  throw Broken("its normalizer is " + type + ", known are NFC, Prepend, Replace and Sequence");
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != std::string_view::npos;) {
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
  }
  return out += text.substr(at);
}

std::string plain_pattern(const Json& of) {
  const auto found = of.find("String");
  if (found == of.end() || !found->is_string() || found->get<std::string>().empty())
    throw Broken("a pattern to replace is no plain text");
  return found->get<std::string>();
}

}  // namespace dsa
