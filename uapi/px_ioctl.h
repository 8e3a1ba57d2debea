/* px_ioctl.h: the control interface of a mounted px filesystem, as ioctls on its files.
 *
 * Plain C, no dependency: px-fs and px-launch use it, and so may any program, also inside a
 * container that sees only the mount. Every call checks the uid, gid and groups of the caller. All
 * strings are NUL-terminated, all unused bytes zero (EINVAL if not), sizes are bytes.
 *
 * Errors common to all: ENOTTY not a px filesystem (or too old for that call), EINVAL malformed
 * argument, EACCES/EPERM not allowed, EROFS read-only volume or mount, EIO see the daemon's log.
 * When a call that changes something returns, a kill of the daemon cannot undo it; fsync of the
 * directory it was made on makes it survive power loss.
 */
#ifndef PX_IOCTL_H
#define PX_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define PX_IOC_MAGIC 0xF5
#define PX_NAME_MAX 255

struct px_ioc_name {
  char name[PX_NAME_MAX + 1];
};

/* What a file belongs to. */
struct px_ioc_info {
  __u32 abi;           /* 1 */
  __u32 volume;        /* 0: the root volume, which holds USER/PROJECT/... */
  __u64 ino;           /* within the volume; 1 is its root */
  __u32 flags;         /* PX_VOLUME_* */
  __u32 parent_volume; /* a snapshot's volume; else 0 */
  __s64 created_ns;    /* since 1970, UTC */
};
#define PX_VOLUME_READONLY 1u
#define PX_VOLUME_SNAPSHOT 2u
#define PX_VOLUME_TRASHED 4u

/* A short-lived proof that the caller could open a volume's root directory. It is good for some
 * seconds, for the same uid, and may be used more than once. */
struct px_ioc_token {
  __u8 bytes[16];
};

struct px_ioc_clone {
  struct px_ioc_token source;
  __u32 flags;  /* PX_VOLUME_READONLY or 0 */
  __u32 volume; /* out: the new volume */
  char name[PX_NAME_MAX + 1];
};

struct px_ioc_usage {
  __u64 inodes;          /* files, directories and others */
  __u64 logical_bytes;   /* sum of st_size of regular files */
  __u64 allocated_bytes; /* on disk, whether shared or not */
  __u64 exclusive_bytes; /* on disk, held by this volume alone: what dropping it would free */
  __u64 shared_bytes;    /* on disk, also held by others */
};

/* One answer of a listing: JSON text of `length` bytes; call again with `cursor` as it came back
 * while it is not all zero. */
#define PX_TEXT_MAX 15872
struct px_ioc_text {
  struct px_ioc_token other; /* in: PX_IOC_DIFF: the other volume */
  __u8 cursor[320];          /* in/out: zero to begin; opaque */
  __u32 length;              /* out */
  char text[PX_TEXT_MAX];
};

/* An older content of a file, kept because the newer one was not closed cleanly yet. */
struct px_ioc_restore {
  __u64 version; /* as PX_IOC_VERSIONS gave it; 0: the newest that was closed, or else the newest */
  char name[PX_NAME_MAX + 1];
};

struct px_ioc_undelete {
  __u32 volume; /* as PX_IOC_TRASH_LIST gave it; 0: the last one dropped that was here as `name` */
  char name[PX_NAME_MAX + 1];
};

struct px_ioc_gc {
  __u32 flags;        /* PX_GC_* */
  __u32 volumes;      /* out: how many go, snapshots not counted */
  __u64 bytes;        /* out: what that frees on the store's filesystem */
  __u64 shared_bytes; /* out: in blocks shared by reflink, which may stay in use elsewhere */
};
#define PX_GC_DRY_RUN 1u
#define PX_GC_ALL 2u /* not only what is older than the trash keeps */

/* On any file or directory. */
#define PX_IOC_INFO _IOR(PX_IOC_MAGIC, 1, struct px_ioc_info)
/* On a volume's root directory, by its owner or root. */
#define PX_IOC_TOKEN _IOR(PX_IOC_MAGIC, 2, struct px_ioc_token)
/* On the parent directory, with write permission there. The parent must be in the root volume
 * (EXDEV: volumes do not nest). EEXIST if the name is taken. */
#define PX_IOC_CREATE _IOW(PX_IOC_MAGIC, 3, struct px_ioc_name)
#define PX_IOC_CLONE _IOWR(PX_IOC_MAGIC, 4, struct px_ioc_clone)
/* On the parent directory: drops the volume `name` whole, snapshots included. ENOENT, ENOTDIR (not
 * a volume), EBUSY (a file in it is open). By the volume's owner or root. */
