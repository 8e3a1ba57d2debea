// The log of an SQLite database, as it is on disk (sqlite.org/fileformat2.html, section 4): a
// header, then frames, each a page with a checksum that goes on with that of the frame before.
//
// SQLite itself takes the first frame that is not as it should be for the end of the log. So it
// must after a power cut; elsewhere that would silently lose every transaction behind a damaged
// one.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>

#include "base/result.h"

namespace px::catalog {

// As SQLite's files have their numbers.
inline uint32_t BigEndian32(const std::byte* at) {
  uint32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return std::endian::native == std::endian::little ? __builtin_bswap32(value) : value;
}

class LogFrames {
 public:
  static constexpr size_t kHeader = 32;
  static constexpr size_t kFrameHeader = 24;
  static constexpr size_t kPage = 4096;
  static constexpr size_t kFrame = kFrameHeader + kPage;
  using Header = std::array<std::byte, kHeader>;
  using FrameHeader = std::array<std::byte, kFrameHeader>;

  // Whether a frame's checksum is right, given that of the frame before it, or for the first frame
  // (`before` null) the log's header.
  static bool IsSound(const Header& log, const FrameHeader* before, const FrameHeader& frame,
                      std::span<const std::byte> page);

  struct Frame {
    uint64_t index = 0;  // from 0 on
    uint32_t page = 0;   // its number in the database
    // The last one of a transaction: how many pages the database has then. Else 0.
    uint32_t pages = 0;
    bool sound = false;
    std::span<const std::byte> bytes;
  };
  struct Found {
    uint64_t salts = 0;    // of the header, as the machine reads it; 0: there is none
    uint64_t frames = 0;   // whole transactions, from the beginning without a gap
    uint64_t damaged = 0;  // frames that are not as they were written
    uint64_t hidden = 0;   // transactions that come behind the first of them
  };
  // Reads the log in the file `fd`, and gives `visit` every frame, behind a damaged one too. What
  // an earlier use of the file left is not sound. EIO, and what `visit` fails with.
  static Result<Found> Scan(int fd, const std::function<Status(const Frame&)>& visit);
};

}  // namespace px::catalog
