#include "cli/options.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>

namespace dsa_cli {

namespace {

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

Options::Options(const std::vector<std::string>& words, const std::vector<std::string>& known,
                 const std::vector<std::string>& flags) {
  for (size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (word.rfind("--", 0) != 0) {
      plain_.push_back(word);
      continue;
    }
    const size_t equals = word.find('=');
    const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (holds(flags, name) && equals == std::string::npos) {
      named_[name] = "";
    } else if (!holds(known, name)) {
      throw WrongUse("--" + name + " is unknown here: `dsa_runner --help` has the options.");
    } else if (equals != std::string::npos) {
      named_[name] = word.substr(equals + 1);
    } else if (at + 1 == words.size()) {
      throw WrongUse("--" + name + " has no value: give one.");
    } else {
      named_[name] = words[++at];
    }
  }
}

std::string Options::get(const std::string& name, const std::string& otherwise) const {
  const auto found = named_.find(name);
  return found == named_.end() ? otherwise : found->second;
}

std::string Options::need(const std::string& name) const {
  if (!has(name)) throw WrongUse("--" + name + " is missing: give it.");
  return get(name);
}

double Options::number(const std::string& name, double otherwise) const {
  if (!has(name)) return otherwise;
  const std::string told = get(name);
  char* end = nullptr;
  const double value = std::strtod(told.c_str(), &end);
  if (told.empty() || *end || !std::isfinite(value))
    throw WrongUse("--" + name + " is \"" + told + "\", expected a number: correct it.");
  return value;
}

int64_t Options::whole(const std::string& name, int64_t otherwise) const {
  if (!has(name)) return otherwise;
  const std::string told = get(name);
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(told.c_str(), &end, 10);
  if (told.empty() || *end || errno)
    throw WrongUse("--" + name + " is \"" + told + "\", expected a whole number: correct it.");
  return value;
}

std::vector<std::string> Options::list(const std::string& name) const {
  std::vector<std::string> parts;
  const std::string told = get(name);
  for (size_t at = 0; has(name) && at <= told.size();) {
    const size_t end = std::min(told.find(',', at), told.size());
    parts.push_back(told.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

}  // namespace dsa_cli
