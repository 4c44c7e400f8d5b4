#include "core/tokenizer.h"

#include <algorithm>

#include "core/added_tokens.h"
#include "core/bpe.h"
#include "core/errors.h"
#include "core/pattern.h"
#include "core/text_steps.h"
#include "core/utf8.h"

namespace dsa {

namespace {

constexpr char kSplit[] = "\u200b";  // a zero-width space: between its halves a token is text
constexpr int kSplits = 8;           // times a text is looked through: a split may leave another

// Raises Error(bundle) in the place of what a reader raises.
template <class Read>
auto of_bundle(Read&& read) {
  try {
    return read();
  } catch (const Broken& error) {
    throw Error(Kind::bundle, text("tokenizer.json cannot be used (", error.what(),
                                   "): open the bundle with the Python runtime, or export it "
                                   "again."));
  } catch (const Json::exception& error) {
    throw Error(Kind::bundle, text("tokenizer.json cannot be read (", error.what(),
                                   "): copy or export the bundle again."));
  }
}

void check_text(const std::string& given) {
  const size_t wrong = first_invalid(given);
  if (wrong != std::string::npos)
    throw Error(Kind::example, text(lossy(given.substr(0, 40)), " is not UTF-8 (byte ", wrong + 1,
                                    "), expected Unicode text: correct its encoding."));
}

}  // namespace

struct Tokenizer::Parts {
  explicit Parts(const Json& of)
      : added(of.value("added_tokens", Json::array())),
        normalizer(Normalizer::read(of.value("normalizer", Json()))),
        cutter(Cutter::read(of.value("pre_tokenizer", Json()))),
        joiner(Joiner::read(of.value("decoder", Json()))),
        model(of.at("model")) {}

  // Pieces of the text itself, and appends all ids.
  std::vector<Piece> encode(const std::string& given, bool parse, Ids& out) const {
    std::vector<Piece> pieces;
    added.split(given, false, parse, pieces);
    for (const Piece& piece : pieces)
      if (piece.id >= 0)
        out.push_back(piece.id);
      else
        encode_between(given.substr(piece.begin, piece.end - piece.begin), !piece.begin, parse,
                       out);
    return pieces;
  }

  void encode_between(std::string part, bool starts, bool parse, Ids& out) const {
    if (normalizer) part = normalizer->apply(std::move(part));
    std::vector<Piece> pieces;
    added.split(part, true, parse, pieces);
    for (const Piece& piece : pieces)
      if (piece.id >= 0)
        out.push_back(piece.id);
      else
        encode_words(part.substr(piece.begin, piece.end - piece.begin), starts && !piece.begin,
                     out);
  }

  void encode_words(const std::string& part, bool starts, Ids& out) const {
    if (part.empty()) return;
    if (!cutter) return model.encode(part, out);
    std::vector<std::string> words;
    cutter->cut(part, starts, words);
    for (const std::string& word : words) model.encode(word, out);
  }

  bool any_special(const Ids& ids) const {
    for (const int64_t id : ids) {
      const AddedToken* token = added.find(id);
      if (token && token->special) return true;
    }
    return false;
  }

  std::string decode(const Ids& ids) const {
    std::vector<std::string> tokens;
    for (const int64_t id : ids) {
      const AddedToken* token = added.find(id);
      if (token && token->special) continue;
      tokens.emplace_back(token ? std::string_view(token->content) : model.token(id));
    }
    if (joiner) joiner->join(tokens);
    std::string out;
    for (size_t at = 0; at < tokens.size(); ++at) out += (at && !joiner ? " " : "") + tokens[at];
    return out;
  }

  AddedTokens added;
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<Cutter> cutter;
  std::unique_ptr<Joiner> joiner;
  Bpe model;
};

Tokenizer::Tokenizer(const std::string& content, const TokenizerInfo& info)
    : parts_(of_bundle([&] { return std::make_unique<Parts>(object_of(content)); })), info_(info) {}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

Ids Tokenizer::encode_prompt(const std::string& given) const {
  check_text(given);
  Ids ids;
  of_bundle([&] { return parts_->encode(given, true, ids).size(); });
  if (info_.add_bos && info_.bos && (ids.empty() || ids[0] != *info_.bos))
    ids.insert(ids.begin(), *info_.bos);
  return ids;
}

Ids Tokenizer::encode(const std::string& given) const {
  check_text(given);
  Ids ids;
  of_bundle([&] { return parts_->encode(given, false, ids).size(); });
  return ids;
}

std::string Tokenizer::plain(const std::string& given) const {
  check_text(given);
  std::string made = given;
  for (int time = 0; time < kSplits; ++time) {
    Ids ids;
    const auto pieces = of_bundle([&] { return parts_->encode(made, true, ids); });
    bool found = false;
    for (size_t at = pieces.size(); at-- > 0;) {
      const AddedToken* token = pieces[at].id < 0 ? nullptr : parts_->added.find(pieces[at].id);
      if (!token || !token->special) continue;
      const std::string_view piece(made.data() + pieces[at].begin,
                                   pieces[at].end - pieces[at].begin);
      Pattern::Match first{};
      if (!Pattern("\\S").find(piece, 0, first)) continue;
      made.insert(pieces[at].begin + first.end, kSplit);
      found = true;
    }
    if (!found && parts_->any_special(ids)) break;  // made by what normalizes texts
    if (!found) return made;
  }
  throw Error(Kind::example, text("\"", given.substr(0, 40),
                                  "\" holds a special token of this base "
                                  "that cannot be read as text: leave it out."));
}

std::string Tokenizer::decode(const Ids& ids) const {
  return of_bundle([&] { return parts_->decode(ids); });
}

std::string TextStream::add(int64_t id) {
  ids_.push_back(id);
  std::string whole = tokenizer_.decode(ids_);
  const bool open = whole.size() >= 3 && whole.compare(whole.size() - 3, 3, "\xEF\xBF\xBD") == 0;
  if (open) return {};  // a character's last token is to come
  return take(std::move(whole));
}

std::string TextStream::end() { return take(tokenizer_.decode(ids_)); }

// By characters, as Python counts: bytes that were text may turn out to be none.
std::string TextStream::take(std::string whole) {
  size_t at = 0;
  for (size_t done = 0; done < certain_ && at < whole.size(); ++done)
    at += std::max<size_t>(1, character(std::string_view(whole).substr(at)));
  const std::string piece = whole.substr(at);
  certain_ = 0;
  for (const char byte : whole) certain_ += (byte & 0xC0) != 0x80;
  sent_ += piece;
  return piece;
}

}  // namespace dsa
