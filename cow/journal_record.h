// The bytes of one record of the journal: a PageBatch, with pages as what changed in them.
//
// Layout, little endian (docs/FORMAT.md has it byte for byte): a RecordHeader, then the batch. A
// record is valid if its magic, length and checksum are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "cow/page_table.h"

namespace px::cow {

struct RecordHeader {
  uint64_t checksum = 0;  // XXH3-64 of the rest of the record
  uint32_t magic = 0;
  uint32_t length = 0;  // of the whole record, in bytes
  uint64_t epoch = 0;   // one for each opening of the journal
  uint64_t seq = 0;     // of the record, without gaps
};
static_assert(sizeof(RecordHeader) == 32);

// A sync point: everything that the records up to number `covered` name was flushed when it was
// written.
void EncodeSyncPoint(uint64_t epoch, uint64_t seq, uint64_t covered, std::vector<std::byte>* out);
// `covered`, if this valid record is a sync point.
std::optional<uint64_t> SyncPointOf(std::span<const std::byte> record);

// Writes the record into `out`, replacing what it held. `previous` gives the bytes that a page has
// before the batch, where they are at hand: then only what differs is written.
void EncodeRecord(const PageBatch& batch, uint64_t epoch, uint64_t seq,
                  const std::function<const std::byte*(NodeId)>& previous,
                  std::vector<std::byte>* out);

// The header of a valid record.
RecordHeader HeaderOf(std::span<const std::byte> record);
// The header of the valid record that `bytes` begin with, if they do.
std::optional<RecordHeader> CheckRecord(std::span<const std::byte> bytes);

// The first valid record that begins in `bytes`, wherever.
std::optional<std::span<const std::byte>> FindRecord(std::span<const std::byte> bytes);

// What a record says. The pages' bytes are in `storage`.
struct DecodedBatch {
  PageBatch batch;
  std::vector<std::vector<std::byte>> storage;
};
// `record` is a whole valid record. `load` reads a page as it is before the batch. EUCLEAN if the
// record makes no sense.
Result<DecodedBatch> DecodeRecord(std::span<const std::byte> record,
                                  const std::function<Status(NodeId, std::span<std::byte>)>& load);

}  // namespace px::cow
