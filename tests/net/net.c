/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* unshare, setns */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CANT_RUN 77

static int places[NET_PLACES];

/* The cable's two ends, and what each side's only interface is called. */
static const char *const ends[] = {[HERE] = "near", [THERE] = "far"};
#define INTERFACE "eth0"

static void needs(bool there, const char *what)
{
    if (there)
        return;
    fprintf(stderr, "needs %s: not run\n", what);
    exit(CANT_RUN);
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return done;
}

/* Who is not root can be it in a user namespace, where the system allows that. */
static bool become_root(void)
{
    char user[32], group[32];
    snprintf(user, sizeof user, "0 %u 1", (unsigned)geteuid());
    snprintf(group, sizeof group, "0 %u 1", (unsigned)getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && write_file("/proc/self/uid_map", user) &&
           write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/gid_map", group);
}

static void make_places(void)
{
    bool allowed = unshare(CLONE_NEWNET) == 0 || become_root();
    needs(allowed, "network namespaces, so root or user namespaces");
    for (int i = 0; i < NET_PLACES; i++) {
        if (i > 0)
            needs(unshare(CLONE_NEWNET) == 0, "one more network namespace");
        places[i] = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        needs(places[i] >= 0, "/proc");
    }
}

static bool go(enum net_place place)
{
    return setns(places[place], CLONE_NEWNET) == 0;
}

/* One command of ip(8), here. */
static bool ip(const char *format, ...)
{
    char command[256] = "ip ";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command + 3, sizeof command - 3, format, arguments);
    va_end(arguments);
    return system(command) == 0; /* in this thread's namespace */
}

static bool set(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "/proc/sys/net/%s", name);
    return write_file(path, text);
}

/* An ioctl(2) on an interface of this place. */
static bool control(unsigned long request, struct ifreq *interface)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done = fd >= 0 && ioctl(fd, request, interface) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

/* A frame is to be what a wire would see: one segment, its checksum written. */
static bool checksums_in_software(void)
{
    struct ethtool_value off = {.cmd = ETHTOOL_STXCSUM};
    struct ifreq interface = {.ifr_name = INTERFACE, .ifr_data = (void *)&off};
    return control(SIOCETHTOOL, &interface);
}

static bool is_running(void *unused)
{
    struct ifreq interface = {.ifr_name = INTERFACE};
    (void)unused;
    return control(SIOCGIFFLAGS, &interface) && interface.ifr_flags & IFF_RUNNING;
}

static bool furnish(enum net_place place)
{
    int number = place == HERE ? 1 : 2;
    bool done = go(place) && ip("link set lo up") && checksums_in_software() &&
                ip("address add 192.0.2.%d/24 dev " INTERFACE, number) &&
                ip("link set " INTERFACE " up");
    /* Without duplicate address detection, which would take a second or two. */
    return done && ip("address add 2001:db8::%d/64 dev " INTERFACE " nodad", number);
}

static bool route(void)
{
    return go(HERE) && ip("route add default via " THERE_V4) &&
           ip("route add default via " THERE_V6) && go(THERE) && set("ipv4/ip_forward", "1") &&
           set("ipv6/conf/all/forwarding", "1") && set("ipv4/icmp_ratelimit", "0") &&
           set("ipv6/icmp/ratelimit", "0");
}

static int packet_socket(const char *name)
{
    int most = 4 * 1024 * 1024;
    struct sockaddr_ll interface = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    interface.sll_ifindex = (int)if_nametoindex(name);
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    int yes = 1;
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr *)&interface, sizeof interface) != 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &most, sizeof most);
    return fd;
}

static void lay_cable(void)
{
    int sockets[2];
    needs(go(BETWEEN), "setns(2)");
    set("ipv6/conf/default/disable_ipv6", "1"); /* nobody lives there */
    for (int i = HERE; i <= THERE; i++) {
        needs(ip("link add %s type veth peer name " INTERFACE " netns /proc/%d/fd/%d", ends[i],
                 (int)getpid(), places[i]) &&
                  ip("link set %s up", ends[i]),
              "veth");
        sockets[i] = packet_socket(ends[i]);
        needs(sockets[i] >= 0, "packet sockets");
    }
    needs(cable_begin(sockets), "a thread");
}

void net_open(void)
{
    const char *path = getenv("PATH");
    char wider[4096];
    snprintf(wider, sizeof wider, "%s:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin");
    setenv("PATH", wider, 1);
    needs(system("ip -Version >/dev/null 2>&1") == 0, "ip(8) of iproute2");
    make_places();
    lay_cable();
    needs(furnish(HERE) && furnish(THERE) && route(), "IPv4 and IPv6");
    for (int i = HERE; i <= THERE; i++)
        needs(go(i) && eventually(is_running, NULL), "an interface that works");
    needs(go(HERE), "setns(2)");
}

int net_mend(void **state)
{
    (void)state;
    cable_set(&(struct cable){0});
    net_go(HERE);
    return 0;
}

void net_go(enum net_place place)
{
    assert_true(go(place));
}

void net_ip(enum net_place place, const char *command)
{
    net_go(place);
    bool done = ip("%s", command);
    net_go(HERE);
    if (!done)
        fail_msg("ip %s", command);
}

void net_set(enum net_place place, const char *name, const char *text)
{
    net_go(place);
    bool done = set(name, text);
    net_go(HERE);
    if (!done)
        fail_msg("%s can't be \"%s\"", name, text);
}

tcpmsg_listener *net_listen_at(const char *address, const tcpmsg_options *options)
{
    tcpmsg_listener *listener;
    net_go(THERE);
    int error = tcpmsg_listen(&listener, address, options);
    net_go(HERE);
    assert_code(error, TCPMSG_OK);
    return listener;
}

tcpmsg_listener *net_listen(const char *host, const tcpmsg_options *options,
                            char address[TCPMSG_ADDRESS_MAX])
{
    char any[TCPMSG_ADDRESS_MAX];
    snprintf(any, sizeof any, strchr(host, ':') ? "[%s]:0" : "%s:0", host);
    tcpmsg_listener *listener = net_listen_at(any, options);
    assert_int_equal(tcpmsg_listener_address(listener, address, TCPMSG_ADDRESS_MAX), 0);
    return listener;
}

void net_pair(tcpmsg_conn **here, tcpmsg_conn **there, const tcpmsg_options *options)
{
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = net_listen(THERE_V4, options, address);
    int error = tcpmsg_dial(here, address, options);
    assert_code(error, TCPMSG_OK);
    error = tcpmsg_accept(listener, there, 0);
    assert_code(error, TCPMSG_OK);
    tcpmsg_listener_close(listener);
}

int net_took(int64_t from, const char *what)
{
    int ms = (int)(now_ms() - from);
    print_message("%s: %d ms\n", what, ms);
    return ms;
}
