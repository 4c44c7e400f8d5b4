#include "core/examples.h"

#include <algorithm>
#include <set>

#include "core/errors.h"
#include "core/file.h"
#include "core/json.h"
#include "core/text_steps.h"
#include "core/utf8.h"

namespace dsa {

namespace {

constexpr size_t kMostLine = 1 << 20;
constexpr int64_t kMostFile = 1 << 30;

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

[[noreturn]] void refuse(const std::string& why) { throw Error(Kind::example, why); }

std::string text_of(const Json& of, const char* key) {
  const Json& value = of.at(key);
  if (!value.is_string()) refuse(text("`", key, "` is no string."));
  return value.get<std::string>();
}

// How labelled texts become prompts.
class Labels {
 public:
  Labels(const ExampleSource& source, const Tokenizer& tokenizer)
      : source_(source), tokenizer_(tokenizer) {
    if (source.template_text.empty() && source.labels.empty()) return;
    const std::set<std::string> distinct(source.labels.begin(), source.labels.end());
    if (source.template_text.find("{text}") == std::string::npos)
      throw Error(Kind::usage, text("template \"", source.template_text,
                                    "\" has no {text}: say "
                                    "where the text goes, as in \"{text} It was\"."));
    if (distinct.size() < 2 || distinct.size() != source.labels.size() || distinct.count(""))
      throw Error(Kind::usage, text("labels are ", listed(source.labels),
                                    ", expected at least two "
                                    "distinct words: correct --labels."));
    const std::string shown = prompt("x");
    const std::string glue = stripped(shown, false) == shown ? " " : "";
    for (const std::string& name : source.labels)
      choices_.push_back((stripped(name, true, false) == name ? glue : "") + name);
  }

  learn::Example example(const Json& of) const {
    if (choices_.empty())
      refuse(
          "it has `text` and `label`, which need --template '{text} It was' and --labels a,b to "
          "become a prompt.");
    return {prompt(text_of(of, "text")), choices_[index(of.at("label"))], choices_, false};
  }

 private:
  std::string prompt(const std::string& given) const {
    return replaced(source_.template_text, "{text}", tokenizer_.plain(stripped(given)));
  }
  size_t index(const Json& label) const {
    const auto& names = source_.labels;
    if (label.is_number_unsigned() && label.get<uint64_t>() < names.size())
      return label.get<size_t>();
    for (size_t at = 0; label.is_string() && at < names.size(); ++at)
      if (stripped(names[at]) == stripped(label.get<std::string>())) return at;
    refuse(text("label ", written(label).substr(0, 40), " is neither one of ", listed(names),
                " nor an index below ", names.size(), ": correct the file or --labels."));
  }

  const ExampleSource& source_;
  const Tokenizer& tokenizer_;
  std::vector<std::string> choices_;
};

// The last message is the response, the others are the prompt.
learn::Example of_chat(Json messages, const Chat& chat) {
  const bool answered = messages.is_array() && messages.size() >= 2 &&
                        messages.back().is_object() &&
                        messages.back().value("role", Json()) == "assistant";
  if (!answered || !messages.back().value("content", Json()).is_string())
    refuse(
        "`messages` must be a list of {role, content} that ends with the assistant's answer: "
        "correct the line.");
  learn::Example made{{}, messages.back()["content"].get<std::string>(), {}, true};
  messages.erase(messages.size() - 1);
  made.prompt = chat.prompt(messages);
  made.check();
  return made;
}

learn::Example parsed(const Json& of, const Labels& labels, const Chat& chat) {
  if (of.contains("messages")) return of_chat(of["messages"], chat);
  if (of.contains("text") && of.contains("label")) return labels.example(of);
  if (!of.contains("prompt") || !of.contains("response"))
    refuse(
        "it has other keys, expected prompt and response, or messages, or text and label: "
        "correct the line.");
  learn::Example made{text_of(of, "prompt"), text_of(of, "response"), {}, false};
  const Json choices = of.value("choices", Json::array());
  if (!choices.is_array()) refuse("`choices` must be a list of strings.");
  for (const Json& choice : choices) {
    if (!choice.is_string()) refuse("`choices` must be a list of strings.");
    made.choices.push_back(choice.get<std::string>());
  }
  made.check();
  return made;
}

learn::Example read_line(std::string_view line, const Labels& labels, const Chat& chat) {
  if (line.size() > kMostLine)
    refuse(text("longer than ", kMostLine, " bytes; one example a line."));
  const size_t wrong = first_invalid(line);
  if (wrong != std::string_view::npos)
    refuse(text("not UTF-8 (byte ", wrong + 1, "); save the file as UTF-8."));
  try {
    return parsed(object_of(std::string(line)), labels, chat);
  } catch (const Broken&) {
    refuse("not a JSON object; write one JSON object a line.");
  }
}

}  // namespace

std::vector<learn::Example> read_examples(const ExampleSource& source, const Tokenizer& tokenizer,
                                          const Chat& chat) {
  const Labels labels(source, tokenizer);
  const std::string name = source.path.empty() ? "the examples" : source.path;
  std::string content =
      source.path.empty() ? source.lines : read_file(source.path, kMostFile, Reads::examples);
  if (content.compare(0, 3, "\xEF\xBB\xBF") == 0) content.erase(0, 3);
  std::vector<learn::Example> made;
  size_t number = 0;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string line = stripped(content.substr(at, end - at));
    at = end + 1, ++number;
    if (line.empty()) continue;
    try {
      made.push_back(read_line(line, labels, chat));
    } catch (const Error& error) {
      if (error.kind() != Kind::example) throw;
      throw Error(Kind::example, text(name, ", line ", number, ": ", error.what()));
    }
  }
  if (made.empty()) refuse(text(name, " holds no example: write one JSON object a line."));
  return made;
}

}  // namespace dsa
