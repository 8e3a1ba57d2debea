// What a volume holds, how two differ, which there are, and the daemon's own state.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "fs/filesystem.h"

namespace px::fs {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kBatch = 256;

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return hex;
}

std::string Line(const Json& json) {
  // Names are bytes, not always UTF-8: what is not is replaced in reports.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

const char* TypeName(uint32_t mode) {
  if (S_ISDIR(mode)) return "dir";
  if (S_ISREG(mode)) return "file";
  if (S_ISLNK(mode)) return "symlink";
  return "special";
}

// The cursor of a listing: its length in two bytes, then that many bytes; length 0 begins or ends.
std::string LoadCursor(const px_ioc_text& text) {
  const size_t size = static_cast<size_t>(text.cursor[0]) | static_cast<size_t>(text.cursor[1])
                                                                << 8;
  if (size > sizeof text.cursor - 2) return {};
  return std::string(reinterpret_cast<const char*>(text.cursor) + 2, size);
}

void StoreCursor(px_ioc_text* text, std::string_view cursor) {
  std::memset(text->cursor, 0, sizeof text->cursor);
  text->cursor[0] = static_cast<uint8_t>(cursor.size());
  text->cursor[1] = static_cast<uint8_t>(cursor.size() >> 8);
  std::memcpy(text->cursor + 2, cursor.data(), cursor.size());
}

bool Append(px_ioc_text* text, const std::string& line) {
  if (text->length + line.size() > PX_TEXT_MAX) return false;
  std::memcpy(text->text + text->length, line.data(), line.size());
  text->length += static_cast<uint32_t>(line.size());
  return true;
}

struct Change {
  std::string key;
  bool before = false, after = false;
  std::string before_value, after_value;
};

}  // namespace

Result<Usage> Filesystem::MeasureUsage(NodeKey volume_root, const Caller& caller) {
  if (!volume_root.IsVolumeRoot()) return Fail(EINVAL, "not the root of a volume");
  const cow::VolumeId volume = volume_root.volume;
  Usage usage;
  std::string from = cow::ItemKey(cow::kRootIno, cow::ItemType{0});
  bool more = true;
  while (more) {
    PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
      PX_TRY(CheckOwner(reader, volume, caller));
      std::vector<std::pair<std::string, cow::InodeItem>> inodes;
      size_t seen = 0;
      more = false;
      PX_TRY(reader.Scan(volume, from, {}, [&](std::string_view key, std::string_view value) {
        if (key[8] == static_cast<char>(cow::ItemType::kInode)) {
          if (const auto item = cow::FromBytes<cow::InodeItem>(value))
            inodes.emplace_back(key, *item);
        }
        from.assign(key).push_back('\0');
        more = ++seen == kBatch;
        return !more;
      }));
      for (const auto& [key, item] : inodes) {
        ++usage.inodes;
        if (!S_ISREG(item.mode)) continue;
        PX_ASSIGN(const struct stat attr,
                  LiveAttr({volume, cow::Ino{cow::LoadBigEndian64(key.data())}}, item));
        const auto bytes = static_cast<uint64_t>(attr.st_blocks) * 512;
        usage.logical_bytes += static_cast<uint64_t>(attr.st_size);
        usage.allocated_bytes += bytes;
        if (item.object == 0) continue;
        PX_ASSIGN(const bool is_private, reader.IsPrivate(volume, key));
        PX_ASSIGN(const uint64_t refs, reader.ObjectRefs(cow::ObjectId{item.object}));
        const bool exclusive = is_private && refs == 1;
        uint64_t own_bytes = bytes;
        if (item.content == cow::ContentKind::kSparse) {
          PX_ASSIGN(const UniqueFd own, objects_->OpenObject(cow::ObjectId{item.object}, O_RDONLY));
          struct stat info{};
          if (::fstat(own.get(), &info) != 0) return FailErrno("stat of an object");
          own_bytes = std::min(bytes, static_cast<uint64_t>(info.st_blocks) * 512);
        }
        (exclusive ? usage.exclusive_bytes : usage.shared_bytes) += own_bytes;
        usage.shared_bytes += bytes - own_bytes;
      }
      return {};
    }));
  }
  return usage;
}

Result<std::string> Filesystem::NameIn(cow::Reader& reader, NodeKey dir, NodeKey child) {
  std::string name;
  bool found = false;
  PX_TRY(reader.Scan(dir.volume, cow::ItemKey(dir.ino, cow::ItemType::kDentry),
                     cow::ItemKeyEnd(dir.ino, cow::ItemType::kDentry),
                     [&](std::string_view key, std::string_view value) {
                       const auto dentry = cow::FromBytes<cow::DentryItem>(value);
                       if (!dentry || Target(dir, *dentry) != child) return true;
                       name = cow::DentryName(key.substr(9));
                       found = true;
                       return false;
                     }));
  if (!found) return Fail(ENOENT);
  return name;
}

