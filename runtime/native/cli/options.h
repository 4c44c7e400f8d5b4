// Words of a command line: --name value, --name=value, flags, and what is neither.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace dsa_cli {

class WrongUse : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Options {
 public:
  // known: names that take a value; flags: those that take none. Raises WrongUse for others.
  Options(const std::vector<std::string>& words, const std::vector<std::string>& known,
          const std::vector<std::string>& flags);

  const std::vector<std::string>& plain() const { return plain_; }
  bool has(const std::string& name) const { return named_.count(name) != 0; }
  std::string get(const std::string& name, const std::string& otherwise = "") const;
  std::string need(const std::string& name) const;  // raises WrongUse where it is missing
  double number(const std::string& name, double otherwise) const;
  int64_t whole(const std::string& name, int64_t otherwise) const;
  std::vector<std::string> list(const std::string& name) const;  // parts between commas

 private:
  std::vector<std::string> plain_;
  std::map<std::string, std::string> named_;
};

}  // namespace dsa_cli
