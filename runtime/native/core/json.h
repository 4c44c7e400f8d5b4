// JSON of files: objects as trees, for those of strangers may have millions of keys.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/errors.h"

namespace dsa {

using Json = nlohmann::json;

// Raises Broken for what is no JSON object, or nests so deep that it is none of ours.
inline Json object_of(std::string_view text) {
  const auto shallow = [](int depth, Json::parse_event_t, const Json&) {
    if (depth > 64) throw Broken("it nests too deep");
    return true;
  };
  Json found = Json::parse(text.begin(), text.end(), shallow, false);
  if (!found.is_object()) throw Broken("it is no JSON object");
  return found;
}

inline std::string written(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace dsa
