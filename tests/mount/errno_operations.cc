#include "tests/mount/errno_operations.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string_view>

#include "tests/mount/process.h"
#include "tests/mount/volume.h"

namespace px::testing {
namespace {

constexpr size_t kSmall = 20'000;
constexpr size_t kLarge = size_t{1'200'000};  // kept when renamed over, read by reflink

int Error(int64_t result) { return result < 0 ? errno : 0; }

std::string Bytes(size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>('a' + (i / 7 + seed + i * seed) % 26);
  return bytes;
}

int OpenInto(UniqueFd* fd, const std::string& path, int flags) {
  fd->Reset(::open(path.c_str(), flags | O_CLOEXEC, 0644));
  return *fd ? 0 : errno;
}

int WriteAt(int fd, std::string_view bytes, off_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    if (put < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(put));
    offset += put;
  }
  return 0;
}

int Put(const std::string& path, std::string_view bytes) {
  UniqueFd fd;
  if (const int error = OpenInto(&fd, path, O_CREAT | O_WRONLY | O_TRUNC)) return error;
  return WriteAt(fd.get(), bytes, 0);
}

// Two bytes of each block: a wrong one shows in what the reader makes of it.
int ReadBack(int fd, const std::string& wanted) {
  std::string got(wanted.size() + 1, '\0');
  size_t done = 0;
  for (;;) {
    const ssize_t n = ::pread(fd, got.data() + done, got.size() - done, static_cast<off_t>(done));
    if (n < 0) return errno;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  got.resize(done);
  return got == wanted ? 0 : EBADMSG;
}

int ReadBack(const std::string& path, const std::string& wanted) {
  UniqueFd fd;
  if (const int error = OpenInto(&fd, path, O_RDONLY)) return error;
  return ReadBack(fd.get(), wanted);
}

// A volume "v" with a small and a large file, a directory and a symlink.
int MakeVolume(const Attempt& at) {
  int error = CreateVolume(at.In("v"));
  if (error == 0) error = Put(at.In("v/small"), Bytes(kSmall, 1));
  if (error == 0) error = Put(at.In("v/large"), Bytes(kLarge, 2));
  if (error == 0) error = Error(::mkdir(at.In("v/dir").c_str(), 0755));
  if (error == 0) error = Put(at.In("v/dir/inner"), "inner");
  if (error == 0) error = Error(::symlink("small", at.In("v/symlink").c_str()));
  return error;
}

// And a clone "w" of it, so that every file is shared.
int MakeClone(const Attempt& at) {
  const int error = MakeVolume(at);
  return error != 0 ? error : CloneVolume(at.In("v"), at.In("w"));
}

// Opens `name` in `prepare`, so that `act` has only the call on the descriptor.
std::function<int(Attempt&)> WithOpen(const std::function<int(const Attempt&)>& make,
                                      const std::string& name, int flags) {
  return [=](Attempt& at) {
    const int error = make(at);
    return error != 0 ? error : OpenInto(&at.fd, at.In(name), flags);
  };
}

std::function<int(Attempt&)> Opens(const std::string& name, int flags) {
  return [=](Attempt& at) { return OpenInto(&at.fd, at.In(name), flags); };
}

int ListDir(const std::string& path) {
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return errno;
  errno = 0;
  while (::readdir(dir) != nullptr) errno = 0;
  const int error = errno;
  ::closedir(dir);
  return error;
}

void AddNames(std::vector<Operation>* all) {
  const auto path = [](const auto& call) {
    return [call](Attempt& at) { return Error(call(at)); };
  };
  all->push_back({"create", MakeVolume, Opens("v/new", O_CREAT | O_EXCL | O_WRONLY)});
  all->push_back({"mkdir", MakeVolume,
                  path([](Attempt& at) { return ::mkdir(at.In("v/new").c_str(), 0755); })});
  all->push_back({"mkfifo", MakeVolume,
                  path([](Attempt& at) { return ::mkfifo(at.In("v/new").c_str(), 0644); })});
  all->push_back({"symlink", MakeVolume,
                  path([](Attempt& at) { return ::symlink("dir", at.In("v/new").c_str()); })});
  all->push_back({"link", MakeVolume, path([](Attempt& at) {
                    return ::link(at.In("v/small").c_str(), at.In("v/new").c_str());
                  })});
  all->push_back(
      {"unlink", MakeVolume, path([](Attempt& at) { return ::unlink(at.In("v/large").c_str()); })});
  all->push_back({"unlink of a shared file", MakeClone,
                  path([](Attempt& at) { return ::unlink(at.In("w/large").c_str()); })});
  all->push_back({"rmdir",
                  [](Attempt& at) {
                    const int error = MakeVolume(at);
                    return error != 0 ? error : Error(::unlink(at.In("v/dir/inner").c_str()));
                  },
                  path([](Attempt& at) { return ::rmdir(at.In("v/dir").c_str()); })});
  all->push_back({"rename", MakeVolume, path([](Attempt& at) {
                    return ::rename(at.In("v/small").c_str(), at.In("v/dir/new").c_str());
                  })});
  all->push_back({"rename over a checkpoint",
                  [](Attempt& at) {
                    const int error = MakeVolume(at);
                    return error != 0 ? error : Put(at.In("v/temp"), Bytes(kLarge, 3));
                  },
                  path([](Attempt& at) {
                    return ::rename(at.In("v/temp").c_str(), at.In("v/large").c_str());
                  })});
  all->push_back({"exchange", MakeVolume, path([](Attempt& at) {
                    return ::renameat2(AT_FDCWD, at.In("v/small").c_str(), AT_FDCWD,
                                       at.In("v/dir").c_str(), RENAME_EXCHANGE);
                  })});
  all->push_back({"tmpfile and link", MakeVolume, [](Attempt& at) {
                    if (const int error = OpenInto(&at.fd, at.In("v"), O_TMPFILE | O_RDWR)) {
                      return error;
                    }
                    const std::string name = "/proc/self/fd/" + std::to_string(at.fd.get());
                    return Error(::linkat(AT_FDCWD, name.c_str(), AT_FDCWD, at.In("v/new").c_str(),
                                          AT_SYMLINK_FOLLOW));
                  }});
}

void AddAttributes(std::vector<Operation>* all) {
  all->push_back({"chmod", MakeVolume,
                  [](Attempt& at) { return Error(::chmod(at.In("v/small").c_str(), 0600)); }});
  all->push_back(
      {"utimens of an open file", WithOpen(MakeVolume, "v/small", O_RDWR), [](Attempt& at) {
         const timespec times[2] = {{1'000'000'000, 1}, {1'100'000'000, 2}};
         return Error(::futimens(at.fd.get(), times));
       }});
  all->push_back({"setxattr", MakeClone, [](Attempt& at) {
                    const std::string value(3000, 'x');
                    return Error(::setxattr(at.In("w/small").c_str(), "user.note", value.data(),
                                            value.size(), 0));
                  }});
  all->push_back(
      {"removexattr",
       [](Attempt& at) {
         const int error = MakeVolume(at);
         if (error != 0) return error;
         return Error(::setxattr(at.In("v/small").c_str(), "user.note", "1", 1, 0));
       },
       [](Attempt& at) { return Error(::removexattr(at.In("v/small").c_str(), "user.note")); }});
  all->push_back({"statfs", MakeVolume, [](Attempt& at) {
                    struct statvfs space{};
                    return Error(::statvfs(at.dir.c_str(), &space));
                  }});
}

void AddContents(std::vector<Operation>* all) {
  const std::string small = Bytes(kSmall, 1), large = Bytes(kLarge, 2);
  all->push_back({"open for reading", MakeVolume,
                  [small](Attempt& at) { return ReadBack(at.In("v/small"), small); }});
  all->push_back({"read of a shared file", MakeClone,
                  [large](Attempt& at) { return ReadBack(at.In("w/large"), large); }});
  all->push_back({"open for writing", MakeVolume, Opens("v/large", O_RDWR)});
  all->push_back({"open of a shared small file for writing", MakeClone, Opens("w/small", O_RDWR)});
  all->push_back({"open of a shared large file for writing", MakeClone, Opens("w/large", O_RDWR)});
  all->push_back({"open of a shared large file for writing while it is read",
                  WithOpen(MakeClone, "v/large", O_RDONLY),
                  [large](Attempt& at) {
                    const int error = OpenInto(&at.other, at.In("v/large"), O_RDWR);
                    const int read = ReadBack(at.fd.get(), large);
                    return error != 0 ? error : read;
                  },
                  /*partial=*/false, /*cold=*/false, /*quiet=*/true});
  all->push_back({"O_TRUNC of a checkpoint", MakeVolume, Opens("v/large", O_WRONLY | O_TRUNC)});
  all->push_back(
      {"O_TRUNC of a shared checkpoint", MakeClone, Opens("w/large", O_WRONLY | O_TRUNC)});
  all->push_back(
      {"O_TRUNC while it is read", WithOpen(MakeVolume, "v/large", O_RDONLY),
       [](Attempt& at) { return OpenInto(&at.other, at.In("v/large"), O_WRONLY | O_TRUNC); }});
  all->push_back({"write", WithOpen(MakeVolume, "v/small", O_RDWR),
                  [](Attempt& at) { return WriteAt(at.fd.get(), Bytes(300'000, 5), 10'000); },
                  /*partial=*/true});
  all->push_back({"write into a shared file", WithOpen(MakeClone, "w/large", O_RDWR),
                  [](Attempt& at) { return WriteAt(at.fd.get(), Bytes(50'000, 5), 10'001); },
                  /*partial=*/true});
  all->push_back({"read of a written shared file",
                  [](Attempt& at) {
                    int error = MakeClone(at);
                    if (error == 0) error = OpenInto(&at.fd, at.In("w/large"), O_RDWR);
                    return error != 0 ? error : WriteAt(at.fd.get(), "xyz", 10'001);
                  },
                  [large](Attempt& at) {
                    std::string wanted = large;
                    wanted.replace(10'001, 3, "xyz");
                    return ReadBack(at.fd.get(), wanted);
                  },
                  /*partial=*/false, /*cold=*/false, /*quiet=*/true});
  all->push_back({"write and close", MakeClone,
                  [](Attempt& at) {
                    int error = OpenInto(&at.fd, at.In("w/large"), O_RDWR);
                    if (error == 0) error = WriteAt(at.fd.get(), Bytes(5'000, 6), 900'000);
                    return error != 0 ? error : Error(::close(at.fd.Release()));
                  },
                  /*partial=*/true, /*cold=*/false, /*quiet=*/true});
}

void AddSizes(std::vector<Operation>* all) {
  // The object has the new size at once; the tree learns of it later if it cannot now.
  const auto add = [all](const std::string& name, const std::function<int(Attempt&)>& prepare,
                         const std::string& file, off_t size, bool partial) {
    const auto act = [=](Attempt& at) { return Error(::truncate(at.In(file).c_str(), size)); };
    all->push_back({name, prepare, act, partial, /*cold=*/false, /*quiet=*/true});
  };
  add("truncate to 0", MakeVolume, "v/large", 0, false);
  add("truncate", MakeVolume, "v/large", 10'000, false);
  // Where there are no reflinks its blocks are the file's own before the tree knows.
  add("truncate of a shared file", MakeClone, "w/large", 10'001, true);
  add("growing a small file", MakeVolume, "v/small", 5'000'000, false);
  all->push_back({"ftruncate", WithOpen(MakeClone, "w/large", O_RDWR),
                  [](Attempt& at) { return Error(::ftruncate(at.fd.get(), 10'001)); },
                  /*partial=*/true, /*cold=*/false, /*quiet=*/true});
  const auto allocates = [](int mode, off_t offset, off_t size) {
    return [=](Attempt& at) { return Error(::fallocate(at.fd.get(), mode, offset, size)); };
  };
  all->push_back({"fallocate", WithOpen(MakeVolume, "v/small", O_RDWR), allocates(0, 0, 1 << 20)});
  all->push_back({"punching a hole into a shared file", WithOpen(MakeClone, "w/large", O_RDWR),
                  allocates(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10'001, 50'000),
                  /*partial=*/true});
  all->push_back({"copy_file_range",
                  [](Attempt& at) {
                    int error = MakeClone(at);
                    if (error == 0) error = OpenInto(&at.fd, at.In("w/large"), O_RDONLY);
                    return error != 0
                               ? error
                               : OpenInto(&at.other, at.In("v/new"), O_CREAT | O_EXCL | O_RDWR);
                  },
                  [](Attempt& at) {
                    off_t in = 0, out = 0;
                    while (in < static_cast<off_t>(kLarge)) {
                      const ssize_t copied =
                          ::copy_file_range(at.fd.get(), &in, at.other.get(), &out, kLarge, 0);
                      if (copied < 0) return errno;
                      if (copied == 0) return EBADMSG;
                    }
                    return 0;
                  },
                  /*partial=*/true});
  const auto written = [](Attempt& at) {
    int error = MakeVolume(at);
    if (error == 0) error = OpenInto(&at.fd, at.In("v/new"), O_CREAT | O_RDWR);
    return error != 0 ? error : WriteAt(at.fd.get(), Bytes(100'000, 7), 0);
  };
  all->push_back({"fsync", written, [](Attempt& at) { return Error(::fsync(at.fd.get())); }});
  all->push_back(
      {"fdatasync", written, [](Attempt& at) { return Error(::fdatasync(at.fd.get())); }});
  all->push_back({"fsync of a directory",
                  [](Attempt& at) {
                    const int error = MakeVolume(at);
                    return error != 0 ? error
                                      : OpenInto(&at.fd, at.In("v"), O_RDONLY | O_DIRECTORY);
                  },
                  [](Attempt& at) { return Error(::fsync(at.fd.get())); }});
}

void AddVolumes(std::vector<Operation>* all) {
  all->push_back({"volume", MakeVolume, [](Attempt& at) { return CreateVolume(at.In("new")); }});
  all->push_back(
      {"clone", MakeVolume, [](Attempt& at) { return CloneVolume(at.In("v"), at.In("new")); }});
  all->push_back({"clone with a file open for writing",
                  [](Attempt& at) {
                    int error = MakeVolume(at);
                    if (error == 0) error = OpenInto(&at.fd, at.In("v/large"), O_RDWR);
                    return error != 0 ? error : WriteAt(at.fd.get(), "xyz", 700'000);
                  },
                  [](Attempt& at) { return CloneVolume(at.In("v"), at.In("new")); }});
  all->push_back(
      {"snapshot", MakeVolume, [](Attempt& at) { return SnapshotVolume(at.In("v"), "s"); }});
  all->push_back({"drop of a snapshot",
                  [](Attempt& at) {
                    const int error = MakeVolume(at);
                    return error != 0 ? error : SnapshotVolume(at.In("v"), "s");
                  },
                  [](Attempt& at) { return DropSnapshot(at.In("v"), "s"); }});
  all->push_back({"drop", MakeClone, [](Attempt& at) { return DropVolume(at.In("w")); }});
  all->push_back({"restore",
                  [](Attempt& at) {
                    const int error = MakeVolume(at);
                    if (error != 0) return error;
                    // Killed half-way: its old content is kept.
                    const std::string path = at.In("v/large");
                    const int code = InChild([&path] {
                      const int fd = ::open(path.c_str(), O_WRONLY | O_TRUNC);
                      if (fd < 0 || ::write(fd, "torn", 4) != 4) return 1;
                      return ::kill(::getpid(), SIGKILL);
                    });
                    return code == 128 + SIGKILL ? 0 : EIO;
                  },
                  [](Attempt& at) { return RestoreFile(at.In("v/large")); }});
}

// Large enough that most of its tree is not read by a mount.
int MakeWideVolume(const Attempt& at) {
  int error = MakeVolume(at);
  for (int i = 0; i < 400 && error == 0; ++i) {
    const std::string name = "v/dir/" + std::string(40, 'n') + std::to_string(i);
    error = Error(::symlink("target", at.In(name).c_str()));
  }
  return error;
}

void AddCold(std::vector<Operation>* all) {
  const std::string small = Bytes(kSmall, 1);
  const auto cold = [all](const std::string& name, const std::function<int(Attempt&)>& prepare,
                          const std::function<int(Attempt&)>& act) {
    all->push_back({name + ", cold", prepare, act, false, /*cold=*/true});
  };
  cold("stat", MakeWideVolume, [](Attempt& at) {
    struct stat info{};
    return Error(::stat(at.In("v/dir/inner").c_str(), &info));
  });
  cold("readdir", MakeWideVolume, [](Attempt& at) { return ListDir(at.In("v/dir")); });
  cold("readlink", MakeWideVolume, [](Attempt& at) {
    char target[100];
    return Error(::readlink(at.In("v/symlink").c_str(), target, sizeof target));
  });
  cold("read", MakeWideVolume, [small](Attempt& at) { return ReadBack(at.In("v/small"), small); });
  cold("create", MakeWideVolume, Opens("v/dir/new", O_CREAT | O_EXCL | O_WRONLY));
  cold("clone", MakeWideVolume, [](Attempt& at) { return CloneVolume(at.In("v"), at.In("new")); });
}

}  // namespace

const std::vector<Operation>& ErrnoOperations() {
  static const std::vector<Operation> kOperations = [] {
    std::vector<Operation> all;
    AddNames(&all);
    AddAttributes(&all);
    AddContents(&all);
    AddSizes(&all);
    AddVolumes(&all);
    AddCold(&all);
    return all;
  }();
  return kOperations;
}

}  // namespace px::testing
