/* Counts the system calls that write into one folder, and ends the process, fills the disk or records at one of them.

   Loaded by LD_PRELOAD. It covers every caller of libc's open, write, pwrite, writev, ftruncate, rename, unlink, mkdir,
   link and fsync in any language; not stdio (fopen, fwrite), which calls them inside libc, and not memory maps. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, KILL_BEFORE, KILL_HALF, KILL_AFTER, FULL };
static int mode = OFF, log_file = -1;
static long wanted, calls;
static char folder[PATH_MAX];

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Begin: watch `where`; act at call `number` from 0; record into the open file `log`, if it is not negative. */
void torture_begin(const char *where, int how, long number, int log) {
  snprintf(folder, sizeof folder, "%s", where);
  wanted = number; calls = 0; log_file = log; mode = how;
}

long torture_end(void) { mode = OFF; return calls; }

static void record(const char *what, const char *path, const char *other, int64_t at, const void *data, int64_t size) {
  char head[3 * PATH_MAX];
  if (log_file < 0) return;
  int length = snprintf(head, sizeof head, "%s\t%s\t%s\t%lld\t%lld\n", what, path, other, (long long)at, (long long)size);
  REAL(write)(log_file, head, length);
  if (size > 0) REAL(write)(log_file, data, size);
}

/* Record that so many trials were reported as stored. */
void torture_mark(long count) { if (mode != OFF) record("mark", "-", "-", count, "", 0); }

static int inside(const char *path) {
  size_t n = strlen(folder);
  return mode != OFF && strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static int named(int file, char *path) {
  char link[64];
  int saved = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t n = mode == OFF ? -1 : readlink(link, path, PATH_MAX - 1);
  errno = saved;
  path[n < 0 ? 0 : n] = 0;
  return n > 0 && inside(path) && !strstr(path, " (deleted)");
}

/* Return 1 if this call is to fail for want of space, 2 if half of it is to be done and the process to end. */
static int act(int writes) {
  long number = calls++;
  if (mode == FULL) return writes && number >= wanted;
  if (number != wanted || mode == COUNT) return 0;
  if (mode == KILL_HALF && writes) return 2;
  if (mode == KILL_AFTER) return 3;
  raise(SIGKILL);
  return 0;
}

static void end(int action) { if (action >= 2) raise(SIGKILL); }

static int made(int (*call)(const char *, int, mode_t), const char *path, int flags, mode_t bits) {
  struct stat known;
  int is_new = mode != OFF && path[0] == '/' && (flags & O_CREAT) && inside(path) && lstat(path, &known) != 0;
  int cut = mode != OFF && path[0] == '/' && (flags & O_TRUNC) && inside(path) && !is_new;
  int action = is_new || cut ? act(0) : 0;
  int file = call(path, flags, bits);
  if (file >= 0 && is_new) record("make", path, "-", 0, "", 0);
  if (file >= 0 && cut) record("cut", path, "-", 0, "", 0);
  end(action);
  return file;
}

#define OPEN(name) \
  static int name##_real(const char *path, int flags, mode_t bits) { return REAL(name)(path, flags, bits); } \
  int name(const char *path, int flags, ...) { \
    va_list rest; va_start(rest, flags); mode_t bits = va_arg(rest, mode_t); va_end(rest); \
    return made(name##_real, path, flags, bits); \
  }
OPEN(open)
OPEN(open64)

static ssize_t written(int file, const void *data, size_t size, off_t at) {
  char path[PATH_MAX];
  struct stat found;
  if (!named(file, path)) return at < 0 ? REAL(write)(file, data, size) : REAL(pwrite)(file, data, size, at);
  int action = act(1);
  if (action == 1) {
    if (size < 2 || calls - 1 > wanted) { errno = ENOSPC; return -1; }
    size /= 2;
  }
  if (action == 2) size /= 2;
  off_t place = at;
  if (at < 0) {
    place = lseek(file, 0, SEEK_CUR);
    if ((fcntl(file, F_GETFL) & O_APPEND) && fstat(file, &found) == 0) place = found.st_size;
  }
  ssize_t done = at < 0 ? REAL(write)(file, data, size) : REAL(pwrite)(file, data, size, at);
  if (done > 0) record("write", path, "-", place, data, done);
  end(action);
  return done;
}

ssize_t write(int file, const void *data, size_t size) { return written(file, data, size, -1); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return written(file, data, size, at); }
ssize_t pwrite64(int file, const void *data, size_t size, off_t at) { return written(file, data, size, at); }
ssize_t writev(int file, const struct iovec *parts, int count) {
  char path[PATH_MAX];
  if (!named(file, path)) return REAL(writev)(file, parts, count);
  return count ? written(file, parts[0].iov_base, parts[0].iov_len, -1) : 0;
}

#define ON_FILE(name, type, word, at) \
  int name type { \
    char path[PATH_MAX]; \
    if (!named(file, path)) return REAL(name)(file EXTRA); \
    int action = act(0), result = REAL(name)(file EXTRA); \
    if (result == 0) record(word, path, "-", at, "", 0); \
    end(action); \
    return result; \
  }
#define EXTRA
ON_FILE(fsync, (int file), "sync", 0)
ON_FILE(fdatasync, (int file), "sync", 0)
#undef EXTRA
#define EXTRA , size
ON_FILE(ftruncate, (int file, off_t size), "cut", size)
ON_FILE(ftruncate64, (int file, off_t size), "cut", size)

#define ON_NAME(name, type, arguments, word, from, to) \
  int name type { \
    if (!inside(from)) return REAL(name) arguments; \
    int action = act(0), result = REAL(name) arguments; \
    if (result == 0) record(word, from, to, 0, "", 0); \
    end(action); \
    return result; \
  }
ON_NAME(rename, (const char *from, const char *to), (from, to), "rename", from, to)
ON_NAME(link, (const char *from, const char *to), (from, to), "link", from, to)
ON_NAME(unlink, (const char *from), (from), "unlink", from, "-")
ON_NAME(mkdir, (const char *from, mode_t bits), (from, bits), "mkdir", from, "-")