Result<std::string> Filesystem::PathIn(cow::Reader& reader, NodeKey node) {
  std::string path;
  for (int depth = 0; !node.IsVolumeRoot(); ++depth) {
    if (depth > 4096) return Fail(EUCLEAN, "directories form a circle");
    PX_ASSIGN(const cow::InodeItem item, LoadInode(reader, node));
    const NodeKey parent{node.volume, cow::Ino{item.parent}};
    PX_ASSIGN(const std::string name, NameIn(reader, parent, node));
    path = path.empty() ? name : name + "/" + path;
    node = parent;
  }
  return path.empty() ? "." : path;
}

Result<std::vector<std::string>> Filesystem::AllPathsOf(cow::Reader& reader, NodeKey node) {
  std::vector<std::pair<cow::Ino, std::string>> names;
  PX_TRY(reader.Scan(node.volume, {}, {}, [&](std::string_view key, std::string_view value) {
    if (key.size() < 18 || key[8] != static_cast<char>(cow::ItemType::kDentry)) return true;
    const auto dentry = cow::FromBytes<cow::DentryItem>(value);
    if (!dentry || dentry->volume != 0 || dentry->ino != node.ino.value) return true;
    names.emplace_back(cow::Ino{cow::LoadBigEndian64(key.data())}, cow::DentryName(key.substr(9)));
    return true;
  }));
  std::vector<std::string> paths;
  for (const auto& [dir, name] : names) {
    const auto parent = PathIn(reader, {node.volume, dir});
    if (!parent) return Forward(parent.error());
    paths.push_back(dir == cow::kRootIno ? name : *parent + "/" + name);
  }
  return paths;
}

namespace {

// What a change of one item says, or nothing where another item's change says it.
struct Description {
  std::string_view change;
  cow::Ino ino;      // whose path is meant
  std::string name;  // a dentry's name below that directory
  bool in_before = false;
};

std::optional<Description> Describe(const Change& change) {
  const auto key = cow::ParseKey(change.key);
  if (!key || key->ino.value == 0) return std::nullopt;
  if (key->type == cow::ItemType::kDentry) {
    const std::string name(cow::DentryName(key->rest));
    if (change.before && change.after) return Description{"modified", key->ino, name, false};
    return Description{change.after ? "added" : "removed", key->ino, name, change.before};
  }
  if (key->type != cow::ItemType::kInode || !change.before || !change.after) return std::nullopt;
  const auto before = cow::FromBytes<cow::InodeItem>(change.before_value);
  const auto after = cow::FromBytes<cow::InodeItem>(change.after_value);
  if (!before || !after) return std::nullopt;
  // A directory's times and counts change with its entries, which have lines of their own.
  if (S_ISDIR(after->mode) && before->mode == after->mode && before->uid == after->uid &&
      before->gid == after->gid) {
    return std::nullopt;
  }
  if (before->object == after->object && before->base == after->base &&
      before->size == after->size && before->mode == after->mode && before->uid == after->uid &&
      before->gid == after->gid && before->mtime.sec == after->mtime.sec &&
      before->mtime.nsec == after->mtime.nsec && before->flags == after->flags) {
    return std::nullopt;  // only link counts or ctime
  }
  return Description{"modified", key->ino, {}, false};
}

// Of a change of any other item of a file: attributes, links, times.
std::optional<Description> DescribeRest(const Change& change) {
  const auto key = cow::ParseKey(change.key);
  if (!key || key->ino.value == 0) return std::nullopt;
  const bool inode = key->type == cow::ItemType::kInode;
  if (inode && (!change.before || !change.after)) return std::nullopt;  // its names say it
  if (!inode && key->type != cow::ItemType::kXattr && key->type != cow::ItemType::kExtent) {
    return std::nullopt;
  }
  return Description{"modified", key->ino, {}, false};
}

}  // namespace

