/* The floor: copies what one socket brings to another, and nothing else. relay PORT UPSTREAM_PORT */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 65536

static int other_end[MOST];

static struct sockaddr_in local(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void watch(int epoll, int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

static void join(int epoll, int client, struct sockaddr_in upstream) {
    int yes = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || server >= MOST || client >= MOST ||
        connect(server, (void *)&upstream, sizeof upstream)) {
        perror("relay: upstream");
        exit(1);
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    other_end[client] = server, other_end[server] = client;
    watch(epoll, client);
    watch(epoll, server);
}

static void copy(int from) {
    char buffer[MOST];
    int to = other_end[from];
    ssize_t size = recv(from, buffer, sizeof buffer, MSG_DONTWAIT);
    /* An event of a connection that has ended; the number may belong to a new one. */
    if (!to || (size < 0 && errno == EAGAIN))
        return;
    for (ssize_t sent = 0, count; sent < size; sent += count)
        if ((count = send(to, buffer + sent, size - sent, MSG_NOSIGNAL)) < 0)
            count = size = 0;
    if (size <= 0) {
        other_end[from] = other_end[to] = 0;
        close(from);
        close(to);
    }
}

int main(int count, char **words) {
    if (count != 3) {
        fprintf(stderr, "relay PORT UPSTREAM_PORT\n");
        return 2;
    }
    struct sockaddr_in own = local(words[1]), upstream = local(words[2]);
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (void *)&own, sizeof own) || listen(listener, 2048)) {
        perror("relay: listen");
        return 1;
    }
    watch(epoll, listener);
    for (struct epoll_event events[256];;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int place = 0; place < ready; place++) {
            if (events[place].data.fd == listener)
                join(epoll, accept(listener, NULL, NULL), upstream);
            else
                copy(events[place].data.fd);
        }
    }
}
