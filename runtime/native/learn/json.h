// JSON as Python writes and reads it.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "errors.h"

namespace dsa::learn {

using Json = nlohmann::json;

// What is no JSON comes back as discarded. Raises Broken for what nests so deep that it is no
// record of ours, and would take the stack of whoever writes it again.
Json parsed(const std::string& text);

// The same; raises Broken for what is no JSON object.
Json object_of(const std::string& text);

// As ASCII, on one line.
std::string written(const Json& json);

// A text as JSON, in UTF-8. Raises Broken where it is no UTF-8.
std::string quoted(const std::string& text);

// Takes a field out of an object. Raises Broken where it is missing or of another type.
class Fields {
 public:
  explicit Fields(const std::string& text) : left_(object_of(text)) {}

  Json take(const char* name) {
    const auto found = left_.find(name);
    if (found == left_.end()) throw Broken(std::string("a record has no ") + name);
    Json value = std::move(*found);
    left_.erase(found);
    return value;
  }
  Json take(const char* name, const Json& otherwise) {
    return left_.contains(name) ? take(name) : otherwise;
  }
  template <class T>
  T get(const char* name) {
    return as<T>(name, take(name));
  }
  template <class T>
  std::optional<T> maybe(const char* name) {
    const Json value = take(name, nullptr);
    return value.is_null() ? std::nullopt : std::optional<T>(as<T>(name, value));
  }
  // Raises Broken where something is left that nobody asked for.
  void end() const {
    if (!left_.empty()) throw Broken("a record has a field " + left_.begin().key());
  }

 private:
  template <class T>
  static T as(const char* name, const Json& value) {
    const bool fits = std::is_same_v<T, bool>       ? value.is_boolean()
                      : std::is_integral_v<T>       ? value.is_number_integer()
                      : std::is_floating_point_v<T> ? value.is_number()
                                                    : value.is_string();
    if (!fits) throw Broken(std::string("a record has another type of ") + name);
    return value.get<T>();
  }

  Json left_;
};

}  // namespace dsa::learn
