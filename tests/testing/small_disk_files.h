// What tests on small disks have in common: a disk whose store must be sound at the end, and what
// they write and read back.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "tests/testing/small_disk.h"

namespace px::testing {

template <typename Param>
class OnSmallDisk : public ::testing::TestWithParam<Param> {
 protected:
  void TearDown() override {
    if (disk_ == nullptr) return;
    ASSERT_TRUE(disk_->Unmount());
    const RunResult fsck = SmallDisk::PxFs({"fsck", disk_->store()});
    EXPECT_EQ(fsck.exit_code, 0) << fsck.output;
  }
  std::string In(const std::string& name) const { return disk_->root() + "/" + name; }

  std::unique_ptr<SmallDisk> disk_;  // made by the test; none where it was skipped
};

inline std::string Content(size_t number, size_t size) {
  std::string bytes(size, static_cast<char>('a' + number % 26));
  return std::to_string(number) + bytes;
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

// 0 or the errno of the first call that failed.
inline int WriteFile(const std::string& path, const std::string& content, bool sync,
                     int flags = O_EXCL) {
  const UniqueFd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC | flags, 0644));
  if (!fd) return errno;
  for (size_t done = 0; done < content.size();) {
    const ssize_t put = ::write(fd.get(), content.data() + done, content.size() - done);
    if (put < 0) return errno;
    done += static_cast<size_t>(put);
  }
  return sync && ::fsync(fd.get()) != 0 ? errno : 0;
}

}  // namespace px::testing
