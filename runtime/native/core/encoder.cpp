#include "core/encoder.h"

#include <algorithm>
#include <set>

#include "core/errors.h"

namespace dsa {

std::pair<Ids, Ids> Encoder::split_prompt(const std::string& text) const {
  const Ids ids = prompt(text);
  const auto at = ids.end() - static_cast<std::ptrdiff_t>(invocation_);
  return {Ids(ids.begin(), at), Ids(at, ids.end())};
}

// The cached part keeps at least one token, so very short prompts are filled in front.
Ids Encoder::prompt(const std::string& text) const {
  Ids ids = tokenizer_.encode_prompt(text);
  if (ids.size() < invocation_ + 1)
    ids.insert(ids.begin(), invocation_ + 1 - ids.size(), tokenizer_.info().pad);
  return ids;
}

Ids Encoder::response(const std::string& given, bool ends) const {
  Ids ids = tokenizer_.encode(given);
  if (ids.empty())
    throw Error(Kind::example,
                text("response \"", given, "\" has no token in this base's vocabulary."));
  if (ends && !tokenizer_.info().eos.empty()) ids.push_back(tokenizer_.info().eos[0]);
  return ids;
}

Item Encoder::item(const Ids& prompt, const Ids& response) const {
  const size_t total = prompt.size() + response.size();
  if (total > limit_)
    throw Error(Kind::example, text(total, " tokens, but this base takes at most ", limit_,
                                    ": shorten the prompt."));
  const auto split = prompt.end() - static_cast<std::ptrdiff_t>(invocation_);
  Item made{Ids(prompt.begin(), split), Ids(split, prompt.end()), Ids(invocation_ - 1, 0), {}};
  made.tail.insert(made.tail.end(), response.begin(), response.end() - 1);
  made.targets.insert(made.targets.end(), response.begin(), response.end());
  made.weights.assign(made.tail.size(), 0.0f);
  std::fill(made.weights.begin() + static_cast<std::ptrdiff_t>(invocation_) - 1,
            made.weights.end(), 1.0f);
  return made;
}

Encoded Encoder::encode(const Example& example) const {
  const Ids given = prompt(example.prompt);
  Encoded made;
  made.choices = example.choices;
  if (example.choices.empty()) {
    made.items.push_back(item(given, response(example.response, example.ends)));
    return made;
  }
  std::vector<Ids> answers;
  std::set<int64_t> firsts;
  bool single = true;
  for (const std::string& choice : example.choices) {
    answers.push_back(response(choice, example.ends));
    single = firsts.insert(answers.back()[0]).second && answers.back().size() == 1 && single;
    made.tokens.push_back(answers.back()[0]);
  }
  const auto& choices = example.choices;
  made.answer = static_cast<size_t>(
      std::find(choices.begin(), choices.end(), example.response) - choices.begin());
  if (single) {
    made.items.push_back(item(given, answers[made.answer]));
    return made;
  }
  made.tokens.clear();
  for (const Ids& answer : answers) made.items.push_back(item(given, answer));
  return made;
}

std::vector<Encoded> Encoder::encode_all(const std::vector<Example>& examples) const {
  std::vector<Encoded> made;
  for (size_t at = 0; at < examples.size(); ++at) try {
      made.push_back(encode(examples[at]));
    } catch (const Error& error) {
      if (error.kind() != Kind::example) throw;
      throw Error(Kind::example, text("example ", at + 1, ": ", error.what()));
    }
  return made;
}

}  // namespace dsa
