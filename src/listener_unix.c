/* SPDX-License-Identifier: MIT */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "clock.h"
#include "socket.h"

#ifdef __APPLE__
#define st_ctim st_ctimespec
#endif

/* How often another server may win the race for the path before we say it is taken. */
#define TRIES 3

/* How long other servers of the directory are waited for. */
#define LOCK_PATIENCE (500 * TM_MS)

static bool same_file(const struct stat *one, const struct stat *other)
{
    /* A number can be given to the next file; the time of its making tells them apart. */
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino &&
           one->st_ctim.tv_sec == other->st_ctim.tv_sec &&
           one->st_ctim.tv_nsec == other->st_ctim.tv_nsec;
}

/* Whether nobody listens at the socket file any more: -ECONNREFUSED, and nothing else, says so. */
static int probe(const tm_sockaddr *address)
{
    int fd = tm_socket_open(AF_UNIX);
    if (fd < 0)
        return fd;
    int r = tm_socket_connect(fd, address);
    tm_socket_close(fd);
    return r == -ECONNREFUSED || r == -ENOMEM || r == -ENOBUFS ? r : 0;
}

/* Removes the file of a dead server; 0 when the path may be tried again. */
static int clear_path(const tm_sockaddr *address)
{
    const char *path = address->u.local.sun_path;
    struct stat before = {0}, after = {0};
    if (lstat(path, &before) < 0)
        return errno == ENOENT ? 0 : -errno;
    int r = S_ISSOCK(before.st_mode) ? probe(address) : 0;
    if (r != -ECONNREFUSED)
        return r < 0 ? r : -EADDRINUSE;
    if (lstat(path, &after) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (same_file(&before, &after) && unlink(path) < 0 && errno != ENOENT)
        return -errno;
    return 0;
}

static int bind_path(int fd, const tm_sockaddr *address)
{
    int r = tm_socket_bind(fd, address);
    for (int i = 0; r == -EADDRINUSE && i < TRIES; i++) {
        r = clear_path(address);
        if (r < 0)
            return r;
        r = tm_socket_bind(fd, address);
    }
    return r;
}

/*
 * Between bind and listen a socket file looks dead, so servers that start together in a directory
 * take turns. The lock is advice among ourselves: where it can't be had soon, we go on without.
 */
static int lock_directory(const char *path)
{
    char directory[sizeof(struct sockaddr_un)];
    size_t len = (size_t)(strrchr(path, '/') - path);
    memcpy(directory, path, len);
    directory[len] = '\0';
    int fd = open(len > 0 ? directory : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
#ifdef LOCK_EX
    int64_t deadline = tm_now() + LOCK_PATIENCE;
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && !tm_passed(deadline))
        tm_socket_wait(NULL, 0, tm_now() + TM_MS);
#endif
    return fd;
}

int tm_unix_listen(int fd, const tm_sockaddr *address, int backlog)
{
    const char *path = address->u.local.sun_path;
    int r;
    if (path[0] == '\0') {
        r = tm_socket_bind(fd, address);
        return r < 0 ? r : tm_socket_listen(fd, backlog);
    }
    int directory = lock_directory(path);
    r = bind_path(fd, address);
    if (r == 0) {
        r = tm_socket_listen(fd, backlog);
        if (r < 0)
            unlink(path);
    }
    if (directory >= 0)
        close(directory);
    return r;
}

void tm_unix_remember(tcpmsg_listener *listener, const tm_sockaddr *address)
{
    struct stat file = {0};
    if (address->u.local.sun_path[0] == '\0' || lstat(address->u.local.sun_path, &file) < 0)
        return;
    listener->has_file = true;
    listener->local = *address;
    listener->device = file.st_dev;
    listener->inode = file.st_ino;
}

void tm_unix_remove(const tcpmsg_listener *listener)
{
    struct stat file = {0};
    if (!listener->has_file || lstat(listener->local.u.local.sun_path, &file) < 0)
        return;
    /* While our socket is open its inode lives, so no other file can have the number. */
    if (file.st_dev == listener->device && file.st_ino == listener->inode)
        unlink(listener->local.u.local.sun_path);
}
