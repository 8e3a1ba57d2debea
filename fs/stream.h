// The stream of px-fs send and px-fs receive: a volume, or what changed in it since a snapshot, as
// a sequence of records.
//
// A record is, little endian: type (4), length of the payload (4), check (8), payload. The check is
// the XXH3-64 of type, length and payload, seeded with the check of the record before it, so that a
// record that is damaged, missing, repeated or out of place is found where it stands. A stream
// begins with kBegin and ends with kEnd; all others belong to the entry whose record came last.
//
// Payloads other than kData's are CBOR (RFC 8949), paths and values of xattrs in it byte strings.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace px::fs {

enum class RecordType : uint32_t {
  kBegin = 1,
  kRemove = 2,   // path: the entry and all below it
  kEntry = 3,    // StreamEntry
  kData = 4,     // offset (8), bytes
  kHole = 5,     // offset, length
  kFileEnd = 6,  // digest of the file as it is now
  kEnd = 7,
};

inline constexpr uint32_t kStreamFormat = 1;
inline constexpr size_t kStreamChunk = size_t{1} << 20;  // of data in a record, at most

// Which state of which volume: the same for every sending of one snapshot.
struct StateId {
  uint32_t volume = 0;
  int64_t created_ns = 0;

  std::string ToString() const;
  static std::optional<StateId> Parse(std::string_view text);
  friend bool operator==(const StateId&, const StateId&) = default;
};

// How far a stream got: its `steps` first removals and entries are done, and of the one behind them
// the first `offset` bytes.
struct Progress {
  uint64_t steps = 0;
  uint64_t offset = 0;
};

struct StreamBegin {
  StateId state;
  std::optional<StateId> base;
  std::string name;  // of the volume, for people
  Progress from;     // not 0: the stream goes on where another one broke
};

struct StreamEntry {
  std::string path;  // below the volume's root; "." is the root
  uint32_t mode = 0;
  uint32_t uid = 0, gid = 0;
  int64_t mtime_ns = 0;
  uint64_t device = 0;
  uint64_t size = 0;    // regular files
  std::string target;   // symbolic links
  std::string same_as;  // another name of the entry with that path
  bool fresh = true;    // replaces whatever has that path; else changes what is there
  std::vector<std::pair<std::string, std::string>> xattrs;
};

// XXH3-128 of a file's content.
struct Digest {
  uint64_t high = 0, low = 0;
  friend bool operator==(const Digest&, const Digest&) = default;
};

// Errors: those of write(2).
class StreamWriter {
 public:
  explicit StreamWriter(int fd) : fd_(fd) {}
  Status Begin(const StreamBegin& begin);
  Status Remove(const std::string& path);
  Status Entry(const StreamEntry& entry);
  Status Data(uint64_t offset, std::span<const char> bytes);
  Status Hole(uint64_t offset, uint64_t length);
  Status FileEnd(const Digest& digest);
  Status End(uint64_t steps);
  uint64_t bytes() const { return bytes_; }

 private:
  Status Put(RecordType type, std::string_view payload);

  const int fd_;
  uint64_t check_ = 0;
  uint64_t bytes_ = 0;
  std::string data_;
};

// Errors: EBADMSG a record is damaged or not where it belongs, ENODATA the stream ends before its
// end, EPROTO it is none, or of a newer format; those of read(2).
class StreamReader {
 public:
  explicit StreamReader(int fd) : fd_(fd) {}
  // The next record; what it holds is good until the next call.
  Result<RecordType> Next();
  Result<StreamBegin> Begin() const;
  Result<std::string> Path() const;  // of kRemove
  Result<StreamEntry> Entry() const;
  Result<std::pair<uint64_t, std::span<const char>>> Data() const;
  Result<std::pair<uint64_t, uint64_t>> Hole() const;
  Result<Digest> FileEnd() const;
  Result<uint64_t> Steps() const;  // of kEnd

 private:
  Status Read(char* to, size_t size);

  const int fd_;
  uint64_t check_ = 0;
  uint64_t records_ = 0;
  std::string payload_;
};

// Of all that the descriptor's file holds.
Result<Digest> DigestOf(int fd);

}  // namespace px::fs
