// How a store keeps what is private: compressed, checked, and sealed where there is a key.
//
//     blob = checksum (8) | payload      payload = zlib, or nonce (12) | AES-256-GCM of it
//
// Each blob is bound to its place, `table/row/column`, so none can stand in for another.
#pragma once

#include <optional>

#include "crypto.h"

struct z_stream_s;

namespace dsa::learn {

class Vault {
 public:
  explicit Vault(const std::optional<Key>& key = std::nullopt);
  ~Vault();
  Vault(Vault&&) noexcept;
  Vault& operator=(Vault&&) noexcept;

  bool sealed() const { return cipher_ != nullptr; }

  // The blob of some bytes at a place; it lies here until the next one is made.
  const Bytes& pack(const void* data, size_t size, std::string_view place);
  const Bytes& pack(std::string_view text, std::string_view place);

  // The blob of float32 numbers, byte plane by byte plane: exponents are alike, so they compress.
  const Bytes& pack_floats(const float* numbers, size_t count, std::string_view place);

  // The bytes of a blob. Raises Broken when it is damaged, Error(tampered) when it was written
  // without the key.
  std::string unpack(const Bytes& blob, std::string_view place);
  std::vector<float> unpack_floats(const Bytes& blob, std::string_view place);

 private:
  void compress(const uint8_t* data, size_t size);

  std::unique_ptr<Cipher> cipher_;
  std::unique_ptr<z_stream_s> packer_;
  Bytes planes_, packed_, blob_;
};

}  // namespace dsa::learn
