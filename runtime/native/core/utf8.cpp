#include "core/utf8.h"

namespace dsa {

namespace {

// Length by the first byte, and the bounds of the second (Unicode 15, table 3-7).
struct Form {
  size_t length;
  uint8_t low, high;
};

Form form_of(uint8_t first) {
  if (first < 0x80) return {1, 0, 0};
  if (first >= 0xC2 && first <= 0xDF) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};
  if (first == 0xED) return {3, 0x80, 0x9F};
  if (first >= 0xE1 && first <= 0xEF) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};
  if (first >= 0xF1 && first <= 0xF3) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Bytes of the longest beginning of a character, and whether it is a whole one.
std::pair<size_t, bool> longest(std::string_view text) {
  const Form form = form_of(static_cast<uint8_t>(text[0]));
  if (form.length == 0) return {1, false};
  for (size_t at = 1; at < form.length; ++at) {
    if (at == text.size()) return {at, false};
    const auto byte = static_cast<uint8_t>(text[at]);
    const uint8_t low = at == 1 ? form.low : 0x80, high = at == 1 ? form.high : 0xBF;
    if (byte < low || byte > high) return {at, false};
  }
  return {form.length, true};
}

// What Python counts as white space.
constexpr std::string_view kSpaces[] = {
    " ",      "\t",     "\n",       "\v",       "\f",     "\r",     "\x1C",   "\x1D",
    "\x1E",   "\x1F",   "\xC2\x85", "\xC2\xA0", "\u1680", "\u2000", "\u2001", "\u2002",
    "\u2003", "\u2004", "\u2005",   "\u2006",   "\u2007", "\u2008", "\u2009", "\u200A",
    "\u2028", "\u2029", "\u202F",   "\u205F",   "\u3000"};

// Bytes of the white space that a text begins with, or ends with; 0 for none.
size_t space(std::string_view text, bool left) {
  for (const std::string_view one : kSpaces)
    if (text.size() >= one.size() &&
        text.substr(left ? 0 : text.size() - one.size(), one.size()) == one)
      return one.size();
  return 0;
}

}  // namespace

size_t character(std::string_view text) {
  if (text.empty()) return 0;
  const auto [length, whole] = longest(text);
  return whole ? length : 0;
}

size_t first_invalid(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = character(text.substr(at));
    if (!length) return at;
    at += length;
  }
  return std::string_view::npos;
}

std::string lossy(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const auto [length, whole] = longest(bytes);
    out += whole ? bytes.substr(0, length) : std::string_view("\xEF\xBF\xBD");
    bytes.remove_prefix(length);
  }
  return out;
}

std::string stripped(std::string_view text, bool left, bool right) {
  for (size_t size = 0; left && (size = space(text, true));) text.remove_prefix(size);
  for (size_t size = 0; right && (size = space(text, false));) text.remove_suffix(size);
  return std::string(text);
}

void append_utf8(uint32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
  } else if (code < 0x10000) {
    out += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
            static_cast<char>(0x80 | (code & 63))};
  } else {
    out += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)),
            static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
  }
}

}  // namespace dsa
