#include "core/canonical.h"

#include <vector>

#include "core/errors.h"
#include "core/json.h"

namespace dsa {

namespace {

// Takes a document apart while it is read: `out` of the value in hand, or members of an object.
class Writer : public nlohmann::json_sax<Json> {
 public:
  explicit Writer(std::string_view without) : without_(without) {}

  bool null() override { return put("null"); }
  bool boolean(bool value) override { return put(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return put(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return put(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& as_written) override { return put(as_written); }
  bool string(string_t& value) override { return put(json_text(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(true); }
  bool start_array(size_t) override { return open(false); }
  bool key(string_t& name) override {
    levels_.back().key = name;
    return true;
  }
  bool end_object() override {
    std::string joined = "{";
    for (const auto& [name, value] : levels_.back().members) {
      if (levels_.size() == 1 && name == without_) continue;
      joined += (joined.size() > 1 ? "," : "") + json_text(name) + ":" + value;
    }
    return close(joined + "}");
  }
  bool end_array() override { return close("[" + levels_.back().items + "]"); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

  std::string out;

 private:
  struct Level {
    bool object;
    std::string key, items;
    std::map<std::string, std::string> members;
  };

  bool open(bool object) {
    if (levels_.empty() && !object) return false;
    levels_.push_back({object, {}, {}, {}});
    return levels_.size() <= 64;
  }
  bool close(std::string made) {
    levels_.pop_back();
    return put(std::move(made));
  }
  bool put(std::string value) {
    if (levels_.empty()) {
      out = std::move(value);
      return out.front() == '{';
    }
    Level& level = levels_.back();
    if (level.object)
      level.members[level.key] = std::move(value);
    else
      level.items += (level.items.empty() ? "" : ",") + value;
    return true;
  }

  const std::string_view without_;
  std::vector<Level> levels_;
};

}  // namespace

std::string canonical(std::string_view json, std::string_view without) {
  Writer writer(without);
  if (!Json::sax_parse(json.begin(), json.end(), &writer)) throw Broken("it is no JSON object");
  return writer.out;
}

std::string canonical(const std::map<std::string, std::string>& strings) {
  std::string out = "{";
  for (const auto& [name, value] : strings)
    out += (out.size() > 1 ? ", " : "") + json_text(name) + ": " + json_text(value);
  return out + "}";
}

std::string json_text(std::string_view text) {
  return Json(std::string(text)).dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace dsa
