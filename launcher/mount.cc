#include "launcher/mount.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "launcher/files.h"
#include "launcher/px_outputs_fs.h"

namespace px::launcher {
namespace {

// Next to this program, else by PATH.
std::string FindPxFs() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const auto beside = self.parent_path() / "px-fs";
    if (::access(beside.c_str(), X_OK) == 0) return beside.string();
  }
  return "px-fs";
}

bool IsDeadMount(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) != 0 && errno == ENOTCONN;
}

std::string Trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

Done EnsureMounted(const Config& config) {
  if (IsPxMount(config.outputs)) return {};
  PXL_TRY(MakePrivateDir(config.store));
  // Beside the store, not in it: the store is the filesystem's.
  PXL_ASSIGN(const UniqueFd lock, OpenFile(config.store + ".mount-lock", O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX) != 0) PXL_TRY(Status(FailErrno("lock " + config.store)));
  // Another command may have mounted it while this one waited.
  if (IsPxMount(config.outputs)) return {};

  const std::string px_fs = FindPxFs();
  if (IsDeadMount(config.outputs)) {
    PXL_TRY(RunProgram({px_fs, "umount", config.outputs}));
  } else {
    PXL_TRY(MakeDirs(config.outputs));
  }
  PXL_ASSIGN(const Finished mounted,
             RunProgram({px_fs, "mount", "--store", config.store, config.outputs}));
  if (mounted.exit_code == 127) {
    return Refuse(ExitCode::kFailed, "cannot find px-fs, which serves the outputs",
                  "install it next to px-launch or on the PATH");
  }
  if (mounted.exit_code != 0 || !IsPxMount(config.outputs)) {
    return Refuse(ExitCode::kFailed,
                  "cannot mount the outputs at " + config.outputs + ": " + Trimmed(mounted.output),
                  px_fs + " mount --foreground --store " + config.store + " " + config.outputs);
  }
  return {};
}

}  // namespace px::launcher
