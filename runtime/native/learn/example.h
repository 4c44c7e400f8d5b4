// What a user gives to learn from.
#pragma once

#include <string>
#include <vector>

namespace dsa::learn {

// After `prompt`, answer `response`. choices: all possible answers, `response` among them; the loss
// is then over them alone. ends: the response is complete, so its end is learned as well.
struct Example {
  std::string prompt, response;
  std::vector<std::string> choices;
  bool ends = false;

  void check() const;           // raises Error(example) for what cannot be learned
  std::string content() const;  // the same text for the same example, as Python writes it
  static Example read(const std::string& content);  // raises Broken
};

// Whether each has some choices.
bool all_choose(const std::vector<Example>& examples);

// Raises Error(example) when there are none, or when all of several have the same label.
void check_learnable(const std::vector<Example>& examples);

}  // namespace dsa::learn
