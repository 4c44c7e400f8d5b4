#include <openssl/evp.h>

#include "core/errors.h"
#include "core/sha256.h"

namespace dsa {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (!state_->context || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1)
    throw Error(Kind::engine, "OpenSSL has no SHA-256: install another build of it.");
}

Sha256::~Sha256() = default;

void Sha256::add(const void* data, size_t count) {
  EVP_DigestUpdate(state_->context, data, count);
}

std::string Sha256::hex() {
  unsigned char digest[32];
  EVP_DigestFinal_ex(state_->context, digest, nullptr);
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : digest) out += {digits[byte >> 4], digits[byte & 15]};
  return out;
}

}  // namespace dsa
