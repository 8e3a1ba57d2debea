#include "fs/scrub.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "fs/filesystem.h"

namespace px::fs {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kNodes = 64;  // writers wait that long
constexpr size_t kItems = 512;
constexpr auto kStep = std::chrono::milliseconds(200);
constexpr uint64_t kBudget = uint64_t{16} << 20;
constexpr uint64_t kMostBudget = uint64_t{256} << 20;
constexpr uint64_t kPiece = uint64_t{4} << 20;

std::string Line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

Status Scrub::Step(px_ioc_text* text) {
  uint64_t id = 0;
  std::memcpy(&id, text->cursor, sizeof id);
  uint64_t budget = kBudget;
  text->text[sizeof text->text - 1] = 0;
  std::from_chars(text->text, text->text + std::strlen(text->text), budget);
  budget = std::min(budget, kMostBudget);
  const MutexLock lock(mutex_);
  if (id == 0) PX_TRY(Begin());
  if (id != 0 && id != pass_.id) return Fail(ESTALE, "another scrub was begun");
  const auto until = std::chrono::steady_clock::now() + kStep;
  const uint64_t bytes = pass_.counts.bytes;
  while (pass_.lines.empty() && pass_.phase != Phase::kDone) {
    const uint64_t read = pass_.counts.bytes - bytes;
    if (read >= budget || std::chrono::steady_clock::now() >= until) break;
    if (pass_.phase == Phase::kPages) {
      PX_TRY(StepPages());
    } else if (pass_.phase == Phase::kNodes) {
      PX_TRY(StepNodes());
    } else if (pass_.phase == Phase::kObjects) {
      PX_TRY(StepObjects(budget - read));
    } else {
      PX_TRY(StepNames());
    }
  }
  Reply(text);
  return {};
}

void Scrub::Reply(px_ioc_text* text) {
  const std::string progress = Progress();
  text->length = 0;
  const auto append = [text](const std::string& line) {
    std::memcpy(text->text + text->length, line.data(), line.size());
    text->length += static_cast<uint32_t>(line.size());
  };
  auto line = pass_.lines.begin();
  for (; line != pass_.lines.end(); ++line) {
    if (line->size() + progress.size() > PX_TEXT_MAX) {
      *line = Line({{"kind", "?"}, {"text", "a finding too long to be told: see the log"}});
    }
    if (text->length + line->size() + progress.size() > PX_TEXT_MAX) break;
    append(*line);
  }
  pass_.lines.erase(pass_.lines.begin(), line);
  append(progress);
  std::memset(text->cursor, 0, sizeof text->cursor);
  if (pass_.phase == Phase::kDone && pass_.lines.empty()) return;
  std::memcpy(text->cursor, &pass_.id, sizeof pass_.id);
}

std::string Scrub::Progress() {
  static constexpr const char* kNames[] = {"none", "pages", "nodes", "objects", "names", "done"};
  const ScrubCounts& counts = pass_.counts;
  return Line({{"progress",
                {{"phase", kNames[static_cast<size_t>(pass_.phase)]},
                 {"began_ns", pass_.began_ns},
                 {"ended_ns", pass_.ended_ns},
                 {"nodes", pass_.nodes.nodes},
                 {"counts_compared", counts.counts_compared},
                 {"objects", counts.objects},
                 {"objects_done", counts.objects_done},
                 {"bytes", counts.bytes},
                 {"verified_bytes", counts.verified},
                 {"sealed", counts.sealed},
                 {"unsealed", counts.unsealed},
                 {"busy", counts.busy},
                 {"doubtful", counts.doubtful},
                 {"findings", counts.findings}}}});
}

std::string Scrub::StatusJson() {
  const MutexLock lock(mutex_);
  return Progress();
}

Status Scrub::Begin() {
  pass_ = Pass();
  pass_.id = ++passes_;
  pass_.began_ns = fs_->Now().Nanoseconds();
  // Its rows are believed below.
  if (fs_->seals_->enabled()) {
    PX_ASSIGN(const bool sound, fs_->seals_->table()->CheckSound());
    if (!sound) LogWarn("scrub: the seals were damaged: objects are sealed anew");
  }
  pass_.phase = Phase::kPages;
  return {};
}

Status Scrub::StepPages() {
  std::vector<std::string> findings;
  const auto next =
      fs_->check_pages_(pass_.page, [&](const std::string& text) { findings.push_back(text); });
  // A meta.db of an older format has no checksums.
  if (!next && next.error().code() != ENOTSUP) return Forward(next.error());
  pass_.page = next.value_or(0);
  for (const std::string& finding : findings) TellText("page", finding);
  if (pass_.page != 0) return {};
  pass_.phase = Phase::kNodes;
  // Before the volumes are listed: what comes after may add some.
  pass_.nodes.commits = fs_->store_->Counters().commits;
  return LoadVolumes();
}

void Scrub::TellText(const char* kind, const std::string& text) {
  ++pass_.counts.findings;
  LogError("scrub: {}", text);
  pass_.lines.push_back(Line({{"kind", kind}, {"paths", Json::array()}, {"text", text}}));
}

Status Scrub::LoadVolumes() {
  pass_.volumes.clear();
  pass_.volume = 0;
  pass_.from.clear();
  return fs_->store_->View([&](cow::Reader& reader) PX_NO_TSA -> Status {
    return reader.ScanVolumes(cow::kRootVolume, [&](const cow::Volume& volume) PX_NO_TSA {
      pass_.volumes.push_back(volume.id);
      return true;
    });
  });
}

void Scrub::VisitItem(cow::VolumeId volume, std::string_view key, std::string_view value) {
  if (key.size() < 9) return;
  const bool inode = key[8] == static_cast<char>(cow::ItemType::kInode);
  const NodeKey node{volume, cow::Ino{cow::LoadBigEndian64(key.data())}};
  bool first = true;
  cow::ForEachObject(key, value, [&](cow::ObjectId object) PX_NO_TSA {
    CheckTarget target{object, node, !inode || !std::exchange(first, false)};
    const auto [entry, fresh] = pass_.objects.try_emplace(object.value, target);
    // Through an inode's own content it can be told best whether it is in use.
    if (!fresh && entry->second.version && !target.version) entry->second = target;
  });
}

Status Scrub::StepNodes() {
  if (pass_.volume == pass_.volumes.size()) {
    EndNodes();
    return BeginObjects();
  }
  const cow::VolumeId volume = pass_.volumes[pass_.volume];
  std::vector<std::string> findings;
  const auto walked =
      fs_->store_->VerifyStep(volume, &pass_.from, kNodes, &pass_.nodes,
                              {[&](std::string_view key, std::string_view value)
                                   PX_NO_TSA { VisitItem(volume, key, value); },
                               [&](const std::string& text) { findings.push_back(text); }});
  for (const std::string& finding : findings) TellNode(volume, finding);
  if (!walked && walked.error().code() != ENOENT) return Forward(walked.error());
  if (!walked || *walked) {
    pass_.from.clear();
    ++pass_.volume;
  }
  return {};
}

void Scrub::TellNode(cow::VolumeId volume, const std::string& text) {
  std::string path = fmt::format("volume {}", volume.value);
  const Status named = fs_->store_->View([&](cow::Reader& reader) -> Status {
    PX_ASSIGN(const std::string found, Filesystem::VolumePath(reader, volume));
    if (!found.empty()) path = found;
    return {};
  });
  if (!named) LogDebug("{}: {}", path, named.error().ToString());
  ++pass_.counts.findings;
  LogError("scrub: {}: {}", path, text);
  pass_.lines.push_back(Line({{"kind", "node"}, {"paths", {path}}, {"text", text}}));
}

void Scrub::EndNodes() {
  const auto compared = fs_->store_->VerifyCounts(
      &pass_.nodes, [&](const std::string& text) PX_NO_TSA { TellText("count", text); });
  if (!compared) LogWarn("scrub: comparing counts: {}", compared.error().ToString());
  pass_.counts.counts_compared = compared && *compared;
  const uint64_t nodes = pass_.nodes.nodes;
  pass_.nodes = {};
  pass_.nodes.nodes = nodes;
}

Status Scrub::BeginObjects() {
  PX_TRY(fs_->store_->Sync());
  pass_.counts.objects = pass_.objects.size();
  pass_.next = pass_.objects.begin();
  pass_.phase = Phase::kObjects;
  return {};
}

Status Scrub::StepObjects(uint64_t budget) {
  if (pass_.next == pass_.objects.end()) {
    pass_.phase = Phase::kNames;
    return LoadVolumes();
  }
  if (pass_.check == nullptr) {
    const bool seal = fs_->seals_->enabled() && fs_->options_.seal && !fs_->options_.read_only;
    pass_.check = std::make_unique<ObjectCheck>(
        fs_, pass_.next->second, seal ? ObjectCheck::What::kBoth : ObjectCheck::What::kVerify);
  }
  ObjectCheck& check = *pass_.check;
  const uint64_t before = check.bytes();
  const std::optional<Outcome> outcome = check.Step(std::min(budget, kPiece));
  pass_.counts.bytes += check.bytes() - before;
  if (!outcome) return {};
  if (check.seal() && fs_->seals_->enabled() && !fs_->options_.read_only) {
    const Seals::Put put{&check.watch(), *check.seal()};
    if (const Status kept = fs_->seals_->PutAll({&put, 1}); !kept) {
      LogWarn("scrub: {}", kept.error().ToString());
    }
  }
  if (*outcome == Outcome::kDamaged) fs_->CloseParked(check.target().object);
  if (*outcome == Outcome::kGood) pass_.counts.verified += check.bytes();
  if (IsFinding(*outcome)) pass_.found[pass_.next->first] = {*outcome, check.why(), {}, {}};
  Count(*outcome);
  pass_.check.reset();
  ++pass_.next;
  return {};
}

void Scrub::Count(Outcome outcome) {
  ScrubCounts& counts = pass_.counts;
  ++counts.objects_done;
  if (outcome == Outcome::kSealed) ++counts.sealed;
  if (outcome == Outcome::kUnsealed) ++counts.unsealed;
  if (outcome == Outcome::kBusy) ++counts.busy;
  if (outcome == Outcome::kDoubtful) ++counts.doubtful;
  if (IsFinding(outcome) && outcome != Outcome::kDoubtful) ++counts.findings;
}

// Who names the objects that something is wrong with.
Status Scrub::StepNames() {
  if (pass_.found.empty() || pass_.volume == pass_.volumes.size()) return EndNames();
  const cow::VolumeId volume = pass_.volumes[pass_.volume];
  size_t seen = 0;
  bool more = false;
  const Status scanned = fs_->store_->View([&](cow::Reader& reader) PX_NO_TSA -> Status {
    return reader.Scan(
        volume, pass_.from, {}, [&](std::string_view key, std::string_view value) PX_NO_TSA {
          cow::ForEachObject(key, value, [&](cow::ObjectId object) PX_NO_TSA {
            const auto found = pass_.found.find(object.value);
            if (found == pass_.found.end()) return;
            found->second.inodes.push_back({volume, cow::Ino{cow::LoadBigEndian64(key.data())}});
            found->second.version.push_back(key[8] == static_cast<char>(cow::ItemType::kVersion));
          });
          pass_.from.assign(key).push_back('\0');
          more = ++seen == kItems;
          return !more;
        });
  });
  // Of a volume that is damaged itself the rest cannot be known.
  if (!scanned) LogWarn("scrub: volume {}: {}", volume.value, scanned.error().ToString());
  if (!scanned || !more) {
    pass_.from.clear();
    ++pass_.volume;
  }
  return {};
}

Status Scrub::EndNames() {
  for (const auto& [object, found] : pass_.found) PX_TRY(TellObject(object, found));
  pass_.found.clear();
  pass_.objects.clear();
  if (fs_->seals_->enabled()) PX_TRY(fs_->seals_->table()->Sync());
  pass_.ended_ns = fs_->Now().Nanoseconds();
  pass_.phase = Phase::kDone;
  return {};
}

Status Scrub::TellObject(uint64_t object, const Found& found) {
  constexpr size_t kMostNames = 64;
  Json paths = Json::array();
  const Status named = fs_->store_->View([&](cow::Reader& reader) -> Status {
    for (size_t i = 0; i < found.inodes.size() && paths.size() < kMostNames; ++i) {
      PX_ASSIGN(const auto names, Filesystem::FullPathsOf(reader, found.inodes[i]));
      for (const std::string& name : names) {
        paths.push_back(found.version[i] ? name + " (a kept version)" : name);
      }
    }
    return {};
  });
  if (!named) LogWarn("scrub: naming object {:x}: {}", object, named.error().ToString());
  std::string all;
  for (const Json& path : paths) all += (all.empty() ? "" : ", ") + path.get<std::string>();
  LogError("scrub: object {:x} is {}: {} {}", object, NameOf(found.outcome), all, found.why);
  pass_.lines.push_back(Line({{"kind", NameOf(found.outcome)},
                              {"object", fmt::format("{:x}", object)},
                              {"paths", paths},
                              {"text", found.why}}));
  return {};
}

}  // namespace px::fs
