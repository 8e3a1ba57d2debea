// A thin RAII layer over SQLite's C API: connections, prepared statements, errors as errno.
//
// A Database and its Statements belong to one thread at a time. SQLITE_FULL becomes ENOSPC,
// SQLITE_BUSY and SQLITE_LOCKED EBUSY, SQLITE_CORRUPT, SQLITE_NOTADB and SQLITE_IOERR_DATA (a
// page's checksum is wrong, see catalog/checked_vfs.h) EUCLEAN, SQLITE_READONLY EROFS,
// SQLITE_CANTOPEN ENOENT or EACCES, SQLITE_NOMEM ENOMEM, SQLITE_CONSTRAINT EEXIST; the rest EIO.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace px::catalog {

class Statement {
 public:
  Statement() = default;

  // Parameters count from 1. The bytes of BindBlob and BindText must stay valid until Reset or the
  // next bind.
  Statement& Bind(int index, int64_t value);
  Statement& BindNull(int index);
  Statement& BindText(int index, std::string_view value);
  Statement& BindBlob(int index, std::span<const std::byte> value);

  // True if there is a row. After an error the statement is reset.
  Result<bool> Step();
  // Steps once, expects no row, resets.
  Status Run();
  void Reset();

  // Columns count from 0; of the present row, valid until the next Step or Reset.
  int64_t Int(int column) const;
  double Real(int column) const;
  bool IsNull(int column) const;
  std::string_view Text(int column) const;
  std::span<const std::byte> Blob(int column) const;
  Statement& BindReal(int index, double value);

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// Of a database that one process alone uses (sqlite.org/vfs.html), and has no checksums. Keeps the
// index of the log in the process's own memory: in a mapped file a store is a SIGBUS where the
// filesystem is full, over quota, read-only or broken.
inline constexpr const char* kOneProcessVfs = "unix-excl";
// SQLite's own for several.
inline constexpr const char* kPlainVfs = "unix";
// As it, and one that several processes use, with the checksums of catalog/checked_vfs.h.
inline constexpr const char* kCheckedOneProcessVfs = "px-checked-one-process";
inline constexpr const char* kCheckedVfs = "px-checked";

class Database {
 public:
  Database() = default;
  // `flags` as of sqlite3_open_v2. `busy_timeout_ms` is how long a statement waits for other
  // processes. `vfs`: one of the above. What it makes is for its owner only (0600).
  static Result<Database> Open(const std::string& path, int flags, int busy_timeout_ms,
                               const char* vfs);

  Result<Statement> Prepare(std::string_view sql) const;
  // Runs one or more statements that return nothing.
  Status Execute(const std::string& sql) const;
  // BEGIN IMMEDIATE, body, COMMIT; ROLLBACK and the body's error if it fails.
  Status Transaction(const std::function<Status()>& body) const;

  int64_t LastInsertRowId() const { return sqlite3_last_insert_rowid(handle_.get()); }
  sqlite3* handle() const { return handle_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  std::unique_ptr<sqlite3, Close> handle_;
};

// The error of a failed call on that connection.
Error SqliteError(sqlite3* database, int code);

}  // namespace px::catalog
