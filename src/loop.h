/* SPDX-License-Identifier: MIT */
#ifndef TM_LOOP_H
#define TM_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <tcpmsg/loop.h>

#include "conn.h"
#include "counter.h"
#include "mutex.h"
#include "poller.h"
#include "timers.h"
#include "wake.h"

typedef struct tm_thread tm_thread;

/* What a thread waits for: a descriptor, a time, or both. */
typedef struct tm_source tm_source;

typedef struct tm_source_kind {
    void (*ready)(tm_thread *thread, tm_source *source, short events);
    void (*expired)(tm_thread *thread, tm_source *source);
} tm_source_kind;

/* Which kind a source is of: small, since every connection has one. */
enum tm_kind {
    TM_MEMBER,
    TM_DOOR,
    TM_DOOR_ABORT,
    TM_ATTEMPT,
    TM_LATER,
    TM_WAKE,
    TM_TRIM,
};

extern const tm_source_kind tm_member_kind, tm_door_kind, tm_door_abort_kind, tm_attempt_kind,
    tm_later_kind;

struct tm_source {
    tm_watch watch;
    uint8_t kind; /* an enum tm_kind */
    tm_timer timer;
};

/* A ring of what has a link; its head is a link, too. */
typedef struct tm_link {
    struct tm_link *next;
    struct tm_link *prev;
} tm_link;

/* The user's callbacks, shared by all connections of a listener. */
typedef struct tm_service {
    atomic_uint refs;
    tcpmsg_callbacks callbacks;
    void *arg;
} tm_service;

enum tm_stage {
    TM_JOINING, /* it is the loop's, and on_open comes, perhaps once its client is known */
    TM_DIALING, /* the same, and there is no socket yet */
    TM_OPEN,
    TM_ENDING, /* what is queued leaves, and is acknowledged; nothing is delivered */
    TM_OVER,   /* after on_close */
};

/*
 * A connection in a loop, as its thread knows it; other threads touch `next`, with the sending
 * lock, and `paused`. Its receiving buffer is empty, or begins with what could not be delivered.
 */
typedef struct tm_member {
    tm_source source;
    tm_link link;      /* among its thread's members, or those that are starved */
    tcpmsg_conn *next; /* in the row of those that are to be attended */
    tm_service *service;
    union {
        int64_t active;       /* when a byte last came or went; stopped: how long ago that was */
        struct tm_dial *dial; /* while it dials */
        int64_t linger_until; /* while it ends */
    } u;
    int64_t blocked; /* since when the output makes no progress, or 0; the nap, while it ends */
    int16_t why;     /* the end that is under way */
    uint8_t stage;
    bool stopped : 1;    /* it is we who don't read: its clocks are what was left of them */
    bool held : 1;       /* the buffer may begin with a whole message */
    bool starved : 1;    /* it reads no more until others have given memory back */
    bool hung : 1;       /* the poller told an end while we don't read */
    bool waits_out : 1;  /* ... which is a clean one, and not polled for */
    bool added : 1;      /* by the user, who may know it before on_open */
    bool large : 1;      /* the last message was larger than what is read at once */
    bool peer_ended : 1; /* while it ends: nothing comes any more */
    atomic_bool paused;  /* behind the others, which a compiler may read all at once */
} tm_member;

_Static_assert(sizeof(tm_member) <= TM_KEPT_SIZE, "a connection has no room for its member");

/* A call that somebody asked for, now or later. */
typedef struct tm_call {
    tm_source source;     /* its timer is due at 0 when that is now */
    tm_link link;         /* among those of later */
    struct tm_call *next; /* among those of now */
    void (*call)(void *arg);
    void *arg;
} tm_call;

/* Where connections come in. On the first thread. */
typedef struct tm_door {
    tm_source source;
    tm_source abort; /* the listener's wake */
    struct tm_door *next;
    tcpmsg_loop *loop;
    tcpmsg_listener *listener;
    tm_service *service;
    bool full; /* there were max_conns */
} tm_door;

