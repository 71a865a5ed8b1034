/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void sleep_ms(int ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

bool eventually(bool (*done)(void *arg), void *arg)
{
    int64_t deadline = now_ms() + WAIT_MS;
    while (!done(arg)) {
        if (now_ms() > deadline)
            return false;
        sleep_ms(1);
    }
    return true;
}

short wait_events(int fd, short events, int ms)
{
    int64_t deadline = now_ms() + ms;
    struct pollfd entry = {.fd = fd, .events = events};
    for (;;) {
        int64_t left = deadline - now_ms();
        int ready = poll(&entry, 1, left > 0 ? (int)left : 0);
        if (ready >= 0 || errno != EINTR)
            return ready > 0 ? entry.revents : 0;
    }
}

int raw_listen(char *address, size_t size)
{
    struct sockaddr_in bound = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof bound;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&bound, length), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&bound, &length), 0);
    int printed = snprintf(address, size, "127.0.0.1:%d", ntohs(bound.sin_port));
    assert_true(printed > 0 && (size_t)printed < size);
    return fd;
}

int raw_accept(int listening)
{
    assert_true(wait_events(listening, POLLIN, WAIT_MS) & POLLIN);
    int fd = accept(listening, NULL, NULL);
    assert_true(fd >= 0);
    return fd;
}

static int connected(int fd, const void *address, socklen_t length)
{
    if (fd < 0 || connect(fd, address, length) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int raw_dial(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    return connected(socket(AF_INET, SOCK_STREAM, 0), &to, sizeof to);
}

static struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path));
    return address;
}

int raw_dial_unix(const char *path)
{
    struct sockaddr_un to = unix_address(path);
    return connected(socket(AF_UNIX, SOCK_STREAM, 0), &to, sizeof to);
}

int raw_bind_unix(const char *path, int type)
{
    struct sockaddr_un bound = unix_address(path);
    int fd = socket(AF_UNIX, type, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&bound, sizeof bound), 0);
    return fd;
}

void pair(tcpmsg_conn **conn, int *raw, const tcpmsg_options *options)
{
    char address[TCPMSG_ADDRESS_MAX];
    int listening = raw_listen(address, sizeof address);
    int ours = raw_dial(address);
    assert_true(ours >= 0);
    *raw = raw_accept(listening);
    close(listening);
    assert_int_equal(tcpmsg_attach(conn, ours, options), 0);
}

void pair_unix(tcpmsg_conn **conn, int *raw, const tcpmsg_options *options)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    *raw = ends[0];
    assert_int_equal(tcpmsg_attach(conn, ends[1], options), 0);
}

bool write_all(int fd, const void *bytes, size_t count)
{
    const char *from = bytes;
    int64_t deadline = now_ms() + WAIT_MS;
    while (count > 0 && now_ms() < deadline) {
        ssize_t wrote = send(fd, from, count, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (wrote < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (wrote < 0) {
            wait_events(fd, POLLOUT, 100);
            continue;
        }
        from += wrote;
        count -= (size_t)wrote;
    }
    return count == 0;
}

/* One recv that waits until `deadline`: its result, or -1 with errno ETIMEDOUT. */
static ssize_t read_some(int fd, void *bytes, size_t count, int64_t deadline)
{
    while (now_ms() < deadline) {
        ssize_t got = recv(fd, bytes, count, MSG_DONTWAIT);
        if (got >= 0 || (errno != EAGAIN && errno != EINTR))
            return got;
        wait_events(fd, POLLIN, 100);
    }
    errno = ETIMEDOUT;
    return -1;
}

bool read_all(int fd, void *bytes, size_t count)
{
    char *to = bytes;
    int64_t deadline = now_ms() + WAIT_MS;
    while (count > 0) {
        ssize_t got = read_some(fd, to, count, deadline);
        if (got <= 0)
            return false;
        to += got;
        count -= (size_t)got;
    }
    return true;
}

int read_end(int fd)
{
    char dropped[4096];
    int64_t deadline = now_ms() + WAIT_MS;
    for (;;) {
        ssize_t got = read_some(fd, dropped, sizeof dropped, deadline);
        if (got <= 0)
            return got == 0 ? 0 : errno;
    }
}

int in_child(int (*body)(void *arg), void *arg)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(TEST_SECONDS / 2);
        _exit(body(arg));
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

void make_temp_dir(char path[PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "/tmp/tcpmsg-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

void remove_temp_dir(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    rmdir(path);
}
