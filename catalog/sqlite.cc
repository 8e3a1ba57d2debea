#include "catalog/sqlite.h"

#include <cerrno>

#include "base/io.h"
#include "catalog/checked_vfs.h"

namespace px::catalog {
namespace {

int ErrnoOf(int code, int system_errno) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return system_errno == EDQUOT ? EDQUOT : ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return EUCLEAN;
    case SQLITE_READONLY:
      return EROFS;
    case SQLITE_CANTOPEN:
      return system_errno != 0 ? system_errno : ENOENT;
    case SQLITE_NOMEM:
      return ENOMEM;
    case SQLITE_CONSTRAINT:
      return EEXIST;
    case SQLITE_IOERR:
      if (code == SQLITE_IOERR_DATA) return EUCLEAN;
      return IsNoRoom(system_errno) || system_errno == EROFS ? system_errno : EIO;
    default:
      return EIO;
  }
}

}  // namespace

Error SqliteError(sqlite3* database, int code) {
  if (database == nullptr) return Error(ErrnoOf(code, 0), sqlite3_errstr(code));
  const int error = ErrnoOf(code, sqlite3_system_errno(database));
  if (code != SQLITE_IOERR_DATA) return Error(error, sqlite3_errmsg(database));
  const char* file = sqlite3_db_filename(database, nullptr);
  return Error(error, std::string(file == nullptr ? "" : file) + ": a page is damaged");
}

Statement& Statement::Bind(int index, int64_t value) {
  sqlite3_bind_int64(statement_.get(), index, value);
  return *this;
}

Statement& Statement::BindReal(int index, double value) {
  sqlite3_bind_double(statement_.get(), index, value);
  return *this;
}

Statement& Statement::BindNull(int index) {
  sqlite3_bind_null(statement_.get(), index);
  return *this;
}

Statement& Statement::BindText(int index, std::string_view value) {
  // A null pointer would bind NULL: an empty view binds an empty text.
  const char* text = value.data() == nullptr ? "" : value.data();
  sqlite3_bind_text64(statement_.get(), index, text, value.size(), SQLITE_STATIC, SQLITE_UTF8);
  return *this;
}

Statement& Statement::BindBlob(int index, std::span<const std::byte> value) {
  const void* bytes = value.data() == nullptr ? "" : static_cast<const void*>(value.data());
  sqlite3_bind_blob64(statement_.get(), index, bytes, value.size(), SQLITE_STATIC);
  return *this;
}

Result<bool> Statement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  Error error = SqliteError(sqlite3_db_handle(statement_.get()), code);
  Reset();
  return Forward(std::move(error));
}

Status Statement::Run() {
  PX_TRY(Step());
  Reset();
  return {};
}

void Statement::Reset() { sqlite3_reset(statement_.get()); }

int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }

double Statement::Real(int column) const { return sqlite3_column_double(statement_.get(), column); }

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

std::string_view Statement::Text(int column) const {
  const auto* text = sqlite3_column_text(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return {reinterpret_cast<const char*>(text), text == nullptr ? 0 : static_cast<size_t>(size)};
}

std::span<const std::byte> Statement::Blob(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return {static_cast<const std::byte*>(bytes), bytes == nullptr ? 0 : static_cast<size_t>(size)};
}

Result<Database> Database::Open(const std::string& path, int flags, int busy_timeout_ms,
                                const char* vfs) {
  PX_TRY(RegisterCheckedVfs());
  // SQLite would make it for everybody to read. Its log gets the same mode.
  if ((flags & SQLITE_OPEN_CREATE) != 0) PX_TRY(MakePrivate(path));
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, vfs);
  Database database;
  database.handle_.reset(raw);
  if (code != SQLITE_OK) return Forward(SqliteError(raw, code).Wrap(path));
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, busy_timeout_ms);
  return database;
}

Result<Statement> Database::Prepare(std::string_view sql) const {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return Forward(SqliteError(handle_.get(), code));
  return Statement(statement);
}

Status Database::Execute(const std::string& sql) const {
  const int code = sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return Forward(SqliteError(handle_.get(), code));
  return {};
}

Status Database::Transaction(const std::function<Status()>& body) const {
  PX_TRY(Execute("BEGIN IMMEDIATE"));
  Status status = body();
  if (status) status = Execute("COMMIT");
  if (!status && sqlite3_get_autocommit(handle_.get()) == 0) {
    // The first error is the one that matters; a failed rollback leaves the connection to roll back
    // on close.
    if (const auto rolled_back = Execute("ROLLBACK"); !rolled_back) {
      return Forward(std::move(status).error().Wrap("and ROLLBACK failed"));
    }
  }
  return status;
}

}  // namespace px::catalog
