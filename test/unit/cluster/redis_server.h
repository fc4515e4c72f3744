/* A real redis-server for tests: on a UNIX socket in a folder of its own, so that no port can be taken. */
#ifndef RT_TEST_REDIS_SERVER_H
#define RT_TEST_REDIS_SERVER_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

struct redis_server {
    pid_t pid;
    char dir[64], path[96], url[160];
};

static inline bool redis_server_answers(const struct redis_server *s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, s->path, strlen(s->path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char answer[8] = "";
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
              write(fd, "PING\r\n", 6) == 6 && read(fd, answer, sizeof(answer)) > 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* False: there is no redis-server on this machine, or it does not come up in 20 s. */
static inline bool redis_server_start(struct redis_server *s, const char *password)
{
    if (s->dir[0] == '\0') {
        memcpy(s->dir, "/tmp/rt-redis-XXXXXX", 21);
        if (!mkdtemp(s->dir))
            return false;
        (void)snprintf(s->path, sizeof(s->path), "%s/s", s->dir);
        (void)snprintf(s->url, sizeof(s->url), "unix://%s", s->path);
    }
    s->pid = fork();
    if (s->pid == 0) {
        (void)!freopen("/dev/null", "w", stdout);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", s->path, "--save", "",
               "--appendonly", "no", "--dir", s->dir, password ? "--requirepass" : "--daemonize",
               password ? password : "no", (char *)NULL);
        _exit(127);
    }
    uint64_t end = rt_mono_ms() + 20000;
    while (rt_mono_ms() < end) {
        int status;
        if (redis_server_answers(s))
            return true;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid)
            return false;
    }
    return false;
}

static inline void redis_server_signal(const struct redis_server *s, int signum)
{
    (void)kill(s->pid, signum);
}

static inline void redis_server_kill(struct redis_server *s)
{
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    (void)unlink(s->path);
}

static inline void redis_server_remove(struct redis_server *s)
{
    (void)rmdir(s->dir);
}

#endif
