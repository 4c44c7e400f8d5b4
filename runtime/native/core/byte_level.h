// Bytes as characters: the alphabet of byte-level vocabularies (GPT-2).
#pragma once

#include <string>
#include <string_view>

namespace dsa {

// Every byte as its character.
std::string shown_bytes(std::string_view text);

// The way back: appends the bytes of a token, or the token itself where it has other characters.
void append_bytes(std::string_view token, std::string& out);

}  // namespace dsa
