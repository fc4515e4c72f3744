#include "floors.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 1024U

/* The rings as the kernel maps them, see io_uring(7). Sends run inside io_uring_enter(): with MSG_DONTWAIT they never go
 * asynchronous, so `data` is free on return. IOSQE_CQE_SKIP_SUCCESS leaves completions to failures alone; MSG_WAITALL makes a
 * short send one of them, without it the rest would be lost in silence. */
struct rt_floor_uring {
    int fd;
    struct io_uring_sqe *sqes;
    unsigned *sq_tail, *sq_mask, *sq_array;
    unsigned *cq_head, *cq_tail, *cq_mask;
    struct io_uring_cqe *cqes;
};

static _Noreturn void unsupported(const char *what)
{
    rt_bench_die(RT_BENCH_EXIT_UNSUPPORTED, "mode C: %s: %s", what, strerror(errno));
}

static int setup(unsigned entries, struct io_uring_params *params)
{
    return (int)syscall(__NR_io_uring_setup, entries, params);
}

static int enter(int fd, unsigned submit)
{
    return (int)syscall(__NR_io_uring_enter, fd, submit, 0, 0, NULL, 0);
}

static void *map(int fd, size_t size, off_t offset)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
    if (p == MAP_FAILED)
        unsupported("mmap");
    return p;
}

static void *at(void *base, unsigned offset)
{
    return (uint8_t *)base + offset;
}

struct rt_floor_uring *rt_floor_uring_new(void)
{
    struct rt_floor_uring *ring = rt_bench_alloc(1, sizeof(*ring));
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |
                                         IORING_SETUP_SUBMIT_ALL};
    ring->fd = setup(ENTRIES, &p);
    if (ring->fd < 0)
        unsupported("io_uring_setup");
    errno = ENOSYS;
    if ((p.features & IORING_FEAT_CQE_SKIP) == 0 || (p.features & IORING_FEAT_SINGLE_MMAP) == 0)
        unsupported("IORING_FEAT_CQE_SKIP");
    size_t sq = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    void *rings = map(ring->fd, sq > cq ? sq : cq, (off_t)IORING_OFF_SQ_RING);
    ring->sqes = map(ring->fd, p.sq_entries * sizeof(struct io_uring_sqe), (off_t)IORING_OFF_SQES);
    ring->sq_tail = at(rings, p.sq_off.tail);
    ring->sq_mask = at(rings, p.sq_off.ring_mask);
    ring->sq_array = at(rings, p.sq_off.array);
    ring->cq_head = at(rings, p.cq_off.head);
    ring->cq_tail = at(rings, p.cq_off.tail);
    ring->cq_mask = at(rings, p.cq_off.ring_mask);
    ring->cqes = at(rings, p.cq_off.cqes);
    for (unsigned i = 0; i < p.sq_entries; i++)
        ring->sq_array[i] = i;
    return ring;
}

static void queue(struct rt_floor_uring *ring, unsigned index, int fd, const uint8_t *data,
                  size_t len)
{
    unsigned tail = *ring->sq_tail;
    struct io_uring_sqe *sqe = &ring->sqes[tail & *ring->sq_mask];
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_SEND,
        .flags = IOSQE_CQE_SKIP_SUCCESS,
        .fd = fd,
        .addr = (uint64_t)(uintptr_t)data,
        .len = (uint32_t)len,
        .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL,
        .user_data = index,
    };
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
}

static void submit(struct rt_floor_uring *ring, unsigned count)
{
    while (count > 0) {
        int n = enter(ring->fd, count);
        if (n < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
            rt_bench_die(RT_BENCH_EXIT_FAILED, "io_uring_enter: %s", strerror(errno));
        if (n > 0)
            count -= (unsigned)n;
    }
}

/* Completions of sends that were short or failed: the rest is sent by hand. */
static void finish(struct rt_floor_uring *ring, const int *fds, const uint8_t *data, size_t len)
{
    unsigned head = *ring->cq_head, tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    for (; head != tail; head++) {
        const struct io_uring_cqe *cqe = &ring->cqes[head & *ring->cq_mask];
        size_t sent = cqe->res > 0 ? (size_t)cqe->res : 0;
        if ((cqe->res >= 0 || cqe->res == -EAGAIN || cqe->res == -EINTR) && sent < len)
            rt_floor_send_all(fds[cqe->user_data], data + sent, len - sent);
    }
    __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
}

void rt_floor_uring_send(struct rt_floor_uring *ring, const int *fds, size_t count,
                         const uint8_t *data, size_t len)
{
    for (size_t done = 0; done < count;) {
        unsigned batch = count - done < ENTRIES ? (unsigned)(count - done) : ENTRIES;
        for (unsigned i = 0; i < batch; i++)
            queue(ring, i, fds[done + i], data, len);
        submit(ring, batch);
        finish(ring, fds + done, data, len);
        done += batch;
    }
}
