#include "tests/testing/small_disk.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/unique_fd.h"
#include "tests/testing/mount_fixture.h"

namespace px::testing {
namespace {

using std::chrono::seconds;

Status Command(const std::vector<std::string>& argv) {
  const RunResult result = Execute(argv, seconds(60));
  if (result.exit_code == 0) return {};
  return Fail(EOPNOTSUPP, argv[0] + ": " + result.output);
}

}  // namespace

SmallDisk::SmallDisk(std::string directory)
    : directory_(std::move(directory)), disk_(directory_ + "/disk"), root_(directory_ + "/mnt") {}

Result<std::unique_ptr<SmallDisk>> SmallDisk::Create(const std::string& type, uint64_t megabytes) {
  if (::geteuid() != 0) return Fail(EOPNOTSUPP, "needs root");
  if (::access("/dev/fuse", F_OK) != 0) return Fail(EOPNOTSUPP, "there is no /dev/fuse");
  const char* base = std::getenv("TMPDIR");
  std::string directory = std::string(base != nullptr && *base != '\0' ? base : "/tmp") +
                          "/px-mount-test." + std::to_string(::getpid()) + ".XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr) return FailErrno("mkdtemp " + directory);
  ::chmod(directory.c_str(), 0755);
  std::unique_ptr<SmallDisk> disk(new SmallDisk(directory));
  const std::string image = directory + "/image";
  {
    const UniqueFd fd(::open(image.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(megabytes << 20)) != 0) {
      return FailErrno("create " + image);
    }
  }
  ::mkdir(disk->disk_.c_str(), 0755);
  ::mkdir(disk->root_.c_str(), 0755);
  if (type == "xfs") {
    PX_TRY(Command({"mkfs.xfs", "-q", "-m", "reflink=1", image}));
  } else if (type == "large-blocks") {
    PX_TRY(Command(
        {"mkfs.xfs", "-q", "-b", "size=16384", "-m", "reflink=0,rmapbt=0,finobt=1", image}));
  } else if (type == "btrfs-quota") {
    PX_TRY(Command({"mkfs.btrfs", "-q", image}));
  } else if (type == "few-inodes") {
    PX_TRY(Command({"mkfs.ext4", "-q", "-m", "0", "-N", "2000", image}));
  } else {
    PX_TRY(Command({"mkfs.ext4", "-q", "-m", "0", image}));
  }
  disk->options_ = type == "ext4" ? "loop,errors=remount-ro" : "loop";
  PX_TRY(Command({"mount", "-o", disk->options_, image, disk->disk_}));
  if (type == "btrfs-quota") {
    // As quota of a subvolume, since not every kernel has that of ext4 and XFS.
    PX_TRY(Command({"btrfs", "quota", "enable", disk->disk_}));
    PX_TRY(Command({"btrfs", "subvolume", "create", disk->store()}));
    PX_TRY(
        Command({"btrfs", "qgroup", "limit", std::to_string(megabytes / 3) + "M", disk->store()}));
  }
  return disk;
}

SmallDisk::~SmallDisk() {
  if (!Unmount()) KillDaemon();
  ::umount2(disk_.c_str(), MNT_DETACH);
  std::error_code ignored;
  std::filesystem::remove(directory_ + "/image", ignored);
  std::filesystem::remove(directory_ + "/daemon.log", ignored);
  for (const std::string& name : {disk_, root_, directory_}) ::rmdir(name.c_str());
}

Status SmallDisk::Mount(const std::string& options) {
  std::vector<std::string> argv = {MountFixture::PxFsProgram(), "mount", "--store", store()};
  if (!options.empty()) argv.insert(argv.end(), {"-o", options});
  argv.push_back(root_);
  const RunResult result = Execute(argv, seconds(60));
  if (result.exit_code == 0) return {};
  return Fail(EIO, "px-fs mount: " + result.output);
}

Status SmallDisk::Unmount() {
  struct stat above{}, here{};
  ::stat(directory_.c_str(), &above);
  if (::stat(root_.c_str(), &here) == 0 && above.st_dev == here.st_dev) return {};
  const RunResult result = PxFs({"umount", root_});
  if (result.exit_code == 0) return {};
  return Fail(EBUSY, "px-fs umount: " + result.output);
}

void SmallDisk::KillDaemon() {
  for (const pid_t pid : ProcessesNaming(root_)) KillAndAwait(pid);
  ::umount2(root_.c_str(), MNT_DETACH);
}

void SmallDisk::StopDisk() const {
  const UniqueFd fd(::open(disk_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  uint32_t no_log_flush = 2;
  // XFS_IOC_GOINGDOWN, which ext4 has too.
  ::ioctl(fd.get(), _IOR('X', 125, uint32_t), &no_log_flush);
}

Status SmallDisk::RestartDisk() const {
  if (::umount2(disk_.c_str(), 0) != 0) return FailErrno("umount " + disk_);
  return Command({"mount", "-o", options_, directory_ + "/image", disk_});
}

Status SmallDisk::LiftQuota() const {
  return Command({"btrfs", "qgroup", "limit", "none", store()});
}

Status SmallDisk::TriggerError() const {
  struct stat info{};
  if (::stat(disk_.c_str(), &info) != 0) return FailErrno("stat " + disk_);
  const std::string device = "/sys/dev/block/" + std::to_string(major(info.st_dev)) + ":" +
                             std::to_string(minor(info.st_dev));
  std::error_code error;
  const std::string name = std::filesystem::canonical(device, error).filename();
  if (error) return Fail(error.value(), device);
  std::ofstream file("/sys/fs/ext4/" + name + "/trigger_fs_error");
  if (!(file << "asked for by a test" << std::flush)) return Fail(EOPNOTSUPP, "trigger_fs_error");
  return {};
}

struct statvfs SmallDisk::Space() const {
  struct statvfs space{};
  ::statvfs(disk_.c_str(), &space);
  return space;
}

uint64_t SmallDisk::FreeBytes() const {
  const struct statvfs space = Space();
  return uint64_t{space.f_bfree} * space.f_frsize;
}

RunResult SmallDisk::PxFs(const std::vector<std::string>& args) {
  std::vector<std::string> argv = {MountFixture::PxFsProgram()};
  argv.insert(argv.end(), args.begin(), args.end());
  return Execute(argv);
}

std::string SmallDisk::Log() const {
  std::ifstream file(store() + "/px-fs.log");
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

}  // namespace px::testing
