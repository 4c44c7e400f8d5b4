#include "core/bpe.h"

#include <cstdio>
#include <queue>

#include "core/utf8.h"

namespace dsa {

namespace {

constexpr int64_t kMostTokens = 1 << 24;

bool is_set(const Json& model, const char* name) {
  const auto found = model.find(name);
  return found != model.end() && !found->is_null() && *found != Json(false) && *found != Json("") &&
         *found != Json(0.0);
}

uint64_t pair_of(int64_t left, int64_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
}

std::pair<std::string, std::string> halves(const Json& merge) {
  if (merge.is_array() && merge.size() == 2)
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  const auto written = merge.get<std::string>();
  const size_t space = written.find(' ');
  if (space == std::string::npos) throw Broken("a merge is no pair");
  return {written.substr(0, space), written.substr(space + 1)};
}

}  // namespace

Bpe::Bpe(const Json& model) {
  if (model.value("type", "BPE") != "BPE")
    throw Broken("its model is " + model["type"].dump() + ", known is BPE");
  for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    if (is_set(model, name)) throw Broken(std::string("its model has a ") + name);
  whole_words_ = is_set(model, "ignore_merges"), bytes_ = is_set(model, "byte_fallback");
  fuse_ = is_set(model, "fuse_unk");
  read_vocabulary(model);
  read_merges(model);
  if (is_set(model, "unk_token")) unknown_ = id_of(model["unk_token"].get<std::string>());
}

void Bpe::read_vocabulary(const Json& model) {
  const Json& vocabulary = model.at("vocab");
  int64_t most = -1;
  for (const auto& [token, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= kMostTokens)
      throw Broken("a token's id is no whole number");
    most = std::max(most, id.get<int64_t>());
  }
  tokens_.resize(static_cast<size_t>(most + 1));
  ids_.reserve(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    std::string& place = tokens_[id.get<size_t>()];
    if (!place.empty()) throw Broken("two tokens have one id");
    place = token;
    ids_[place] = id.get<int64_t>();
  }
}

void Bpe::read_merges(const Json& model) {
  uint32_t rank = 0;
  joins_.reserve(model.at("merges").size());
  for (const Json& merge : model["merges"]) {
    const auto [left, right] = halves(merge);
    const int64_t a = id_of(left), b = id_of(right), both = id_of(left + right);
    if (a < 0 || b < 0 || both < 0) throw Broken("a merge is not of its vocabulary");
    joins_[pair_of(a, b)] = {rank++, both};
  }
}

int64_t Bpe::id_of(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? -1 : found->second;
}

std::string_view Bpe::token(int64_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= tokens_.size()) return {};
  return tokens_[static_cast<size_t>(id)];
}

void Bpe::encode(std::string_view word, std::vector<int64_t>& out) const {
  const int64_t whole = whole_words_ ? id_of(word) : -1;
  if (whole >= 0) {
    out.push_back(whole);
    return;
  }
  std::vector<Symbol> symbols;
  spell(word, symbols);
  merge(symbols);
  for (const Symbol& symbol : symbols)
    if (symbol.id >= 0) out.push_back(symbol.id);
}

bool Bpe::spell_bytes(std::string_view character, std::vector<Symbol>& out) const {
  std::vector<int64_t> found;
  for (const char byte : character) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<uint8_t>(byte));
    found.push_back(id_of(name));
    if (found.back() < 0) return false;
  }
  for (const int64_t id : found) out.push_back({id, 0, 0});
  return true;
}

void Bpe::spell(std::string_view word, std::vector<Symbol>& out) const {
  bool was_unknown = false;
  while (!word.empty()) {
    const std::string_view one = word.substr(0, std::max<size_t>(1, character(word)));
    word.remove_prefix(one.size());
    const int64_t id = id_of(one);
    const bool known = id >= 0;
    if (known) out.push_back({id, 0, 0});
    if (known || (bytes_ && spell_bytes(one, out))) {
      was_unknown = false;
      continue;
    }
    if (unknown_ >= 0 && !(fuse_ && was_unknown)) out.push_back({unknown_, 0, 0});
    was_unknown = true;
  }
  const int count = static_cast<int>(out.size());
  for (int at = 0; at < count; ++at) {
    out[static_cast<size_t>(at)].previous = at - 1;
    out[static_cast<size_t>(at)].next = at + 1 < count ? at + 1 : -1;
  }
}

const Bpe::Join* Bpe::join(const Symbol& left, const Symbol& right) const {
  const auto found = joins_.find(pair_of(left.id, right.id));
  return found == joins_.end() ? nullptr : &found->second;
}

void Bpe::merge(std::vector<Symbol>& symbols) const {
  struct Open {
    uint32_t rank;
    int at;
    int64_t id;
    bool operator<(const Open& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  std::priority_queue<Open> open;
  const auto look = [&](int at) {
    const int next = at < 0 ? -1 : symbols[static_cast<size_t>(at)].next;
    if (next < 0) return;
    const Join* found = join(symbols[static_cast<size_t>(at)], symbols[static_cast<size_t>(next)]);
    if (found) open.push({found->rank, at, found->id});
  };
  for (size_t at = 0; at < symbols.size(); ++at) look(static_cast<int>(at));
  while (!open.empty()) {
    const Open top = open.top();
    open.pop();
    Symbol& left = symbols[static_cast<size_t>(top.at)];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    const Join* still = join(left, right);
    if (!still || still->id != top.id) continue;  // one of the two has changed since
    left.id = top.id, left.next = right.next, right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = top.at;
    look(left.previous);
    look(top.at);
  }
}

}  // namespace dsa
