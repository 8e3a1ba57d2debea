#include "tests/model/cow_model.h"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace px::testing {

using cow::DentryKey;
using cow::Ino;
using cow::InodeItem;
using cow::ItemKey;
using cow::ItemType;
using cow::ObjectId;
using cow::Reader;
using cow::Store;
using cow::Txn;
using cow::VersionItem;
using cow::Volume;
using cow::VolumeId;

namespace {

void Require(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}

template <typename T>
void RequireOk(const Result<T>& result, const char* what) {
  if (!result) throw std::runtime_error(std::string(what) + ": " + result.error().ToString());
}

void ForObjects(const std::map<std::string, std::string>& items,
                const std::function<void(uint64_t)>& visit) {
  for (const auto& [key, value] : items) {
    cow::ForEachObject(key, value, [&](ObjectId id) { visit(id.value); });
  }
}

}  // namespace

uint64_t ModelSeed() {
  const char* given = std::getenv("PX_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  std::printf("PX_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

uint64_t ModelOps(uint64_t otherwise) {
  const char* given = std::getenv("PX_MODEL_OPS");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : otherwise;
}

CowModel::CowModel(CowModelOptions options, uint64_t seed)
    : options_(std::move(options)), rng_(seed) {
  volumes_[0] = {};
  Reopen();
}

CowModel::~CowModel() = default;

void CowModel::Run(uint64_t ops) {
  const uint64_t end = ops_ + ops;
  while (ops_ < end) {
    Transaction();
    Between();
  }
  CompareVolumes();
  CheckStore();
}

void CowModel::Reopen() {
  store_.reset();
  pages_ = options_.reopen();
  auto opened = Store::Open(pages_, {options_.cache_bytes});
  RequireOk(opened, "open");
  store_ = std::move(*opened);
  const auto next = store_->PeekNextObject();
  RequireOk(next, "next object");
  Require(next->value == next_object_, "the next object differs after opening");
}

// --- Transactions ---

void CowModel::Transaction() {
  Undo undo;
  const uint64_t next_object_before = next_object_;
  const bool fail_body = Chance(5);
  const bool fail_commit = !fail_body && options_.fail_next_commit && Chance(4);
  const uint64_t steps = 1 + Random(8);
  const Status status = store_->Update([&](Txn& txn) -> Status {
    for (uint64_t i = 0; i < steps; ++i) Step(txn, &undo);
    if (fail_body) return Fail(ECANCELED);
    // An empty transaction does not commit, so let each change something.
    if (fail_commit) {
      options_.fail_next_commit();
      return txn.SetAttributes(cow::kRootVolume, std::to_string(rng_()));
    }
    return {};
  });
  if (!fail_body && !fail_commit) {
    RequireOk(status, "update");
    return;
  }
  Require(!status && status.error().code() == (fail_body ? ECANCELED : ENOSPC), "wrong error");
  for (auto change = undo.rbegin(); change != undo.rend(); ++change) (*change)();
  next_object_ = next_object_before;
  const auto next = store_->PeekNextObject();
  Require(next && next->value == next_object_, "an aborted transaction kept its object ids");
}

CowModel::VolumeModel& CowModel::Pick(VolumeId* id) {
  auto picked = volumes_.begin();
  std::advance(picked, static_cast<std::ptrdiff_t>(Random(volumes_.size())));
  *id = VolumeId{picked->first};
  return picked->second;
}

std::string CowModel::RandomKey() {
  const Ino ino{1 + Random(40)};
  switch (Random(8)) {
    case 0:
    case 1:
      return ItemKey(ino, ItemType::kInode);
    case 2:
      return cow::VersionKey(ino, Random(4));
    case 3:  // long keys that differ at their ends, so that separators are long and trees are deep
      return ItemKey(ino, ItemType::kXattr,
                     std::string(260 + Random(15), 'x') + std::to_string(Random(50)));
    case 4:
      return ItemKey(ino, ItemType::kExtent, std::string(Random(4), 'e'));
    default:
      return DentryKey(ino, "file-" + std::to_string(Random(30)));
  }
}

std::string CowModel::RandomValue(std::string_view key, Txn* txn, Undo* undo) {
  const auto object = [&]() -> uint64_t {
    if (Chance(30)) return 0;
    if (objects_.empty() || Chance(40)) {
      const auto id = txn->NewObject();
      RequireOk(id, "new object");
      Require(id->value == next_object_, "object ids are not consecutive");
      ++next_object_;
      objects_.insert(id->value);
      undo->push_back([this, made = id->value] { objects_.erase(made); });
      return id->value;
    }
    // One that some volume names: an object that nothing names is about to go.
    VolumeId volume;
    uint64_t found = 0;
    ForObjects(Pick(&volume).items, [&](uint64_t id) {
      if (found == 0 || Chance(20)) found = id;
    });
    return found;
  };
  const auto type = static_cast<ItemType>(key[8]);
  if (type == ItemType::kInode) {
    InodeItem item;
    item.size = rng_();
    item.object = object();
    if (Chance(10)) item.base = object();
    return std::string(AsBytes(item));
  }
  if (type == ItemType::kVersion) {
    VersionItem item;
    item.object = object();
    return std::string(AsBytes(item));
  }
  const size_t size = Chance(10) ? cow::kMaxValue - Random(3) : Random(Chance(50) ? 20 : 200);
  return std::string(size, static_cast<char>('a' + Random(26)));
}

void CowModel::Step(Txn& txn, Undo* undo) {
  ++ops_;
  const uint64_t what = Random(100);
  if (what < 45) {
    StepPut(txn, undo);
  } else if (what < 70) {
    StepErase(txn, undo);
  } else if (what < 90) {
    StepGet(txn);
  } else if (what < 94) {
    StepVolumes(txn, undo);
  } else {
    StepIds(txn, undo);
  }
}

void CowModel::StepPut(Txn& txn, Undo* undo) {
  VolumeId id;
  VolumeModel& model = Pick(&id);
  std::string key = RandomKey();
  if (model.items.size() >= options_.max_items && !model.items.contains(key)) {
    return StepErase(txn, undo);
  }
  const std::string value = RandomValue(key, &txn, undo);
  RequireOk(txn.Put(id, key, value), "put");
  const auto found = model.items.find(key);
  if (found == model.items.end()) {
    undo->push_back([this, id, key] { volumes_[id.value].items.erase(key); });
    model.items.emplace(key, value);
  } else {
    undo->push_back([this, id, key, old = found->second] { volumes_[id.value].items[key] = old; });
    found->second = value;
  }
}

void CowModel::StepErase(Txn& txn, Undo* undo) {
  VolumeId id;
  VolumeModel& model = Pick(&id);
  if (Chance(5)) {
    const std::string key = RandomKey();
    const Status erased = model.items.contains(key) ? Status() : txn.Erase(id, key);
    if (!model.items.contains(key))
      Require(!erased && erased.error().code() == ENOENT, "no ENOENT");
    return;
  }
  // Now and then a run of neighbours, so that whole nodes go.
  for (uint64_t run = Chance(10) ? 40 : 1; run > 0 && !model.items.empty(); --run) {
    auto item = model.items.lower_bound(RandomKey());
    if (item == model.items.end()) item = model.items.begin();
    RequireOk(txn.Erase(id, item->first), "erase");
    undo->push_back([this, id, old = *item] { volumes_[id.value].items.insert(old); });
    model.items.erase(item);
  }
}

void CowModel::StepGet(Reader& reader) {
  VolumeId id;
  VolumeModel& model = Pick(&id);
  const std::string key = RandomKey();
  if (Chance(80)) {
    const auto got = reader.Get(id, key);
    const auto item = model.items.find(key);
    if (item == model.items.end()) {
      Require(!got && got.error().code() == ENOENT, "found what is not there");
    } else {
      RequireOk(got, "get");
      Require(*got == item->second, "wrong value");
    }
    return;
  }
  const std::string to = Chance(50) ? RandomKey() : std::string();
  auto item = model.items.lower_bound(key);
  int left = 50;
  RequireOk(reader.Scan(id, key, to,
                        [&](std::string_view k, std::string_view v) {
                          Require(item != model.items.end(), "scan: too much");
                          Require(item->first == k && item->second == v, "scan: wrong item");
                          ++item;
                          return --left > 0;
                        }),
            "scan");
  Require(left == 0 || item == model.items.end() || (!to.empty() && item->first >= to),
          "scan: too little");
}

void CowModel::StepVolumes(Txn& txn, Undo* undo) {
  VolumeId id;
  VolumeModel& model = Pick(&id);
  const std::string attributes = "volume " + std::to_string(rng_());
  if (Chance(20)) {
    RequireOk(txn.SetAttributes(id, attributes), "attributes");
    undo->push_back([this, id, old = model.attributes] { volumes_[id.value].attributes = old; });
    model.attributes = attributes;
  } else if (id.value != 0 && Chance(volumes_.size() >= options_.max_volumes ? 100 : 40)) {
    RequireOk(txn.DropVolume(id), "drop");
    Require(!txn.GetVolume(id) && !txn.DropVolume(id), "a dropped volume is still there");
    undo->push_back([this, id, old = model] { volumes_[id.value] = old; });
    volumes_.erase(id.value);
  } else if (volumes_.size() < options_.max_volumes) {
    const bool clone = Chance(80);
    const auto made = clone ? txn.CloneVolume(id, attributes) : txn.CreateVolume(attributes);
    RequireOk(made, "create or clone");
    Require(!volumes_.contains(made->value), "a volume id was given out again");
    VolumeModel copy = clone ? model : VolumeModel();
    copy.attributes = attributes;
    volumes_[made->value] = std::move(copy);
    undo->push_back([this, made = made->value] { volumes_.erase(made); });
  }
}

void CowModel::StepIds(Txn& txn, Undo* undo) {
  VolumeId id;
  VolumeModel& model = Pick(&id);
  const std::string key = RandomKey();
  if (Chance(40)) {
    const auto ino = txn.NewIno(id);
    RequireOk(ino, "new ino");
    Require(ino->value >= model.next_ino, "an inode number was given out again");
    undo->push_back([this, id, old = model.next_ino] { volumes_[id.value].next_ino = old; });
    model.next_ino = ino->value + 1;
    return;
  }
  RequireOk(txn.MakePrivate(id, key), "make private");
  const auto made = txn.IsPrivate(id, key);
  Require(made && *made, "not private after MakePrivate");
  // On a private path the count is the number of references in private leaves, and no less than in
  // this item.
  const auto item = model.items.find(key);
  if (item == model.items.end()) return;
  cow::ForEachObject(key, item->second, [&](ObjectId object) {
    const auto refs = txn.ObjectRefs(object);
    Require(refs && *refs >= 1, "a named object without references");
  });
}

// --- Between transactions ---

void CowModel::Between() {
  const uint64_t what = Random(400);
  if (what < 60) {
    RequireOk(store_->ReclaimStep(1 + Random(6)), "reclaim");
  } else if (what < 64) {
    Reopen();
  } else if (what < 68) {
    CompareDiff();
  } else if (what < 72) {
    Freed();
  } else if (what < 73) {
    Random(8) == 0 ? CheckStore() : CompareVolumes();
  }
}

void CowModel::CompareVolumes() {
  auto volume = volumes_.begin();
  RequireOk(store_->View([&](Reader& reader) -> Status {
    return reader.ScanVolumes(cow::kRootVolume, [&](const Volume& found) {
      Require(volume != volumes_.end() && found.id.value == volume->first, "wrong volumes");
      Require(volume->first == 0 || found.attributes == volume->second.attributes,
              "wrong attributes");
      auto item = volume->second.items.begin();
      RequireOk(reader.Scan(found.id, {}, {},
                            [&](std::string_view key, std::string_view value) {
                              Require(item != volume->second.items.end() && item->first == key &&
                                          item->second == value,
                                      "wrong item");
                              ++item;
                              return true;
                            }),
                "scan");
      Require(item == volume->second.items.end(), "items are missing");
      ++volume;
      return true;
    });
  }),
            "view");
  Require(volume == volumes_.end(), "volumes are missing");
}

void CowModel::CompareDiff() {
  VolumeId before_id, after_id;
  const Items& before = Pick(&before_id).items;
  const Items& after = Pick(&after_id).items;
  const std::string from = Chance(50) ? std::string() : RandomKey();
  auto a = before.lower_bound(from), b = after.lower_bound(from);
  const auto skip_equal = [&] {
    while (a != before.end() && b != after.end() && *a == *b) ++a, ++b;
  };
  RequireOk(store_->Diff(before_id, after_id, from,
                         [&](std::string_view key, std::optional<std::string_view> old_value,
                             std::optional<std::string_view> new_value) {
                           skip_equal();
                           if (old_value) {
                             Require(
                                 a != before.end() && a->first == key && a->second == *old_value,
                                 "diff: wrong before");
                             ++a;
                           }
                           if (new_value) {
                             Require(b != after.end() && b->first == key && b->second == *new_value,
                                     "diff: wrong after");
                             ++b;
                           }
                           Require(old_value || new_value, "diff: nothing");
                           Require(old_value != new_value, "diff: no difference");
                           return true;
                         }),
            "diff");
  skip_equal();
  Require(a == before.end() && b == after.end(), "diff: too little");
}

std::set<uint64_t> CowModel::NamedObjects() const {
  std::set<uint64_t> named;
  for (const auto& [id, volume] : volumes_) {
    ForObjects(volume.items, [&](uint64_t object) { named.insert(object); });
  }
  return named;
}

void CowModel::Freed() {
  const auto freed = store_->DurablyFreed(1 + Random(300));
  RequireOk(freed, "freed");
  if (freed->empty()) return;
  const std::set<uint64_t> named = NamedObjects();
  for (const ObjectId id : *freed) {
    Require(!named.contains(id.value), "an object in use was freed");
    Require(objects_.contains(id.value), "an object was freed twice");
  }
  if (Chance(20)) return;  // killed before it could say so
  RequireOk(store_->ForgetFreed(*freed), "forget");
  for (const ObjectId id : *freed) objects_.erase(id.value);
}

void CowModel::CheckStore() {
  std::string text;
  std::set<uint64_t> seen;
  const auto findings = store_->Check(
      /*repair=*/false, [&](const std::string& line) { text += line + "\n"; },
      {.object_seen = [&](ObjectId id, bool) {
        Require(seen.insert(id.value).second, "an object was seen twice");
      }});
  RequireOk(findings, "check");
  if (*findings != 0) throw std::runtime_error("check: " + text);
  // Those of dropped trees wait in neither place, but are named by nodes in the queue.
  for (const uint64_t id : objects_) Require(seen.contains(id), "an object is lost");
  for (const uint64_t id : seen) Require(objects_.contains(id), "an object came back");
}

void CowModel::DropAll() {
  RequireOk(store_->Update([&](Txn& txn) -> Status {
    for (const auto& [id, volume] : volumes_) {
      if (id != 0) RequireOk(txn.DropVolume(VolumeId{id}), "drop");
    }
    for (const auto& [key, value] : volumes_[0].items) {
      RequireOk(txn.Erase(cow::kRootVolume, key), "erase");
    }
    return {};
  }),
            "drop all");
  const VolumeModel root = VolumeModel();
  volumes_.clear();
  volumes_[0] = root;
  for (;;) {
    const auto given_back = store_->ReclaimStep(100);
    RequireOk(given_back, "reclaim");
    if (*given_back == 0) break;
  }
  for (;;) {
    const auto freed = store_->DurablyFreed(1000);
    RequireOk(freed, "freed");
    if (freed->empty()) break;
    for (const ObjectId id : *freed) Require(objects_.erase(id.value) == 1, "freed twice");
    RequireOk(store_->ForgetFreed(*freed), "forget");
  }
  Require(objects_.empty(), "objects were never freed");
  CheckStore();
  size_t pages = 0, counts = 0;
  RequireOk(pages_->ScanPages([&](cow::NodeId) { return ++pages > 0; }), "pages");
  RequireOk(pages_->ScanNodeRefs([&](cow::NodeId, uint64_t) { return ++counts > 0; }), "counts");
  RequireOk(pages_->ScanObjectRefs([&](ObjectId, uint64_t) { return ++counts > 0; }), "counts");
  Require(pages == 1, "pages are left over");
  Require(counts == 0, "counts are left over");
}

}  // namespace px::testing
