/* SPDX-License-Identifier: MIT */
/* The way to the peer is lost in mid-message: whoever sends and whoever waits is told in time. */
#include "looper.h"
#include "net.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define USER_TIMEOUT_MS 1500

/* Ten times as long as the system is asked for, and some more for a machine under load. */
#define BOUND_MS 20000

/* Of so long a message the first part is on its way when the way is lost. Its length in the other
 * byte order is none to believe: the stories guess nothing. */
#define MESSAGE (8 * MIB + 77)

#define UNDER_WAY (16 * KIB)

/* ... and four seconds are too few for it, so that what is done to the way may take some time. */
#define BYTES_PER_MS 2000

static const tcpmsg_options impatient = {
    .size = sizeof impatient,
    .user_timeout_ms = USER_TIMEOUT_MS,
    .keepalive_s = 1,
    .linger_ms = 1000,
};

static const tcpmsg_options patient = {
    .size = sizeof patient,
    .user_timeout_ms = WAIT_MS,
    .linger_ms = WAIT_MS,
};

static uint8_t message[MESSAGE];

static ssize_t send_one(struct call *call)
{
    return tcpmsg_send(call->conn, message, sizeof message, 0);
}

static ssize_t receive_one(struct call *call)
{
    const void *view;
    return tcpmsg_recv_view(call->conn, &view, 0);
}

static void send_at_once(struct seen *seen)
{
    seen_send(seen, message, sizeof message, 0);
}

static const struct acts sends = {.on_open = send_at_once};

/* The four pairs: a message goes each way between two that block, and between two loops. */
enum { TO_THERE, TO_HERE, LOOPS_TO_THERE, LOOPS_TO_HERE, PAIRS };

struct scene {
    tcpmsg_conn *from[PAIRS], *to[PAIRS];
    struct call sending[2], receiving[2];
    struct looper *here, *there;
};

static uint64_t came_to(const tcpmsg_conn *conn)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    int fd = tcpmsg_conn_fd(conn);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_bytes_received
                                                                      : 0;
}

static bool is_under_way(void *arg)
{
    struct scene *scene = arg;
    for (int i = 0; i < PAIRS; i++)
        if (came_to(scene->to[i]) < UNDER_WAY)
            return false;
    return true;
}

static struct scene *begin(const tcpmsg_options *options)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    cable_set(&(struct cable){.bytes_per_ms = BYTES_PER_MS});
    for (int i = 0; i < PAIRS; i++) {
        bool here = i % 2 == TO_THERE;
        net_pair(here ? &scene->from[i] : &scene->to[i], here ? &scene->to[i] : &scene->from[i],
                 options);
    }
    for (int i = 0; i < 2; i++) {
        scene->sending[i] = (struct call){.body = send_one, .conn = scene->from[i]};
        scene->receiving[i] = (struct call){.body = receive_one, .conn = scene->to[i]};
        call_start(&scene->sending[i]);
        call_start(&scene->receiving[i]);
    }
    scene->here = looper_open(NULL);
    scene->there = looper_open(NULL);
    assert_int_equal(looper_add(scene->here, scene->from[LOOPS_TO_THERE], &sends), 0);
    assert_int_equal(looper_add(scene->here, scene->to[LOOPS_TO_HERE], NULL), 0);
    assert_int_equal(looper_add(scene->there, scene->to[LOOPS_TO_THERE], NULL), 0);
    assert_int_equal(looper_add(scene->there, scene->from[LOOPS_TO_HERE], &sends), 0);
    looper_start(scene->here);
    looper_start(scene->there);
    assert_true(eventually(is_under_way, scene));
    return scene;
}

/* What is done to the way, and what either side may be told. */
struct loss {
    const char *what;
    struct cable cable;
    enum net_place place;
    const char *command;
    int sender; /* 0: that the clock ran out, or that there is no way any more */
    int waiter;
};

static void expect_told(const struct loss *loss, int64_t began, const char *who, bool sender,
                        ssize_t answer)
{
    int wanted = sender ? loss->sender : loss->waiter;
    int ms = (int)(now_ms() - began);
    bool either = answer == TCPMSG_ESTALLED || answer == TCPMSG_EUNREACHABLE;
    print_message("%s, the %s: %s after %d ms\n", loss->what, who, tcpmsg_error_name((int)answer),
                  ms);
    assert_true(ms < BOUND_MS);
    assert_true(wanted ? answer == wanted : either);
}

