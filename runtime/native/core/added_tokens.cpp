#include "core/added_tokens.h"

#include <algorithm>

#include "core/pattern.h"

namespace dsa {

namespace {

AddedToken read(const Json& of) {
  AddedToken made{of.at("id").get<int64_t>(), of.at("content").get<std::string>(),
                  of.at("special").get<bool>(), of.value("normalized", false),
                  of.value("single_word", false), of.value("lstrip", false),
                  of.value("rstrip", false)};
  if (made.content.empty()) throw Broken("an added token is empty");
  return made;
}

bool matches(const char* expression, std::string_view text, Pattern::Match& match) {
  return Pattern(expression).find(text, 0, match);
}

bool word_ends(std::string_view text) {
  Pattern::Match match{};
  return matches("\\w\\z", text, match);
}

bool word_begins(std::string_view text) {
  Pattern::Match match{};
  return matches("\\A\\w", text, match);
}

size_t space_at_end(std::string_view text) {  // where it begins
  Pattern::Match match{};
  return matches("\\s+\\z", text, match) ? match.begin : text.size();
}

size_t space_at_start(std::string_view text) {  // where it ends
  Pattern::Match match{};
  return matches("\\A\\s+", text, match) ? match.end : 0;
}

bool cuts_a_word(const AddedToken& token, std::string_view text, size_t begin, size_t end) {
  return token.single_word && (word_ends(text.substr(0, begin)) || word_begins(text.substr(end)));
}

}  // namespace

AddedTokens::AddedTokens(const Json& list) {
  for (const Json& entry : list) tokens_.push_back(read(entry));
  for (size_t at = 0; at < tokens_.size(); ++at) {
    by_id_[tokens_[at].id] = at;
    by_first_[static_cast<uint8_t>(tokens_[at].content[0])].push_back(at);
  }
  for (auto& some : by_first_)
    std::stable_sort(some.begin(), some.end(), [this](size_t a, size_t b) {
      return tokens_[a].content.size() > tokens_[b].content.size();
    });
}

const AddedToken* AddedTokens::find(int64_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::longest(std::string_view rest, bool normalized) const {
  for (const size_t at : by_first_[static_cast<uint8_t>(rest[0])]) {
    const AddedToken& token = tokens_[at];
    if (token.normalized == normalized && rest.substr(0, token.content.size()) == token.content)
      return &token;
  }
  return nullptr;
}

void AddedTokens::split(std::string_view text, bool normalized, bool parse,
                        std::vector<Piece>& out) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = longest(text.substr(at), normalized);
    if (!token) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    at = end;
    if ((token->special && !parse) || cuts_a_word(*token, text, begin, end)) continue;
    if (token->left) begin = std::max(space_at_end(text.substr(0, begin)), done);
    if (token->right) end += space_at_start(text.substr(end));
    if (done < begin) out.push_back({-1, done, begin});
    out.push_back({token->id, begin, end});
    done = end, at = std::max(at, end);
  }
  if (done < text.size()) out.push_back({-1, done, text.size()});
}

}  // namespace dsa
