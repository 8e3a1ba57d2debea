#include "fs/fsck.h"

#include <fmt/format.h>

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "catalog/catalog_repair.h"
#include "catalog/page_table.h"
#include "cow/node.h"
#include "fs/fsck_volume.h"
#include "fs/object_digest.h"
#include "fs/rebuild.h"
#include "fs/rescue.h"
#include "fs/seals.h"
#include "fs/store_dir.h"

namespace px::fs {
namespace {

constexpr uint64_t kPiece = uint64_t{64} << 20;

class StoreCheck {
 public:
  StoreCheck(Filesystem::Parts* parts, const FsckRequest& request, FsckLog* log)
      : parts_(*parts), request_(request), log_(*log) {}

  Result<FsckReport> Run() {
    PX_TRY(CheckTree());
    PX_TRY(CheckVolumes());
    PX_TRY(NameVolumes(parts_.store.get(), request_.repair, &log_));
    PX_TRY(CheckFiles());
    PX_TRY(CheckObjects());
    report_.findings = log_.findings();
    report_.repaired = log_.repaired();
    return report_;
  }

 private:
  Status CheckTree() {
    const auto note = [this](const std::string& text) { log_.Note(text); };
    const cow::CheckVisitor visit{[this](cow::ObjectId object, bool waits) {
                                    (waits ? waiting_ : named_).insert(object.value);
                                  },
                                  VolumeNamedBy};
    uint64_t findings = 0;
    // What hangs below a lost node can be lost as well.
    for (int i = 0;; ++i) {
      named_.clear();
      waiting_.clear();
      PX_ASSIGN(const uint64_t found,
                parts_.store->Check(request_.repair, note, visit, &all_read_));
      findings += found;
      if (all_read_ || !request_.repair || i == cow::kMaxLevel) break;
      PX_ASSIGN(const uint64_t regrown, parts_.store->Regrow(note, visit));
      if (regrown == 0) break;
      regrown_ = true;
    }
    log_.Found(findings);
    // A node that cannot be read stays a finding.
    if (request_.repair && all_read_) log_.Repaired(findings);
    return {};
  }

  Status CheckFiles() {
    PX_ASSIGN(const cow::ObjectId next, parts_.store->PeekNextObject());
    std::vector<cow::ObjectId> lost;
    PX_TRY(parts_.objects->Scan([&](cow::ObjectId object) {
      ++report_.objects;
      present_.insert(object.value);
      // From `next` on are the pool's files, which nothing names yet.
      const bool wanted = named_.contains(object.value) || waiting_.contains(object.value);
      if (!wanted && object < next) lost.push_back(object);
    }));
    std::unordered_set<uint64_t> rescued;
    // What named it was lost.
    if (regrown_ && all_read_) {
      PX_ASSIGN(rescued, NameObjects(parts_.store.get(), *parts_.objects, lost));
      if (!rescued.empty()) PX_TRY(CountAgain());
    }
    // What cannot be read may name it.
    const bool remove = request_.repair && all_read_;
    for (const cow::ObjectId object : lost) {
      const bool has_name = rescued.contains(object.value);
      log_.Find(fmt::format("object {:x}: no file or volume names it{}", object.value,
                            has_name ? ": it is in lost+found now"
                            : remove ? ": removed"
                                     : ""),
                remove);
      if (remove && !has_name) PX_TRY(parts_.objects->Remove(object));
    }
    return {};
  }

  Status CountAgain() {
    PX_TRY(parts_.store->Check(
        /*repair=*/true, [](const std::string&) {}, {.volume_of = VolumeNamedBy}));
    return {};
  }

  Status CheckVolumes() {
    std::vector<cow::VolumeId> volumes;
    PX_TRY(parts_.store->View([&](cow::Reader& reader) -> Status {
      return reader.ScanVolumes(cow::kRootVolume, [&](const cow::Volume& volume) {
        volumes.push_back(volume.id);
        return true;
      });
    }));
    // After a kill or a power cut a mount puts sizes right by itself.
    const bool in_order = parts_.left_over.empty() && !parts_.settle_power_cut;
    const ObjectStore* sizes = request_.data && in_order ? parts_.objects.get() : nullptr;
    for (const cow::VolumeId volume : volumes) {
      VolumeCheck check(parts_.store.get(), volume, sizes, request_.repair, &log_);
      PX_TRY(check.Run());
      report_.inodes += check.inodes();
      ++report_.volumes;
    }
    return {};
  }

  Status CheckObjects() {
    std::unordered_map<uint64_t, std::string> wrong;
    for (const uint64_t object : named_) {
      if (!present_.contains(object)) {
        wrong[object] = "is named but its file is missing";
      } else if (request_.data && parts_.seals != nullptr) {
        PX_ASSIGN(const std::string what, Verify(cow::ObjectId{object}));
        if (!what.empty()) wrong[object] = what;
      }
    }
    if (wrong.empty()) return {};
    const auto names = NamesOf(wrong);
    for (const auto& [object, what] : wrong) {
      const auto named = names.find(object);
      const std::string text = fmt::format("object {:x} {}{}", object, what,
                                           named == names.end() ? "" : ": " + named->second);
      // That is no more than what a power cut may do.
      if (what.starts_with("may be")) {
        log_.Note(text);
      } else {
        log_.Find(text);
      }
    }
    return {};
  }

