// Random bytes and hex: what crypto.h has that needs no crypto library.
#include <cstdio>

#include "crypto.h"
#include "errors.h"

namespace dsa::learn {

Bytes random_bytes(size_t count) {
  Bytes bytes(count);
  std::FILE* source = std::fopen("/dev/urandom", "rb");
  const size_t got = source ? std::fread(bytes.data(), 1, count, source) : 0;
  if (source) std::fclose(source);
  if (got != count)
    throw Error(Kind::store,
                "the system gives no random bytes (/dev/urandom): let this program "
                "read it.");
  return bytes;
}

std::string hex(const Bytes& bytes) {
  const char* digits = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : bytes) out += digits[byte >> 4], out += digits[byte & 15];
  return out;
}

Bytes from_hex(std::string_view text) {
  const std::string_view digits = "0123456789abcdef";
  Bytes out(text.size() / 2);
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t digit = digits.find(text[i]);
    if (digit == std::string_view::npos || text.size() % 2) throw Broken("it is no hex");
    out[i / 2] = static_cast<uint8_t>(out[i / 2] << 4 | digit);
  }
  return out;
}

}  // namespace dsa::learn
