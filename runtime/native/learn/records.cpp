#include "records.h"

#include <algorithm>

#include "errors.h"
#include "json.h"

namespace dsa::learn {
namespace {

template <class T>
Json optional(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Labels labels_of(const Json& told) {
  if (!told.is_object()) throw Broken("labels are no JSON object");
  Labels labels;
  for (const auto& [choice, bias] : told.items()) {
    if (!bias.is_number()) throw Broken("a label's bias is no number");
    labels.emplace_back(choice, bias.get<double>());
  }
  return labels;
}

Json json_of(const Labels& labels) {
  Json told = Json::object();
  for (const auto& [choice, bias] : labels) told[choice] = bias;
  return told;
}

Json json_of(const Gate& gate) {
  return {{"shape", {gate.blocks, gate.width + 1}}, {"served", gate.served}};
}

// Shape and counts of a gate; its table comes with the numbers.
Gate gate_of(const Json& told) {
  try {
    const auto shape = told.at("shape").get<std::vector<size_t>>();
    if (shape.size() != 2 || !shape[0] || !shape[1] || shape[0] > 1 << 16 || shape[1] > 1 << 20)
      throw Broken("a gate has another shape");
    return {shape[0], shape[1] - 1, {}, told.at("served").get<std::vector<int64_t>>()};
  } catch (const Json::exception& error) {
    throw Broken(error.what());
  }
}

std::string json_or_nothing(Fields& fields, const char* name) {
  const Json value = fields.take(name, nullptr);
  return value.is_null() ? "" : written(value);
}

}  // namespace

Floats Adapter::bias(const std::vector<std::string>& choices) const {
  Floats biases;
  for (const std::string& choice : choices)
    for (const auto& [name, value] : labels)
      if (name == choice) biases.push_back(static_cast<float>(value));
  return biases.size() == choices.size() ? biases : Floats(choices.size());
}

std::string record_of(const Version& version, const Adapter& adapter) {
  Json told = {{"parent", optional(version.parent)},
               {"created", optional(version.created)},
               {"verdict", version.verdict},
               {"steps", version.steps},
               {"summary", object_of(version.summary)},
               {"kept", version.kept},
               {"labels", json_of(adapter.labels)}};
  if (adapter.gate) told["gate"] = json_of(*adapter.gate);
  if (!adapter.along.empty()) told["along"] = adapter.along;
  return written(told);
}

Version read_version(int64_t row, const std::string& record, std::optional<int64_t> active) {
  Fields fields(record);
  fields.take("labels"), fields.take("gate", nullptr), fields.take("along", nullptr);
  Version version;
  version.id = row, version.active = active == row;
  version.parent = fields.maybe<int64_t>("parent");
  version.created = fields.maybe<double>("created");
  version.verdict = fields.get<std::string>("verdict");
  version.steps = fields.get<int64_t>("steps");
  version.summary = written(fields.take("summary"));
  version.kept = fields.maybe<bool>("kept").value_or(true);
  fields.end();
  return version;
}

Labels read_labels(const std::string& record) { return labels_of(Fields(record).take("labels")); }

Adapter read_adapter(const std::string& record, Floats numbers) {
  Fields fields(record);
  Adapter adapter;
  adapter.labels = labels_of(fields.take("labels"));
  adapter.along = fields.maybe<std::string>("along").value_or("");
  const Json gate = fields.take("gate", nullptr);
  if (!gate.is_null() && !numbers.empty()) {
    adapter.gate = gate_of(gate);
    const size_t table = adapter.gate->blocks * (adapter.gate->width + 1);
    if (table > numbers.size()) throw Broken("a gate has fewer numbers than its shape");
    const auto first = numbers.end() - static_cast<std::ptrdiff_t>(table);
    adapter.gate->table.assign(first, numbers.end());
    numbers.resize(numbers.size() - table);
  }
  adapter.numbers = std::move(numbers);
  return adapter;
}

Floats numbers_of(const Adapter& adapter) {
  Floats all = adapter.numbers;
  if (adapter.gate && !all.empty())
    all.insert(all.end(), adapter.gate->table.begin(), adapter.gate->table.end());
  return all;
}

Gate read_gate(const std::string& json) {
  const Json rows = parsed(json);
  if (!rows.is_array() || rows.empty() || !rows[0].is_array() || rows[0].empty())
    throw Broken("a gate has no rows");
  Gate gate{rows.size(), rows[0].size() - 1, {}, {}};
  for (const Json& row : rows) {
    if (!row.is_array() || row.size() != gate.width + 1) throw Broken("a gate's rows differ");
    for (const Json& number : row) {
      if (!number.is_number()) throw Broken("a gate has what is no number");
      gate.table.push_back(number.get<float>());
    }
  }
  return gate;
}

std::string rows_of(const Gate& gate) {
  Json rows = Json::array();
  const auto row = static_cast<std::ptrdiff_t>(gate.width + 1);
  for (auto first = gate.table.begin(); first != gate.table.end(); first += row)
    rows.push_back(std::vector<double>(first, first + row));
  return written(rows);
}

std::string record_of(const Run& run) {
  Json told = {{"parent", optional(run.parent)},   {"seed", optional(run.seed)},
               {"hyper", object_of(run.hyper)},    {"version", optional(run.version)},
               {"kept", optional(run.kept)},       {"created", optional(run.created)},
               {"verdict", optional(run.verdict)}, {"privacy", parsed(run.privacy)},
               {"numbers", optional(run.numbers)}, {"width", optional(run.width)}};
  if (!run.gate.empty()) told["gate"] = parsed(run.gate);
  if (!run.start.empty()) told["start"] = run.start;
  if (!run.directions.empty()) told["directions"] = run.directions;
  return written(told);
}

Run read_run(int64_t row, const std::string& record) {
  Fields fields(record);
  Run run;
  run.id = row;
  run.parent = fields.maybe<int64_t>("parent");
  run.seed = fields.maybe<uint64_t>("seed");
  run.hyper = written(fields.take("hyper", Json::object()));
  run.version = fields.maybe<int64_t>("version");
  run.kept = fields.maybe<int64_t>("kept");
  run.created = fields.maybe<double>("created");
  run.verdict = fields.maybe<std::string>("verdict");
  run.privacy = written(fields.take("privacy", nullptr));
  run.numbers = fields.maybe<int64_t>("numbers");
  run.width = fields.maybe<int64_t>("width");
  run.gate = json_or_nothing(fields, "gate");
  run.start = fields.maybe<std::string>("start").value_or("");
  run.directions = fields.maybe<std::string>("directions").value_or("");
  fields.end();
  return run;
}

std::string record_of_example(double added, const std::string& content) {
  return written(Json::array({added, content}));
}

std::pair<double, std::string> read_example(const std::string& record) {
  const Json told = parsed(record);
  if (!told.is_array() || told.size() != 2 || !told[0].is_number() || !told[1].is_string())
    throw Broken("an example's record is no pair of time and content");
  return {told[0].get<double>(), told[1].get<std::string>()};
}

}  // namespace dsa::learn
