// What every program that works on a mount does first: become the user of its mode, make the mount,
// or say why there is none.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/testing/mount_fixture.h"

namespace px::testing {

// Becomes an ordinary user for good if the mode wants one (PX_TEST_USER, else nobody), since root
// could not even enter that user's mount; then makes the mount. EOPNOTSUPP, with the reason, where
// this machine cannot; with PX_REQUIRE_MOUNT=1 that is ENODEV, which nobody takes for a reason to
// skip.
Result<std::unique_ptr<MountFixture>> MakeMount(const MountMode& mode);

// Makes the mount and runs `body` on it; gives its exit code. Where there can be no mount, says so
// in the words of a skipped GoogleTest case called `name`, and gives 0.
int RunOnMount(const MountMode& mode, const std::string& name,
               const std::function<int(MountFixture&)>& body);

}  // namespace px::testing
