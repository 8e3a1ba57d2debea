// Nodes: edits at the limits of a page, splits and merges, and that no bytes from disk can make a
// view stray.
#include "cow/node.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/model/cow_model.h"

namespace px::cow {
namespace {

using Bytes = std::array<std::byte, kNodeSize>;

struct Page {
  alignas(8) Bytes bytes;
  Node node{bytes.data()};

  explicit Page(uint64_t id = 1, int level = 0) { node.Init(NodeId{id}, level); }
  Page(const Page& other) : bytes(other.bytes) {}
};

std::string Key(size_t n, size_t size = 12) {
  std::string key(size, 'k');
  std::string digits = std::to_string(n);
  digits.insert(0, 6 - digits.size(), '0');
  key.replace(size - 6, 6, digits);
  return key;
}

std::map<std::string, std::string> ItemsOf(NodeView node) {
  std::map<std::string, std::string> items;
  for (size_t i = 0; i < node.count(); ++i) items.emplace(node.Key(i), node.Value(i));
  return items;
}

std::string ChildBytes(uint64_t id) { return {reinterpret_cast<const char*>(&id), sizeof id}; }

class NodeTest : public ::testing::Test {
 protected:
  static void ExpectSound(Node node) {
    node.UpdateChecksum();
    const Status status = ValidateNode({node.bytes(), kNodeSize}, node.id());
    EXPECT_TRUE(status) << status.error().ToString();
  }
};

TEST_F(NodeTest, EmptyLeafIsSound) {
  Page page(7);
  ExpectSound(page.node);
  EXPECT_EQ(page.node.count(), 0U);
  EXPECT_EQ(page.node.used(), 0U);
}

TEST_F(NodeTest, ThreeItemsOfTheLargestSizeFit) {
  Page page;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(page.node.Insert(i, Key(i, kMaxKey), std::string(kMaxValue, 'v')));
  }
  EXPECT_FALSE(page.node.Insert(3, Key(3, kMaxKey), std::string(kMaxValue, 'v')));
  EXPECT_EQ(page.node.count(), 3U);
  ExpectSound(page.node);
}

TEST_F(NodeTest, FillsToTheLastByte) {
  Page page;
  size_t n = 0;
  while (page.node.used() + 2 * CellRoom(12, 8) <= kNodeRoom) {
    ASSERT_TRUE(page.node.Insert(n, Key(n), "12345678"));
    ++n;
  }
  const size_t left = kNodeRoom - page.node.used();
  ASSERT_FALSE(page.node.Insert(n, Key(n), std::string(left - CellRoom(12, 0) + 1, 'v')));
  ASSERT_TRUE(page.node.Insert(n, Key(n), std::string(left - CellRoom(12, 0), 'v')));
  EXPECT_EQ(page.node.used(), kNodeRoom);
  ExpectSound(page.node);
}

TEST_F(NodeTest, RandomEditsMatchAMap) {
  std::mt19937_64 rng(px::testing::ModelSeed());
  Page page;
  std::map<std::string, std::string> model;
  for (int round = 0; round < 20'000; ++round) {
    const std::string key = Key(rng() % 60, 6 + rng() % 20);
    const std::string value(rng() % 150, 'v');
    bool found = false;
    const size_t i = page.node.LowerBound(key, &found);
    ASSERT_EQ(found, model.contains(key));
    if (found && rng() % 2 == 0) {
      page.node.Erase(i);
      model.erase(key);
    } else if (found) {
      const size_t after = page.node.used() - page.node.Value(i).size() + value.size();
      ASSERT_EQ(page.node.ReplaceValue(i, value), after <= kNodeRoom);
      if (after <= kNodeRoom) model[key] = value;
    } else {
      const bool fits = page.node.used() + CellRoom(key.size(), value.size()) <= kNodeRoom;
      ASSERT_EQ(page.node.Insert(i, key, value), fits);
      if (fits) model[key] = value;
    }
    if (round % 50 == 0) {
      ASSERT_EQ(ItemsOf(page.node), model);
      ExpectSound(page.node);
    }
  }
}

TEST_F(NodeTest, AnySplitFits) {
  std::mt19937_64 rng(px::testing::ModelSeed());
  for (int round = 0; round < 2'000; ++round) {
    Page left(1), right(2);
    std::map<std::string, std::string> model;
    for (;;) {
      const std::string key = Key(rng() % 1'000'000, rng() % 2 == 0 ? kMaxKey : 6 + rng() % 30);
      const std::string value(rng() % 3 == 0 ? kMaxValue : rng() % 100, 'v');
      bool found = false;
      const size_t i = left.node.LowerBound(key, &found);
      if (found) continue;
      model[key] = value;
      if (left.node.Insert(i, key, value)) continue;
      const auto where = rng() % 2 == 0 ? SplitAt::kMiddle : SplitAt::kEnd;
      const std::string separator = SplitInsert(left.node, right.node, i, key, value, where);
      EXPECT_LT(left.node.Key(left.node.count() - 1), separator);
      EXPECT_GE(right.node.Key(0), separator);
      EXPECT_LE(separator.size(), kMaxKey);
      break;
    }
    auto both = ItemsOf(left.node);
    both.merge(ItemsOf(right.node));
    ASSERT_EQ(both, model);
    ExpectSound(left.node);
    ExpectSound(right.node);
  }
}

TEST_F(NodeTest, SplitAtTheEndLeavesTheLeftFull) {
  Page left(1), right(2);
  size_t n = 0;
  while (left.node.Insert(n, Key(n), "value")) ++n;
  SplitInsert(left.node, right.node, n, Key(n), "value", SplitAt::kEnd);
  EXPECT_EQ(left.node.count(), n);
  EXPECT_EQ(right.node.count(), 1U);
}

TEST_F(NodeTest, SeparatorsOfLeavesAreShort) {
  Page left(1), right(2);
  size_t n = 0;
  while (
      left.node.Insert(n, std::string(1, static_cast<char>('a' + n)) + std::string(280, 'x'), "")) {
    ++n;
  }
  const std::string last = std::string(1, static_cast<char>('a' + n)) + std::string(280, 'x');
  EXPECT_EQ(SplitInsert(left.node, right.node, n, last, "", SplitAt::kMiddle).size(), 1U);
}

TEST_F(NodeTest, InternalSplitMovesTheSeparatorUpAndMergeBringsItBack) {
  Page left(1, 1), right(2, 1);
  ASSERT_TRUE(left.node.Insert(0, {}, ChildBytes(100)));
  size_t n = 1;
  while (left.node.Insert(n, Key(n, 100), ChildBytes(100 + n))) ++n;
  const std::string separator =
      SplitInsert(left.node, right.node, n, Key(n, 100), ChildBytes(100 + n), SplitAt::kMiddle);
  EXPECT_TRUE(right.node.Key(0).empty());
  EXPECT_EQ(separator.size(), 100U);
  ExpectSound(left.node);
  ExpectSound(right.node);
  while (right.node.count() > 2) right.node.Erase(right.node.count() - 1);
  const size_t left_count = left.node.count();
  left.node.Erase(left_count - 1);
  left.node.Erase(left_count - 2);
  ASSERT_TRUE(MergeNodes(left.node, right.node, separator));
  EXPECT_EQ(left.node.Key(left_count - 2), separator);
  ExpectSound(left.node);
}

TEST_F(NodeTest, MergeThatDoesNotFitChangesNothing) {
  Page left(1), right(2);
  size_t n = 0;
  while (left.node.Insert(n, Key(n), std::string(100, 'v'))) ++n;
  ASSERT_TRUE(right.node.Insert(0, Key(900), std::string(200, 'v')));
  const auto before = left.bytes;
  EXPECT_FALSE(MergeNodes(left.node, right.node, Key(900)));
  EXPECT_EQ(before, left.bytes);
}

TEST_F(NodeTest, BalanceEvensOutAndKeepsTheItems) {
  Page left(1), right(2);
  size_t n = 0;
  while (left.node.Insert(n, Key(n), std::string(100, 'v'))) ++n;
  ASSERT_TRUE(right.node.Insert(0, Key(900), std::string(200, 'v')));
  const std::string separator = BalanceNodes(left.node, right.node, Key(900), kMaxKey);
  ASSERT_FALSE(separator.empty());
  EXPECT_GT(right.node.count(), 5U);
  EXPECT_EQ(left.node.count() + right.node.count(), n + 1);
  EXPECT_LT(left.node.Key(left.node.count() - 1), separator);
  EXPECT_GE(right.node.Key(0), separator);
  ExpectSound(left.node);
  ExpectSound(right.node);
}

TEST_F(NodeTest, BalanceWithoutRoomForTheSeparatorChangesNothing) {
  Page left(1), right(2);
  size_t n = 0;
  while (left.node.Insert(n, Key(n), std::string(100, 'v'))) ++n;
  ASSERT_TRUE(right.node.Insert(0, Key(900), std::string(200, 'v')));
  const auto before = left.bytes;
  EXPECT_TRUE(BalanceNodes(left.node, right.node, Key(900), 3).empty());
  EXPECT_EQ(before, left.bytes);
}

// --- Bytes from disk ---

Page SomeNode(std::mt19937_64* rng, int level) {
  Page page(5, level);
  const size_t wanted = 1 + (*rng)() % 60;
  for (size_t i = 0; i < wanted; ++i) {
    const std::string key = level > 0 && i == 0 ? std::string() : Key(i * 3);
    const std::string value = level > 0 ? ChildBytes(1 + i) : std::string((*rng)() % 90, 'v');
    if (!page.node.Insert(i, key, value)) break;
  }
  for (int i = 0; i < 5 && page.node.count() > 2; ++i) page.node.Erase(1);
  page.node.UpdateChecksum();
  return page;
}

TEST_F(NodeTest, EachFlippedBitIsSeen) {
  std::mt19937_64 rng(1);
  Page page = SomeNode(&rng, 0);
  for (size_t bit = 0; bit < kNodeSize * 8; bit += 7) {
    Page damaged = page;
    damaged.bytes[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    const Status status = ValidateNode(damaged.bytes, NodeId{5});
    ASSERT_FALSE(status);
    ASSERT_EQ(status.error().code(), EBADMSG);
  }
}

TEST_F(NodeTest, AnotherNodesBytesAreSeen) {
  Page page(5);
  page.node.UpdateChecksum();
  const Status status = ValidateNode(page.bytes, NodeId{6});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), EUCLEAN);
  EXPECT_NE(status.error().context().find("node 6"), std::string::npos);
}

