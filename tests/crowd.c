/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include "crowd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a loopback connection that is answered at all may take, on a machine under load. */
#define ANSWER_MS 200

/* One more in front of the door: whether it found no room. Unix sockets say so at once. */
static bool found_no_room(struct crowd *crowd, const struct sockaddr *to, socklen_t length)
{
    int fd = socket(to->sa_family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    crowd->waiting[crowd->count++] = fd;
    if (connect(fd, to, length) == 0)
        return false;
    return to->sa_family == AF_UNIX || wait_events(fd, POLLOUT, ANSWER_MS) == 0;
}

void crowd_around(struct crowd *crowd, int listening)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    *crowd = (struct crowd){.listening = listening};
    assert_int_equal(getsockname(listening, (struct sockaddr *)&bound, &length), 0);
    while (!found_no_room(crowd, (struct sockaddr *)&bound, length))
        assert_true(crowd->count < CROWD_MOST);
}

void crowd_at_port(struct crowd *crowd, char *address, size_t size)
{
    int listening = raw_listen(address, size);
    assert_int_equal(listen(listening, 0), 0);
    crowd_around(crowd, listening);
}

void crowd_at_path(struct crowd *crowd, const char *path)
{
    int listening = raw_bind_unix(path, SOCK_STREAM);
    assert_int_equal(listen(listening, 0), 0);
    crowd_around(crowd, listening);
}

void crowd_leaves(struct crowd *crowd)
{
    while (crowd->count > 0)
        close(crowd->waiting[--crowd->count]);
    close(crowd->listening);
}