/* What a thread's connections have done, as it counts itself; its keeper has what they sent. */
typedef struct tm_stats {
    tm_counter opened;
    tm_counter closed;
    tm_counter failed;
    tm_counter messages_received;
    tm_counter bytes_received;
    tm_counter timeouts;
    tm_counter refusals;
    tm_counter accept_failures;
    tm_counter held;
} tm_stats;

struct tm_thread {
    tm_keeper keeper; /* of its connections; the first, so that one is found by the other */
    tcpmsg_loop *loop;
    tm_poller *poller;
    tm_timers timers;
    int64_t now;        /* when the pass began */
    uint8_t *shared;    /* what every connection is read into, TM_SHARED bytes */
    tcpmsg_conn *first; /* to be attended at the end of the pass */
    tcpmsg_conn *last;
    tm_link members;
    tm_link starved;
    tcpmsg_conn *favoured; /* reads on although memory is short, so that somebody gets done */
    int64_t favoured_since;
    size_t favoured_len; /* what it held then */
    size_t held;         /* bytes that half-received messages hold */
    size_t budget;       /* ... and are to hold at most */
    tm_source trim;      /* the time at which the keeper's pool is */
    bool stopping;
    tm_stats stats;
    atomic_int count; /* members, also those on their way */
    atomic_bool runs;
    _Atomic(pthread_t) id;
    pthread_t joinable;

    tm_mutex lock; /* of all below */
    tcpmsg_conn *inbox_first;
    tcpmsg_conn *inbox_last;
    tm_call *calls_first; /* of the first thread */
    tm_call *calls_last;
    bool signalled; /* it will look here without being told again */
    bool stop_asked;
    tm_wake wake;
    tm_source wake_source;
};

struct tcpmsg_loop {
    pid_t maker; /* the process: a forked child only lets go */
    size_t high_water;
    int max_conns; /* INT_MAX: no limit */
    int idle_timeout_ms;
    int spin_us;
    atomic_bool stop;
    atomic_bool doors_wait; /* some are full */
    atomic_int count;       /* connections, also those on their way */
    tm_mutex lock;          /* of `refuses`, and of the start */
    bool refuses;           /* it takes nothing new: it stops */
    bool ran;
    tm_door *doors; /* of the first thread, as `laters` */
    tm_link laters;
    int thread_count;
    tm_thread threads[];
};

/* How much is read at once. */
#define TM_SHARED ((size_t)260 << 10)

static inline tm_member *tm_member_of(const tcpmsg_conn *conn)
{
    return tm_kept(conn);
}

static inline tcpmsg_conn *tm_conn_of(const tm_member *member)
{
    return (tcpmsg_conn *)((char *)member - sizeof(tcpmsg_conn));
}

static inline tm_member *tm_member_at(tm_link *link)
{
    return (tm_member *)((char *)link - offsetof(tm_member, link));
}

static inline tm_thread *tm_thread_of(const tcpmsg_conn *conn)
{
    return (tm_thread *)atomic_load_explicit(&conn->keeper, memory_order_relaxed);
}

static inline void tm_link_init(tm_link *head)
{
    head->next = head->prev = head;
}

static inline void tm_link_add(tm_link *head, tm_link *link)
{
    *link = (tm_link){head, head->prev};
    head->prev->next = link;
    head->prev = link;
}

static inline void tm_link_remove(tm_link *link)
{
    link->next->prev = link->prev;
    link->prev->next = link->next;
}

static inline void tm_link_move(tm_link *head, tm_link *link)
{
    tm_link_remove(link);
    tm_link_add(head, link);
}

/* loop_options.c */

int tm_loop_read_options(tcpmsg_loop_options *copy, const tcpmsg_loop_options *options);
int tm_service_make(tm_service **out, const tcpmsg_callbacks *callbacks, void *arg);
tm_service *tm_service_ref(tm_service *service);
void tm_service_unref(tm_service *service);

/* loop_thread.c: one thread */

