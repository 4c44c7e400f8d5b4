#include "database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace dsa::learn {
namespace {

constexpr char kFile[] = "/user.db";
constexpr const char* kPragmas[] = {
    "PRAGMA page_size=1024",   "PRAGMA journal_mode=WAL",  "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON", "PRAGMA temp_store=MEMORY",  // what VACUUM copies is in no file
};

[[noreturn]] void unmakeable(const std::string& folder) {
  throw Error(Kind::store, text("the store ", folder, " cannot be opened or made (",
                                std::strerror(errno),
                                "): check the permissions of its folder, or choose another one."));
}

// Whether a folder is there, made with those above it if need be. Those that exist are not touched:
// an app may not even look at them.
bool make_folder(const std::string& folder) {
  struct stat found;
  if (::stat(folder.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) return true;
  if (::mkdir(folder.c_str(), 0700) == 0) return true;
  const size_t end = folder.find_last_of('/');
  if (errno != ENOENT || end == 0 || end == std::string::npos) return false;
  return make_folder(folder.substr(0, end)) &&
         (::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST);
}

// Its owner alone may read it, whatever the folder allows; the log's files follow it.
void make_private(const std::string& folder) {
  const std::string file = folder + kFile;
  struct stat found;
  if (::stat(file.c_str(), &found) != 0) {  // to open one in use would end SQLite's locks
    const int made = ::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (made < 0 && errno != EEXIST) unmakeable(folder);
    if (made >= 0) ::close(made);
  } else if (found.st_mode & 077) {
    if (::chmod(file.c_str(), 0600) != 0 && errno != EPERM) unmakeable(folder);
  }
}

}  // namespace

Statement::Statement(sqlite3* database, const char* query) : made_(nullptr) {
  if (sqlite3_prepare_v2(database, query, -1, &made_, nullptr) == SQLITE_OK) return;
  const int code = sqlite3_errcode(database);
  throw SqliteError(sqlite3_errmsg(database), code == SQLITE_CORRUPT || code == SQLITE_NOTADB);
}

Statement::~Statement() { sqlite3_finalize(made_); }

void Statement::must(int code) const {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return;
  const std::string what = sqlite3_errmsg(sqlite3_db_handle(made_));
  sqlite3_reset(made_);
  throw SqliteError(what, (code & 255) == SQLITE_CORRUPT || (code & 255) == SQLITE_NOTADB);
}

Statement& Statement::bind(int64_t value) {
  must(sqlite3_bind_int64(made_, ++bound_, value));
  return *this;
}

Statement& Statement::bind(std::string_view text) {
  must(sqlite3_bind_text(made_, ++bound_, text.data(), static_cast<int>(text.size()),
                         SQLITE_STATIC));
  return *this;
}

Statement& Statement::bind(const Bytes& blob) {
  const void* data = blob.empty() ? static_cast<const void*>("") : blob.data();
  must(sqlite3_bind_blob64(made_, ++bound_, data, blob.size(), SQLITE_STATIC));
  return *this;
}

bool Statement::row() {
  const int code = sqlite3_step(made_);
  must(code);
  return code == SQLITE_ROW;
}

void Statement::run() {
  while (row()) {
  }
  must(sqlite3_reset(made_));
  bound_ = 0;
}

int64_t Statement::whole(int column) const {
  if (sqlite3_column_type(made_, column) != SQLITE_INTEGER) throw Broken("an id is no number");
  return sqlite3_column_int64(made_, column);
}

Bytes Statement::blob(int column) const {
  if (sqlite3_column_type(made_, column) != SQLITE_BLOB) return {};  // found damaged by its check
  const auto* data = static_cast<const uint8_t*>(sqlite3_column_blob(made_, column));
  return Bytes(data, data + sqlite3_column_bytes(made_, column));
}

Database::Database(const std::string& folder, const std::vector<std::string>& tables)
    : folder_(folder) {
  guarded([&] {
    if (!folder.empty() && !make_folder(folder)) unmakeable(folder);
    if (!folder.empty()) make_private(folder);
    const std::string path = folder.empty() ? ":memory:" : folder + kFile;
    try {
      if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK)
        throw SqliteError(db_ ? sqlite3_errmsg(db_) : "no memory", false);
      open(tables);
    } catch (...) {
      close();
      throw;
    }
  });
}

Database::~Database() { close(); }

void Database::close() {
  sqlite3_close_v2(db_);
  db_ = nullptr;
}

