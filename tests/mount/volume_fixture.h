// VolumeTest: a PosixTest whose working directory is in the root volume, where volumes can be made.
#pragma once

#include <string>
#include <vector>

#include "tests/mount/posix.h"
#include "tests/mount/tree.h"
#include "tests/mount/volume.h"

namespace px::testing {

class VolumeTest : public PosixTest {
 protected:
  std::string Parent() override { return TheMount().root(); }

  void TearDown() override {
    if (!IsSkipped() && !HasFailure()) {
      for (const std::string& name : List(".")) {
        const int error = DropVolume(name);
        EXPECT_TRUE(error == 0 || error == ENOTDIR) << name << ": " << strerrorname_np(error);
      }
    }
    PosixTest::TearDown();
  }

  // A volume with a little of everything.
  static void MakeTree(const std::string& path);

  static void Create(const std::string& path) { ASSERT_EQ(CreateVolume(path), 0) << path; }
  static void Clone(const std::string& source, const std::string& target) {
    ASSERT_EQ(CloneVolume(source, target), 0) << source << " to " << target;
  }
};

}  // namespace px::testing
