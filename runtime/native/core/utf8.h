// UTF-8, as texts come in and go out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dsa {

// Bytes of the valid character that a text begins with; 0 where there is none.
size_t character(std::string_view text);

// Byte at which a text stops being UTF-8; npos where it is all valid.
size_t first_invalid(std::string_view text);

// Every maximal part that is no character becomes U+FFFD, as Rust and Python have it.
std::string lossy(std::string_view bytes);

// Without white space at its ends, as Python's `strip` has it.
std::string stripped(std::string_view text, bool left = true, bool right = true);

void append_utf8(uint32_t code, std::string& out);

}  // namespace dsa
