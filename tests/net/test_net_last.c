/* SPDX-License-Identifier: MIT */
/* The last reply of a server that closes with input unread, over a slow cable: promise 9. */
#include "looper.h"
#include "net.h"
#include "rounds.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSES 300 /* TESTS_ROUNDS has more of them */
#define AT_ONCE 6
#define BARE_CLOSES 20

#define REPLY_MOST (24 * KIB)
#define UNREAD_MOST (8 * KIB) /* of one message of those that nobody reads */
#define FLOOD 400

static const struct cable slow = {.bytes_per_ms = 3000, .delay_ms = 4};

static const tcpmsg_options options = {
    .size = sizeof options,
    .send_timeout_ms = WAIT_MS,
    .recv_timeout_ms = WAIT_MS,
    .linger_ms = WAIT_MS,
};

/* One of those that are served at once; what went wrong is counted, since this is no place to
 * assert anything. */
struct worker {
    pthread_t thread;
    tcpmsg_listener *listener;
    char address[TCPMSG_ADDRESS_MAX];
    uint32_t first;
    int rounds;
    struct looper *looper;
    int lost;   /* last replies that did not arrive whole */
    int unsure; /* closes that did not answer 0 */
    int answer; /* what the last of the one or the other was told instead */
    int resets; /* clients that met a reset behind the reply */
};

static size_t reply_length(uint32_t number)
{
    return (number * 2654435761u >> 8) % REPLY_MOST;
}

/* The server's side, once a request is there: the rest of the input is left where it is. */
static int reply(tcpmsg_conn *conn, uint32_t number)
{
    uint8_t bytes[REPLY_MOST];
    fill(bytes, reply_length(number), number);
    return tcpmsg_send(conn, bytes, reply_length(number), 0);
}

static ssize_t serve_and_close(struct call *call)
{
    uint32_t number;
    ssize_t length = tcpmsg_recv(call->conn, &number, sizeof number, 0);
    if (length == sizeof number)
        length = reply(call->conn, number);
    int closed = tcpmsg_close(call->conn);
    return length != 0 ? length : closed;
}

static void serve_in_loop(struct seen *seen, const void *message, size_t length)
{
    uint32_t number;
    if (seen->messages > 1 || length != sizeof number)
        return;
    memcpy(&number, message, sizeof number);
    if (reply(seen->conn, number) != 0 || tcpmsg_close(seen->conn) != 0)
        looper_fault(seen->looper, "no reply");
}

static const struct acts server = {.on_message = serve_in_loop};

/* The client's side: a request, and much that nobody will read; now and then without end. */
static ssize_t ask(tcpmsg_conn *conn, uint32_t number)
{
    static const uint8_t unread[UNREAD_MOST];
    const void *message;
    int count = number % 16 == 0 ? FLOOD : 1 + (int)(number % 7);
    int error = tcpmsg_send(conn, &number, sizeof number, 0);
    for (int i = 0; i < count && error == 0; i++)
        error = tcpmsg_send(conn, unread, sizeof unread - number % 1000, 0);
    ssize_t length = tcpmsg_recv_view(conn, &message, 0);
    if (length < 0)
        return length;
    bool same =
        (size_t)length == reply_length(number) && is_filled(message, (size_t)length, number);
    return same ? 0 : TCPMSG_EPROTO;
}

static void note(struct worker *worker, int *what, ssize_t answer)
{
    if (answer == 0)
        return;
    worker->answer = (int)answer;
    *what += 1;
}

