#include "example.h"

#include <algorithm>

#include "json.h"

namespace dsa::learn {
namespace {

[[noreturn]] void refuse(const std::string& what) { throw Error(Kind::example, what); }

}  // namespace

void Example::check() const {
  if (response.empty()) refuse("an example has an empty response: give at least one character.");
  if (!choices.empty() && std::find(choices.begin(), choices.end(), response) == choices.end())
    refuse(text("response '", response, "' is not among the ", choices.size(),
                " choices: correct the response or add it to the choices."));
}

std::string Example::content() const try {
  std::string all;
  for (const std::string& choice : choices) all += (all.empty() ? "" : ", ") + quoted(choice);
  return "[" + quoted(prompt) + ", " + quoted(response) + ", [" + all + "], " +
         (ends ? "true" : "false") + "]";
} catch (const Broken&) {
  refuse("an example is no UTF-8 text: give texts in UTF-8.");
}

Example Example::read(const std::string& content) {
  try {
    const Json told = parsed(content);
    if (!told.is_array() || told.size() != 4) throw Broken("an example is no list of four");
    return {told[0].get<std::string>(), told[1].get<std::string>(),
            told[2].get<std::vector<std::string>>(), told[3].get<bool>()};
  } catch (const Json::exception& error) {
    throw Broken(error.what());
  }
}

bool all_choose(const std::vector<Example>& examples) {
  return std::none_of(examples.begin(), examples.end(),
                      [](const Example& example) { return example.choices.empty(); });
}

void check_learnable(const std::vector<Example>& examples) {
  if (examples.empty()) refuse("there are no examples to learn from: give at least one.");
  for (const Example& example : examples) example.check();
  const bool alike = std::all_of(examples.begin(), examples.end(), [&](const Example& example) {
    return !example.choices.empty() && example.response == examples[0].response;
  });
  if (examples.size() > 1 && alike)
    refuse(text("all ", examples.size(), " examples have the label '", examples[0].response,
                "', which teaches only a constant answer: add examples of another label."));
}

}  // namespace dsa::learn
