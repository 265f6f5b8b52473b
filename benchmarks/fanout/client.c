/* The subscribers: connections that read event streams and note when they got what.
 *
 * Commands come on standard input, one a line; each is answered by one line of JSON when it is fulfilled, its
 * SECONDS are over, or an event is missing. The end of the input ends the program.
 *
 *     open PORT COUNT WINDOW PRIMED EVENTS SECONDS PATH
 *         Open COUNT more connections, WINDOW of them at a time; if COUNT is 0, all that have ended, each with
 *         the last id that it got as its Last-Event-ID. Fulfilled when every connection has its response's
 *         head, some of its body too if PRIMED is not 0, and EVENTS events.
 *     expect EVENTS SECONDS
 *         Forget what was counted, and say so. Fulfilled, with an answer of its own, when every connection has
 *         got EVENTS events.
 *     cut
 *         End all connections.
 *     ended SECONDS
 *         Fulfilled when the server has ended all connections.
 *
 * An event's data is "@", when it was published (20 digits, nanoseconds of CLOCK_MONOTONIC), "#", its number
 * (10 digits), and padding. Numbers begin at 0 after each "expect", and each must follow upon the last.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"

enum { LIFETIME = 900, SOURCES = 8, STAMP = 32 };

struct subscriber {
    struct stream stream; /* first, so that a stream's address is its subscriber's */
    int fd;
    bool primed;
    uint32_t events;
};

struct goal {
    bool active, primed, ending;
    uint32_t events;
    int64_t deadline;
};

static struct subscriber **subscribers;
static size_t count, next, window;
static size_t heads, primed, full, ended; /* how many have got so far */
static uint64_t deliveries, reads, disorder;
static int64_t began, headed_at, primed_at, first_stamp, last_delivery, cpu_began;
static int64_t *latencies;
static size_t capacity;
static struct goal goal;
static struct sockaddr_in server = {.sin_family = AF_INET};
static char path[256];
static int epoll;

static int64_t clock_ns(clockid_t id) {
    struct timespec time;
    clock_gettime(id, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static _Noreturn void fail(const char *why) {
    fprintf(stderr, "client: %s%s%s\n", why, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

/* Read so many digits; return -1 if there are others. */
static int64_t digits(const char *text, int many) {
    int64_t number = 0;
    for (int i = 0; i < many; i++) {
        if (!isdigit((unsigned char)text[i])) return -1;
        number = number * 10 + (text[i] - '0');
    }
    return number;
}

static void deliver(struct stream *stream, const char *data, size_t size, int64_t now) {
    struct subscriber *s = (struct subscriber *)stream;
    if (size < STAMP || *data != '@') return; /* the server's own: a greeting, a ping */
    int64_t stamp = digits(data + 1, 20), number = data[21] == '#' ? digits(data + 22, 10) : -1;
    if (stamp < 0 || number != s->events) disorder++;
    if (!first_stamp) first_stamp = stamp;
    last_delivery = now;
    if (deliveries == capacity) {
        capacity = capacity ? 2 * capacity : 1 << 20;
        if (!(latencies = realloc(latencies, capacity * sizeof *latencies))) fail("no memory");
    }
    latencies[deliveries++] = now - stamp;
    if (++s->events == goal.events) full++;
}

static void hang_up(struct subscriber *s) {
    if (s->stream.stage == ENDED) return;
    struct linger at_once = {1, 0}; /* thousands of connections in TIME_WAIT would be in the next one's way */
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(s->fd);
    heads -= s->stream.stage == BODY, primed -= s->primed, ended++;
    s->primed = false;
    reset(&s->stream);
}

/* Read what is there. A read that is not full has emptied the socket, unless the end has come too. */
static void receive(struct subscriber *s, bool is_ending) {
    static char buffer[1 << 16];
    ssize_t got;
    while (s->stream.stage != ENDED) {
        got = recv(s->fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            if (goal.active && !goal.ending) fail("the server has ended a stream");
            hang_up(s);
            return;
        }
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        bool was_head = s->stream.stage == HEAD;
        reads++;
        bool has_body = feed(&s->stream, buffer, got, now);
        if (was_head && s->stream.stage == BODY) heads++, headed_at = now;
        if (has_body && !s->primed) s->primed = true, primed++, primed_at = now;
        if (got < (ssize_t)sizeof buffer && !is_ending) return;
    }
}

static void open_next(void) {
    struct subscriber *s = subscribers[next];
    /* A source address has 28,000 ports; so they are spread over several. */
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001 + next % SOURCES)};
    next++;
    if (s->stream.stage != ENDED) return;
    int on = 1;
    char request[512], *id = s->stream.id;
    if ((s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0) fail("socket");
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(s->fd, (struct sockaddr *)&source, sizeof source)) fail("bind");
    if (connect(s->fd, (struct sockaddr *)&server, sizeof server)) fail("connect");
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n%s%s%s\r\n", path,
                        *id ? "Last-Event-ID: " : "", id, *id ? "\r\n" : "");
    if (send(s->fd, request, size, MSG_NOSIGNAL) != size) fail("send");
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = s};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &event)) fail("epoll_ctl");
    s->stream.stage = HEAD, ended--;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double milliseconds(double quantile) {
    return deliveries ? latencies[(size_t)(quantile * (deliveries - 1))] / 1e6 : 0;
}