int tm_thread_open(tm_thread *thread, tcpmsg_loop *loop, int poller);
void tm_thread_close(tm_thread *thread);
void tm_thread_run(tm_thread *thread);    /* until it is asked to stop and its members are gone */
void tm_thread_nudge(tm_thread *thread);  /* with its lock: it looks at what others left for it */
void tm_thread_attend(tcpmsg_conn *conn); /* tm_keeper's */
bool tm_thread_is_here(const tcpmsg_conn *conn);
int tm_thread_watch(tm_thread *thread, tm_source *source, short events); /* 0 or -errno */

/* loop_calls.c */

int tm_loop_call(tcpmsg_loop *loop, int64_t due, void (*call)(void *arg), void *arg);
void tm_loop_run_calls(tm_thread *first);
void tm_loop_drop_calls(tcpmsg_loop *loop);

/*
 * loop_member.c, loop_add.c, loop_end.c: a connection from its coming to its end, always at the
 * end of a pass
 */

tm_thread *tm_loop_lightest(tcpmsg_loop *loop);

/* Takes a connection in that is joining or dialing, unless the loop stops; 0 or an error. */
int tm_loop_take(tcpmsg_loop *loop, tcpmsg_conn *conn, tm_service *service, enum tm_stage stage);

void tm_member_begin(tcpmsg_conn *conn, tm_service *service, enum tm_stage stage);
void tm_member_attend(tm_member *member); /* soon, in its own thread */
void tm_member_tend(tm_thread *thread, tm_member *member);
void tm_member_join(tm_thread *thread, tm_member *member);

/* Before that, behind a proxy: waits for its header. */
void tm_meet_step(tm_thread *thread, tm_member *member);

/* It reads no more for a while, or until others have given memory back. */
void tm_member_starve(tm_thread *thread, tm_member *member);

/* It asks for memory again: others may have given some back, or been silent for too long. */
void tm_member_feed(tm_thread *thread, tm_member *member);

/* Ends it: what is queued leaves first, within the linger time. */
void tm_member_end(tm_thread *thread, tm_member *member, int why);
void tm_member_tend_ending(tm_thread *thread, tm_member *member);
void tm_member_part(tcpmsg_conn *conn); /* from its socket; calls on it are ECANCELED */
void tm_member_finish(tm_thread *thread, tm_member *member, int why); /* at once */

/* loop_in.c */

bool tm_member_may_deliver(const tm_member *member);
void tm_member_read(tm_thread *thread, tm_member *member);
void tm_member_deliver_held(tm_thread *thread, tm_member *member);
void tm_member_give_back(tm_thread *thread, tm_member *member);

/* loop_budget.c */

/* Half-received messages hold so many bytes more. */
static inline void tm_held_change(tm_thread *thread, size_t more)
{
    thread->held += more;
    atomic_store_explicit(&thread->stats.held, thread->held, memory_order_relaxed);
}

size_t tm_budget_allows(tm_thread *thread, tm_member *member, size_t wanted);
void tm_budget_wake(tm_thread *thread); /* all that are starved ask again */
void tm_budget_change(tm_thread *thread, tm_member *member, size_t before);

/* loop_time.c */

void tm_member_stop_clocks(tm_thread *thread, tm_member *member, bool stop);
void tm_member_is_active(tm_thread *thread, tm_member *member);
void tm_member_await_message(tm_thread *thread, tm_member *member); /* the rest of one */
int64_t tm_member_due(const tm_thread *thread, const tm_member *member);
bool tm_member_is_stalled(const tm_thread *thread, tm_member *member);

/* loop_stats.c */

void tm_member_count_end(tm_thread *thread, const tm_member *member, int why);

/* loop_accept.c */

void tm_door_open(void *door);
void tm_doors_reopen(tcpmsg_loop *loop);
void tm_doors_close(tcpmsg_loop *loop);
void tm_door_free(tm_door *door);

/* loop_dial.c */

void tm_dial_step(tm_thread *thread, tm_member *member);
void tm_dial_drop(tm_thread *thread, tm_member *member);

#endif