void Database::open(const std::vector<std::string>& tables) {
  sqlite3_busy_timeout(db_, 2000);
  for (const char* pragma : kPragmas) run(pragma);
  const int found = version();
  if (found > kSchema || found < 0)
    throw Error(Kind::store, text(folder_, " has store version ", found, ", this dsa-edge reads ",
                                  kSchema, ": use the dsa-edge that wrote it."));
  if (found == 1)
    throw Error(Kind::store, text(folder_, " has store version 1, this runner reads ", kSchema,
                                  ": open it once with the Python dsa-edge, which brings it up."));
  if (found == 0) make(tables);
}

void Database::make(const std::vector<std::string>& tables) {
  const Writing alone(*this);
  transaction([&] {
    if (version() != 0) return;  // another process was faster
    for (const std::string& table : tables) run(table.c_str());
    run("PRAGMA user_version = 2");
  });
}

int Database::version() {
  Statement asked = statement("PRAGMA user_version");
  asked.row();
  return static_cast<int>(asked.whole(0));
}

std::optional<Bytes> Database::find(std::string_view key) {
  return guarded([&]() -> std::optional<Bytes> {
    Statement asked = statement("SELECT value FROM meta WHERE key = ?");
    if (!asked.bind(key).row()) return std::nullopt;
    return asked.blob(0);
  });
}

Bytes Database::get(std::string_view key) {
  if (auto found = find(key)) return *found;
  throw Error(Kind::damaged, text("the store ", folder_, " is damaged (it has no setting '", key,
                                  "'): restore it from a backup, or choose another folder."));
}

void Database::set(std::string_view key, const Bytes& value) {
  guarded(
      [&] { statement("INSERT OR REPLACE INTO meta VALUES (?, ?)").bind(key).bind(value).run(); });
}

void Database::shrink() {
  try {
    run("VACUUM");
    Statement fold = statement("PRAGMA wal_checkpoint(TRUNCATE)");
    if (fold.row() && fold.whole(0)) throw SqliteError("another program is reading it", false);
  } catch (const SqliteError& error) {
    throw Error(Kind::store, text("the store ", folder_,
                                  " was changed as asked, but its files may still hold "
                                  "bytes of what is gone (",
                                  error.what(),
                                  "): free some space, close other "
                                  "programs that use it, and do the same again."));
  }
}

int64_t Database::bytes() {
  if (folder_.empty()) return 0;
  guarded([&] { run("PRAGMA wal_checkpoint(TRUNCATE)"); });
  int64_t total = 0;
  struct stat found;
  for (const char* end : {"", "-wal"})
    if (::stat((folder_ + kFile + end).c_str(), &found) == 0) total += found.st_size;
  return total;
}

void Database::refuse(const SqliteError& error) const {
  throw Error(error.malformed ? Kind::damaged : Kind::store,
              text("the store ", folder_, " cannot be used (", error.what(),
                   "): check free space and permissions, close other programs that use it, or "
                   "choose another folder; what it held is unchanged."));
}

void Database::refuse(const std::exception& error) const {
  throw Error(Kind::damaged, text("the store ", folder_, " is damaged (", error.what(),
                                  "): restore it from a backup, or choose another folder."));
}

Database::Rollback::Rollback(Database& database) : database(database) {
  database.run("BEGIN IMMEDIATE");
}

Database::Rollback::~Rollback() {
  if (!sqlite3_get_autocommit(database.db_)) sqlite3_exec(database.db_, "ROLLBACK", 0, 0, 0);
}

void Database::Rollback::commit() { database.run("COMMIT"); }

// As the package filelock does, so that Python and this code keep each other out.
Database::Writing::Writing(Database& database) : database_(database) {
  if (database.folder_.empty() || database.depth_++ > 0) return;
  const std::string path = database.folder_ + "/writer.lock";
  database.lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  const bool opened = database.lock_ >= 0;
  if (opened && ::flock(database.lock_, LOCK_EX | LOCK_NB) == 0) return;
  const bool taken = opened && errno == EWOULDBLOCK;
  if (opened) ::close(database.lock_);
  database.depth_ = 0;
  if (!taken) unmakeable(database.folder_);
  throw Error(Kind::store,
              text("another program is changing the store ", database.folder_,
                   ": wait until it has ended, or use another store; reading works meanwhile."));
}

Database::Writing::~Writing() {
  if (database_.folder_.empty() || --database_.depth_ > 0) return;
  ::close(database_.lock_);
}

}  // namespace dsa::learn
