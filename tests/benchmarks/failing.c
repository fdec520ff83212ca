/* Lets the n-th call that changes (or reads) something under a folder fail, as a broken or a full disk would. Preloaded
   (LD_PRELOAD) and idle until `failing_begin`; whatever a library calls libc for passes here, SQLite and Arrow too. Of a
   write that fails half is written: what a disk leaves behind when it fails is not nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char folder[PATH_MAX], part[PATH_MAX];
static size_t length;
static long first;
static int always, number, reading, told = -1;
static atomic_long seen;

/* From the `n`-th call on (0: none) for a path under `under` that contains `only`: the one call, or `ever` all after it,
   fail with `error`. `reads`: what is read counts, and nothing else. Every call is told to the open file `handle`, a line
   each. */
void failing_begin(const char *under, const char *only, long n, int ever, int error, int reads, int handle) {
    snprintf(part, sizeof part, "%s", only);
    first = n, always = ever, number = error, reading = reads, told = handle;
    atomic_store(&seen, 0);
    snprintf(folder, sizeof folder, "%s", under);
    length = strlen(folder);
}

/* Whether a full disk refuses such a call: what takes no room goes on. */
static int takes_room(const char *name) {
    return strcmp(name, "fsync") && strcmp(name, "unlink") && strcmp(name, "rmdir") && strcmp(name, "chmod");
}

static int fails(const char *name, const char *path) {
    if (reading == !!strcmp(name, "read")) return 0;
    if (number == ENOSPC && !takes_room(name)) return 0;
    if (!length || strncmp(path, folder, length) || (path[length] && path[length] != '/') || !strstr(path, part)) return 0;
    long n = atomic_fetch_add(&seen, 1) + 1;
    char line[PATH_MAX + 64];
    int size = snprintf(line, sizeof line, "%s %s\n", name, path + length);
    syscall(SYS_write, told, line, (size_t)size);
    if (!first || (always ? n < first : n != first)) return 0;
    errno = number;
    return 1;
}

static int fails_at(const char *name, int at, const char *path) {
    char whole[2 * PATH_MAX], place[64], before[PATH_MAX];
    if (path[0] == '/' || at == AT_FDCWD) return fails(name, path);
    snprintf(place, sizeof place, "/proc/self/fd/%d", at);
    ssize_t size = readlink(place, before, sizeof before - 1);
    if (size < 0) return 0;
    before[size] = 0;
    snprintf(whole, sizeof whole, "%s/%s", before, path);
    return fails(name, whole);
}

static int fails_on(const char *name, int handle) {
    char place[64], path[PATH_MAX];
    int before = errno;
    if (!length || handle == told) return 0;
    snprintf(place, sizeof place, "/proc/self/fd/%d", handle);
    ssize_t size = readlink(place, path, sizeof path - 1);
    errno = before;
    if (size < 0) return 0;
    path[size] = 0;
    return fails(name, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        int mode = va_arg(rest, int);                                                                                  \
        va_end(rest);                                                                                                  \
        if ((flags & (O_CREAT | O_WRONLY | O_RDWR)) && fails("open", path)) return -1;                                 \
        return REAL(name)(path, flags, mode);                                                                          \
    }
#define OPENAT(name)                                                                                                   \
    int name(int at, const char *path, int flags, ...) {                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        int mode = va_arg(rest, int);                                                                                  \
        va_end(rest);                                                                                                  \
        if ((flags & (O_CREAT | O_WRONLY | O_RDWR)) && fails_at("open", at, path)) return -1;                          \
        return REAL(name)(at, path, flags, mode);                                                                      \
    }
#define PWRITE(name, offset)                                                                                           \
    ssize_t name(int handle, const void *bytes, size_t size, offset where) {                                           \
        if (fails_on("pwrite", handle)) {                                                                              \
            if (size > 1) REAL(name)(handle, bytes, size / 2, where);                                                  \
            errno = number;                                                                                            \
            return -1;                                                                                                 \
        }                                                                                                              \
        return REAL(name)(handle, bytes, size, where);                                                                 \
    }
#define PREAD(name, offset)                                                                                            \
    ssize_t name(int handle, void *bytes, size_t size, offset where) {                                                 \
        return reading && fails_on("read", handle) ? -1 : REAL(name)(handle, bytes, size, where);                      \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
PREAD(pread, off_t)
PREAD(pread64, off64_t)

ssize_t read(int handle, void *bytes, size_t size) {
    return reading && fails_on("read", handle) ? -1 : REAL(read)(handle, bytes, size);
}

ssize_t write(int handle, const void *bytes, size_t size) {
    if (fails_on("write", handle)) {
        if (size > 1) REAL(write)(handle, bytes, size / 2);
        errno = number;
        return -1;
    }
    return REAL(write)(handle, bytes, size);
}

int fsync(int handle) { return fails_on("fsync", handle) ? -1 : REAL(fsync)(handle); }
int fdatasync(int handle) { return fails_on("fsync", handle) ? -1 : REAL(fdatasync)(handle); }
int ftruncate(int handle, off_t size) { return fails_on("truncate", handle) ? -1 : REAL(ftruncate)(handle, size); }
int ftruncate64(int handle, off64_t size) { return fails_on("truncate", handle) ? -1 : REAL(ftruncate64)(handle, size); }
int fchmod(int handle, mode_t mode) { return fails_on("chmod", handle) ? -1 : REAL(fchmod)(handle, mode); }
int posix_fallocate(int handle, off_t from, off_t size) {
    return fails_on("allocate", handle) ? number : REAL(posix_fallocate)(handle, from, size);
}
int posix_fallocate64(int handle, off64_t from, off64_t size) {
    return fails_on("allocate", handle) ? number : REAL(posix_fallocate64)(handle, from, size);
}
int rename(const char *old, const char *new) { return fails("rename", new) ? -1 : REAL(rename)(old, new); }
int mkdir(const char *path, mode_t mode) { return fails("mkdir", path) ? -1 : REAL(mkdir)(path, mode); }
int symlink(const char *to, const char *path) { return fails("symlink", path) ? -1 : REAL(symlink)(to, path); }
int link(const char *old, const char *path) { return fails("link", path) ? -1 : REAL(link)(old, path); }
int unlink(const char *path) { return fails("unlink", path) ? -1 : REAL(unlink)(path); }
int rmdir(const char *path) { return fails("rmdir", path) ? -1 : REAL(rmdir)(path); }
int chmod(const char *path, mode_t mode) { return fails("chmod", path) ? -1 : REAL(chmod)(path, mode); }
int unlinkat(int at, const char *path, int flags) {
    return fails_at("unlink", at, path) ? -1 : REAL(unlinkat)(at, path, flags);
}
