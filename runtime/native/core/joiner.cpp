#include <utility>

#include "core/byte_level.h"
#include "core/text_steps.h"
#include "core/utf8.h"

namespace dsa {

namespace {

class ByteLevel : public Joiner {
 public:
  void join(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) append_bytes(token, bytes);
    tokens.assign(1, lossy(bytes));
  }
};

class Replace : public Joiner {
 public:
  explicit Replace(const Json& of)
      : from_(plain_pattern(of.at("pattern"))), to_(of.at("content").get<std::string>()) {}
  void join(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) token = replaced(token, from_, to_);
  }

 private:
  const std::string from_, to_;
};

// Tokens like <0xE2> are bytes; those that make no text show as U+FFFD each.
class ByteFallback : public Joiner {
 public:
  void join(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string bytes;
    for (std::string& token : tokens) {
      const int byte = byte_of(token);
      if (byte >= 0) {
        bytes += static_cast<char>(byte);
        continue;
      }
      flush(bytes, out);
      out.push_back(std::move(token));
    }
    flush(bytes, out);
    tokens = std::move(out);
  }

 private:
  static int byte_of(const std::string& token) {
    if (token.size() != 6 || token.compare(0, 3, "<0x") != 0 || token[5] != '>') return -1;
    const size_t digits = token.find_first_not_of("0123456789abcdefABCDEF", 3);
    return digits == 5 ? std::stoi(token.substr(3, 2), nullptr, 16) : -1;
  }
  static void flush(std::string& bytes, std::vector<std::string>& out) {
    if (first_invalid(bytes) == std::string_view::npos) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      for (size_t at = 0; at < bytes.size(); ++at) out.push_back("\xEF\xBF\xBD");
    }
    bytes.clear();
  }
};

class Fuse : public Joiner {
 public:
  void join(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, all);
  }
};

class Strip : public Joiner {
 public:
  explicit Strip(const Json& of)
      : what_(of.at("content").get<std::string>()),
        start_(of.at("start").get<size_t>()),
        stop_(of.at("stop").get<size_t>()) {
    if (what_.empty()) throw Broken("its decoder strips nothing");
  }
  void join(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) strip(token);
  }

 private:
  void strip(std::string& token) const {
    for (size_t i = 0; i < start_ && token.compare(0, what_.size(), what_) == 0; ++i)
      token.erase(0, what_.size());
    for (size_t i = 0; i < stop_ && token.size() >= what_.size() &&
                       token.compare(token.size() - what_.size(), what_.size(), what_) == 0;
         ++i)
      token.resize(token.size() - what_.size());
  }

  const std::string what_;
  const size_t start_, stop_;
};

// Spaces that another character stands for; those of the first token were put there.
class Metaspace : public Joiner {
 public:
  explicit Metaspace(const Json& of)
      : space_(of.at("replacement").get<std::string>()),
        prepends_(of.value("prepend_scheme", std::string(older(of))) != "never") {
    if (space_.empty()) throw Broken("its spaces are replaced by nothing");
  }
  void join(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens)
      token = replaced(token, space_, prepends_ && &token == tokens.data() ? "" : " ");
  }

 private:
  static const char* older(const Json& of) {
    return of.value("add_prefix_space", true) ? "always" : "never";
  }
  const std::string space_;
  const bool prepends_;
};

class Chain : public Joiner {
 public:
  explicit Chain(const Json& of) {
    for (const Json& each : of.at("decoders"))
      if (auto made = Joiner::read(each)) parts_.push_back(std::move(made));
  }
  void join(std::vector<std::string>& tokens) const override {
    for (const auto& part : parts_) part->join(tokens);
  }

 private:
  std::vector<std::unique_ptr<Joiner>> parts_;
};

}  // namespace

std::unique_ptr<Joiner> Joiner::read(const Json& of) {
  if (of.is_null()) return nullptr;
  const auto type = of.at("type").get<std::string>();
  if (type == "Sequence") return std::make_unique<Chain>(of);
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Replace") return std::make_unique<Replace>(of);
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Strip") return std::make_unique<Strip>(of);
  if (type == "Metaspace") return std::make_unique<Metaspace>(of);
  throw Broken("its decoder is " + type +
               ", known are ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence and Strip");
}

}  // namespace dsa