// Damage that keeps the checksum right: whatever the check lets through can be used without
// straying (run this under the address sanitizer).
TEST_F(NodeTest, WhatPassesTheCheckIsSafeToUse) {
  std::mt19937_64 rng(px::testing::ModelSeed());
  size_t passed = 0;
  for (int round = 0; round < 30'000; ++round) {
    const int level = static_cast<int>(rng() % 2);
    Page page = SomeNode(&rng, level);
    for (uint64_t hits = 1 + rng() % 4; hits > 0; --hits) {
      const size_t at = rng() % 3 == 0 ? rng() % kNodeSize : rng() % 160;
      page.bytes[at] = static_cast<std::byte>(rng() % 3 == 0 ? rng() % 256 : rng() % 16);
    }
    const NodeId id = page.node.id();
    page.node.UpdateChecksum();
    if (!ValidateNode(page.bytes, id)) continue;
    ++passed;
    for (int edit = 0; edit < 30; ++edit) {
      const std::string key = Key(rng() % 200);
      bool found = false;
      const size_t i = page.node.LowerBound(key, &found);
      if (found && page.node.count() > 1 && i > 0) {
        page.node.Erase(i);
      } else if (!found && i > 0) {
        page.node.Insert(i, key,
                         page.node.is_leaf() ? std::string(rng() % 300, 'w') : ChildBytes(9));
      }
    }
    ExpectSound(page.node);
  }
  EXPECT_GT(passed, 100U);
}

}  // namespace
}  // namespace px::cow
