// JSON as Python's `json.dumps(value, sort_keys=True)` writes it, for checksums.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace dsa {

// A JSON object without the field `without`, keys sorted, no spaces, everything but ASCII escaped.
// Numbers stay as they are written. Raises Broken for what is no JSON object or nests too deep.
std::string canonical(std::string_view json, std::string_view without);

// {"a": "b", …}: strings alone, with Python's spaces.
std::string canonical(const std::map<std::string, std::string>& strings);

// A text as a JSON string, everything but ASCII escaped.
std::string json_text(std::string_view text);

}  // namespace dsa
