#include "store.h"

#include <algorithm>
#include <chrono>

namespace dsa::learn {
namespace {

constexpr size_t kKept = 32;  // versions whose adapters a store holds

const char* const kTables[] = {
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE versions (id INTEGER PRIMARY KEY, record BLOB NOT NULL, adapter BLOB NOT NULL)",
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, record BLOB NOT NULL, examples BLOB NOT NULL)",
    ("CREATE TABLE journal (run INTEGER NOT NULL, first INTEGER NOT NULL, steps BLOB NOT NULL, "
     "PRIMARY KEY (run, first)) WITHOUT ROWID"),
    "CREATE TABLE examples (id BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID",
};

std::string setting_of(const std::string& key, const std::string& value) {
  return "INSERT INTO meta VALUES ('" + key + "', x'" + hex(Vault().pack(value, "meta/" + key)) +
         "')";
}

std::vector<std::string> tables(const std::string& identity) {
  std::vector<std::string> all(std::begin(kTables), std::end(kTables));
  all.push_back(setting_of("bundle", identity));
  all.push_back(setting_of("id", hex(random_bytes(16))));
  return all;
}

std::string place(int64_t version, const char* column) {
  return "versions/" + std::to_string(version) + "/" + column;
}

}  // namespace

double now() {
  using namespace std::chrono;
  return duration<double>(system_clock::now().time_since_epoch()).count();
}

Store::Store(const std::string& folder, const std::string& identity, KeyProvider* key)
    : db_(folder, tables(identity)) {
  check_bundle(identity);
  vault_ = db_.guarded([&] { return open_vault(key); });
}

void Store::check_bundle(const std::string& identity) {
  const std::string bundle = plain("bundle");
  if (bundle != identity)
    throw Error(Kind::adapter, text(folder(), " belongs to bundle ", bundle.substr(0, 12),
                                    "…, this one is ", identity.substr(0, 12),
                                    "…: open the bundle it belongs to, or use another store "
                                    "folder."));
}

std::string Store::setting(const char* key) {
  const Bytes packed = db_.get(key);
  return db_.guarded([&] { return vault_.unpack(packed, std::string("meta/") + key); });
}

int64_t Store::active() {
  const std::string text = setting("active");
  return db_.guarded([&] {
    size_t read = 0;
    const int64_t version = std::stoll(text, &read);
    if (read != text.size()) throw Broken("the version in use is no number");
    return version;
  });
}

int64_t Store::next_id(const char* query) {
  Statement asked = db_.statement(query);
  asked.row();
  return asked.whole(0);
}

std::vector<Version> Store::versions() {
  const std::optional<int64_t> used = whole([&] { return active(); });
  return db_.guarded([&] {
    std::vector<Version> found;
    Statement rows = db_.statement("SELECT id, record FROM versions ORDER BY id");
    while (rows.row()) found.push_back(read_row(rows.whole(0), rows.blob(1), used));
    return found;
  });
}

Version Store::read_row(int64_t row, const Bytes& record, std::optional<int64_t> active) {
  auto found =
      whole([&] { return read_version(row, vault_.unpack(record, place(row, "record")), active); });
  if (found) return *found;
  Version damaged;
  damaged.id = row, damaged.verdict = kDamaged, damaged.active = active == row;
  return damaged;
}

Adapter Store::adapter(int64_t version) {
  const std::vector<int64_t> known = ids();
  if (!version || std::find(known.begin(), known.end(), version) == known.end()) {
    std::string all;
    for (const int64_t id : known) all += (all.empty() ? "" : ", ") + std::to_string(id);
    throw Error(Kind::store, text("no version ", version, " in the store ", folder(),
                                  " (there are ", all, "): `history` lists them."));
  }
  return db_.guarded([&] {
    Statement row = db_.statement("SELECT record, adapter FROM versions WHERE id = ?");
    row.bind(version).row();
    const std::string record = vault_.unpack(row.blob(0), place(version, "record"));
    Floats numbers = vault_.unpack_floats(row.blob(1), place(version, "adapter"));
    if (!read_version(version, record, std::nullopt).kept)
      throw Error(Kind::store,
                  text("the adapter of version ", version, " is no longer kept, the newest ", kKept,
                       " are: `history` lists them."));
    return read_adapter(record, std::move(numbers));
  });
}