#define PX_IOC_DROP _IOW(PX_IOC_MAGIC, 5, struct px_ioc_name)
/* On a volume's root directory: makes .snapshots/NAME; EEXIST. Drops it; ENOENT. */
#define PX_IOC_SNAPSHOT _IOW(PX_IOC_MAGIC, 6, struct px_ioc_name)
#define PX_IOC_SNAPSHOT_DROP _IOW(PX_IOC_MAGIC, 7, struct px_ioc_name)
/* On a volume's root directory: what it holds. Cost: its number of inodes. */
#define PX_IOC_USAGE _IOR(PX_IOC_MAGIC, 8, struct px_ioc_usage)
/* On a volume's root directory: what differs from `other`, one JSON object a line:
 * {"path":…,"change":"added"|"removed"|"modified","type":"file"|"dir"|…,"size":…}, and "path_hex"
 * with the path's bytes where they are no UTF-8. */
#define PX_IOC_DIFF _IOWR(PX_IOC_MAGIC, 9, struct px_ioc_text)
/* On any file: counters and state of the daemon as one JSON object (one answer, no cursor). */
#define PX_IOC_STATUS _IOWR(PX_IOC_MAGIC, 10, struct px_ioc_text)
/* On any directory: every volume at or below it, one JSON object a line:
 * {"path":…,"volume":…,"created":…,"readonly":…,"snapshots":[…]}. */
#define PX_IOC_LIST _IOWR(PX_IOC_MAGIC, 11, struct px_ioc_text)
/* On the directory of a file whose name is in `text` (NUL-terminated): its kept versions, newest
 * first, one JSON object a line: {"version":...,"size":...,"mtime_ns":...,"closed":...,
 * "replaced_ns":...}. What was not closed may be torn. By the file's owner or root. */
#define PX_IOC_VERSIONS _IOWR(PX_IOC_MAGIC, 12, struct px_ioc_text)
/* On the directory of the file: exchanges its content with that of a kept version, which then holds
 * what the file had. ENOENT no such version, EBUSY the file is open. By the file's owner or root.
 */
#define PX_IOC_RESTORE _IOW(PX_IOC_MAGIC, 13, struct px_ioc_restore)
/* As PX_IOC_DROP, but into the trash, where the volume stays whole until its age is over or space
 * runs short. */
#define PX_IOC_TRASH _IOW(PX_IOC_MAGIC, 14, struct px_ioc_name)
/* On the directory where the volume is to be: takes it out of the trash. ENOENT, EEXIST. By the
 * volume's owner or root, with write permission on the directory. */
#define PX_IOC_UNDELETE _IOW(PX_IOC_MAGIC, 15, struct px_ioc_undelete)
/* On any directory: what the caller owns in the trash (root: all), one JSON object a line:
 * {"volume":…,"path":…,"dropped_ns":…,"expires_ns":…}; `path` is from the mount's root. */
#define PX_IOC_TRASH_LIST _IOWR(PX_IOC_MAGIC, 16, struct px_ioc_text)
/* On any directory: empties the trash of what the caller owns there (root: all) and is past its
 * age. Returns when the space is free. */
#define PX_IOC_GC _IOWR(PX_IOC_MAGIC, 17, struct px_ioc_gc)
/* As PX_IOC_DIFF, but with everything that differs: also where only attributes, times or the number
 * of names have changed, directories included; a path may come more than once. */
#define PX_IOC_CHANGES _IOWR(PX_IOC_MAGIC, 18, struct px_ioc_text)
/* On any directory: one step of a pass over everything in the store. Zero cursor: a new pass, which
 * ends any other (ESTALE there). `text` in: how many bytes of data the step may read, in decimal;
 * empty: some. Out, one JSON object a line: findings
 * {"kind":"node"|"count"|"damaged"|"changed"|"doubtful"|"missing"|"truncated"|"unreadable",
 * "object":HEX,"paths":[...],"text":...}, and last {"progress":{...}}. By root or who mounted. */
#define PX_IOC_SCRUB _IOWR(PX_IOC_MAGIC, 32, struct px_ioc_text)
/* On any file: the progress of the pass that runs or was last (one answer, no cursor). */
#define PX_IOC_SCRUB_STATUS _IOWR(PX_IOC_MAGIC, 33, struct px_ioc_text)
/* On the directory of a file: its bytes are what they are; it can be opened again. EBUSY it is open
 * for writing. By the file's owner or root. */
#define PX_IOC_ACCEPT _IOW(PX_IOC_MAGIC, 34, struct px_ioc_name)

#endif