/* Who waited in mid-message hears how far it had come, who sent hears of its sending. */
static void expect_story(const char *story, bool sender)
{
    bool right = sender ? says(story, "sending failed")
                        : says(story, "inside a message") && says_number(story, MESSAGE);
    if (!right)
        fail_msg("\"%s\"", story);
}

/* What is told once stays, in both directions, and nobody waits for anything any more. */
static void expect_it_stays(tcpmsg_conn *conn, ssize_t answer)
{
    const void *view;
    tcpmsg_info info;
    int64_t began = now_ms();
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    assert_int_not_equal(info.os_error, 0);
    assert_int_equal(tcpmsg_recv_view(conn, &view, 0), answer);
    assert_int_equal(tcpmsg_send(conn, "x", 1, 0), answer);
    assert_int_equal(tcpmsg_close(conn), answer);
    assert_true(now_ms() - began < BOUND_MS);
}

static bool has_ended(void *conn)
{
    return tcpmsg_conn_why(conn)[0] != '\0';
}

/* Who is not told at all would wait for ever: what the system knows of it then helps more. */
static void expect_an_end(tcpmsg_conn *conn, const char *who)
{
    tcpmsg_info info;
    if (eventually(has_ended, conn))
        return;
    assert_int_equal(tcpmsg_conn_info(conn, &info, sizeof info), 0);
    fail_msg("the %s is not told: %s, unsent %llu, unacknowledged %llu, sent again %llu, events %d",
             who, info.tcp_state, (unsigned long long)info.unsent_bytes,
             (unsigned long long)info.unacked_bytes, (unsigned long long)info.retransmits,
             wait_events(tcpmsg_conn_fd(conn), POLLIN | POLLOUT, 0));
}

static void finish_blocking(struct scene *scene, const struct loss *loss, int64_t began)
{
    for (int i = 0; i < 2; i++) {
        expect_an_end(scene->from[i], "sender");
        expect_an_end(scene->to[i], "receiver");
        ssize_t sent = call_finish(&scene->sending[i]);
        expect_told(loss, began, i == TO_THERE ? "sender here" : "sender there", true, sent);
        ssize_t received = call_finish(&scene->receiving[i]);
        expect_told(loss, began, i == TO_THERE ? "receiver there" : "receiver here", false,
                    received);
        expect_story(tcpmsg_conn_why(scene->from[i]), true);
        expect_story(tcpmsg_conn_why(scene->to[i]), false);
        expect_it_stays(scene->from[i], sent);
        expect_it_stays(scene->to[i], received);
    }
}

static void finish_loop(struct looper *looper, const struct loss *loss, int64_t began,
                        const char *who)
{
    for (int i = 0; i < 2; i++) {
        struct seen *seen = looper_seen(looper, i);
        expect_told(loss, began, who, seen->acts == &sends, seen_end(seen));
        assert_int_equal(seen->messages, 0);
        expect_story(seen->story, seen->acts == &sends);
    }
    looper_finish(looper);
}

static void lose(const struct loss *loss)
{
    struct scene *scene = begin(&impatient);
    int64_t began = now_ms();
    struct cable cable = loss->cable;
    print_message("%s:\n", loss->what);
    cable.bytes_per_ms = BYTES_PER_MS;
    cable_set(&cable);
    if (loss->command)
        net_ip(loss->place, loss->command);
    finish_blocking(scene, loss, began);
    finish_loop(scene->here, loss, began, "loop here");
    finish_loop(scene->there, loss, began, "loop there");
    free(scene);
}

static int mend_all(void **state)
{
    (void)state;
    net_ip(BETWEEN, "link set far up");
    net_ip(THERE, "link set eth0 up");
    net_ip(THERE, "address replace " THERE_V4 "/24 dev eth0");
    return 0;
}

static void a_cable_that_is_cut_is_told_as_a_stall(void **state)
{
    (void)state;
    lose(&(struct loss){
        .what = "cut",
        .cable = {.cut = true},
        .sender = TCPMSG_ESTALLED,
        .waiter = TCPMSG_ESTALLED,
    });
}

