#include "fs/stream.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <array>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/io.h"

namespace px::fs {
namespace {

using Json = nlohmann::json;

constexpr size_t kLongest = size_t{16} << 20;

struct Header {
  uint32_t type = 0;
  uint32_t length = 0;
  uint64_t check = 0;
};
static_assert(sizeof(Header) == 16);

uint64_t CheckOf(const Header& header, std::string_view payload, uint64_t before) {
  const uint64_t head =
      XXH3_64bits_withSeed(&header, sizeof header.type + sizeof header.length, before);
  return XXH3_64bits_withSeed(payload.data(), payload.size(), head);
}

Json Bytes(std::string_view text) {
  return Json::binary(std::vector<uint8_t>(text.begin(), text.end()));
}

std::string Text(const Json& json) {
  const auto& bytes = json.get_binary();
  return {bytes.begin(), bytes.end()};
}

std::string Pack(const Json& json) {
  std::string out;
  Json::to_cbor(json, nlohmann::detail::output_adapter<char>(out));
  return out;
}

// Runs `body` on the payload; what it finds missing or of another type is a broken record.
template <typename T, typename Body>
Result<T> Unpack(const std::string& payload, const Body& body) {
  try {
    return body(Json::from_cbor(payload));
  } catch (const Json::exception& error) {
    return Fail(EPROTO, fmt::format("the stream holds what is no record: {}", error.what()));
  }
}

}  // namespace

std::string StateId::ToString() const { return fmt::format("{}-{}", volume, created_ns); }

std::optional<StateId> StateId::Parse(std::string_view text) {
  StateId id;
  const std::string copy(text);
  int end = 0;
  long long created = 0;
  if (std::sscanf(copy.c_str(), "%u-%lld%n", &id.volume, &created, &end) != 2 ||
      static_cast<size_t>(end) != copy.size()) {
    return std::nullopt;
  }
  id.created_ns = created;
  return id;
}

// --- Writing ---

Status StreamWriter::Put(RecordType type, std::string_view payload) {
  Header header;
  header.type = static_cast<uint32_t>(type);
  header.length = static_cast<uint32_t>(payload.size());
  header.check = check_ = CheckOf(header, payload, check_);
  constexpr const char* kWhat = "write the stream";
  PX_TRY(WriteAll(fd_, {reinterpret_cast<const char*>(&header), sizeof header}, kWhat));
  PX_TRY(WriteAll(fd_, payload, kWhat));
  bytes_ += sizeof header + payload.size();
  return {};
}

Status StreamWriter::Begin(const StreamBegin& begin) {
  Json json{{"px", kStreamFormat},
            {"state", begin.state.ToString()},
            {"name", Bytes(begin.name)},
            {"steps", begin.from.steps},
            {"offset", begin.from.offset}};
  if (begin.base) json["base"] = begin.base->ToString();
  return Put(RecordType::kBegin, Pack(json));
}

Status StreamWriter::Remove(const std::string& path) {
  return Put(RecordType::kRemove, Pack(Json{{"path", Bytes(path)}}));
}

Status StreamWriter::Entry(const StreamEntry& entry) {
  Json json{{"path", Bytes(entry.path)},
            {"mode", entry.mode},
            {"uid", entry.uid},
            {"gid", entry.gid},
            {"mtime", entry.mtime_ns},
            {"device", entry.device},
            {"size", entry.size},
            {"target", Bytes(entry.target)},
            {"same", Bytes(entry.same_as)},
            {"fresh", entry.fresh},
            {"xattrs", Json::array()}};
  for (const auto& [name, value] : entry.xattrs) {
    json["xattrs"].push_back({Bytes(name), Bytes(value)});
  }
  return Put(RecordType::kEntry, Pack(json));
}

Status StreamWriter::Data(uint64_t offset, std::span<const char> bytes) {
  data_.resize(sizeof offset + bytes.size());
  std::memcpy(data_.data(), &offset, sizeof offset);
  std::memcpy(data_.data() + sizeof offset, bytes.data(), bytes.size());
  return Put(RecordType::kData, data_);
}

Status StreamWriter::Hole(uint64_t offset, uint64_t length) {
  return Put(RecordType::kHole, Pack(Json{{"offset", offset}, {"length", length}}));
}

Status StreamWriter::FileEnd(const Digest& digest) {
  return Put(RecordType::kFileEnd, Pack(Json{{"high", digest.high}, {"low", digest.low}}));
}

Status StreamWriter::End(uint64_t steps) {
  return Put(RecordType::kEnd, Pack(Json{{"steps", steps}}));
}

// --- Reading ---

Status StreamReader::Read(char* to, size_t size) {
  while (size > 0) {
    const ssize_t n = ::read(fd_, to, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno("read the stream");
    if (n == 0) return Fail(ENODATA, "the stream ends before its end");
    to += n;
    size -= static_cast<size_t>(n);
  }
  return {};
}

Result<RecordType> StreamReader::Next() {
  Header header;
  PX_TRY(Read(reinterpret_cast<char*>(&header), sizeof header));
  const bool first = records_++ == 0;
  const auto type = static_cast<RecordType>(header.type);
  if (first && (type != RecordType::kBegin || header.length > kLongest)) {
    return Fail(EPROTO, "this is not a stream of px-fs send");
  }
  if (header.length > kLongest) return Fail(EBADMSG, "the stream is damaged");
  payload_.resize(header.length);
  PX_TRY(Read(payload_.data(), payload_.size()));
  const uint64_t check = CheckOf(header, payload_, check_);
  if (check != header.check) {
    return Fail(EBADMSG, fmt::format("record {} of the stream is damaged", records_));
  }
  check_ = check;
  return type;
}

Result<StreamBegin> StreamReader::Begin() const {
  PX_ASSIGN(const Json json, Unpack<Json>(payload_, [](Json one) { return one; }));
  if (const auto format = json.value("px", 0u); format != kStreamFormat) {
    return Fail(EPROTO, fmt::format("the stream is of format {}; this px-fs knows {}", format,
                                    kStreamFormat));
  }
  return Unpack<StreamBegin>(payload_, [](const Json& one) -> Result<StreamBegin> {
    StreamBegin begin;
    const auto state = StateId::Parse(one.at("state").get<std::string>());
    if (!state) return Fail(EPROTO, "the stream names no state");
    begin.state = *state;
    if (one.contains("base")) {
      begin.base = StateId::Parse(one.at("base").get<std::string>());
      if (!begin.base) return Fail(EPROTO, "the stream names no base");
    }
    begin.name = Text(one.at("name"));
    begin.from = {one.at("steps").get<uint64_t>(), one.at("offset").get<uint64_t>()};
    return begin;
  });
}

Result<std::string> StreamReader::Path() const {
  return Unpack<std::string>(payload_, [](const Json& json) { return Text(json.at("path")); });
}

Result<StreamEntry> StreamReader::Entry() const {
  return Unpack<StreamEntry>(payload_, [](const Json& json) {
    StreamEntry entry;
    entry.path = Text(json.at("path"));
    entry.mode = json.at("mode");
    entry.uid = json.at("uid");
    entry.gid = json.at("gid");
    entry.mtime_ns = json.at("mtime");
    entry.device = json.at("device");
    entry.size = json.at("size");
    entry.target = Text(json.at("target"));
    entry.same_as = Text(json.at("same"));
    entry.fresh = json.at("fresh");
    for (const Json& one : json.at("xattrs")) {
      entry.xattrs.emplace_back(Text(one.at(0)), Text(one.at(1)));
    }
    return entry;
  });
}

Result<std::pair<uint64_t, std::span<const char>>> StreamReader::Data() const {
  uint64_t offset = 0;
  if (payload_.size() < sizeof offset) return Fail(EPROTO, "data without an offset");
  std::memcpy(&offset, payload_.data(), sizeof offset);
  return std::pair{offset, std::span<const char>(payload_).subspan(sizeof offset)};
}

Result<std::pair<uint64_t, uint64_t>> StreamReader::Hole() const {
  return Unpack<std::pair<uint64_t, uint64_t>>(payload_, [](const Json& json) {
    return std::pair{json.at("offset").get<uint64_t>(), json.at("length").get<uint64_t>()};
  });
}

Result<Digest> StreamReader::FileEnd() const {
  return Unpack<Digest>(payload_, [](const Json& json) {
    return Digest{json.at("high").get<uint64_t>(), json.at("low").get<uint64_t>()};
  });
}

Result<uint64_t> StreamReader::Steps() const {
  return Unpack<uint64_t>(payload_,
                          [](const Json& json) { return json.at("steps").get<uint64_t>(); });
}

Result<Digest> DigestOf(int fd) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  if (state == nullptr) return Fail(ENOMEM);
  XXH3_128bits_reset(state.get());
  std::vector<char> buffer(kStreamChunk);
  for (off_t at = 0;;) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno("read");
    if (n == 0) break;
    XXH3_128bits_update(state.get(), buffer.data(), static_cast<size_t>(n));
    at += n;
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return Digest{hash.high64, hash.low64};
}

}  // namespace px::fs