static void answer(bool done) {
    int64_t now = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_began;
    uint32_t least = count ? UINT32_MAX : 0, most = 0;
    for (size_t i = 0; i < count; i++) {
        if (subscribers[i]->events < least) least = subscribers[i]->events;
        if (subscribers[i]->events > most) most = subscribers[i]->events;
    }
    if (deliveries) qsort(latencies, deliveries, sizeof *latencies, ascending);
    printf("{\"done\": %s, \"connections\": %zu, \"heads\": %zu, \"least\": %u, \"most\": %u, \"disorder\": %" PRIu64
           ", \"deliveries\": %" PRIu64 ", \"reads\": %" PRIu64 ", \"wall\": %.6f, \"cpu\": %.6f, \"headed\": %.6f"
           ", \"primed\": %.6f, \"span\": %.6f, \"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"max\": %.4f}\n",
           done ? "true" : "false", count, heads, least, most, disorder, deliveries, reads, (now - began) / 1e9,
           cpu / 1e9, (headed_at - began) / 1e9, (primed_at - began) / 1e9,
           (last_delivery - first_stamp) / 1e9, milliseconds(0.5), milliseconds(0.9), milliseconds(0.99),
           milliseconds(1));
    goal.active = false;
}

static bool fulfilled(void) {
    if (goal.ending) return ended == count;
    return next == count && heads == count && (!goal.primed || primed == count) &&
           (!goal.events || full == count);
}

static void begin(struct goal wanted, double seconds) {
    deliveries = reads = disorder = full = first_stamp = last_delivery = headed_at = primed_at = 0;
    for (size_t i = 0; i < count; i++) subscribers[i]->events = 0;
    goal = wanted;
    goal.active = true;
    began = clock_ns(CLOCK_MONOTONIC), cpu_began = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    goal.deadline = began + (int64_t)(seconds * 1e9);
}

static void command(const char *text) {
    struct goal wanted = {0};
    unsigned port;
    size_t more;
    int is_primed;
    bool is_expecting = false;
    double seconds = 0;
    errno = 0;
    if (sscanf(text, "open %u %zu %zu %d %u %lf %255s", &port, &more, &window, &is_primed, &wanted.events,
               &seconds, path) == 7) {
        server.sin_port = htons(port), server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (!(subscribers = realloc(subscribers, (count + more + 1) * sizeof *subscribers))) fail("no memory");
        next = more ? count : 0;
        for (; more; more--, ended++)
            if (!(subscribers[count++] = calloc(1, sizeof **subscribers))) fail("no memory");
        wanted.primed = is_primed;
    } else if (sscanf(text, "expect %u %lf", &wanted.events, &seconds) == 2) {
        is_expecting = true;
    } else if (sscanf(text, "ended %lf", &seconds) == 1) {
        wanted.ending = true;
    } else if (!strncmp(text, "cut", 3)) {
        for (size_t i = 0; i < count; i++) hang_up(subscribers[i]);
        wanted.ending = true;
    } else {
        fail("a command is not known");
    }
    begin(wanted, seconds);
    if (is_expecting) puts("{\"expecting\": true}");
}

int main(void) {
    static char input[512];
    struct epoll_event ready[512], event = {.events = EPOLLIN, .data.ptr = NULL};
    alarm(LIFETIME);
    setvbuf(stdout, NULL, _IOLBF, 0);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event)) fail("epoll_ctl");
    for (;;) {
        while (goal.active && next < count && next - heads < window) open_next();
        if (goal.active && fulfilled()) answer(true);
        int64_t left = goal.active ? goal.deadline - clock_ns(CLOCK_MONOTONIC) : INT64_MAX;
        if (left <= 0 || (goal.active && disorder)) answer(false);
        int many = epoll_wait(epoll, ready, 512, goal.active ? left / 1000000 + 1 : -1);
        for (int i = 0; i < many; i++) {
            if (ready[i].data.ptr) {
                receive(ready[i].data.ptr, ready[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
            } else {
                ssize_t size = read(STDIN_FILENO, input, sizeof input - 1); /* the asker waits for answers */
                if (size <= 0) return 0;
                input[size] = 0;
                command(input);
            }
        }
    }
}
