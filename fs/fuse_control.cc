#include "fs/fuse_control.h"

#include <unistd.h>

#include <cstring>

#include "base/log.h"
#include "uapi/px_ioctl.h"

namespace px::fs {
namespace {

template <typename T>
Result<T> ArgumentOf(std::string_view bytes) {
  T argument{};
  if (bytes.size() != sizeof argument) return Fail(EINVAL);
  std::memcpy(&argument, bytes.data(), sizeof argument);
  return argument;
}

Result<std::string> NameOf(const char (&name)[PX_NAME_MAX + 1]) {
  const void* end = std::memchr(name, 0, sizeof name);
  if (end == nullptr) return Fail(EINVAL);
  return std::string(name);
}

template <typename T>
Status Reply(fuse_req_t req, const T& out, size_t out_size) {
  if (out_size < sizeof out) return Fail(EINVAL);
  fuse_reply_ioctl(req, 0, &out, sizeof out);
  return {};
}

// Runs `body` on a control thread; it answers the request or returns why not.
Status Later(fuse_req_t req, FuseSession& session, std::function<Status()> body) {
  session.Defer([req, body = std::move(body)] {
    try {
      if (const Status status = body(); !status) ReplyFailure(req, status.error());
    } catch (const std::bad_alloc&) {
      fuse_reply_err(req, ENOMEM);
    } catch (const std::exception& error) {
      LogError("a control call failed: {}", error.what());
      fuse_reply_err(req, EIO);
    }
  });
  return {};
}

Status ServeNamed(fuse_req_t req, FuseSession& session, NodeKey node, unsigned command,
                  const std::string& name) {
  return Later(req, session, [req, &session, node, command, name]() -> Status {
    Filesystem& fs = session.filesystem();
    const Caller caller = CallerOf(req);
    switch (command) {
      case PX_IOC_CREATE:
        PX_TRY(fs.CreateVolume(node, name, caller));
        break;
      case PX_IOC_DROP:
        PX_TRY(fs.DropVolume(node, name, /*trash=*/false, caller));
        break;
      case PX_IOC_TRASH:
        PX_TRY(fs.DropVolume(node, name, /*trash=*/true, caller));
        break;
      case PX_IOC_SNAPSHOT:
        PX_TRY(fs.Snapshot(node, name, caller));
        break;
      case PX_IOC_ACCEPT:
        PX_TRY(fs.AcceptDamaged(node, name, caller));
        break;
      default:
        PX_TRY(fs.DropSnapshot(node, name, caller));
    }
    fuse_reply_ioctl(req, 0, nullptr, 0);
    return {};
  });
}

Status ServeText(fuse_req_t req, FuseSession& session, NodeKey node, unsigned command,
                 std::string_view argument, size_t out_size) {
  PX_ASSIGN(const px_ioc_text request, ArgumentOf<px_ioc_text>(argument));
  if (out_size < sizeof request) return Fail(EINVAL);
  // Too large for a capture by value in a std::function to be wanted on a stack.
  auto text = std::make_shared<px_ioc_text>(request);
  return Later(req, session, [req, &session, node, command, text, out_size]() -> Status {
    Filesystem& fs = session.filesystem();
    const Caller caller = CallerOf(req);
    const bool changes = command == PX_IOC_CHANGES;
    if (command == PX_IOC_DIFF || changes) PX_TRY(fs.Diff(node, changes, text.get(), caller));
    if (command == PX_IOC_VERSIONS) PX_TRY(fs.ListVersions(node, text.get(), caller));
    if (command == PX_IOC_TRASH_LIST) PX_TRY(fs.ListTrash(text.get(), caller));
    if (command == PX_IOC_LIST) PX_TRY(fs.ListVolumes(node, text.get(), caller));
    if (command == PX_IOC_SCRUB) PX_TRY(fs.ScrubStep(text.get(), caller));
    if (command == PX_IOC_STATUS || command == PX_IOC_SCRUB_STATUS) {
      const std::string json =
          command == PX_IOC_STATUS ? session.StatusJson() : fs.ScrubStatusJson();
      std::memset(text->cursor, 0, sizeof text->cursor);
      text->length = static_cast<uint32_t>(std::min<size_t>(json.size(), PX_TEXT_MAX));
      std::memcpy(text->text, json.data(), text->length);
    }
    return Reply(req, *text, out_size);
  });
}

}  // namespace

Status ServeControl(fuse_req_t req, FuseSession& session, NodeKey node, unsigned command,
                    std::string_view argument, size_t out_size) {
  switch (command) {
    case PX_IOC_INFO: {
      PX_ASSIGN(const px_ioc_info info, session.filesystem().Info(node));
      return Reply(req, info, out_size);
    }
    case PX_IOC_TOKEN: {
      PX_ASSIGN(const px_ioc_token token, session.filesystem().IssueToken(node, CallerOf(req)));
      return Reply(req, token, out_size);
    }
    case PX_IOC_CREATE:
    case PX_IOC_DROP:
    case PX_IOC_TRASH:
    case PX_IOC_SNAPSHOT:
    case PX_IOC_SNAPSHOT_DROP:
    case PX_IOC_ACCEPT: {
      PX_TRY(session.RefuseIfReadOnly());
      PX_ASSIGN(const px_ioc_name named, ArgumentOf<px_ioc_name>(argument));
      PX_ASSIGN(const std::string name, NameOf(named.name));
      return ServeNamed(req, session, node, command, name);
    }
    case PX_IOC_CLONE: {
      PX_TRY(session.RefuseIfReadOnly());
      PX_ASSIGN(px_ioc_clone clone, ArgumentOf<px_ioc_clone>(argument));
      PX_ASSIGN(const std::string name, NameOf(clone.name));
      return Later(req, session, [req, &session, node, clone, name, out_size]() mutable -> Status {
        PX_ASSIGN(
            const cow::VolumeId volume,
            session.filesystem().CloneVolume(node, name, clone.source, clone.flags, CallerOf(req)));
        clone.volume = volume.value;
        return Reply(req, clone, out_size);
      });
    }
    case PX_IOC_USAGE:
      return Later(req, session, [req, &session, node, out_size]() -> Status {
        PX_ASSIGN(const Usage usage, session.filesystem().MeasureUsage(node, CallerOf(req)));
        const px_ioc_usage out{usage.inodes, usage.logical_bytes, usage.allocated_bytes,
                               usage.exclusive_bytes, usage.shared_bytes};
        return Reply(req, out, out_size);
      });
    case PX_IOC_RESTORE: {
      PX_TRY(session.RefuseIfReadOnly());
      PX_ASSIGN(const px_ioc_restore restore, ArgumentOf<px_ioc_restore>(argument));
      PX_ASSIGN(const std::string name, NameOf(restore.name));
      return Later(req, session, [req, &session, node, restore, name]() -> Status {
        PX_TRY(session.filesystem().RestoreVersion(node, name, restore.version, CallerOf(req)));
        fuse_reply_ioctl(req, 0, nullptr, 0);
        return {};
      });
    }
    case PX_IOC_UNDELETE: {
      PX_TRY(session.RefuseIfReadOnly());
      PX_ASSIGN(const px_ioc_undelete undelete, ArgumentOf<px_ioc_undelete>(argument));
      PX_ASSIGN(const std::string name, NameOf(undelete.name));
      return Later(req, session, [req, &session, node, undelete, name]() -> Status {
        PX_TRY(session.filesystem().Undelete(node, name, cow::VolumeId{undelete.volume},
                                             CallerOf(req)));
        fuse_reply_ioctl(req, 0, nullptr, 0);
        return {};
      });
    }
    case PX_IOC_GC: {
      PX_ASSIGN(px_ioc_gc gc, ArgumentOf<px_ioc_gc>(argument));
      if ((gc.flags & PX_GC_DRY_RUN) == 0) PX_TRY(session.RefuseIfReadOnly());
      return Later(req, session, [req, &session, gc, out_size]() mutable -> Status {
        PX_TRY(session.filesystem().CollectGarbage(&gc, CallerOf(req)));
        return Reply(req, gc, out_size);
      });
    }
    case PX_IOC_DIFF:
    case PX_IOC_CHANGES:
    case PX_IOC_STATUS:
    case PX_IOC_LIST:
    case PX_IOC_VERSIONS:
    case PX_IOC_TRASH_LIST:
    case PX_IOC_SCRUB:
    case PX_IOC_SCRUB_STATUS:
      return ServeText(req, session, node, command, argument, out_size);
    default:
      return Fail(ENOTTY);
  }
}

}  // namespace px::fs
