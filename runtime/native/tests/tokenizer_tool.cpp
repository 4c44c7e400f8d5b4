// A tokenizer.json alone, for tests that hold it against Python's `tokenizers`.
//   tokenizer_tool FILE: reads {"text"} or {"ids"} a line, answers {"ids", "prompt", "plain"} or
//   {"text", "streamed"}, or {"error"}
#include <iostream>

#include "core/file.h"
#include "core/json.h"
#include "core/tokenizer.h"

namespace {

using dsa::Json;

Json of_text(const dsa::Tokenizer& tokenizer, const std::string& text) {
  return {{"ids", tokenizer.encode(text)},
          {"prompt", tokenizer.encode_prompt(text)},
          {"plain", tokenizer.plain(text)}};
}

Json of_ids(const dsa::Tokenizer& tokenizer, const dsa::Ids& ids) {
  dsa::TextStream stream(tokenizer);
  for (const int64_t id : ids) stream.add(id);
  stream.end();
  return {{"text", tokenizer.decode(ids)}, {"streamed", stream.text()}};
}

Json answer(const dsa::Tokenizer& tokenizer, const Json& asked) {
  try {
    return asked.contains("text") ? of_text(tokenizer, asked["text"].get<std::string>())
                                  : of_ids(tokenizer, asked["ids"].get<dsa::Ids>());
  } catch (const dsa::Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main(int count, char** words) {
  if (count != 2) return 2;
  const dsa::Tokenizer tokenizer(dsa::read_file(words[1], 64 << 20, dsa::Reads::bundle),
                                 {std::nullopt, {}, 0, false});
  for (std::string line; std::getline(std::cin, line);)
    std::cout << dsa::written(answer(tokenizer, dsa::object_of(line))) << std::endl;
  return 0;
}
