#include "cow/items.h"

#include <xxhash.h>

namespace px::cow {
namespace {

void AppendBigEndian64(std::string* out, uint64_t value) {
  value = __builtin_bswap64(value);
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

void AppendBigEndian16(std::string* out, uint16_t value) {
  value = __builtin_bswap16(value);
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string KeyPrefix(Ino ino, ItemType type, size_t reserve) {
  std::string key;
  key.reserve(9 + reserve);
  AppendBigEndian64(&key, ino.value);
  key.push_back(static_cast<char>(type));
  return key;
}

}  // namespace

uint64_t HashName(std::string_view name) { return XXH3_64bits(name.data(), name.size()); }

std::string ItemKey(Ino ino, ItemType type, std::string_view rest) {
  std::string key = KeyPrefix(ino, type, rest.size());
  key.append(rest);
  return key;
}

std::string DentryKey(Ino dir, std::string_view name) {
  std::string key = KeyPrefix(dir, ItemType::kDentry, 8 + name.size());
  AppendBigEndian64(&key, HashName(name));
  key.append(name);
  return key;
}

std::string DentryKeyFrom(Ino dir, uint64_t hash) {
  std::string key = KeyPrefix(dir, ItemType::kDentry, 8);
  AppendBigEndian64(&key, hash);
  return key;
}

std::string ExtentKey(Ino ino, uint64_t offset) {
  std::string key = KeyPrefix(ino, ItemType::kExtent, 8);
  AppendBigEndian64(&key, offset);
  return key;
}

std::string SymlinkKey(Ino ino, uint16_t chunk) {
  std::string key = KeyPrefix(ino, ItemType::kSymlink, 2);
  AppendBigEndian16(&key, chunk);
  return key;
}

std::string OrphanKey(Ino ino) {
  std::string key = KeyPrefix(Ino{0}, ItemType::kOrphan, 8);
  AppendBigEndian64(&key, ino.value);
  return key;
}

std::string VersionKey(Ino ino, uint64_t seq) {
  std::string key = KeyPrefix(ino, ItemType::kVersion, 8);
  AppendBigEndian64(&key, seq);
  return key;
}

std::string XattrKey(Ino ino, std::string_view name, uint16_t chunk) {
  std::string key = KeyPrefix(ino, ItemType::kXattr, 8 + name.size() + 3);
  AppendBigEndian64(&key, HashName(name));
  key.append(name);
  key.push_back('\0');
  AppendBigEndian16(&key, chunk);
  return key;
}

std::string ItemKeyEnd(Ino ino, ItemType type) {
  std::string key;
  AppendBigEndian64(&key, ino.value);
  key.push_back(static_cast<char>(static_cast<uint8_t>(type) + 1));
  return key;
}

std::string InodeKeyEnd(Ino ino) {
  std::string key;
  AppendBigEndian64(&key, ino.value + 1);
  return key;
}

Result<ParsedKey> ParseKey(std::string_view key) {
  if (key.size() < 9) return Fail(EUCLEAN, "key of a wrong size");
  return ParsedKey{Ino{LoadBigEndian64(key.data())}, static_cast<ItemType>(key[8]), key.substr(9)};
}

void ForEachObject(std::string_view key, std::string_view value,
                   const std::function<void(ObjectId)>& visit) {
  const auto parsed = ParseKey(key);
  if (!parsed) return;
  const auto both = [&](const auto& item) {
    if (!item) return;
    if (item->object != 0) visit(ObjectId{item->object});
    if (item->base != 0) visit(ObjectId{item->base});
  };
  if (parsed->type == ItemType::kInode) both(FromBytes<InodeItem>(value));
  if (parsed->type == ItemType::kVersion) both(FromBytes<VersionItem>(value));
}

}  // namespace px::cow
