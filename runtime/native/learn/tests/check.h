// The few lines of a test framework that these tests need.
#pragma once

#include <cstdio>
#include <string>

#include "learn/errors.h"

namespace dsa::learn {

inline int failed = 0;

inline void check(bool right, const std::string& what) {
  if (right) return;
  ++failed;
  std::printf("failed: %s\n", what.c_str());
}

// Whether something raises one of our errors, whose message has these words.
template <class Do>
void check_refused(Kind kind, const std::string& words, Do&& what) {
  try {
    what();
    check(false, "nothing was refused: " + words);
  } catch (const Error& error) {
    check(error.kind() == kind, "another kind of error: " + std::string(error.what()));
    check(std::string(error.what()).find(words) != std::string::npos, error.what());
  }
}

inline int verdict() {
  std::printf("%d failed\n", failed);
  return failed != 0;
}

}  // namespace dsa::learn
