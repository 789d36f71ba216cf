/*
 * delay_line - a TCP relay that delays: a wide-area line for benchmarks.
 *
 *   delay_line TARGET_PORT ONE_WAY_MILLISECONDS
 *
 * Listens on a free port of 127.0.0.1, prints it, and relays each connection to TARGET_PORT of
 * 127.0.0.1. Every byte leaves exactly the delay after it arrived, however many are under way: the
 * line has latency and no limit of its own. One thread, no copies besides the queue, so that it
 * costs the processor next to nothing. Ends on SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ENDS_MAX    1024 /* sockets; two for each connection */
#define CHUNK_BYTES 65536

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t size, sent;
    char bytes[];
};

/* One socket; what arrives on it is queued for its peer, which is the end with number ^ 1. */
struct end {
    int socket;                 /* -1: free */
    bool is_finished;           /* nothing more will arrive */
    struct chunk *head, **tail; /* to be sent to the peer, in order of due_ns */
};

static struct end ends[ENDS_MAX];
static uint64_t delay_ns;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "delay_line: %s: %m\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static struct sockaddr_in loopback(unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int listen_anywhere(void)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    if (listener == -1 || bind(listener, (struct sockaddr *)&address, size) == -1 ||
        listen(listener, 256) == -1 ||
        getsockname(listener, (struct sockaddr *)&address, &size) == -1)
        die("listen");
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void open_end(struct end *e, int socket)
{
    int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    *e = (struct end){.socket = socket};
    e->tail = &e->head;
}

static void close_end(struct end *e)
{
    close(e->socket);
    e->socket = -1;
    while (e->head) {
        struct chunk *c = e->head;
        e->head = c->next;
        free(c);
    }
}

static void accept_one(int listener, unsigned target_port)
{
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client == -1)
        return;
    size_t free_pair = 0;
    while (free_pair < ENDS_MAX && ends[free_pair].socket != -1)
        free_pair += 2;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in target = loopback(target_port);
    /* The kernel answers on loopback at once, so that this connect never waits. */
    if (free_pair == ENDS_MAX || server == -1 ||
        connect(server, (struct sockaddr *)&target, sizeof(target)) == -1) {
        close(client);
        if (server != -1)
            close(server);
        return;
    }
    open_end(&ends[free_pair], client);
    open_end(&ends[free_pair + 1], server);
}

static void receive(struct end *e)
{
    struct chunk *c = malloc(sizeof(*c) + CHUNK_BYTES);
    if (!c)
        die("memory");
    ssize_t got = recv(e->socket, c->bytes, CHUNK_BYTES, MSG_DONTWAIT);
    if (got <= 0) {
        e->is_finished = got == 0 || (errno != EAGAIN && errno != EINTR);
        free(c);
        return;
    }
    struct chunk *fitting = realloc(c, sizeof(*c) + (size_t)got);
    c = fitting ? fitting : c;
    *c = (struct chunk){.due_ns = now_ns() + delay_ns, .size = (size_t)got};
    *e->tail = c;
    e->tail = &c->next;
}

/* Send what is due; false when the connection is at its end. */
static bool deliver(struct end *from, const struct end *to)
{
    while (from->head && from->head->due_ns <= now_ns()) {
        struct chunk *c = from->head;
        ssize_t sent =
            send(to->socket, c->bytes + c->sent, c->size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent == -1)
            return errno == EAGAIN || errno == EINTR;
        c->sent += (size_t)sent;
        if (c->sent < c->size)
            return true;
        from->head = c->next;
        if (!from->head)
            from->tail = &from->head;
        free(c);
    }
    return !from->is_finished || from->head;
}

static void deliver_all(void)
{
    for (size_t i = 0; i < ENDS_MAX; i += 2) {
        struct end *a = &ends[i], *b = &ends[i + 1];
        if (a->socket == -1)
            continue;
        if (!deliver(a, b) || !deliver(b, a)) {
            close_end(a);
            close_end(b);
        }
    }
}

/* How long until something is due; a peer that does not take its bytes is asked again each ms. */
static struct timespec until_due(void)
{
    const uint64_t now = now_ns(), again_ns = 1000000;
    uint64_t due = now + 1000000000U;
    for (size_t i = 0; i < ENDS_MAX; i++)
        if (ends[i].socket != -1 && ends[i].head && ends[i].head->due_ns < due)
            due = ends[i].head->due_ns > now ? ends[i].head->due_ns : now + again_ns;
    return (struct timespec){.tv_sec = (time_t)((due - now) / 1000000000U),
                             .tv_nsec = (long)((due - now) % 1000000000U)};
}

static void relay(int listener, unsigned target_port)
{
    struct pollfd fds[ENDS_MAX + 1];
    size_t which[ENDS_MAX + 1], count = 1;
    fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (size_t i = 0; i < ENDS_MAX; i++)
        if (ends[i].socket != -1 && !ends[i].is_finished) {
            which[count] = i;
            fds[count++] = (struct pollfd){.fd = ends[i].socket, .events = POLLIN};
        }
    struct timespec wait = until_due();
    if (ppoll(fds, count, &wait, NULL) == -1 && errno != EINTR)
        die("poll");
    for (size_t k = 1; k < count; k++)
        if (fds[k].revents)
            receive(&ends[which[k]]);
    if (fds[0].revents)
        accept_one(listener, target_port);
    deliver_all();
}

int main(int argc, char **argv)
{
    unsigned long port = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    double delay_ms = argc == 3 ? strtod(argv[2], NULL) : -1;
    if (port < 1 || port > UINT16_MAX || !(delay_ms >= 0 && delay_ms < 60000)) {
        fputs("Usage: delay_line TARGET_PORT ONE_WAY_MILLISECONDS\n", stderr);
        return 2;
    }
    delay_ns = (uint64_t)(delay_ms * 1e6);
    for (size_t i = 0; i < ENDS_MAX; i++)
        ends[i].socket = -1;
    int listener = listen_anywhere();
    for (;;)
        relay(listener, (unsigned)port);
}