Status Filesystem::Diff(NodeKey volume_root, bool exact, px_ioc_text* text, const Caller& caller) {
  if (!volume_root.IsVolumeRoot()) return Fail(EINVAL, "not the root of a volume");
  PX_ASSIGN(const cow::VolumeId other, RedeemToken(text->other, caller));
  const cow::VolumeId volume = volume_root.volume;
  const std::string from = LoadCursor(*text);
  text->length = 0;
  std::vector<Change> changes;
  PX_TRY(store_->Diff(volume, other, from,
                      [&](std::string_view key, std::optional<std::string_view> before,
                          std::optional<std::string_view> after) {
                        changes.push_back({std::string(key), before.has_value(), after.has_value(),
                                           std::string(before.value_or("")),
                                           std::string(after.value_or(""))});
                        return changes.size() < kBatch;
                      }));
  std::string cursor = changes.size() < kBatch ? "" : changes.back().key + '\0';
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    PX_TRY(CheckOwner(reader, volume, caller));
    std::string last = from;
    cow::Ino modified{0};  // said already
    for (const Change& change : changes) {
      auto described = Describe(change);
      if (!described && exact) {
        described = DescribeRest(change);
        if (described && described->ino == std::exchange(modified, described->ino)) {
          described.reset();
        }
        if (described && !LoadInode(reader, {other, described->ino})) described.reset();
      }
      if (described) {
        const cow::VolumeId side = described->in_before ? volume : other;
        NodeKey node{side, described->ino};
        const auto path = PathIn(reader, node);
        std::vector<std::string> paths;
        if (!described->name.empty()) {
          const auto dentry = LoadDentry(reader, node, described->name);
          if (dentry) node = Target(node, *dentry);
          const std::string dir = path ? *path : "inode " + std::to_string(described->ino.value);
          paths.push_back(dir == "." ? described->name : dir + "/" + described->name);
        } else if (path) {
          paths.push_back(*path);
        }
        const auto item = LoadInode(reader, node);
        // The hint names one place only: with several links, or a stale hint, the volume is
        // searched.
        const bool several = item && S_ISREG(item->mode) && item->nlink > 1;
        if (described->name.empty() && (several || !path)) {
          PX_ASSIGN(paths, AllPathsOf(reader, node));
        }
        std::string lines;
        for (const std::string& one : paths) {
          Json line{{"path", one}, {"change", described->change}};
          // A name may be any bytes, JSON holds UTF-8 only.
          if (Json::parse(Line(line)).at("path") != one) line["path_hex"] = Hex(one);
          if (item) {
            line["type"] = TypeName(item->mode);
            line["size"] = item->size;
          }
          lines += Line(line);
        }
        if (!Append(text, lines)) {
          cursor = last;
          break;
        }
      }
      last = change.key + '\0';
    }
    return {};
  }));
  StoreCursor(text, cursor);
  return {};
}

Status Filesystem::ListVolumes(NodeKey dir, px_ioc_text* text, const Caller& caller) {
  if (dir.volume != cow::kRootVolume) dir = {dir.volume, cow::kRootIno};
  const std::string from = LoadCursor(*text);
  text->length = 0;
  cow::VolumeId first{1};
  const auto [end, error] = std::from_chars(from.data(), from.data() + from.size(), first.value);
  if (!from.empty() && (error != std::errc() || end != from.data() + from.size())) {
    return Fail(EINVAL, "not a cursor of this listing");
  }
  std::string cursor;
  PX_TRY(store_->View([&](cow::Reader& reader) -> Status {
    std::vector<std::pair<cow::VolumeId, VolumeAttributes>> volumes;
    std::string next;
    PX_TRY(reader.ScanVolumes(first, [&](const cow::Volume& volume) {
      if (volumes.size() == kBatch) {
        next = std::to_string(volume.id.value);
        return false;
      }
      const auto attributes = VolumeAttributes::Parse(volume.attributes);
      if (volume.id != cow::kRootVolume && attributes) volumes.emplace_back(volume.id, *attributes);
      return true;
    }));
    for (const auto& [id, attributes] : volumes) {
      if (attributes.snapshot() || attributes.trashed()) continue;
      std::string path;
      if (dir.volume == id) {
        path = ".";
      } else if (dir.volume != cow::kRootVolume || !CheckOwner(reader, id, caller)) {
        continue;
      } else {
        const auto parent = PathIn(reader, {cow::kRootVolume, attributes.parent_dir});
        const auto top = PathIn(reader, dir);
        if (!parent || !top) continue;
        path = *parent == "." ? attributes.name : *parent + "/" + attributes.name;
        if (*top != ".") {
          if (!path.starts_with(*top + "/")) continue;
          path.erase(0, top->size() + 1);
        }
      }
      Json line{{"path", path},
                {"volume", id.value},
                {"created_ns", attributes.created_ns},
                {"readonly", attributes.readonly()},
                {"snapshots", Json::array()}};
      PX_ASSIGN(const auto snapshots, SnapshotsOf(reader, id));
      for (const SnapshotName& snapshot : snapshots) line["snapshots"].push_back(snapshot.name);
      if (!Append(text, Line(line))) {
        next = std::to_string(id.value);
        break;
      }
    }
    cursor = next;
    return {};
  }));
  StoreCursor(text, cursor);
  return {};
}

std::string Filesystem::StatusJson(const std::vector<std::pair<std::string, std::string>>& more) {
  const cow::StoreCounters counters = store_->Counters();
  Json json{{"pid", ::getpid()},
            {"passthrough", passthrough_.load()},
            {"reflinks", objects_->has_reflinks()},
            {"finds_data_by_block", objects_->finds_data_by_block()},
            {"read_only", options_.read_only},
            {"open_inodes", table_.All().size()},
            {"pool_objects", objects_->PoolSize()},
            {"commits", counters.commits},
            {"node_reads", counters.node_reads},
            {"node_writes", counters.node_writes},
            {"shadows", counters.shadows},
            {"reclaimed_nodes", counters.reclaimed_nodes},
            {"cache_bytes", counters.cache_bytes},
            {"exchanges", exchanges_.load()},
            {"takeovers", takeovers_}};
  for (const auto& [name, value] : more) {
    json[name] = Json::parse(value, nullptr, /*allow_exceptions=*/false);
  }
  return Line(json);
}

}  // namespace px::fs