  // What is wrong with it; empty: nothing is known to be.
  Result<std::string> Verify(cow::ObjectId object) {
    PX_ASSIGN(const std::optional<Seal> seal, parts_.seals->Find(object));
    if (!seal) return std::string();
    PX_ASSIGN(const auto digest,
              ObjectDigest::Open(*parts_.objects, object, ObjectDigest::From::kDisk));
    for (bool done = false; !done;) {
      const auto step = digest->Step(kPiece);
      if (!step && step.error().code() == EIO) {
        return fmt::format("cannot be read: {}", step.error().ToString());
      }
      PX_TRY(step);
      done = *step;
    }
    const Comparison found = Compare(*seal, digest->file(), digest->Finish());
    if (found == Comparison::kSame) report_.bytes += digest->bytes();
    if (found == Comparison::kDamaged) return std::string("is damaged");
    if (found == Comparison::kChanged) {
      return std::string("is damaged, or was changed in the store's directory");
    }
    if (found != Comparison::kDoubtful) return std::string();
    if (seal->state == Seal::State::kDamaged) return std::string("is damaged");
    return std::string("may be damaged, or was being written when the machine went down");
  }

  // Who names those objects, in one text each.
  std::unordered_map<uint64_t, std::string> NamesOf(
      const std::unordered_map<uint64_t, std::string>& objects) {
    std::unordered_map<uint64_t, std::string> names;
    const Status named = parts_.store->View([&](cow::Reader& reader) -> Status {
      std::vector<std::pair<uint64_t, NodeKey>> users;
      PX_TRY(reader.ScanVolumes(cow::kRootVolume, [&](const cow::Volume& volume) {
        const auto visit = [&](std::string_view key, std::string_view value) {
          cow::ForEachObject(key, value, [&](cow::ObjectId object) {
            if (!objects.contains(object.value)) return;
            users.emplace_back(object.value,
                               NodeKey{volume.id, cow::Ino{cow::LoadBigEndian64(key.data())}});
          });
          return true;
        };
        // A volume that cannot be read is a finding already.
        (void)reader.Scan(volume.id, {}, {}, visit).has_value();
        return true;
      }));
      for (const auto& [object, node] : users) {
        const auto paths = Filesystem::FullPathsOf(reader, node);
        if (!paths) continue;
        std::string& text = names[object];
        for (const std::string& path : *paths) text += (text.empty() ? "" : ", ") + path;
      }
      return {};
    });
    if (!named) log_.Note("naming objects: " + named.error().ToString());
    return names;
  }

  Filesystem::Parts& parts_;
  const FsckRequest request_;
  FsckLog& log_;
  FsckReport report_;
  bool all_read_ = false;
  bool regrown_ = false;  // something was lost with a node
  std::unordered_set<uint64_t> named_, waiting_, present_;
};

// Opens it after a Rebuild where one is needed and wanted.
Result<Filesystem::Parts> OpenDamaged(const StoreDir& dir, bool repair, FsckLog* log) {
  const std::string boot = catalog::RunningBoot();
  PX_TRY(FinishRebuild(dir.path()));
  PX_ASSIGN(const bool rebuild, CheckPages(dir.path(), boot, repair, [&](const std::string& text) {
              log->Find(text, repair);
            }));
  if (!rebuild || !repair) {
    auto parts = dir.OpenParts();
    if (parts || parts.error().code() != EUCLEAN || !repair) return parts;
    log->Find(parts.error().ToString(), /*repaired=*/true);
  }
  PX_TRY(Rebuild(dir.path(), boot, [log](const std::string& text) { log->Note(text); }));
  return dir.OpenParts();
}

// Damage of it is no reason not to check the rest.
void CheckCatalogOf(const StoreDir& dir, bool repair, FsckLog* log) {
  std::vector<std::string> findings, notes;
  const Status checked =
      catalog::CheckCatalog(dir.CatalogPath(), repair,
                            {.finding = [&](const std::string& text) { findings.push_back(text); },
                             .note = [&](const std::string& text) { notes.push_back(text); }});
  for (const std::string& text : findings) log->Find(text, repair && checked.has_value());
  for (const std::string& text : notes) log->Note(text);
  if (checked) return;
  if (checked.error().code() == EBUSY) {
    log->Note("catalog.db: not checked: a px-launch has it open");
  } else {
    log->Find("catalog.db: " + checked.error().ToString());
  }
}

}  // namespace

Result<FsckReport> Fsck(const std::string& store, const FsckRequest& request,
                        const std::function<void(const std::string&)>& line) {
  PX_ASSIGN(const StoreDir dir, StoreDir::Open(store, /*create=*/false));
  FsckLog log(line);
  PX_ASSIGN(Filesystem::Parts parts, OpenDamaged(dir, request.repair, &log));
  CheckCatalogOf(dir, request.repair, &log);
  Result<FsckReport> report = StoreCheck(&parts, request, &log).Run();
  if (parts.seals != nullptr && parts.seals->was_in_order()) PX_TRY(parts.seals->CloseInOrder());
  return report;
}

}  // namespace px::fs
