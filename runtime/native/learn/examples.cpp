// Examples in a store: their ids, and their contents where the user wants them kept.
#include <algorithm>

#include "blake2b.h"
#include "store.h"

namespace dsa::learn {
namespace {

constexpr int64_t kRemembered = 1000;  // examples that a store keeps at most

std::string place(const std::string& id) { return "examples/" + id + "/record"; }

}  // namespace

// Without the store's secret, ids say nothing.
std::string Store::example_id(const std::string& content) {
  const std::string secret = setting("secret");
  if (secret.size() > 64) throw Error(Kind::damaged, "the store's secret is damaged: forget all.");
  Bytes id(kIdBytes);
  blake2b(content.data(), content.size(), secret.data(), secret.size(), id.data(), id.size());
  return hex(id);
}

// Of too many, those with the largest ids stay: ids are as good as random, so these are a fair
// sample of all that were ever given.
void Store::remember(const std::vector<std::pair<std::string, std::string>>& contents) {
  db_.transaction([&] {
    Statement add = db_.statement("INSERT OR IGNORE INTO examples VALUES (?, ?)");
    for (const auto& [id, content] : contents) {
      const Bytes key = from_hex(id);
      add.bind(key).bind(vault_.pack(record_of_example(now(), content), place(id))).run();
    }
    db_.statement(
           "DELETE FROM examples WHERE id NOT IN "
           "(SELECT id FROM examples ORDER BY id DESC LIMIT ?)")
        .bind(kRemembered)
        .run();
  });
}

std::vector<std::pair<std::string, std::string>> Store::remembered() {
  return db_.guarded([&] {
    std::vector<std::tuple<double, std::string, std::string>> found;
    Statement rows = db_.statement("SELECT id, record FROM examples");
    while (rows.row()) {
      const std::string id = hex(rows.blob(0));
      const auto [added, content] = read_example(vault_.unpack(rows.blob(1), place(id)));
      found.emplace_back(added, id, content);
    }
    std::sort(found.begin(), found.end());
    std::vector<std::pair<std::string, std::string>> examples;
    for (auto& [added, id, content] : found) examples.emplace_back(id, std::move(content));
    return examples;
  });
}

std::set<std::string> Store::known_examples() {
  std::set<std::string> known;
  for (const Run& run : runs()) known.insert(run.examples.begin(), run.examples.end());
  for (const Found& row : example_rows())
    if (row.record) known.insert(hex(row.id));
  return known;
}

std::vector<Store::Found> Store::example_rows() {
  return db_.guarded([&] {
    std::vector<Found> found;
    Statement rows = db_.statement("SELECT id, record FROM examples");
    while (rows.row()) {
      const Bytes id = rows.blob(0), blob = rows.blob(1);
      found.push_back({id, whole([&] { return vault_.unpack(blob, place(hex(id))); })});
    }
    return found;
  });
}

// Deletes examples, and all that are damaged: one of those may be what was meant.
void Store::drop_examples(const std::set<std::string>& ids) {
  std::vector<Bytes> gone;
  for (const std::string& id : ids) gone.push_back(from_hex(id));
  for (const Found& row : example_rows())
    if (!row.record) gone.push_back(row.id);
  Statement drop = db_.statement("DELETE FROM examples WHERE id IS ?");
  for (const Bytes& id : gone) drop.bind(id).run();
  db_.run("DELETE FROM examples WHERE typeof(id) <> 'blob'");  // no id of ours
}

}  // namespace dsa::learn
