// Which key the store is under: told by its settings, changed in one transaction.
//
// Settings that say how to open the store are packed without a key: bundle, id, salt. Under the key
// are the version in use, the secret that ids of examples come from, and the key's proof.
#include "store.h"

namespace dsa::learn {

// A column of blobs under the key, at the place FIRST ID/LAST; of a journal LAST is its step.
struct Store::Column {
  const char *select, *update, *first, *last;
};

const Store::Column Store::kColumns[] = {
    {"SELECT id, 0, record FROM versions", "UPDATE versions SET record = ? WHERE id = ?",
     "versions/", "record"},
    {"SELECT id, 0, adapter FROM versions", "UPDATE versions SET adapter = ? WHERE id = ?",
     "versions/", "adapter"},
    {"SELECT id, 0, record FROM runs", "UPDATE runs SET record = ? WHERE id = ?", "runs/",
     "record"},
    {"SELECT id, 0, examples FROM runs", "UPDATE runs SET examples = ? WHERE id = ?", "runs/",
     "examples"},
    {"SELECT run, first, steps FROM journal",
     "UPDATE journal SET steps = ? WHERE run = ? AND first = ?", "journal/", nullptr},
};

namespace {

constexpr char kProof[] = "dsa-edge", kPlace[] = "meta/proof";

[[noreturn]] void wrong(const std::string& what) { throw Error(Kind::wrong_key, what); }

}  // namespace

std::string Store::plain(const char* key) {
  const Bytes packed = db_.get(key);
  return db_.guarded([&] { return Vault().unpack(packed, std::string("meta/") + key); });
}

void Store::start_over(Vault& vault) {
  db_.set("active", vault.pack("0", "meta/active"));
  const Bytes secret = random_bytes(32);
  db_.set("secret", vault.pack(secret.data(), secret.size(), "meta/secret"));
}

// A key seals the store while it is still empty.
Vault Store::open_vault(KeyProvider* key) {
  const std::optional<Bytes> proof = db_.find("proof");
  if (proof.has_value() != db_.find("salt").has_value())  // a sealed one could pass for unsealed
    throw Error(Kind::damaged, text("the store ", folder(),
                                    " is damaged (it has half of what a "
                                    "sealed store has): restore it from a backup, or choose "
                                    "another folder."));
  if (proof) return proven(key, *proof);
  if (key && !empty())
    throw Error(Kind::store, text("the store ", folder(),
                                  " is not sealed, and a key was given: "
                                  "`dsa-edge rekey` seals it, or leave the key out."));
  if (!key && (db_.find("secret") || !empty())) return Vault();
  std::optional<Vault> made;
  db_.transaction([&] {
    if (db_.find("proof") || (!key && db_.find("secret"))) return;
    made.emplace(sealed_by(key));
    start_over(*made);
  });
  return made ? std::move(*made) : open_vault(key);  // another program was faster
}

// The vault of a key, with what proves it later kept in the database.
Vault Store::sealed_by(KeyProvider* key) {
  if (!key) {
    db_.run("DELETE FROM meta WHERE key IN ('proof', 'salt')");
    return Vault();
  }
  const Bytes salt = random_bytes(16);
  Vault vault(key->key(plain("id"), salt, true));
  db_.set("salt", Vault().pack(hex(salt), "meta/salt"));
  db_.set("proof", vault.pack(kProof, kPlace));
  return vault;
}

Vault Store::proven(KeyProvider* key, const Bytes& proof) {
  if (!key) wrong(text("the store ", folder(), " is sealed, and no key was given: give its key."));
  const std::string store = plain("id");
  const Bytes salt = from_hex(plain("salt"));
  Vault vault(key->key(store, salt, false));
  try {
    vault.unpack(proof, kPlace);
  } catch (const Error& error) {
    if (error.kind() != Kind::tampered) throw;
    wrong(text(key->name(), " does not open the store ", folder(),
               ": give the key that it was sealed with; nothing was changed."));
  }
  return vault;
}

bool Store::empty() {
  for (const char* query : {"SELECT 1 FROM versions LIMIT 1", "SELECT 1 FROM runs LIMIT 1",
                            "SELECT 1 FROM journal LIMIT 1", "SELECT 1 FROM examples LIMIT 1"})
    if (db_.statement(query).row()) return false;
  return true;
}

void Store::rekey(KeyProvider* key) {
  if (folder().empty())
    throw Error(Kind::store, "this store is in memory alone: open one with a folder to seal it.");
  std::optional<Vault> fresh;
  db_.transaction([&] {
    fresh.emplace(sealed_by(key));
    repack(*fresh);
  });
  vault_ = std::move(*fresh);
  db_.shrink();
}

// Every blob under the key, packed anew at its place.
void Store::repack(Vault& fresh) {
  for (const Column& column : kColumns) repack_column(column, fresh);
  Statement select = db_.statement("SELECT id, record FROM examples");
  std::vector<std::pair<Bytes, Bytes>> rows;
  while (select.row()) rows.emplace_back(select.blob(0), select.blob(1));
  for (const auto& [id, blob] : rows) {
    const Bytes packed = packed_anew(fresh, blob, "examples/" + hex(id) + "/record");
    db_.statement("UPDATE examples SET record = ? WHERE id = ?").bind(packed).bind(id).run();
  }
  for (const char* key : {"active", "secret"})
    if (const auto blob = db_.find(key))
      db_.set(key, packed_anew(fresh, *blob, std::string("meta/") + key));
}

void Store::repack_column(const Column& column, Vault& fresh) {
  struct Row {
    int64_t id, first;
    Bytes blob;
  };
  std::vector<Row> rows;
  Statement select = db_.statement(column.select);
  while (select.row()) rows.push_back({select.whole(0), select.whole(1), select.blob(2)});
  Statement update = db_.statement(column.update);
  for (const Row& row : rows) {
    const std::string id = std::to_string(row.id);
    const std::string last = column.last ? column.last : std::to_string(row.first);
    const Bytes packed = packed_anew(fresh, row.blob, column.first + id + "/" + last);
    update.bind(packed).bind(row.id);
    if (!column.last) update.bind(row.first);
    update.run();
  }
}

// What is damaged stays so, and loses its bytes: they could hold what the new key is to hide.
Bytes Store::packed_anew(Vault& fresh, const Bytes& blob, const std::string& place) {
  try {
    return fresh.pack(vault_.unpack(blob, place), place);
  } catch (const Broken&) {
    return {};
  }
}

}  // namespace dsa::learn
