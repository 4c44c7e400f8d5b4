#include "core/chat.h"

#include "core/canonical.h"
#include "core/errors.h"
#include "core/utf8.h"

namespace dsa {

namespace {

constexpr char kByPython[] = "write the rendered prompt, as the Python runtime's `chat` makes it.";

[[noreturn]] void refuse(const std::string& why) { throw Error(Kind::example, why); }

// What the template might read, and the parts do not know.
void check(const Json& message) {
  for (const char* name : {"role", "content"})
    if (!message.is_object() || !message.contains(name) || !message[name].is_string())
      refuse("`messages` must be a list of {role, content}, both texts: correct them.");
  for (const auto& [name, value] : message.items())
    if (name != "role" && name != "content")
      refuse(text("a message has the field ", json_text(name.substr(0, 40)),
                  ", and only role and content are rendered here: leave it out, or ", kByPython));
}

std::string roles_after(const ChatParts& parts, const std::string& last) {
  std::string out;
  for (const ChatTurn& turn : parts.turns)
    if (turn.after == last) out += (out.empty() ? "" : ", ") + turn.role;
  return out.empty() ? "no message" : out;
}

const ChatTurn& turn_of(const ChatParts& parts, const std::string& last, const std::string& role) {
  for (const ChatTurn& turn : parts.turns)
    if (turn.after == last && turn.role == role) return turn;
  refuse(text("a message of the role ", json_text(role.substr(0, 40)),
              last.empty() ? " is first" : " follows one of " + json_text(last), ", expected ",
              roles_after(parts, last), " here: correct the roles and their order, or ",
              kByPython));
}

}  // namespace

const ChatParts& Chat::parts() const {
  if (manifest_.chat) return *manifest_.chat;
  if (!manifest_.files.count("chat_template.jinja"))
    refuse(
        "this base model has no chat template, so `messages` cannot be rendered: use "
        "{\"prompt\", \"response\"} lines.");
  refuse(
      text("the bundle does not tell the parts of its chat template, for it was exported by an "
           "older dsa-edge, or its template does more than join texts: export it again, or ",
           kByPython));
}

std::string Chat::said(const Json& message, const ChatTurn& turn) const {
  const std::string content = tokenizer_.plain(message["content"].get<std::string>());
  for (const std::string& other : parts().without)
    if (content.find(other) != std::string::npos)
      refuse(text("a message holds ", json_text(other.substr(0, 40)),
                  ", about which the chat template does something: leave it out, or ", kByPython));
  std::string made = stripped(content, turn.left, turn.right);
  if (turn.filled && made.empty())
    refuse(text("a message of the role ", json_text(turn.role),
                " is empty, expected a text here: give one, or ", kByPython));
  return made;
}

std::string Chat::prompt(const Json& messages) const {
  const ChatParts& all = parts();
  if (!messages.is_array() || messages.empty())
    refuse("`messages` must be a list of {role, content} with one message or more: correct it.");
  std::string made, last;
  for (const Json& message : messages) {
    check(message);
    const ChatTurn& turn = turn_of(all, last, message["role"].get<std::string>());
    made += turn.before + said(message, turn), last = turn.role;
  }
  const auto end = all.ends.find(last);
  if (end == all.ends.end())
    refuse(text("the chat ends with a message of the role ", json_text(last),
                ", which the chat template does not end with: end with another, or ", kByPython));
  return made + end->second;
}

}  // namespace dsa
