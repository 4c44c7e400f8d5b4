// In one place, for to compile the parser takes seconds.
#include "json.h"

namespace dsa::learn {

Json parsed(const std::string& text) {
  const auto shallow = [](int depth, Json::parse_event_t, const Json&) {
    if (depth > 64) throw Broken("a record nests too deep");
    return true;
  };
  return Json::parse(text, shallow, false);
}

Json object_of(const std::string& text) {
  Json found = parsed(text);
  if (!found.is_object()) throw Broken("a record is no JSON object");
  return found;
}

std::string written(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

std::string quoted(const std::string& text) {
  try {
    return Json(text).dump(-1, ' ', false);
  } catch (const Json::exception&) {
    throw Broken("a text is no UTF-8");
  }
}

}  // namespace dsa::learn
