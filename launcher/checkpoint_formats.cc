#include "launcher/checkpoint_formats.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "launcher/files.h"

namespace px::launcher {
namespace {

using std::string_view_literals::operator""sv;

std::string ReadAt(int fd, uint64_t offset, size_t bytes) {
  std::string text(bytes, '\0');
  const ssize_t n = ::pread(fd, text.data(), bytes, static_cast<off_t>(offset));
  text.resize(n < 0 ? 0 : static_cast<size_t>(n));
  return text;
}

// Little endian, as all three formats have it and as this machine does.
uint64_t Number(std::string_view bytes, size_t offset) {
  uint64_t value = 0;
  if (offset + sizeof(value) <= bytes.size()) {
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
  }
  return value;
}

std::string CheckZip(int fd, uint64_t size) {
  // The record may be followed by a comment of up to 64 KiB.
  constexpr uint64_t kFurthest = 22 + 65535;
  const uint64_t from = size > kFurthest ? size - kFurthest : 0;
  const std::string end = ReadAt(fd, from, static_cast<size_t>(size - from));
  return end.rfind("PK\5\6"sv) == std::string::npos ? "the archive has no end: it was cut off" : "";
}

std::string CheckHdf5(std::string_view head, uint64_t size) {
  constexpr size_t kVersionAt = 8;
  const int version = head[kVersionAt];
  const size_t end_at = version == 0 ? 40 : version == 1 ? 44 : 28;
  const size_t offset_size = static_cast<unsigned char>(head[version < 2 ? 13 : 9]);
  if (offset_size != sizeof(uint64_t)) return "";
  const uint64_t end = Number(head, end_at);
  if (end <= size) return "";
  return "the file ends at " + std::to_string(size) + " of " + std::to_string(end) + " bytes";
}

std::string CheckSafetensors(int fd, std::string_view head, uint64_t size) {
  constexpr uint64_t kLongestHeader = 100'000'000;
  const uint64_t length = Number(head, 0);
  if (length > kLongestHeader) return "its header is damaged";
  if (8 + length > size) return "it was cut off in its header";
  const auto header = nlohmann::json::parse(ReadAt(fd, 8, static_cast<size_t>(length)), nullptr,
                                            /*allow_exceptions=*/false);
  if (!header.is_object()) return "its header is damaged";
  uint64_t end = 0;
  for (const auto& [name, tensor] : header.items()) {
    if (!tensor.is_object() || !tensor.contains("data_offsets")) continue;
    const auto& offsets = tensor["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[1].is_number_unsigned()) continue;
    end = std::max(end, offsets[1].get<uint64_t>());
  }
  return 8 + length + end > size ? "it was cut off in its tensors" : "";
}

}  // namespace

std::string CheckFormat(const std::string& path) {
  const auto file = OpenFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  struct stat status{};
  if (!file || ::fstat(file->get(), &status) != 0) return "";
  const auto size = static_cast<uint64_t>(status.st_size);
  constexpr size_t kHead = 96;
  std::string head = ReadAt(file->get(), 0, kHead);
  head.resize(kHead);
  if (head.starts_with("PK\3\4"sv)) return CheckZip(file->get(), size);
  if (head.starts_with("\x89HDF\r\n\x1a\n"sv)) return CheckHdf5(head, size);
  if (path.ends_with(".safetensors")) return CheckSafetensors(file->get(), head, size);
  // A file that was made longer before it was written to.
  const bool hollow = std::all_of(head.begin(), head.end(), [](char c) { return c == '\0'; });
  return hollow && size >= kHead ? "it begins with zeros" : "";
}

}  // namespace px::launcher
