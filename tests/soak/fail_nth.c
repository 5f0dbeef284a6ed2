/* Lets the n-th read or write below a folder fail, for failing_files.py.
 *
 * FAIL_UNDER: the folder, absolute.  FAIL_KIND: read or write.  FAIL_AT: n, from 1; with 0
 * nothing fails.  FAIL_COUNT: a file that gets the number of such calls when the process
 * ends.  Reads fail with EIO; writes, synchronizing and renaming fail with EIO or ENOSPC in
 * turn. Only the n-th call fails: what comes after it works again. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static long seen = 0;

static int below(const char *path) {
  const char *folder = getenv("FAIL_UNDER");
  return folder && strncmp(path, folder, strlen(folder)) == 0;
}

/* Whether this call is the one that fails; sets errno. */
static int fails(const char *kind, const char *path) {
  const char *wanted = getenv("FAIL_KIND");
  if (!wanted || strcmp(kind, wanted) != 0 || !below(path)) return 0;
  long number = __sync_add_and_fetch(&seen, 1);
  const char *at = getenv("FAIL_AT");
  if (!at || number != atol(at)) return 0;
  errno = strcmp(kind, "write") == 0 && number % 2 ? ENOSPC : EIO;
  return 1;
}

static int fails_on(const char *kind, int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  int kept = errno;
  if (fails(kind, path)) return 1;
  errno = kept;
  return 0;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t read(int fd, void *buffer, size_t count) {
  return fails_on("read", fd) ? -1 : NEXT(read)(fd, buffer, count);
}
ssize_t pread(int fd, void *buffer, size_t count, off_t offset) {
  return fails_on("read", fd) ? -1 : NEXT(pread)(fd, buffer, count, offset);
}
ssize_t pread64(int fd, void *buffer, size_t count, off64_t offset) {
  return fails_on("read", fd) ? -1 : NEXT(pread64)(fd, buffer, count, offset);
}
ssize_t readv(int fd, const struct iovec *parts, int count) {
  return fails_on("read", fd) ? -1 : NEXT(readv)(fd, parts, count);
}
ssize_t write(int fd, const void *buffer, size_t count) {
  return fails_on("write", fd) ? -1 : NEXT(write)(fd, buffer, count);
}
ssize_t pwrite(int fd, const void *buffer, size_t count, off_t offset) {
  return fails_on("write", fd) ? -1 : NEXT(pwrite)(fd, buffer, count, offset);
}
ssize_t pwrite64(int fd, const void *buffer, size_t count, off64_t offset) {
  return fails_on("write", fd) ? -1 : NEXT(pwrite64)(fd, buffer, count, offset);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  return fails_on("write", fd) ? -1 : NEXT(writev)(fd, parts, count);
}
int fsync(int fd) { return fails_on("write", fd) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return fails_on("write", fd) ? -1 : NEXT(fdatasync)(fd); }
int ftruncate64(int fd, off64_t length) {
  return fails_on("write", fd) ? -1 : NEXT(ftruncate64)(fd, length);
}
int rename(const char *from, const char *to) {
  return fails("write", to) ? -1 : NEXT(rename)(from, to);
}

static void tell(void) {
  const char *path = getenv("FAIL_COUNT");
  if (!path) return;
  FILE *file = fopen(path, "w");
  if (file) {
    fprintf(file, "%ld\n", seen);
    fclose(file);
  }
}

/* The program ends by _exit, which calls no destructors. */
__attribute__((noreturn)) void _exit(int code) {
  tell();
  NEXT(_exit)(code);
  __builtin_unreachable();
}
