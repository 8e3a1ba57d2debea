#include <gtest/gtest.h>

#include <sstream>

#include "launcher/cli.h"
#include "launcher/config.h"
#include "launcher/paths.h"
#include "launcher/table.h"

namespace px::launcher {
namespace {

using Words = std::vector<std::string>;

TEST(RewriteArgumentsTest, OneDashOptionsBecomeLongOnes) {
  EXPECT_EQ(RewriteArguments({"experiment", "-xp", "23", "get"}),
            (Words{"experiment", "--experiment", "23", "get"}));
  EXPECT_EQ(RewriteArguments({"-xp=23"}), (Words{"--experiment=23"}));
  EXPECT_EQ(RewriteArguments({"check", "-def"}), (Words{"check", "--definition"}));
  EXPECT_EQ(RewriteArguments({"--", "-xp"}), (Words{"--", "-xp"}));
  EXPECT_EQ(RewriteArguments({"-xpert"}), (Words{"-xpert"}));
}

TEST(LayoutTest, PlacesAreAsTheDocumentationSays) {
  const Layout layout("/outputs", "/logs");
  catalog::Experiment e;
  e.project_user = "root";
  e.project_name = "mnist";
  e.number = 24;
  e.root_number = 23;
  EXPECT_EQ(layout.OwnOutputs(e), "/outputs/root/mnist/experiments/24");
  EXPECT_EQ(layout.Outputs(e), "/outputs/root/mnist/experiments/23");
  EXPECT_EQ(layout.Log(e), "/logs/root/mnist/experiments/24");
  e.group_number = e.root_group_number = 2;
  EXPECT_EQ(layout.OwnOutputs(e), "/outputs/root/mnist/groups/2/24");
  EXPECT_EQ(layout.Log(e), "/logs/root/mnist/groups/2/24");
}

TEST(TableTest, NumbersStandRightTextLeft) {
  Table table({"id", "name"});
  table.Add({"7", "a"});
  table.Add({"123", "bcd"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), " id  name\n---  ----\n  7  a\n123  bcd\n");
}

TEST(TableTest, TimesAreSaidAsPeopleSayThem) {
  constexpr int64_t kSecond = 1'000'000'000;
  EXPECT_EQ(FormatAgo(100 * kSecond, 90 * kSecond), "a few seconds ago");
  EXPECT_EQ(FormatAgo(kSecond, 61 * kSecond), "1 minute ago");
  EXPECT_EQ(FormatAgo(kSecond, 7201 * kSecond), "2 hours ago");
  EXPECT_EQ(FormatDuration(115 * kSecond), "1m 55s");
  EXPECT_EQ(FormatDuration((86400 * 3 + 3600 * 2 + 60) * kSecond), "3d 2h 1m");
  EXPECT_EQ(FormatSize(1536), "1.5 KiB");
}

TEST(ConfigTest, NamesArePlain) {
  EXPECT_TRUE(IsName("a-b_9"));
  EXPECT_FALSE(IsName(""));
  EXPECT_FALSE(IsName("a.b"));
  EXPECT_FALSE(IsName("ä"));
}

}  // namespace
}  // namespace px::launcher
