// The errors of learning: each message states what was expected, what came, and what to do.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace dsa::learn {

// As in dsa_edge/errors.py; damaged, wrong_key and tampered are errors of the store.
enum class Kind {
  usage,
  bundle,
  adapter,
  example,
  engine,
  budget,
  privacy,
  store,
  damaged,
  wrong_key,
  tampered,
  stopped
};

class Error : public std::runtime_error {
 public:
  Error(Kind kind, const std::string& what) : std::runtime_error(what), kind_(kind) {}
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

// What was read is not what we write; whoever knows the store makes an Error of it.
class Broken : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The parts one after the other, as a stream writes them.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace dsa::learn
