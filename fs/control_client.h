// The caller's side of the control ioctls, for the px-fs commands. EXDEV-like mistakes come back as
// the errno that the filesystem gave; ENOTTY means that the path is not on a px filesystem.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "uapi/px_ioctl.h"

namespace px::fs {

Result<px_ioc_info> ControlInfo(const std::string& path);
Status ControlCreate(const std::string& path);
Result<uint32_t> ControlClone(const std::string& source, const std::string& target, uint32_t flags);
// Into the trash, or for good.
Status ControlDrop(const std::string& path, bool trash);
Status ControlUndelete(const std::string& path, uint32_t volume);
Status ControlTrashList(const std::string& path,
                        const std::function<void(const std::string&)>& line);
Result<px_ioc_gc> ControlGc(const std::string& path, uint32_t flags);
Status ControlSnapshot(const std::string& path, const std::string& name);
Status ControlDropSnapshot(const std::string& path, const std::string& name);
Result<px_ioc_usage> ControlUsage(const std::string& path);
// Each line of the answer, without its newline.
Status ControlDiff(const std::string& a, const std::string& b,
                   const std::function<void(const std::string&)>& line);
Status ControlChanges(const std::string& a, const std::string& b,
                      const std::function<void(const std::string&)>& line);
Status ControlList(const std::string& path, const std::function<void(const std::string&)>& line);
Status ControlVersions(const std::string& file,
                       const std::function<void(const std::string&)>& line);
// One step of a pass: the lines it gives; true while there is more. `text` is the call's argument,
// zero to begin with.
Result<bool> ControlScrub(int mount, uint64_t budget, px_ioc_text* text, const std::string& path,
                          const std::function<void(const std::string&)>& line);
Result<std::string> ControlScrubStatus(const std::string& path);
Status ControlAccept(const std::string& file);
Status ControlRestore(const std::string& file, uint64_t version);
Result<std::string> ControlStatus(const std::string& path);

}  // namespace px::fs
