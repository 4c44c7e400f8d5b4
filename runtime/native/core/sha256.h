// SHA-256: by OpenSSL (sha256_openssl.cpp), or in builds without it as FIPS 180-4 has it
// (sha256_plain.cpp).
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace dsa {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void add(const void* data, size_t count);
  std::string hex();  // of all that was added, 64 digits; at the end

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dsa
