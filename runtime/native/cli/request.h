// What a command line asks of a fit.
#pragma once

#include "cli/options.h"
#include "dsa/runner.h"

namespace dsa_cli {

class Request {
 public:
  explicit Request(const Options& options);  // raises WrongUse
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  dsa_fit_options told = DSA_FIT_OPTIONS;

 private:
  void budget(const Options& options);
  void conditions(const Options& options);
  void guarantee(const Options& options);

  std::string settings_;
  dsa_privacy privacy_ = DSA_PRIVACY_OPTIONS;
};

}  // namespace dsa_cli
