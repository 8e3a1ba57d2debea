#include "launcher/job_group.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace px::launcher {
namespace {

std::string UniqueName() {
  static int count = 0;
  return "px-test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

TEST(JobGroupTest, SaysWhatItBecame) {
  const JobGroup group = JobGroup::Create(UniqueName(), {});
  EXPECT_EQ(group.Description(),
            WritableCgroupParent().empty() ? "process group and subreaper" : "cgroup v2");
  group.Remove();
}

TEST(JobGroupTest, LimitsAreSetOrSaidToBeMissing) {
  const JobGroup group = JobGroup::Create(UniqueName(), {.memory_mib = 64, .cpus = 0.5});
  EXPECT_NE(group.Description().find("memory limit"), std::string::npos) << group.Description();
  EXPECT_NE(group.Description().find("cpu limit"), std::string::npos) << group.Description();
  group.Remove();
}

TEST(JobGroupTest, KillAllReachesASessionOfItsOwn) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const JobGroup group = JobGroup::Create(UniqueName(), {});
  const pid_t child = ::fork();
  if (child == 0) {
    if (!group.Enter(0)) ::_exit(1);
    if (::fork() == 0) {
      ::setsid();
      ::pause();
    }
    ::pause();
  }
  ASSERT_TRUE(group.Enter(child));
  while (group.Processes().size() < 2) {
    ASSERT_EQ(::kill(child, 0), 0);
    ::usleep(1000);
  }
  group.KillAll();
  EXPECT_TRUE(group.Processes().empty());
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
  group.Remove();
}

}  // namespace
}  // namespace px::launcher
