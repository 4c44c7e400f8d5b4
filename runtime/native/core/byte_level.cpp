#include "core/byte_level.h"

#include <array>
#include <cstdint>

#include "core/utf8.h"

namespace dsa {

namespace {

// Printable bytes stand for themselves, the others for the characters from U+0100 on.
struct Alphabet {
  std::array<std::string, 256> shown;
  std::array<int, 324> bytes;  // by code point, -1 for none

  Alphabet() {
    bytes.fill(-1);
    uint32_t other = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
      const uint32_t code = printable ? byte : other++;
      append_utf8(code, shown[byte]);
      bytes[code] = static_cast<int>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet made;
  return made;
}

int byte_of(std::string_view one) {  // of a character of at most two bytes
  const auto first = static_cast<uint8_t>(one[0]);
  const uint32_t code =
      one.size() == 1 ? first : (first & 31u) << 6 | (static_cast<uint8_t>(one[1]) & 63u);
  return one.size() <= 2 && code < 324 ? alphabet().bytes[code] : -1;
}

}  // namespace

std::string shown_bytes(std::string_view text) {
  std::string out;
  for (const char byte : text) out += alphabet().shown[static_cast<uint8_t>(byte)];
  return out;
}

void append_bytes(std::string_view token, std::string& out) {
  const size_t before = out.size();
  for (std::string_view rest = token; !rest.empty();) {
    const size_t length = character(rest);
    const int byte = length ? byte_of(rest.substr(0, length)) : -1;
    if (byte < 0) {
      out.resize(before);
      out += token;
      return;
    }
    out += static_cast<char>(byte);
    rest.remove_prefix(length);
  }
}

}  // namespace dsa