Labels Store::labels(int64_t version) {
  return db_.guarded([&] {
    Statement row = db_.statement("SELECT record FROM versions WHERE id = ?");
    if (!row.bind(version).row()) throw Broken(text("version ", version, " is missing"));
    return read_labels(vault_.unpack(row.blob(0), place(version, "record")));
  });
}

InUse Store::newest_whole() {
  InUse found;
  std::tie(found.version, found.lost) = in_use();
  while (found.version) {
    bool gone = true;
    try {
      if (has(found.version)) {
        found.adapter = adapter(found.version);
        return found;
      }
      const std::vector<int64_t> known = ids();  // an old one's adapter is just not kept
      gone = std::find(known.begin(), known.end(), found.version) == known.end();
    } catch (const Error& error) {
      if (error.kind() != Kind::damaged) throw;
    }
    if (gone) found.damaged.push_back(found.version);
    found.version = before(found.version, parents_of(versions(), runs()));
  }
  return found;
}

bool Store::has(int64_t version) {
  const std::vector<Version> all = versions();
  return std::any_of(all.begin(), all.end(),
                     [&](const Version& v) { return v.id == version && v.kept; });
}

std::pair<int64_t, bool> Store::in_use() {
  try {
    return {active(), false};
  } catch (const Error& error) {
    if (error.kind() != Kind::damaged) throw;
    return {ids().back(), true};
  }
}

std::vector<int64_t> Store::ids() {
  return db_.guarded([&] {
    std::vector<int64_t> all = {0};
    Statement rows = db_.statement("SELECT id FROM versions ORDER BY id");
    while (rows.row()) all.push_back(rows.whole(0));
    return all;
  });
}

void Store::activate(int64_t version) {
  if (version) adapter(version);
  use(version);
}

void Store::use(int64_t version) {
  db_.set("active", vault_.pack(std::to_string(version), "meta/active"));
}

int64_t Store::add_version(int64_t parent, const Adapter& adapter, const std::string& verdict,
                           int64_t steps, const std::string& summary) {
  return db_.transaction([&] { return add(parent, adapter, verdict, steps, summary); });
}

int64_t Store::add(int64_t parent, const Adapter& adapter, const std::string& verdict,
                   int64_t steps, const std::string& summary) {
  Version made;
  made.id = next_id("SELECT coalesce(max(id), 0) + 1 FROM versions");
  made.parent = parent, made.created = now(), made.verdict = verdict;
  made.steps = steps, made.summary = summary;
  write(made, adapter);
  use(made.id);
  drop_adapters();
  return made.id;
}

void Store::write(const Version& version, const Adapter& adapter) {
  const Bytes record = vault_.pack(record_of(version, adapter), place(version.id, "record"));
  const Floats numbers = numbers_of(adapter);
  const Bytes& blob =
      vault_.pack_floats(numbers.data(), numbers.size(), place(version.id, "adapter"));
  db_.statement("INSERT OR REPLACE INTO versions VALUES (?, ?, ?)")
      .bind(version.id)
      .bind(record)
      .bind(blob)
      .run();
}

// Of the oldest versions keep no numbers, so that a store does not grow with every fit.
void Store::drop_adapters() {
  std::vector<Version> all = versions();
  for (size_t i = 0; i + kKept < all.size(); ++i) {
    Version& old = all[i];
    if (!old.kept || old.verdict == kDamaged) continue;
    Adapter nothing;
    nothing.labels = labels(old.id);
    old.kept = false;
    write(old, nothing);
  }
}

}  // namespace dsa::learn
