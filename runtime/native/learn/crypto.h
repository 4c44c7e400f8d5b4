// What a sealed store needs of a crypto library: crypto_openssl.cpp by OpenSSL, crypto_none.cpp for
// builds without one, whose stores cannot be sealed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dsa::learn {

using Bytes = std::vector<uint8_t>;

constexpr size_t kKeyBytes = 32, kNonceBytes = 12, kTagBytes = 16;
using Key = std::array<uint8_t, kKeyBytes>;

// AES-256-GCM under one key.
class Cipher {
 public:
  static std::unique_ptr<Cipher> make(const Key& key);  // Error(usage) where there is no library
  virtual ~Cipher() = default;

  // Appends nonce | ciphertext | tag.
  virtual void seal(const uint8_t* data, size_t size, std::string_view place, Bytes& out) = 0;

  // Appends what was sealed; false where the tag does not match.
  virtual bool open(const uint8_t* data, size_t size, std::string_view place, Bytes& out) = 0;
};

// HKDF-SHA256 (RFC 5869).
Key derived(const Bytes& secret, const Bytes& salt, std::string_view info);

// scrypt (RFC 7914) with n = 2^15, r = 8, p = 1.
Key stretched(std::string_view passphrase, const Bytes& salt);

// Bytes that nobody can foretell, from the operating system.
Bytes random_bytes(size_t count);

std::string hex(const Bytes& bytes);
Bytes from_hex(std::string_view text);  // raises Broken for anything else

}  // namespace dsa::learn