static void a_link_without_a_carrier_is_told_in_time(void **state)
{
    (void)state;
    lose(&(struct loss){
        .what = "no carrier",
        .place = BETWEEN,
        .command = "link set far down",
    });
}

static void a_link_that_goes_down_is_told_in_time(void **state)
{
    (void)state;
    lose(&(struct loss){
        .what = "down",
        .place = THERE,
        .command = "link set eth0 down",
    });
}

static void an_address_that_goes_away_is_told_in_time(void **state)
{
    (void)state;
    lose(&(struct loss){
        .what = "no address",
        .place = THERE,
        .command = "address del " THERE_V4 "/24 dev eth0",
    });
}

/* A firewall begins to reject: the system remembers what it says of data, and tells it in the
 * end; what it says of a mere probe may pass unheard. */
static void a_way_that_is_barred_is_told_as_unreachable(void **state)
{
    (void)state;
    lose(&(struct loss){
        .what = "rejected",
        .cable = {.rejected = true},
        .sender = TCPMSG_EUNREACHABLE,
    });
}

/* One of a loop's two connections gets one. */
static void expect_message(struct looper *looper)
{
    for (int i = 0; i < 2; i++) {
        struct seen *seen = looper_seen(looper, i);
        if (seen->acts != &sends)
            seen_messages(seen, 1);
    }
}

/* What is back in time was only slow. */
static void a_link_that_comes_back_in_time_loses_nothing(void **state)
{
    (void)state;
    struct scene *scene = begin(&patient);
    int64_t began = now_ms();
    net_ip(BETWEEN, "link set far down");
    sleep_ms(300);
    net_ip(BETWEEN, "link set far up");
    cable_set(&(struct cable){0});
    for (int i = 0; i < 2; i++) {
        assert_int_equal(call_finish(&scene->sending[i]), 0);
        assert_int_equal(call_finish(&scene->receiving[i]), MESSAGE);
    }
    expect_message(scene->here);
    expect_message(scene->there);
    net_took(began, "down for 300 ms, and all there");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tcpmsg_close(scene->from[i]), 0);
        assert_int_equal(tcpmsg_close(scene->to[i]), 0);
    }
    looper_finish(scene->here);
    looper_finish(scene->there);
    free(scene);
}

/* tcp(7): a second of silence, and nine probes a second apart that nobody answers. */
static void keepalive_tells_who_only_waits(void **state)
{
    (void)state;
    const tcpmsg_options watchful = {.size = sizeof watchful, .keepalive_s = 1};
    tcpmsg_conn *here, *there, *in_loop, *other;
    const struct loss loss = {.what = "keepalive", .waiter = TCPMSG_ESTALLED};
    net_pair(&here, &there, &watchful);
    net_pair(&in_loop, &other, &watchful);
    struct looper *looper = looper_open(NULL);
    assert_int_equal(looper_add(looper, in_loop, NULL), 0);
    looper_start(looper);
    int64_t began = now_ms();
    struct call waiting = {.body = receive_one, .conn = there};
    call_start(&waiting);
    cable_set(&(struct cable){.cut = true});
    expect_told(&loss, began, "receiver here", false, receive_one(&(struct call){.conn = here}));
    expect_told(&loss, began, "receiver there", false, call_finish(&waiting));
    expect_told(&loss, began, "loop here", false, seen_end(looper_seen(looper, 0)));
    assert_true(says(tcpmsg_conn_why(here), "did not get on in time"));
    expect_it_stays(here, TCPMSG_ESTALLED);
    expect_it_stays(there, TCPMSG_ESTALLED);
    assert_int_equal(tcpmsg_close(other), 0); /* it had sent nothing that could be lost */
    looper_finish(looper);
}

#define MENDED(test) cmocka_unit_test_setup_teardown(test, net_mend, mend_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MENDED(a_cable_that_is_cut_is_told_as_a_stall),
        MENDED(a_link_without_a_carrier_is_told_in_time),
        MENDED(a_link_that_goes_down_is_told_in_time),
        MENDED(an_address_that_goes_away_is_told_in_time),
        MENDED(a_way_that_is_barred_is_told_as_unreachable),
        MENDED(a_link_that_comes_back_in_time_loses_nothing),
        MENDED(keepalive_tells_who_only_waits),
    };
    net_open();
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
