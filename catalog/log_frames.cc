#include "catalog/log_frames.h"

#include <unistd.h>

#include <cstring>
#include <utility>
#include <vector>

namespace px::catalog {
namespace {

uint64_t Bytes64(const std::byte* at) {
  uint64_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// The log's checksum: two sums, each of which goes into the other.
class LogSum {
 public:
  // Goes on with a stored one. `big_endian` are the words that it is made of.
  LogSum(const std::byte* stored, bool big_endian)
      : first_(BigEndian32(stored)), second_(BigEndian32(stored + 4)), big_endian_(big_endian) {}

  void Add(std::span<const std::byte> bytes) {
    for (size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      first_ += Word(bytes.data() + at) + second_;
      second_ += Word(bytes.data() + at + 4) + first_;
    }
  }
  bool Is(const std::byte* stored) const {
    return BigEndian32(stored) == first_ && BigEndian32(stored + 4) == second_;
  }

 private:
  uint32_t Word(const std::byte* at) const {
    const uint32_t value = BigEndian32(at);
    return big_endian_ ? value : __builtin_bswap32(value);
  }

  uint32_t first_, second_;
  const bool big_endian_;
};

// Bytes 0 to 4 of the header; one more if the words of the checksums are big endian.
constexpr uint32_t kMagic = 0x377f0682;
constexpr size_t kSaltsAt = 16;
constexpr size_t kSumAt = 24;
// Of a frame's header.
constexpr size_t kFrameSaltsAt = 8;
constexpr size_t kFrameSumAt = 16;

bool HasBigEndianWords(const LogFrames::Header& log) {
  return (log[3] & std::byte{1}) != std::byte{0};
}

bool IsHeader(const LogFrames::Header& log) {
  if ((BigEndian32(log.data()) & ~uint32_t{1}) != kMagic) return false;
  if (BigEndian32(log.data() + 8) != LogFrames::kPage) return false;
  const std::array<std::byte, 8> zero{};
  LogSum sum(zero.data(), HasBigEndianWords(log));
  sum.Add(std::span(log).first(kSumAt));
  return sum.Is(log.data() + kSumAt);
}

// False at the end of the file.
Result<bool> ReadAt(int fd, std::span<std::byte> out, uint64_t offset) {
  const ssize_t got = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
  if (got < 0) return FailErrno("read the log");
  return static_cast<size_t>(got) == out.size();
}

}  // namespace

bool LogFrames::IsSound(const Header& log, const FrameHeader* before, const FrameHeader& frame,
                        std::span<const std::byte> page) {
  LogSum sum(before == nullptr ? log.data() + kSumAt : before->data() + kFrameSumAt,
             HasBigEndianWords(log));
  sum.Add(std::span(frame).first(kFrameSaltsAt));
  sum.Add(page);
  return sum.Is(frame.data() + kFrameSumAt);
}

Result<LogFrames::Found> LogFrames::Scan(int fd, const std::function<Status(const Frame&)>& visit) {
  Found found;
  Header log{};
  PX_ASSIGN(const bool any, ReadAt(fd, log, 0));
  if (!any || !IsHeader(log)) return found;
  found.salts = Bytes64(log.data() + kSaltsAt);
  FrameHeader before{}, header{};
  std::vector<std::byte> frame(kFrame);
  bool whole = true;     // up to here
  uint64_t suspect = 0;  // not sound, since the last transaction that is
  for (uint64_t index = 0;; ++index, before = header) {
    PX_ASSIGN(const bool more, ReadAt(fd, frame, kHeader + index * kFrame));
    if (!more) break;
    std::memcpy(header.data(), frame.data(), kFrameHeader);
    const auto page = std::span<const std::byte>(frame).subspan(kFrameHeader);
    const bool ours = Bytes64(header.data() + kFrameSaltsAt) == found.salts;
    const Frame one{index, BigEndian32(header.data()), BigEndian32(header.data() + 4),
                    ours && IsSound(log, index == 0 ? nullptr : &before, header, page), page};
    if (!one.sound) {
      whole = false;
      ++suspect;
    } else if (one.pages != 0) {
      // What comes behind the last transaction is of one that was not finished, or of an earlier
      // use.
      found.damaged += std::exchange(suspect, 0);
      if (whole) found.frames = index + 1;
      if (!whole) ++found.hidden;
    }
    PX_TRY(visit(one));
  }
  return found;
}

}  // namespace px::catalog
