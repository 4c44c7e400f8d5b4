// One SQLite file in WAL mode: opened, written by one process at a time.
//
// SQLite is the crash-safe log; we write none of our own. A transaction is durable when it returns.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crypto.h"
#include "errors.h"

struct sqlite3;
struct sqlite3_stmt;

namespace dsa::learn {

constexpr int kSchema = 2;  // `user_version` of the stores that this code reads and writes

// What SQLite refused. malformed: the file is no longer what SQLite wrote.
class SqliteError : public std::runtime_error {
 public:
  SqliteError(const std::string& what, bool malformed)
      : std::runtime_error(what), malformed(malformed) {}
  const bool malformed;
};

// A prepared statement. Columns of another type than asked for raise Broken.
class Statement {
 public:
  Statement(sqlite3* database, const char* query);
  ~Statement();
  Statement(Statement&& other) noexcept : made_(other.made_) { other.made_ = nullptr; }
  Statement& operator=(Statement&&) = delete;

  // What is bound must stay until the statement has run.
  Statement& bind(int64_t value);
  Statement& bind(std::string_view text);
  Statement& bind(const Bytes& blob);
  bool row();  // whether there is another row
  void run();  // to its end, ready to be bound anew

  int64_t whole(int column) const;
  Bytes blob(int column) const;

 private:
  void must(int code) const;
  sqlite3_stmt* made_;
  int bound_ = 0;
};

class Database {
 public:
  // folder: created when missing; empty keeps everything in memory. tables: statements that make a
  // new one. Raises Error(store) when the file cannot be used, or another version wrote it.
  Database(const std::string& folder, const std::vector<std::string>& tables);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  const std::string& folder() const { return folder_; }
  Statement statement(const char* query) { return Statement(db_, query); }
  void run(const char* query) { statement(query).run(); }

  // A setting as it was packed, or nothing; `get` raises Error(damaged) where there is none.
  std::optional<Bytes> find(std::string_view key);
  Bytes get(std::string_view key);
  void set(std::string_view key, const Bytes& value);

  // Gives freed pages back, and leaves nothing of what they held in the log.
  void shrink();
  int64_t bytes();  // on disk; 0 in memory

  // Runs something, and makes our errors of SQLite's and of what is broken.
  template <class Do>
  auto guarded(Do&& what) const -> decltype(what()) {
    try {
      return what();
    } catch (const Error&) {
      throw;
    } catch (const SqliteError& error) {
      refuse(error);
    } catch (const std::exception& error) {
      refuse(error);
    }
  }

  // All of it or nothing; durable at the end. Guarded.
  template <class Do>
  auto transaction(Do&& what) -> decltype(what()) {
    return guarded([&] {
      Rollback open(*this);
      if constexpr (std::is_void_v<decltype(what())>) {
        what();
        open.commit();
      } else {
        auto result = what();
        open.commit();
        return result;
      }
    });
  }

  // The one process that changes this store, as long as it lives; others may go on reading. In one
  // thread it may be taken again. Raises Error(store) when another process is.
  class Writing {
   public:
    explicit Writing(Database& database);
    ~Writing();
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;

   private:
    Database& database_;
  };

 private:
  struct Rollback {
    explicit Rollback(Database& database);
    ~Rollback();
    void commit();
    Database& database;
  };
  [[noreturn]] void refuse(const SqliteError& error) const;
  [[noreturn]] void refuse(const std::exception& error) const;
  void open(const std::vector<std::string>& tables);
  void make(const std::vector<std::string>& tables);
  void close();
  int version();

  const std::string folder_;
  sqlite3* db_ = nullptr;
  int lock_ = -1, depth_ = 0;
};

}  // namespace dsa::learn
