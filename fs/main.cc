// px-fs: the commands over the experiments filesystem. Only here do errors become exit codes
// (STYLE.md's table).
#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <ctime>
#include <filesystem>
#include <functional>
#include <utility>

#include "base/log.h"
#include "fs/control_client.h"
#include "fs/fsck.h"
#include "fs/keeper_state.h"
#include "fs/mount_command.h"
#include "fs/mount_helper.h"
#include "fs/receive.h"
#include "fs/scrub_command.h"
#include "fs/send.h"

namespace px::fs {
namespace {

using Json = nlohmann::ordered_json;

enum ExitCode { kOk = 0, kFailed = 1, kUsage = 2, kNotFound = 10, kBusy = 11, kCorrupt = 12 };

int ExitCodeOf(int error) {
  switch (error) {
    case ENOENT:
      return kNotFound;
    case EBUSY:
    case ETXTBSY:
      return kBusy;
    case EUCLEAN:
    case EBADMSG:
      return kCorrupt;
    case EINVAL:
      return kUsage;
    default:
      return kFailed;
  }
}

// What to do next, by error; empty where the message says it all.
std::string HintFor(int error, const std::string& command) {
  if (error == ENOTTY) return "mount a store first: px-fs mount --store DIR MOUNTPOINT";
  if (error == ENOTCONN) return "px-fs umount MOUNTPOINT, then mount it again";
  if (error == EOPNOTSUPP && command == "restart") {
    return "px-fs umount MOUNTPOINT, then mount it again";
  }
  if (error == EXDEV) return "volumes do not nest: name a target outside every volume";
  if (error == EEXIST) return "choose another name, or remove what is there first";
  if (error == EBUSY && command == "umount") return "see who uses it: fuser -vm MOUNTPOINT";
  if (error == EBUSY && command == "rm") return "stop what has files open in it";
  if (error == EBUSY && command == "mount") return "see the mounts: grep fuse.px /proc/mounts";
  if ((error == EACCES || error == EPERM) && command == "mount") {
    return "run as root, or ask for read and write permission on /dev/fuse and install fuse3";
  }
  if (error == ENOENT && command == "mount") return "make the directory first: mkdir -p MOUNTPOINT";
  if (error == EPERM) return "only the owner of a volume or root may do that";
  if (error == ENOTDIR && command == "rm") return "it is not a volume: use rm -r";
  if (command == "receive" && (error == EBADMSG || error == ENODATA)) {
    return "go on where it broke: px-fs send --resume \"$(px-fs receive --token PATH)\"";
  }
  if (command == "send" && error == EINVAL) {
    return "px-fs snapshot VOLUME NAME; px-fs send VOLUME/.snapshots/NAME > FILE";
  }
  if (error == EUCLEAN && command == "fsck") {
    return "copy the store's directory, then: px-fs fsck --repair STORE";
  }
  if (error == EUCLEAN || error == EBADMSG) return "px-fs fsck STORE";
  return {};
}

int Finish(const Status& status, const std::string& command) {
  if (status) return kOk;
  const int code = status.error().code();
  fmt::print(stderr, "px-fs: error: {}: {}\n", command, status.error().ToString());
  if (const std::string hint = HintFor(code, command); !hint.empty())
    fmt::print(stderr, "hint: {}\n", hint);
  return ExitCodeOf(code);
}

std::string Size(uint64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

Status PrintUsage(const std::vector<std::string>& paths, bool json) {
  Json all = Json::array();
  if (!json) {
    fmt::print("{:<40} {:>10} {:>12} {:>12} {:>12} {:>12}\n", "VOLUME", "INODES", "LOGICAL",
               "ON DISK", "ALONE", "SHARED");
  }
  for (const std::string& path : paths) {
    PX_ASSIGN(const px_ioc_usage usage, ControlUsage(path));
    if (json) {
      all.push_back({{"path", path},
                     {"inodes", usage.inodes},
                     {"logical_bytes", usage.logical_bytes},
                     {"allocated_bytes", usage.allocated_bytes},
                     {"exclusive_bytes", usage.exclusive_bytes},
                     {"shared_bytes", usage.shared_bytes}});
      continue;
    }
    fmt::print("{:<40} {:>10} {:>12} {:>12} {:>12} {:>12}\n", path, usage.inodes,
               Size(usage.logical_bytes), Size(usage.allocated_bytes), Size(usage.exclusive_bytes),
               Size(usage.shared_bytes));
  }
  if (json) fmt::print("{}\n", all.dump(2));
  return {};
}

Status PrintDiff(const std::string& a, const std::string& b, bool json) {
  Json all = Json::array();
  PX_TRY(ControlDiff(a, b, [&](const std::string& line) {
    Json change = Json::parse(line, nullptr, false);
    if (json) {
      all.push_back(std::move(change));
      return;
    }
    const std::string kind = change.value("change", "?");
    const char mark = kind == "added" ? '+' : kind == "removed" ? '-' : 'M';
    fmt::print("{} {}{}\n", mark, change.value("path", "?"),
               change.value("type", "") == "dir" ? "/" : "");
  }));
  if (json) fmt::print("{}\n", all.dump(2));
  return {};
}

using Lines = std::function<void(const std::string&)>;

// The lines of a listing; with --json they are printed, and nothing is left for the caller to do.
Result<Json> Listed(const std::function<Status(const Lines&)>& list, bool json) {
  Json all = Json::array();
  PX_TRY(list([&](const std::string& line) { all.push_back(Json::parse(line, nullptr, false)); }));
  if (json) fmt::print("{}\n", std::exchange(all, Json::array()).dump(2));
  return all;
}

Status PrintVolumes(const std::string& path, bool json) {
  PX_ASSIGN(const Json all,
            Listed([&](const Lines& lines) { return ControlList(path, lines); }, json));
  if (json) return {};
  fmt::print("{:<40} {:>8} {:<10} {}\n", "VOLUME", "ID", "MODE", "SNAPSHOTS");
  for (const Json& volume : all) {
    std::string snapshots;
    for (const Json& name : volume.value("snapshots", Json::array())) {
      snapshots += (snapshots.empty() ? "" : " ") + name.get<std::string>();
    }
    fmt::print("{:<40} {:>8} {:<10} {}\n", volume.value("path", "?"), volume.value("volume", 0u),
               volume.value("readonly", false) ? "read-only" : "writable", snapshots);
  }
  return {};
}

std::string When(int64_t ns) {
  const auto seconds = static_cast<time_t>(ns / 1'000'000'000);
  tm utc{};
  ::gmtime_r(&seconds, &utc);
  char when[32];
  std::strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &utc);
  return when;
}

Status PrintVersions(const std::string& file, bool json) {
  PX_ASSIGN(const Json all,
            Listed([&](const Lines& lines) { return ControlVersions(file, lines); }, json));
  if (json) return {};
  fmt::print("{:<22} {:>12}  {:<6}  {}\n", "VERSION", "SIZE", "CLOSED", "REPLACED");
  for (const Json& version : all) {
    fmt::print("{:<22} {:>12}  {:<6}  {}\n", version.value("version", uint64_t{0}),
               Size(version.value("size", uint64_t{0})),
               version.value("closed", true) ? "yes" : "no",
               When(version.value("replaced_ns", int64_t{0})));
  }
  return {};
}

// What the keeper says, where no daemon would answer.
Result<Json> StatusOf(const std::string& path) {
  const auto kept = ReadKeeperState(path);
  if (kept && kept->Is(kGaveUp)) {
    return Fail(ENOTCONN, fmt::format("{} ({}; see {}/px-fs.log)", path, kept->state, kept->store));
  }
  if (kept && kept->Is(kWaiting)) {
    return Json{{"state", kept->state},
                {"keeper_pid", kept->keeper},
                {"restarts", kept->restarts},
                {"crashes", kept->crashes},
                {"last_signal", kept->last_signal}};
  }
  PX_ASSIGN(const std::string text, ControlStatus(path));
  Json status = Json::parse(text, nullptr, false);
  status["state"] = kServing;
  return status;
}

Status PrintStatus(const std::string& path, bool json) {
  PX_ASSIGN(const Json status, StatusOf(path));
  if (json) {
    fmt::print("{}\n", status.dump(2));
    return {};
  }
  for (const auto& [key, value] : status.items()) fmt::print("{:<18} {}\n", key, value.dump());
  return {};
}

// Both `.snapshots/NAME` and a plain volume path may be removed.
Status Remove(const std::string& path, bool trash) {
  std::filesystem::path full = std::filesystem::path(path).lexically_normal();
  if (!full.has_filename()) full = full.parent_path();
  if (full.parent_path().filename() == ".snapshots") {
    return ControlDropSnapshot(full.parent_path().parent_path(), full.filename());
  }
  return ControlDrop(full, trash);
}

Status PrintTrash(const std::string& path, bool json) {
  PX_ASSIGN(const Json all,
            Listed([&](const Lines& lines) { return ControlTrashList(path, lines); }, json));
  if (json) return {};
  fmt::print("{:<40} {:>8}  {:<24} {}\n", "VOLUME", "ID", "DROPPED", "KEPT UNTIL");
  for (const Json& volume : all) {
    fmt::print("{:<40} {:>8}  {:<24} {}\n", volume.value("path", "?"), volume.value("volume", 0u),
               When(volume.value("dropped_ns", int64_t{0})),
               When(volume.value("expires_ns", int64_t{0})));
  }
  return {};
}

Status CollectGarbage(const std::string& path, bool dry_run, bool all, bool json) {
  PX_ASSIGN(const px_ioc_gc gc,
            ControlGc(path, (dry_run ? PX_GC_DRY_RUN : 0) | (all ? PX_GC_ALL : 0)));
  if (json) {
    fmt::print("{}\n", Json{{"dry_run", dry_run},
                            {"volumes", gc.volumes},
                            {"bytes", gc.bytes},
                            {"shared_bytes", gc.shared_bytes}}
                           .dump(2));
    return {};
  }
  fmt::print("{} volumes {}: {} ({} bytes)\n", gc.volumes, dry_run ? "would go" : "went",
             Size(gc.bytes), gc.bytes);
  if (gc.shared_bytes > 0) {
    fmt::print("and up to {} in blocks that are shared by reflink\n", Size(gc.shared_bytes));
  }
  return {};
}

Status RunSend(const SendRequest& request) {
  if (::isatty(STDOUT_FILENO) == 1) {
    return Fail(EINVAL, "the stream goes to standard output: into a file, or to px-fs receive");
  }
  PX_ASSIGN(const SendReport report, Send(request, STDOUT_FILENO));
  fmt::print(stderr, "sent {} entries, {}\n", report.steps, Size(report.bytes));
  return {};
}

Status RunReceive(const std::string& path, bool token) {
  if (token) {
    PX_ASSIGN(const std::string text, ReceiveToken(path));
    fmt::print("{}\n", text);
    return {};
  }
  PX_ASSIGN(const ReceiveReport report, Receive(path, STDIN_FILENO));
  fmt::print(stderr, "received {}: {} entries, {} of data\n", report.name, report.steps,
             Size(report.bytes));
  if (!report.owners_kept) {
    fmt::print(stderr,
               "note: files of other owners are yours here: only root can give them away\n");
  }
  return {};
}

int RunFsck(const std::string& store, const FsckRequest& request, bool json) {
  Json lines = Json::array();
  const auto report = Fsck(store, request, [&](const std::string& line) {
    if (json) {
      lines.push_back(line);
    } else {
      fmt::print("{}\n", line);
    }
  });
  if (!report) return Finish(Forward(report.error()), "fsck");
  if (json) {
    fmt::print("{}\n", Json{{"findings", report->findings},
                            {"repaired", report->repaired},
                            {"volumes", report->volumes},
                            {"inodes", report->inodes},
                            {"objects", report->objects},
                            {"verified_bytes", report->bytes},
                            {"lines", lines}}
                           .dump(2));
  } else {
    fmt::print("{} volumes, {} inodes, {} objects: {}\n", report->volumes, report->inodes,
               report->objects,
               report->findings == 0 ? "clean" : fmt::format("{} findings", report->findings));
    if (request.data) fmt::print("{} of data are as they were sealed\n", Size(report->bytes));
    if (report->findings > 0 && !request.repair) {
      fmt::print("next: px-fs fsck --repair {}\n", store);
    }
  }
  const bool repaired = request.repair && report->repaired == report->findings;
  return report->findings == 0 || repaired ? kOk : kCorrupt;
}

// What a finding means, for people.
std::string Describe(const Json& finding) {
  const std::string kind = finding.value("kind", "?");
  const std::string text = finding.value("text", "");
  if (kind == "node" || kind == "count") return text;
  if (kind == "damaged") return "other bytes than were written";
  if (kind == "changed") return "damaged, or changed in the store's directory by somebody";
  if (kind == "doubtful") {
    return "other bytes than when it was last verified; it was being written when the machine went "
           "down, or is damaged";
  }
  if (kind == "missing") return "its object is missing";
  if (kind == "truncated") return "its object is too short";
  return kind + (text.empty() ? "" : ": " + text);
}

void PrintFinding(const Json& finding) {
  std::string paths;
  for (const Json& path : finding.value("paths", Json::array())) {
    paths += (paths.empty() ? "" : ", ") + path.get<std::string>();
  }
  const std::string object = finding.value("object", "");
  // Of no file in particular.
  if (paths.empty() && object.empty()) return fmt::print("{}\n", finding.value("text", ""));
  fmt::print("{}: {}{}\n", paths.empty() ? "(no name)" : paths, Describe(finding),
             object.empty() ? "" : " (object " + object + ")");
}

int PrintScrubEnd(const Json& progress, uint64_t findings) {
  fmt::print(
      "{} nodes, {} of {} files' objects: {} verified, {} sealed, {} in use, {} doubtful: {}\n",
      progress.value("nodes", uint64_t{0}), progress.value("objects_done", uint64_t{0}),
      progress.value("objects", uint64_t{0}), Size(progress.value("verified_bytes", uint64_t{0})),
      progress.value("sealed", uint64_t{0}), progress.value("busy", uint64_t{0}),
      progress.value("doubtful", uint64_t{0}),
      findings == 0 ? "clean" : fmt::format("{} damaged", findings));
  return findings == 0 ? kOk : kCorrupt;
}

int PrintScrub(const std::string& path, uint64_t rate, bool json) {
  const bool terminal = !json && ::isatty(STDERR_FILENO) == 1;
  Json found = Json::array();
  const auto report = RunScrub(
      path, rate,
      [&](const std::string& line) {
        Json finding = Json::parse(line, nullptr, false);
        if (terminal) fmt::print(stderr, "\r\033[K");
        if (!json) PrintFinding(finding);
        found.push_back(std::move(finding));
      },
      [&](const std::string& line) {
        if (!terminal) return;
        const Json now = Json::parse(line, nullptr, false);
        fmt::print(stderr, "\r\033[K{}: {} nodes, {} of {} objects, {}", now.value("phase", "?"),
                   now.value("nodes", uint64_t{0}), now.value("objects_done", uint64_t{0}),
                   now.value("objects", uint64_t{0}), Size(now.value("bytes", uint64_t{0})));
      });
  if (terminal) fmt::print(stderr, "\r\033[K");
  if (!report) return Finish(Forward(report.error()), "scrub");
  Json progress = Json::parse(report->progress, nullptr, false);
  if (!json) return PrintScrubEnd(progress, report->findings);
  progress["lines"] = found;
  fmt::print("{}\n", progress.dump(2));
  return report->findings == 0 ? kOk : kCorrupt;
}

Status PrintScrubStatus(const std::string& path, bool json) {
  PX_ASSIGN(const std::string text, ControlScrubStatus(path));
  const Json status = Json::parse(text, nullptr, false).value("progress", Json::object());
  if (json) {
    fmt::print("{}\n", status.dump(2));
    return {};
  }
  for (const auto& [key, value] : status.items()) fmt::print("{:<18} {}\n", key, value.dump());
  return {};
}

// As mount(8) wants it: 1 for how it was called, 32 for what failed.
int MountHelper(const std::vector<std::string>& words) {
  const Status done = RunMountHelper(words);
  if (done) return 0;
  fmt::print(stderr, "mount.fuse.px: {}\n", done.error().ToString());
  return done.error().code() == EINVAL ? 1 : 32;
}

int Main(int argc, char** argv) {
  if (argc > 0 && IsMountHelper(argv[0])) return MountHelper({argv + 1, argv + argc});
  CLI::App app("px-fs: experiments as copy-on-write volumes", "px-fs");
  app.require_subcommand(1);
  app.set_version_flag("--version", PX_VERSION);
  bool json = false;
  int result = kOk;
  const auto json_flag = [&json](CLI::App* command) {
    command->add_flag("--json", json, "Print JSON");
  };

  MountRequest mount;
  std::vector<std::string> option_lists;
  CLI::App* mount_command =
      app.add_subcommand("mount", "Mount a store; makes it if the directory is empty");
  mount_command->add_option("--store", mount.store, "The store's directory")->required();
  mount_command->add_option("-o", option_lists, "Options, separated by commas")->take_all();
  mount_command->add_flag("--foreground,-f", mount.foreground, "Serve in this process");
  mount_command->add_option("--ready-fd", mount.ready_fd)->group("");
  mount_command->add_option("--link-fd", mount.link_fd)->group("");
  mount_command->add_flag("--quiet", mount.quiet)->group("");
  mount_command->add_option("mountpoint", mount.mountpoint, "An existing directory")->required();
  mount_command->callback([&] {
    for (const std::string& list : option_lists) AddMountOptions(list, mount.options);
    const auto code = Mount(mount);
    result = code ? *code : Finish(Forward(code.error()), "mount");
  });

  std::string path, other, name;
  std::vector<std::string> paths;
  CLI::App* umount = app.add_subcommand("umount", "Unmount, and wait until the daemon is gone");
  umount->add_option("mountpoint", path)->required();
  umount->callback([&] { result = Finish(Unmount(path), "umount"); });

  CLI::App* restart = app.add_subcommand(
      "restart", "Replace the daemon by that of the installed px-fs; jobs go on");
  restart->add_option("mountpoint", path)->required();
  restart->callback([&] { result = Finish(Restart(path), "restart"); });

  CLI::App* create = app.add_subcommand("create", "Make a new, empty volume");
  create->add_option("path", path)->required();
  create->callback([&] { result = Finish(ControlCreate(path), "create"); });

  CLI::App* clone = app.add_subcommand("clone", "Clone a volume, in constant time");
  bool readonly = false;
  clone->add_option("source", path, "A volume or a snapshot")->required();
  clone->add_option("target", other, "The new volume")->required();
  clone->add_flag("--read-only", readonly, "The clone cannot be changed");
  clone->callback([&] {
    const auto cloned = ControlClone(path, other, readonly ? PX_VOLUME_READONLY : 0);
    result = Finish(cloned ? Status{} : Status(Forward(cloned.error())), "clone");
  });

  CLI::App* snapshot =
      app.add_subcommand("snapshot", "Keep a volume as it is now, as .snapshots/NAME");
  snapshot->add_option("path", path)->required();
  snapshot->add_option("name", name)->required();
  snapshot->callback([&] { result = Finish(ControlSnapshot(path, name), "snapshot"); });

  bool now = false;
  CLI::App* rm =
      app.add_subcommand("rm", "Move a volume to the trash, or drop one of its snapshots");
  rm->add_option("path", path)->required();
  rm->add_flag("--now", now, "Drop it at once, for good");
  rm->callback([&] { result = Finish(Remove(path, !now), "rm"); });

  CLI::App* trash = app.add_subcommand("trash", "What is in the trash");
  trash->add_option("path", path, "A directory of the mount");
  json_flag(trash);
  trash->callback([&] { result = Finish(PrintTrash(path, json), "trash"); });

  uint32_t volume = 0;
  CLI::App* undelete = app.add_subcommand("undelete", "Take a volume out of the trash");
  undelete->add_option("path", path, "Where it was, or, with --id, where it is to be")->required();
  undelete->add_option("--id", volume, "Which, as in px-fs trash; without it the last one there");
  undelete->callback([&] { result = Finish(ControlUndelete(path, volume), "undelete"); });

  bool dry_run = false, all = false;
  CLI::App* gc = app.add_subcommand("gc", "Drop what is in the trash beyond its age");
  gc->add_option("path", path, "A directory of the mount");
  gc->add_flag("--dry-run", dry_run, "Only say what would go, and how many bytes it frees");
  gc->add_flag("--all", all, "Of any age");
  json_flag(gc);
  gc->callback([&] { result = Finish(CollectGarbage(path, dry_run, all, json), "gc"); });

  CLI::App* ls = app.add_subcommand("ls", "List volumes and their snapshots");
  path = ".";
  ls->add_option("path", path, "A directory of the mount");
  json_flag(ls);
  ls->callback([&] { result = Finish(PrintVolumes(path, json), "ls"); });

  CLI::App* diff = app.add_subcommand("diff", "What differs between two volumes");
  diff->add_option("a", path)->required();
  diff->add_option("b", other)->required();
  json_flag(diff);
  diff->callback([&] { result = Finish(PrintDiff(path, other, json), "diff"); });

  CLI::App* usage = app.add_subcommand("usage", "What volumes hold alone and what they share");
  usage->add_option("paths", paths);
  json_flag(usage);
  usage->callback([&] {
    if (paths.empty()) paths.push_back(".");
    result = Finish(PrintUsage(paths, json), "usage");
  });

  CLI::App* status = app.add_subcommand("status", "The daemon's state and counters");
  status->add_option("mountpoint", path);
  json_flag(status);
  status->callback([&] { result = Finish(PrintStatus(path, json), "status"); });

  uint64_t version = 0;
  CLI::App* versions = app.add_subcommand("versions", "Older contents of a file that are kept");
  versions->add_option("file", path)->required();
  json_flag(versions);
  versions->callback([&] { result = Finish(PrintVersions(path, json), "versions"); });

  CLI::App* restore =
      app.add_subcommand("restore", "Exchange a file's content with a kept version of it");
  restore->add_option("file", path)->required();
  restore->add_option("--to", version,
                      "A version of px-fs versions; without it the newest that was closed");
  restore->callback([&] { result = Finish(ControlRestore(path, version), "restore"); });

  SendRequest sending;
  CLI::App* send =
      app.add_subcommand("send", "Write a snapshot, or what changed since another, to stdout");
  send->add_option("path", sending.path, "A snapshot, or a read-only volume")->required();
  send->add_option("--since", sending.since, "A snapshot that the receiver has: only what changed");
  send->add_option("--resume", sending.resume, "What px-fs receive --token says");
  send->callback([&] { result = Finish(RunSend(sending), "send"); });

  bool token = false;
  CLI::App* receive =
      app.add_subcommand("receive", "Make a read-only volume of a stream from stdin");
  receive->add_option("path", path, "The new volume")->required();
  receive->add_flag("--token", token, "Only say how to go on with a stream that broke");
  receive->callback([&] { result = Finish(RunReceive(path, token), "receive"); });

  double mib = 100;
  bool scrub_status = false, accept = false;
  CLI::App* scrub = app.add_subcommand(
      "scrub", "Read everything in a mounted store and compare it with its checksums");
  scrub->add_option("path", path, "The mount point; with --accept, a file");
  scrub->add_option("--rate", mib, "MiB of file data a second; 0: as fast as it goes")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  scrub->add_flag("--status", scrub_status, "Only say how far the present or last one is");
  scrub->add_flag("--accept", accept, "Take the bytes of a damaged file as they are");
  json_flag(scrub);
  scrub->callback([&] {
    if (accept) {
      result = Finish(ControlAccept(path), "scrub");
    } else if (scrub_status) {
      result = Finish(PrintScrubStatus(path, json), "scrub");
    } else {
      result = PrintScrub(path, static_cast<uint64_t>(mib * (1 << 20)), json);
    }
  });

  CLI::App* fsck = app.add_subcommand("fsck", "Check a store that is not mounted");
  FsckRequest checking;
  fsck->add_flag("--repair", checking.repair, "Put right what can be");
  fsck->add_flag("--data", checking.data, "Also compare files' data with their checksums");
  fsck->add_option("store", path)->required();
  json_flag(fsck);
  fsck->callback([&] { result = RunFsck(path, checking, json); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? kOk : kUsage;
  }
  return result;
}

}  // namespace
}  // namespace px::fs

int main(int argc, char** argv) { return px::fs::Main(argc, argv); }
