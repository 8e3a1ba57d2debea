// A VFS of SQLite's in which every page of a database has a checksum, in its last 8 bytes
// (sqlite.org/vfs.html; the reserved space of sqlite.org/fileformat2.html, section 1.3.4).
//
// The checksum is the XXH3-64, seeded with the page's number, of the page without it. It is put
// where the page is written into the database, and compared where it is read from there: a page
// that is damaged, or is another one, is not read (EUCLEAN, see catalog/sqlite.h; the log names
// it), unless no more than one bit is wrong: that is found by trying all, and read as it was. Pages
// in the log have SQLite's own checksums there; those are compared where the log is moved into the
// database, so that what is damaged gets no right one.
//
// A database has checksums from its making on, or from a VACUUM, if ReserveSums was called before.
// One without them is read and written as ever. One that has them is for this VFS alone: another
// program would write pages without, even one that only reads, when it closes. It finds a version
// in the header that it does not know; and with kCheckedVfs the log has another name (-log), or
// that version could be read from there. Pages are of 4096 bytes; there is no mmap.
//
// Threads: as SQLite's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "catalog/log_frames.h"
#include "catalog/sqlite.h"

namespace px::catalog {

// Makes kCheckedVfs and kCheckedOneProcessVfs known to SQLite, once. ENOMEM.
Status RegisterCheckedVfs();

inline constexpr size_t kDatabasePage = LogFrames::kPage;
using DatabasePage = std::span<const std::byte, kDatabasePage>;

// The database, which is empty or will be vacuumed, is to have checksums.
Status ReserveSums(const Database& database);
// Whether the database with that first page, which may be damaged, has them.
bool HasSums(DatabasePage first);
// Whether there is a database yet, and it has none. It was opened with one of the checked VFS.
Result<bool> IsWithoutSums(const Database& database);
enum class PageState {
  kSound,      // as it was written
  kCorrected,  // it is so again: one bit was wrong
  kDamaged,
};
// Checks the page, and puts it right if it can. Numbers count from 1. Takes some ten milliseconds
// if something is wrong.
PageState Correct(std::span<std::byte, kDatabasePage> page, uint32_t number);

}  // namespace px::catalog
