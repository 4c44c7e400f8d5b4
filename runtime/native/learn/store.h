// The user's store: versions of the adapter, the journal of steps, and examples if they are kept.
//
// The file that dsa_edge.runtime makes and reads (docs/format.md); each step is durable before the
// next one begins. What is damaged is known by its checksum, and told; the rest goes on.
#pragma once

#include <map>
#include <set>

#include "database.h"
#include "keys.h"
#include "optimizer.h"
#include "records.h"
#include "vault.h"

namespace dsa::learn {

constexpr size_t kIdBytes = 8;  // of an example: a keyed hash of its content

// The version in use; adapter: none for version 0. damaged: versions that should be in use and
// cannot be read. lost: which one was in use cannot be read, so that the newest whole one is.
struct InUse {
  int64_t version = 0;
  std::optional<Adapter> adapter;
  std::vector<int64_t> damaged;
  bool lost = false;
};

// What came of a run that is worth keeping: the adapter after `kept` steps. summary: JSON.
struct Made {
  Adapter adapter;
  int64_t kept;
  std::string summary;
};

class Store {
 public:
  // folder: created when missing; empty keeps everything in memory. identity: of the bundle; a
  // store belongs to one for good. key: seals a new store, opens one that is sealed; null for none.
  // Raises Error of kind store, damaged, wrong_key, or adapter for another bundle's.
  Store(const std::string& folder, const std::string& identity, KeyProvider* key = nullptr);

  const std::string& folder() const { return db_.folder(); }
  bool sealed() const { return vault_.sealed(); }
  int64_t bytes() { return db_.bytes(); }
  Database& database() { return db_; }

  // Versions: store.cpp.
  std::vector<Version> versions();
  Adapter adapter(int64_t version);  // raises Error(store) where it is not kept, Error(damaged)
  Labels labels(int64_t version);
  InUse newest_whole();
  void activate(int64_t version);
  int64_t add_version(int64_t parent, const Adapter& adapter, const std::string& verdict,
                      int64_t steps, const std::string& summary);

  // Fits: journal.cpp.
  int64_t start_run(Run begun);  // id and created are filled in; returns the id
  void append(int64_t run, float rate, const float* scalars, size_t count);
  void go_on(size_t steps);  // appends behind so many steps of an interrupted fit
  // privacy: JSON of what the run took of it, "null" for one without.
  std::optional<int64_t> end_run(int64_t run, const std::string& verdict, const Made* made,
                                 const std::string& privacy = "null");
  std::vector<Run> runs();
  Run run(std::optional<int64_t> id = std::nullopt);  // by default the last one
  std::vector<Step> journal(const Run& run);          // raises Error(damaged)

  // Examples: examples.cpp. Contents are JSON lists [prompt, response, choices, ends].
  std::string example_id(const std::string& content);
  void remember(const std::vector<std::pair<std::string, std::string>>& contents);
  std::vector<std::pair<std::string, std::string>> remembered();  // id, content; oldest first
  std::set<std::string> known_examples();

  // Forgetting: forgetting.cpp. Freed pages are overwritten. Of examples, every version goes that
  // may have learned from them; returns those.
  void forget();
  std::vector<int64_t> forget_examples(const std::vector<std::string>& ids);

  // Sealing: sealing.cpp. Packs everything again under another key, or without one.
  void rekey(KeyProvider* key);

 private:
  using Parents = std::map<int64_t, std::optional<int64_t>>;

  // What was read, or nothing where it is damaged, or was written without the key.
  template <class Read>
  auto whole(Read&& read) -> std::optional<decltype(read())> {
    try {
      return db_.guarded(read);
    } catch (const Error& error) {
      if (error.kind() != Kind::damaged && error.kind() != Kind::tampered) throw;
      return std::nullopt;
    }
  }

  std::string setting(const char* key);
  int64_t active();
  int64_t next_id(const char* query);
  void check_bundle(const std::string& identity);
  void use(int64_t version);

  std::vector<int64_t> ids();  // of all versions, 0 first
  bool has(int64_t version);
  std::pair<int64_t, bool> in_use();
  int64_t add(int64_t parent, const Adapter& adapter, const std::string& verdict, int64_t steps,
              const std::string& summary);
  void write(const Version& version, const Adapter& adapter);
  void drop_adapters();
  Version read_row(int64_t row, const Bytes& record, std::optional<int64_t> active);

  void keep_run(const Run& run);
  void compact_interrupted();
  void drop_steps();
  Run read_run_row(int64_t row, const Bytes& record, const Bytes& examples);
  std::vector<Floats> steps(int64_t run);
  bool lacks(const Run& run, const std::vector<Floats>& parts);
  std::optional<int64_t> compact(const Run& run, std::optional<size_t> steps);

  struct Found {
    Bytes id;
    std::optional<std::string> record;  // none where it is damaged
  };
  std::vector<Found> example_rows();
  void drop_examples(const std::set<std::string>& ids);
  static Parents parents_of(const std::vector<Version>& versions, const std::vector<Run>& runs);
  static int64_t before(int64_t version, const Parents& parents);
  struct Gone {
    std::set<int64_t> versions, fits;
  };
  static Gone learned_from(const std::set<std::string>& examples, const std::vector<Run>& runs,
                           const std::vector<Version>& versions);

  std::string plain(const char* key);  // a setting that can be read without the key
  Vault open_vault(KeyProvider* key);
  Vault proven(KeyProvider* key, const Bytes& proof);
  Vault sealed_by(KeyProvider* key);
  void start_over(Vault& vault);
  bool empty();
  struct Column;
  static const Column kColumns[5];
  void repack(Vault& fresh);
  void repack_column(const Column& column, Vault& fresh);
  Bytes packed_anew(Vault& fresh, const Bytes& blob, const std::string& place);

  Database db_;
  Vault vault_;
  std::optional<Statement> append_;
  std::string place_;
  Floats row_;
  size_t next_ = 0;  // step of the run in hand
};

double now();  // Unix seconds

}  // namespace dsa::learn
