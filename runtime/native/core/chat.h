// A chat as a prompt, joined from the parts of the base's template that its export found.
#pragma once

#include <string>

#include "core/json.h"
#include "core/manifest.h"
#include "core/tokenizer.h"

namespace dsa {

class Chat {
 public:
  // Both must outlive it.
  Chat(const Manifest& manifest, const Tokenizer& tokenizer)
      : manifest_(manifest), tokenizer_(tokenizer) {}

  // messages: a JSON list of {role, content}, at least one. Ends with the opening of an answer.
  // Raises Error(example) for other ones, and for roles, orders and contents that the export did
  // not find to be rendered as the template has it.
  std::string prompt(const Json& messages) const;

 private:
  const ChatParts& parts() const;
  std::string said(const Json& message, const ChatTurn& turn) const;

  const Manifest& manifest_;
  const Tokenizer& tokenizer_;
};

}  // namespace dsa
