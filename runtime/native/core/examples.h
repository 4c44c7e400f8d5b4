// Examples as JSON Lines: {"prompt", "response", "choices"?}, {"messages"}, or {"text", "label"} with
// a template and labels.
#pragma once

#include "core/chat.h"
#include "core/tokenizer.h"
#include "learn/example.h"

namespace dsa {

struct ExampleSource {
  std::string lines;                // the examples themselves, or
  std::string path;                 // a file of them
  std::string template_text;        // "{text} It was", or empty
  std::vector<std::string> labels;  // the words that answer, one a class
};

// Raises Error(example) with the line's number for anything that is not an example, Error(usage)
// for templates and labels that cannot work.
std::vector<learn::Example> read_examples(const ExampleSource& source, const Tokenizer& tokenizer,
                                          const Chat& chat);

}  // namespace dsa
