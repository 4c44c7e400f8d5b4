// An open bundle for the length of a command, and what commands share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/options.h"
#include "dsa/runner.h"
#include "learn/keys.h"

namespace dsa_cli {

void check(dsa_status status);  // raises Failed with the library's sentence
std::string taken(char* text);  // a text of the library's

class Session {
 public:
  explicit Session(const Options& options);  // raises Failed, WrongUse
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  operator dsa_runner*() const { return runner_; }

 private:
  const std::string store_;
  std::unique_ptr<dsa::learn::KeyProvider> key_;
  dsa_runner* runner_ = nullptr;
};

// Examples of --data, with --template and --labels.
class Data {
 public:
  explicit Data(const Options& options);
  dsa_examples told = DSA_EXAMPLES;

 private:
  const std::string path_, template_;
  const std::vector<std::string> labels_;
  std::vector<const char*> pointers_;
};

}  // namespace dsa_cli
