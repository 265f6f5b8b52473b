/* The floor: accepts, answers a request with a head, and on command sends the same bytes to all sockets.
 *
 * It speaks what all servers here speak (see server.py), and what it publishes looks like what tornado-sse
 * sends: a chunk with an id and 100 bytes of data. Nothing is kept for anybody: where a socket's buffer is
 * full, all wait.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LIFETIME = 900, BACKLOG = 1024, PAUSE = 5000, DATA = 100, MOST = 1 << 16 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

static int sockets[MOST];
static size_t accepted;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static _Noreturn void fail(const char *why) {
    perror(why);
    exit(1);
}

static void send_all(int fd, const char *data, size_t size) {
    for (size_t sent = 0; sent < size;) {
        ssize_t many = send(fd, data + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (many >= 0) {
            sent += many;
        } else if (errno == EAGAIN) {
            struct pollfd full = {.fd = fd, .events = POLLOUT};
            poll(&full, 1, 1000);
        } else {
            return; /* gone: who counts will miss it */
        }
    }
}

static void publish(int64_t number) {
    static int64_t position;
    char padding[DATA + 1], event[512], chunk[600];
    memset(padding, '.', DATA);
    padding[DATA] = 0;
    int stamped = 1 + 20 + 1 + 10;
    int size = snprintf(event, sizeof event, "id: 0123456789ab-%" PRId64 "\ndata: @%020" PRId64 "#%010" PRId64 "%s\n\n",
                        ++position, now(), number, padding + stamped);
    size = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", size, event);
    for (size_t i = 0; i < accepted; i++) send_all(sockets[i], chunk, size);
}

static void command(const char *text) {
    int64_t count, many;
    double rate, seconds, paused = 0;
    if (sscanf(text, "pace %lf %lf", &rate, &seconds) == 2) {
        int64_t start = now();
        for (int64_t number = 0; number < rate * seconds; number++) {
            int64_t left = start + (int64_t)(number * 1e9 / rate) - now();
            if (left > 0) usleep(left / 1000);
            publish(number);
        }
    } else if (sscanf(text, "publish %" SCNd64 " %" SCNd64, &count, &many) == 2) {
        for (int64_t number = 0; number < count; number++) {
            publish(number);
            if (number % many != many - 1) continue;
            int64_t start = now();
            usleep(PAUSE);
            paused += (now() - start) / 1e9;
        }
    } else if (strncmp(text, "collect", 7)) {
        errno = EINVAL, fail("a command is not known");
    }
    printf("{\"done\": true, \"paused\": %.6f}\n", paused);
}

static void greet(int fd) {
    char request[4096];
    ssize_t size = recv(fd, request, sizeof request, MSG_DONTWAIT);
    if (size > 0) send_all(fd, HEAD, sizeof HEAD - 1);
    if (size > 0 && accepted < MOST) sockets[accepted++] = fd;
}

static int listen_on(unsigned port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size = sizeof address;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, BACKLOG)) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("{\"port\": %u, \"pid\": %d, \"version\": \"cc %s\"}\n", ntohs(address.sin_port), getpid(), __VERSION__);
    return listener;
}

int main(int argc, char **argv) {
    struct epoll_event ready[64];
    alarm(LIFETIME);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int on = 1, epoll = epoll_create1(EPOLL_CLOEXEC), listener = listen_on(argc > 1 ? atoi(argv[1]) : 0);
    int watched[] = {STDIN_FILENO, listener};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, watched[i], &event)) fail("epoll_ctl");
    }
    for (;;) {
        int many = epoll_wait(epoll, ready, 64, -1);
        for (int i = 0; i < many; i++) {
            int fd = ready[i].data.fd;
            if (fd == STDIN_FILENO) {
                char input[256];
                ssize_t size = read(fd, input, sizeof input - 1); /* the asker waits for answers */
                if (size <= 0) return 0;
                input[size] = 0;
                command(input);
            } else if (fd == listener) {
                int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
                struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = peer};
                setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                if (peer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, peer, &event)) fail("accept");
            } else {
                greet(fd);
            }
        }
    }
}