/* Every other one is served in a loop. */
static void one_round(struct worker *worker, int i)
{
    tcpmsg_conn *here, *there;
    const void *nothing_more;
    uint32_t number = worker->first + (uint32_t)i;
    int error = tcpmsg_dial(&here, worker->address, &options);
    if (error == 0)
        error = tcpmsg_accept(worker->listener, &there, 0);
    note(worker, &worker->lost, error);
    if (error != 0)
        return;
    struct call serving = {.body = serve_and_close, .conn = there};
    bool in_loop = i % 2 == 1;
    if (in_loop)
        note(worker, &worker->lost, looper_add(worker->looper, there, &server));
    else
        call_start(&serving);
    note(worker, &worker->lost, ask(here, number));
    ssize_t end = tcpmsg_recv_view(here, &nothing_more, 0);
    worker->resets += end == TCPMSG_ERESET;
    tcpmsg_close(here);
    ssize_t closed = in_loop ? seen_end(looper_seen(worker->looper, i / 2)) : call_finish(&serving);
    note(worker, &worker->unsure, closed);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    for (int i = 0; i < worker->rounds; i++)
        one_round(worker, i);
    return NULL;
}

static void worker_begin(struct worker *worker, int number, int rounds)
{
    *worker = (struct worker){.first = (uint32_t)(number * rounds), .rounds = rounds};
    worker->listener = net_listen(THERE_V4, &options, worker->address);
    worker->looper = looper_open(NULL);
    looper_start(worker->looper);
    assert_int_equal(pthread_create(&worker->thread, NULL, work, worker), 0);
}

static void promise_9_no_last_reply_is_lost_over_a_slow_cable(void **state)
{
    (void)state;
    static struct worker workers[AT_ONCE];
    int rounds = ((int)test_rounds(CLOSES) + AT_ONCE - 1) / AT_ONCE, resets = 0;
    int64_t began = now_ms();
    cable_set(&slow);
    for (int i = 0; i < AT_ONCE; i++)
        worker_begin(&workers[i], i, rounds);
    for (int i = 0; i < AT_ONCE; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (int i = 0; i < AT_ONCE; i++) {
        if (workers[i].lost > 0 || workers[i].unsure > 0)
            fail_msg("%d replies lost, %d closes unsure: %s", workers[i].lost, workers[i].unsure,
                     tcpmsg_error_name(workers[i].answer));
        resets += workers[i].resets;
        looper_finish(workers[i].looper);
        tcpmsg_listener_close(workers[i].listener);
    }
    print_message("%d closes with input unread, no last reply lost, %d resets behind it: %d ms\n",
                  AT_ONCE * rounds, resets, (int)(now_ms() - began));
}

/* What a bare close does to the last reply here; without any loss the test above shows nothing. */
static bool bare_reply_arrives(int listening, const struct sockaddr_in *to)
{
    static char bytes[REPLY_MOST], unread[UNREAD_MOST];
    int here = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(here, (const struct sockaddr *)to, sizeof *to), 0);
    int there = raw_accept(listening);
    assert_true(write_all(here, unread, sizeof unread));
    assert_true(read_all(there, unread, 1));
    assert_true(write_all(there, bytes, sizeof bytes));
    close(there);
    bool arrives = read_all(here, bytes, sizeof bytes);
    close(here);
    return arrives;
}

static void a_bare_close_loses_last_replies_here(void **state)
{
    (void)state;
    struct sockaddr_in to = {.sin_family = AF_INET};
    socklen_t length = sizeof to;
    int arrived = 0;
    cable_set(&slow);
    net_go(THERE);
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    net_go(HERE);
    assert_int_equal(inet_pton(AF_INET, THERE_V4, &to.sin_addr), 1);
    assert_int_equal(bind(listening, (struct sockaddr *)&to, length), 0);
    assert_int_equal(listen(listening, 8), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&to, &length), 0);
    for (int i = 0; i < BARE_CLOSES; i++)
        arrived += bare_reply_arrives(listening, &to);
    close(listening);
    print_message("of %d bare closes %d lost the last reply\n", BARE_CLOSES, BARE_CLOSES - arrived);
    assert_true(arrived < BARE_CLOSES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_bare_close_loses_last_replies_here, net_mend),
        cmocka_unit_test_setup(promise_9_no_last_reply_is_lost_over_a_slow_cable, net_mend),
    };
    net_open();
    if (!is_soak())
        alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
